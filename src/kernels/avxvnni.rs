//! 256-bit x86 with AVX-VNNI (Alder Lake, 2021, and Zen 5, 2024, on): [`avx2`](super::avx2) with four int8 products and
//! their sum in one instruction. Every kernel is the same as in [`scalar`](super::scalar), bit for bit.
//!
//! One operand of `dpbusd` is unsigned: it is w + 128, and each sum starts at -128 times the sum of the input's codes.

use super::attention::{BLOCK, Blocks, KvHeadInt8, Query, check_queries, quantize_queries, rotate_outputs};
use super::avx2::planes::{self, Head};
use super::avx2::ternary::{self, Scales};
use super::avx2::{self, Codes, add_group, line, prefetch, store_16, widen};
use super::kv4::{KvHeadQ4, Unpacked};
use super::online_softmax::{attend, by_panel, softmax};
use super::scalar::check_matmul;
use super::x86::{self, Ahead, Closures, INT8_CODES, INT8_SCALES, Int8Panel, Scaling, Unit};
use super::{Group, Hint, PanelOut, Tokens};
use crate::quant::planes::OFFSETS;
use crate::quant::t2::GROUP_BYTES;
use crate::quant::{Dtype, PANEL_ROWS, groups, panel_bytes};
use core::arch::x86_64::*;
use core::hint::black_box;
use core::ops::Range;

/// Tokens whose integer sums stay in registers, 8 rows each.
const TOKENS: usize = 8;
/// The instructions: they multiply the weights plus 128, which flips one bit, with the inputs.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn unit<'a>() -> impl Unit<'a, INT8_SCALES, INT8_CODES, 2, Unpacked = &'a Codes, Sums = __m256i> {
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |_| Ahead { matvec: 2048, matmul: 2048 },
        panel: Int8Panel::new,
        unpack: |_: &(), codes: &'a Codes| codes,
        line: |codes: &&Codes, j, half| _mm256_xor_si256(line(codes, j, half), _mm256_set1_epi8(i8::MIN)),
        start: |x: &Group| _mm256_set1_epi32(x.start),
        dot: |sums, w: __m256i, x| _mm256_dpbusd_avx_epi32(sums, w, _mm256_set1_epi32(x)),
        widen: |_: &(), scales: &[u8; INT8_SCALES]| widen(scales).map(Scaling::by),
        add: |sums, dots, by: Scaling<_>, x: &Group| add_group(sums, dots, by.scale, x.scale),
    }
}

/// The exact dot products of one group of 8 rows, the lower (`half` 0) or upper ones, with each of N tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn dots<const N: usize>(codes: &Codes, half: usize, x: [&Group; N]) -> [__m256i; N] {
    x86::dots(&unit(), &codes, half, x)
}

/// Same as [`scalar::int8_matvec`](super::scalar::int8_matvec).
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], hint: Hint, out: &mut [f32]) {
    x86::matvec::<1, true, _, _, _>(&unit(), panels, panel_bytes(Dtype::Int8, cols), cols, x, hint, out);
}

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul).
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], hint: Hint, out: &mut [PanelOut]) {
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), out.len());
    x86::matmul::<TOKENS, _, _, _>(&unit(), panel, cols, x, hint, out);
}

/// The instructions for planes: of q4 the levels plus 128, of q5 the values plus 16, of q6 plus 32, which a token's sum starts below 0
/// by.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn planes_unit<'a, const BITS: usize, const CODES: usize, const SCALES: usize>() -> impl Unit<'a, SCALES, CODES, 2> {
    // The start is that of weights plus 128; q5 and q6 add 16 and 32, integers with offsets nothing.
    let shift = if BITS == 4 { 0 } else { 8 - BITS };
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |_| Ahead { matvec: 2048, matmul: 2048 },
        panel: |bytes, cols| planes::panel::<SCALES, CODES>(bytes, cols),
        unpack: |head: &Head, planes: &'a [u8; CODES]| {
            (_mm256_xor_si256(head.levels, _mm256_set1_epi8(i8::MIN)), planes)
        },
        line: |(levels, planes): &(__m256i, &[u8; CODES]), j, half| {
            let codes = planes::codes::<BITS>(*planes, j, half);
            if BITS == 4 { _mm256_shuffle_epi8(*levels, codes) } else { codes }
        },
        start: move |x: &Group| _mm256_set1_epi32(if BITS > 4 && SCALES == OFFSETS { 0 } else { x.start >> shift }),
        dot: |sums, w: __m256i, x| _mm256_dpbusd_avx_epi32(sums, w, _mm256_set1_epi32(x)),
        widen: |head: &Head, scales: &[u8; SCALES]| planes::widen(head, scales),
        add: |sums, dots, by, x: &Group| planes::add(sums, dots, by, x),
    }
}

/// Same as [`scalar`](super::scalar)'s product of one token with weights of `BITS` bits.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn planes_matvec<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &Tokens<'_>,
    hint: Hint,
    out: &mut [f32],
) {
    let (unit, bytes) = (planes_unit::<BITS, CODES, SCALES>(), panel_bytes(dtype, x.cols));
    x86::matvec::<1, true, _, _, _>(&unit, panels, bytes, x.cols, x.groups, hint, out);
}

