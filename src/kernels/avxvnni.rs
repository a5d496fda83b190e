//! 256-bit x86 with AVX-VNNI (Alder Lake, 2021, and Zen 5, 2024, on): [`avx2`](super::avx2) with four int8 products and
//! their sum in one instruction. Every kernel is the same as in [`scalar`](super::scalar), bit for bit.
//!
//! `dpbusd` wants one unsigned side: it gets w + 128, and each sum starts at -128 times the sum of the input's codes.

use super::attention::{BLOCK, KvHeadInt8, Query, check_queries, quantize_queries};
use super::avx2::{self, Codes, Int8Panel, add_group, load, load_f32, prefetch, store_16, widen};
use super::online_softmax::attend;
use super::scalar::{check_matmul, check_matvec};
use super::{Group, PanelOut, parts};
use crate::quant::{Dtype, PANEL_ROWS, groups, panel_bytes, scale_bytes};
use bytemuck::{must_cast, must_cast_mut, must_cast_ref};
use core::arch::x86_64::*;
use core::hint::black_box;
use core::ops::Range;

/// Tokens whose integer sums stay in registers, 8 rows each.
const TOKENS: usize = 8;
/// Bytes that a matvec asks for ahead of use.
const AHEAD: usize = 2048;

/// The exact dot products of one group of 8 rows, the lower (`half` 0) or upper ones, with each of N tokens.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn dots<const N: usize>(codes: &Codes, half: usize, x: [&Group; N]) -> [__m256i; N] {
    let codes: &[[u8; 32]; 16] = must_cast_ref(codes);
    let offset = _mm256_set1_epi8(i8::MIN);
    let mut sums = [_mm256_setzero_si256(); N];
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum = _mm256_set1_epi32(-128 * x.sum);
    }
    for j in 0..8 {
        let w = _mm256_xor_si256(load(&codes[2 * j + half]), offset);
        for (sum, x) in sums.iter_mut().zip(x) {
            let x: &[[i8; 4]; 8] = must_cast_ref(&x.codes);
            *sum = _mm256_dpbusd_avx_epi32(*sum, w, _mm256_set1_epi32(must_cast(x[j])));
        }
    }
    sums
}

/// Same as [`scalar::int8_matvec`](super::scalar::int8_matvec).
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::Int8, cols);
    check_matvec(panels, bytes, out);
    assert_eq!(x.len(), groups(cols), "groups of {cols} columns");
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        prefetch(panel.as_ptr(), AHEAD, scale_bytes(cols));
        let panel = Int8Panel::new(panel, cols);
        let mut sum = [_mm256_setzero_ps(); 2];
        for ((codes, scales), x) in panel.codes.iter().zip(panel.scales).zip(x) {
            prefetch(codes.as_ptr(), AHEAD, codes.len());
            let scales = widen(scales);
            for half in 0..2 {
                let [dots] = dots::<1>(codes, half, [x]);
                sum[half] = add_group(sum[half], dots, scales[half], x.scale);
            }
        }
        store_16(sum, out);
    }
}

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul): the f32 sums stay in `out`, which lies in L1.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    let n = out.len();
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), n);
    let panel = Int8Panel::new(panel, cols);
    out.fill([0.0; PANEL_ROWS]);
    for ((codes, scales), x) in panel.codes.iter().zip(panel.scales).zip(x.chunks_exact(n)) {
        let scales = widen(scales);
        for part in parts(n, TOKENS) {
            let (x, out) = (&x[part.clone()], &mut out[part]);
            match out.len() {
                1 => add_products::<1>(codes, scales, x, out),
                2 => add_products::<2>(codes, scales, x, out),
                3 => add_products::<3>(codes, scales, x, out),
                4 => add_products::<4>(codes, scales, x, out),
                5 => add_products::<5>(codes, scales, x, out),
                6 => add_products::<6>(codes, scales, x, out),
                7 => add_products::<7>(codes, scales, x, out),
                _ => add_products::<TOKENS>(codes, scales, x, out),
            }
        }
    }
}

/// Adds the products of one group with each of N tokens to `out`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn add_products<const N: usize>(codes: &Codes, scales: [__m256; 2], x: &[Group], out: &mut [PanelOut]) {
    let (x, out): (&[Group; N], &mut [PanelOut; N]) = (x.try_into().expect("N"), out.try_into().expect("N"));
    for half in 0..2 {
        let dots = dots::<N>(codes, half, x.each_ref());
        for t in 0..N {
            let out: &mut [[f32; 8]; 2] = must_cast_mut(&mut out[t]);
            out[half] = must_cast(add_group(load_f32(&out[half]), dots[t], scales[half], x[t].scale));
        }
    }
}

/// Same as [`scalar::attend_int8`](super::scalar::attend_int8).
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) fn attend_int8(queries: &mut [Query<'_>], head: &KvHeadInt8<'_>) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| head.n_blocks(head_dim));
    let quantized = quantize_queries(queries, |q, out| avx2::quantize(q, head_dim, out));
    let scores = |_: &(), first: usize, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let panel = Int8Panel::new(head.key_panel(panel, head_dim), head_dim);
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
    let weigh = |_: &(), queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        let (scales, codes) = head.value_block(block, head_dim);
        let scales = avx2::value_scales(scales);
        for (query, p) in queries.iter_mut().zip(p) {
            let mut weights = Group::ZERO;
            avx2::quantize_weights(p, &scales, seen.clone(), &mut weights);
            for (codes, out) in codes.iter().zip(query.out.chunks_mut(PANEL_ROWS)) {
                for (half, out) in out.chunks_mut(8).enumerate() {
                    let [dots] = dots::<1>(codes, half, [&weights]);
                    avx2::add_values(out, dots, weights.scale);
                }
            }
        }
    };
    attend(queries, n_blocks, &mut (), |_, block| avx2::prefetch_block(head, head_dim, block + 1), scores, weigh);
}

/// Independent sums of a peak.
const PEAK_SUMS: usize = 12;

/// See [`Kernels::int8_peak`](super::Kernels::int8_peak). Each product depends on its sum, so that none can be left out.
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
