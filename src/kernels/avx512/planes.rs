//! Products of weights in planes of bits. The codes of a group are put together in eight registers of 4 columns of 16 rows, as
//! unsigned bytes: of q4 the levels plus 128, of q5 the values plus 16, of q6 plus 32, which a token's sum starts below 0 by.

use super::super::avx2::prefetch;
use super::super::scalar::check_matmul;
use super::super::x86::{self, Ahead, Closures, Panel, Scaling, Unit};
use super::super::{Group, Hint, PanelOut, Tokens};
use super::{STREAMS, TOKENS, add_group, load};
use crate::quant::planes::{self, BYTES, HALVES, LINE_BYTES, OFFSETS};
use crate::quant::{Dtype, PANEL_ROWS, groups, panel_bytes};
use bytemuck::must_cast;
use core::arch::x86_64::*;

/// What the groups of a panel share, in registers.
struct Head {
    /// The levels plus 128, in each quarter.
    levels: __m512i,
    /// The exponent where an f32 has it.
    exponent: __m512i,
}

/// A panel whose groups have `SCALES` bytes of scales and planes of `CODES` bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn panel<const SCALES: usize, const CODES: usize>(panel: &[u8], cols: usize) -> Panel<'_, Head, SCALES, CODES> {
    let head = planes::Head::read(panel);
    let levels = _mm512_broadcast_i32x4(must_cast(head.levels.map(|level| level ^ 0x80)));
    let exponent = _mm512_set1_epi32((head.exponent << 23).cast_signed());
    let (scales, codes) = planes::parts(panel, cols);
    Panel { head: Head { levels, exponent }, scales, codes }
}

/// The codes of a group as unsigned bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unsigned<const BITS: usize>(head: &Head, planes: &[u8]) -> [__m512i; 8] {
    let lines = planes.as_chunks::<LINE_BYTES>().0;
    let half = _mm512_set1_epi8(0x0f);
    let mut w = [_mm512_setzero_si512(); 8];
    for j in 0..4 {
        let line = load(&lines[j]);
        w[j] = _mm512_and_si512(line, half);
        w[j + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(line), half);
    }
    match BITS {
        4 => w.map(|w| _mm512_shuffle_epi8(head.levels, w)),
        5 => {
            let high = load(&lines[4]);
            let bits = [
                _mm512_slli_epi16::<4>(high),
                _mm512_slli_epi16::<3>(high),
                _mm512_slli_epi16::<2>(high),
                _mm512_slli_epi16::<1>(high),
                high,
                _mm512_srli_epi16::<1>(high),
                _mm512_srli_epi16::<2>(high),
                _mm512_srli_epi16::<3>(high),
            ];
            or_masked(w, bits, _mm512_set1_epi8(0x10))
        }
        _ => {
            let high = [load(&lines[4]), load(&lines[5])];
            let [a, b] = high.map(|high| {
                [_mm512_slli_epi16::<4>(high), _mm512_slli_epi16::<2>(high), high, _mm512_srli_epi16::<2>(high)]
            });
            or_masked(w, [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]], _mm512_set1_epi8(0x30))
        }
    }
}

/// `w` with the bits of `mask` from `bits`.
#[inline]
#[target_feature(enable = "avx512f")]
fn or_masked(mut w: [__m512i; 8], bits: [__m512i; 8], mask: __m512i) -> [__m512i; 8] {
    for (w, bits) in w.iter_mut().zip(bits) {
        // a | (b & c)
        *w = _mm512_ternarylogic_epi32::<0b1111_1000>(*w, bits, mask);
    }
    w
}

/// The scalings of 16 rows: see [`planes::scalings`].
#[inline]
#[target_feature(enable = "avx512f")]
fn widen<const SCALES: usize>(head: &Head, scales: &[u8; SCALES]) -> Scaling<__m512> {
    let (halves, _) = scales.as_chunks::<HALVES>();
    match SCALES {
        BYTES => Scaling::by(widen_bytes(head, &scales.as_chunks().0[0])),
        HALVES => Scaling::by(super::widen(&halves[0])),
        _ => Scaling { scale: super::widen(&halves[0]), offset: Some(super::widen(&halves[1])) },
    }
}

/// The scales of 16 rows: see [`planes::Head::scale`].
#[inline]
#[target_feature(enable = "avx512f")]
fn widen_bytes(head: &Head, scales: &[u8; PANEL_ROWS]) -> __m512 {
    // The sign is extended into bits 8 to 31, of which the shift and the mask leave bit 31.
    let bits = _mm512_slli_epi32::<19>(_mm512_cvtepi8_epi32(must_cast(*scales)));
    let bits = _mm512_and_si512(bits, _mm512_set1_epi32(0x83f8_0000_u32.cast_signed()));
    _mm512_castsi512_ps(_mm512_add_epi32(bits, head.exponent))
}

/// See [`Unit::add`].
#[inline]
#[target_feature(enable = "avx512f")]
fn add(sums: __m512, dots: __m512i, by: Scaling<__m512>, x: &Group) -> __m512 {
    let sums = add_group(sums, dots, by.scale, x.scale);
    match by.offset {
        Some(offset) => add_group(sums, _mm512_set1_epi32(x.sum()), offset, x.scale),
        None => sums,
    }
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn unit<'a, const BITS: usize, const CODES: usize, const SCALES: usize>()
-> impl Unit<'a, SCALES, CODES, 1, Line = __m512i, Sums = __m512i, Floats = __m512> {
    // The start is that of weights plus 128; q5 and q6 add 16 and 32, integers with offsets nothing.
    let shift = if BITS == 4 { 0 } else { 8 - BITS };
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |hint| Ahead {
            matvec: if hint == Hint::L2 && BITS == 6 { 1024 } else { 2048 },
            matmul: if hint == Hint::L2 { 4096 } else { 2048 },
        },
        panel: |bytes, cols| panel::<SCALES, CODES>(bytes, cols),
        unpack: |head: &Head, planes: &[u8; CODES]| unsigned::<BITS>(head, planes),
        line: |w: &[__m512i; 8], j: usize, _| w[j],
        start: move |x: &Group| _mm512_set1_epi32(if BITS > 4 && SCALES == OFFSETS { 0 } else { x.start >> shift }),
        dot: |sums, w: __m512i, x| _mm512_dpbusd_epi32(sums, w, _mm512_set1_epi32(x)),
        widen: |head: &Head, scales: &[u8; SCALES]| [widen(head, scales)],
        add: |sums, dots, by, x: &Group| add(sums, dots, by, x),
    }
}

/// Same as [`scalar`](super::super::scalar)'s product of one token with weights of `BITS` bits.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn planes_matvec<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &Tokens<'_>,
    hint: Hint,
    out: &mut [f32],
) {
    let bytes = panel_bytes(dtype, x.cols);
    x86::matvec::<STREAMS, true, _, _, _>(&unit::<BITS, CODES, SCALES>(), panels, bytes, x.cols, x.groups, hint, out);
}

/// Same as [`scalar`](super::super::scalar)'s product of some tokens with weights of `BITS` bits.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn planes_matmul<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panel: &[u8],
    x: &Tokens<'_>,
    hint: Hint,
    out: &mut [PanelOut],
) {
    check_matmul(dtype, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    x86::matmul::<TOKENS, _, _, _>(&unit::<BITS, CODES, SCALES>(), panel, x.cols, x.groups, hint, out);
}