/// Same as [`scalar`](super::scalar)'s product of some tokens with weights of `BITS` bits.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn planes_matmul<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panel: &[u8],
    x: &Tokens<'_>,
    hint: Hint,
    out: &mut [PanelOut],
) {
    check_matmul(dtype, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    x86::matmul::<TOKENS, _, _, _>(&planes_unit::<BITS, CODES, SCALES>(), panel, x.cols, x.groups, hint, out);
}

/// The instructions for weights of three values: of the values plus 1, which a token's sum starts below 0 by.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn ternary_unit<'a>() -> impl Unit<'a, 0, GROUP_BYTES, 2> {
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |_| Ahead { matvec: 2048, matmul: 2048 },
        panel: |bytes, cols| ternary::panel(bytes, cols),
        unpack: |_: &Scales, planes: &'a [u8; GROUP_BYTES]| planes,
        line: |planes: &&[u8; GROUP_BYTES], j, half| ternary::line(planes, j, half),
        // That of weights plus 128 is 128 times as much.
        start: |x: &Group| _mm256_set1_epi32(x.start >> 7),
        dot: |sums, w: __m256i, x| _mm256_dpbusd_avx_epi32(sums, w, _mm256_set1_epi32(x)),
        widen: |head: &Scales, _: &[u8; 0]| head.map(Scaling::by),
        add: |sums, dots, by: Scaling<_>, x: &Group| add_group(sums, dots, by.scale, x.scale),
    }
}

/// Same as [`scalar`](super::scalar)'s product of one token with weights of three values.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn ternary_matvec(panels: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::T2, x.cols);
    x86::matvec::<1, true, _, _, _>(&ternary_unit(), panels, bytes, x.cols, x.groups, hint, out);
}

/// Same as [`scalar`](super::scalar)'s product of some tokens with weights of three values.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn ternary_matmul(panel: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [PanelOut]) {
    check_matmul(Dtype::T2, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    x86::matmul::<TOKENS, _, _, _>(&ternary_unit(), panel, x.cols, x.groups, hint, out);
}

/// Same as [`scalar::attend_int8`](super::scalar::attend_int8).
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn attend_int8(queries: &mut [Query<'_>], mut head: &KvHeadInt8<'_>, hint: Hint) {
    attend_blocks(queries, &mut head, hint);
}

/// Same as [`scalar::attend_q4`](super::scalar::attend_q4).
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn attend_q4(queries: &mut [Query<'_>], head: &KvHeadQ4<'_>, hint: Hint) {
    attend_blocks(queries, &mut Unpacked::new(head), hint);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn attend_blocks<B: Blocks>(queries: &mut [Query<'_>], blocks: &mut B, hint: Hint) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| blocks.n_blocks(head_dim));
    let quantized = quantize_queries::<B>(queries, |q, out| avx2::quantize(q, head_dim, out));
    let scores = |blocks: &B, first: usize, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let panel = Int8Panel::new(blocks.key_panel(panel, head_dim), head_dim);
        for (q, out) in quantized[first..][..queries.len()].iter().zip(out) {
            let mut sum = [_mm256_setzero_ps(); 2];
            for ((codes, scales), q) in panel.codes.iter().zip(panel.scales).zip(q) {
                let scales = widen(scales);
                for half in 0..2 {
                    let [dots] = dots::<1>(codes, half, [q]);
                    sum[half] = add_group(sum[half], dots, scales[half], q.scale);
                }
            }
            store_16(sum, out);
        }
    };
    let weigh = |blocks: &B, queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        for values in blocks.values(block, head_dim) {
            let scales = avx2::value_scales(values.scales);
            for (query, p) in queries.iter_mut().zip(p) {
                let mut weights = Group::ZERO;
                avx2::quantize_weights(p, &scales, seen.clone(), &mut weights);
                let out = query.out[values.start..].chunks_mut(PANEL_ROWS);
                for (codes, out) in values.codes.iter().zip(out) {
                    for (half, out) in out.chunks_mut(8).enumerate() {
                        let [dots] = dots::<1>(codes, half, [&weights]);
                        avx2::add_values(out, dots, weights.scale);
                    }
                }
            }
        }
    };
    let prepare = |blocks: &mut B, block: usize| {
        avx2::prefetch_block(blocks, head_dim, block + 1, hint);
        blocks.prepare(block, head_dim);
    };
    attend(
        queries,
        n_blocks,
        blocks,
        prepare,
        |s, first, queries, slot, seen, p| by_panel(slot, seen, p, |panel, out| scores(s, first, queries, panel, out)),
        softmax,
        weigh,
    );
    rotate_outputs::<B>(queries);
}

/// Independent sums of a peak.
const PEAK_SUMS: usize = 12;

/// See [`Peaks::quantized`](super::Peaks::quantized). Each product depends on its sum, so that none can be left out.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn int8_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(_mm256_set1_epi8(3)), black_box(_mm256_set1_epi8(5)));
    let mut sums = black_box([_mm256_set1_epi32(1); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, w, x);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 32) as u64
}
