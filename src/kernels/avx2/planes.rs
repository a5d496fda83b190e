//! Products of weights in planes of bits, whose codes are put together a line at a time. Codes of q5 and q6 are multiplied as the
//! unsigned numbers they are, and a token's sum starts below 0 by as much; the levels of q4 as weights of int8 are.

use super::super::scalar::check_matmul;
use super::super::x86::{self, Ahead, Closures, Panel, Scaling, Unit};
use super::super::{Group, Hint, PanelOut, Tokens};
use super::int8::{TOKENS, add_group, dot as signed_dot};
use super::{load, prefetch};
use crate::quant::planes::{self, BYTES, HALVES, LINE_BYTES, OFFSETS};
use crate::quant::{Dtype, groups, panel_bytes};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::x86_64::*;

/// What the groups of a panel share, in registers.
#[derive(Clone, Copy)]
pub(in super::super) struct Head {
    /// The levels, in each half.
    pub(in super::super) levels: __m256i,
    /// The exponent where an f32 has it.
    exponent: __m256i,
}

/// A panel whose groups have `SCALES` bytes of scales and planes of `CODES` bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn panel<const SCALES: usize, const CODES: usize>(
    panel: &[u8],
    cols: usize,
) -> Panel<'_, Head, SCALES, CODES> {
    let head = planes::Head::read(panel);
    let levels = _mm256_broadcastsi128_si256(must_cast(head.levels));
    let exponent = _mm256_set1_epi32((head.exponent << 23).cast_signed());
    let (scales, codes) = planes::parts(panel, cols);
    Panel { head: Head { levels, exponent }, scales, codes }
}

/// The codes of 8 rows of 4 columns: of the lower (`half` 0) or upper half of line `j`.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn codes<const BITS: usize>(planes: &[u8], j: usize, half: usize) -> __m256i {
    let lines = planes.as_chunks::<LINE_BYTES>().0;
    let read = |line: usize| {
        let halves: &[[u8; 32]; 2] = must_cast_ref(&lines[line]);
        load(&halves[half])
    };
    let low = read(j % 4);
    let low = if j < 4 { low } else { _mm256_srli_epi16::<4>(low) };
    let low = _mm256_and_si256(low, _mm256_set1_epi8(0x0f));
    match BITS {
        4 => low,
        5 => _mm256_or_si256(low, _mm256_and_si256(shifted(read(4), j, 4), _mm256_set1_epi8(0x10))),
        _ => _mm256_or_si256(low, _mm256_and_si256(shifted(read(4 + j / 4), 2 * (j % 4), 4), _mm256_set1_epi8(0x30))),
    }
}

/// `x` shifted so that bit `from` of a byte becomes bit `to`.
#[inline]
#[target_feature(enable = "avx2")]
fn shifted(x: __m256i, from: usize, to: usize) -> __m256i {
    match from.cast_signed() - to.cast_signed() {
        -4 => _mm256_slli_epi16::<4>(x),
        -3 => _mm256_slli_epi16::<3>(x),
        -2 => _mm256_slli_epi16::<2>(x),
        -1 => _mm256_slli_epi16::<1>(x),
        0 => x,
        1 => _mm256_srli_epi16::<1>(x),
        2 => _mm256_srli_epi16::<2>(x),
        _ => _mm256_srli_epi16::<3>(x),
    }
}

/// The scalings of 16 rows: see [`planes::scalings`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in super::super) fn widen<const SCALES: usize>(head: &Head, scales: &[u8; SCALES]) -> [Scaling<__m256>; 2] {
    let (halves, _) = scales.as_chunks::<HALVES>();
    match SCALES {
        BYTES => widen_bytes(head, scales.as_chunks().0).map(Scaling::by),
        HALVES => super::widen(&halves[0]).map(Scaling::by),
        _ => {
            let (scales, offsets) = (super::widen(&halves[0]), super::widen(&halves[1]));
            [0, 1].map(|half| Scaling { scale: scales[half], offset: Some(offsets[half]) })
        }
    }
}

/// The scales of 16 rows, two times 8: see [`planes::Head::scale`].
#[inline]
#[target_feature(enable = "avx2")]
fn widen_bytes(head: &Head, halves: &[[u8; 8]]) -> [__m256; 2] {
    let mut out = [_mm256_setzero_ps(); 2];
    for (out, scales) in out.iter_mut().zip(halves) {
        // The sign is extended into bits 8 to 31, of which the shift and the mask leave bit 31.
        let scales = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*scales)));
        let bits = _mm256_and_si256(_mm256_slli_epi32::<19>(scales), _mm256_set1_epi32(0x83f8_0000_u32.cast_signed()));
        *out = _mm256_castsi256_ps(_mm256_add_epi32(bits, head.exponent));
    }
    out
}

/// See [`Unit::add`].
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn add(sums: __m256, dots: __m256i, by: Scaling<__m256>, x: &Group) -> __m256 {
    let sums = add_group(sums, dots, by.scale, x.scale);
    match by.offset {
        Some(offset) => add_group(sums, _mm256_set1_epi32(x.sum()), offset, x.scale),
        None => sums,
    }
}

/// A head and the planes of a group.
pub(in super::super) type Unpacked<'a, const CODES: usize> = (Head, &'a [u8; CODES]);

/// The instructions for levels.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn levels<'a, const CODES: usize, const SCALES: usize>() -> impl Unit<'a, SCALES, CODES, 2> {
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |hint| Ahead { matvec: if hint == Hint::NonTemporal { 3072 } else { 2048 }, matmul: 2048 },
        panel: |bytes, cols| panel::<SCALES, CODES>(bytes, cols),
        unpack: |head: &Head, planes: &'a [u8; CODES]| (*head, planes),
        line: |(head, planes): &Unpacked<'a, CODES>, j, half| {
            let w = _mm256_shuffle_epi8(head.levels, codes::<4>(*planes, j, half));
            (w, _mm256_abs_epi8(w))
        },
        start: |_: &Group| _mm256_setzero_si256(),
        dot: |sums, w: (__m256i, __m256i), x| signed_dot(sums, w, x),
        widen: |head: &Head, scales: &[u8; SCALES]| widen(head, scales),
        add: |sums, dots, by, x: &Group| add(sums, dots, by, x),
    }
}

/// The instructions for integers of `BITS` bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn integers<'a, const BITS: usize, const CODES: usize, const SCALES: usize>() -> impl Unit<'a, SCALES, CODES, 2> {
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |hint| Ahead { matvec: if hint == Hint::NonTemporal { 3072 } else { 2048 }, matmul: 2048 },
        panel: |bytes, cols| panel::<SCALES, CODES>(bytes, cols),
        unpack: |_: &Head, planes: &'a [u8; CODES]| planes,
        line: |planes: &&[u8; CODES], j, half| codes::<BITS>(*planes, j, half),
        // That of weights plus 128; these add 16 and 32, or nothing.
        start: |x: &Group| _mm256_set1_epi32(if SCALES == OFFSETS { 0 } else { x.start >> (8 - BITS) }),
        dot: |sums, w: __m256i, x| {
            let pairs = _mm256_maddubs_epi16(w, _mm256_set1_epi32(x));
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        },
        widen: |head: &Head, scales: &[u8; SCALES]| widen(head, scales),
        add: |sums, dots, by, x: &Group| add(sums, dots, by, x),
    }
}

/// Same as [`scalar`](super::super::scalar)'s product of one token with weights of `BITS` bits.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn planes_matvec<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &Tokens<'_>,
    hint: Hint,
    out: &mut [f32],
) {
    let bytes = panel_bytes(dtype, x.cols);
    match BITS {
        4 => x86::matvec::<1, false, _, _, _>(&levels::<CODES, SCALES>(), panels, bytes, x.cols, x.groups, hint, out),
        _ => x86::matvec::<1, false, _, _, _>(
            &integers::<BITS, CODES, SCALES>(),
            panels,
            bytes,
            x.cols,
            x.groups,
            hint,
            out,
        ),
    }
}

/// Same as [`scalar`](super::super::scalar)'s product of some tokens with weights of `BITS` bits.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn planes_matmul<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panel: &[u8],
    x: &Tokens<'_>,
    hint: Hint,
    out: &mut [PanelOut],
) {
    check_matmul(dtype, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    match BITS {
        4 => x86::matmul::<TOKENS, _, _, _>(&levels::<CODES, SCALES>(), panel, x.cols, x.groups, hint, out),
        _ => x86::matmul::<TOKENS, _, _, _>(&integers::<BITS, CODES, SCALES>(), panel, x.cols, x.groups, hint, out),
    }
}
