//! 256-bit x86: AVX2, FMA and F16C (Haswell, 2013, and Zen, 2017, on). Every kernel is the same as in
//! [`scalar`](super::scalar), bit for bit.

mod attention;
mod float;
mod int8;
pub(super) mod planes;
pub(super) mod ternary;

pub(super) use attention::{
    add_values, attend_f16, attend_f32, attend_int8, attend_q4, prefetch_block, quantize_weights, value_scales,
};
pub(super) use float::{f16_matmul, f16_matvec, f32_matmul, f32_matvec};
pub(super) use int8::{Codes, add_group, int8_matmul, int8_matvec, line, quantize};
pub(super) use planes::{planes_matmul, planes_matvec};
pub(super) use ternary::{ternary_matmul, ternary_matvec};

use super::{Activation, Hint, rows};
use core::arch::x86_64::*;
use core::hint::black_box;

/// 32 bytes at any alignment.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(x: &[u8; 32]) -> __m256i {
    bytemuck::must_cast(*x)
}

/// 8 floats at any alignment.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_f32(x: &[f32; 8]) -> __m256 {
    _mm256_castsi256_ps(load(bytemuck::must_cast_ref(x)))
}

/// 16 floats as two registers.
#[inline]
#[target_feature(enable = "avx2")]
fn load_16(x: &[f32; 16]) -> [__m256; 2] {
    let x: &[[f32; 8]; 2] = bytemuck::must_cast_ref(x);
    [load_f32(&x[0]), load_f32(&x[1])]
}

/// Stores two registers as 16 floats.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_16(x: [__m256; 2], out: &mut [f32; 16]) {
    *out = bytemuck::must_cast(x);
}

/// 16 halves, as bytes, widened.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn widen(halves: &[u8; 32]) -> [__m256; 2] {
    let halves = load(halves);
    [_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves))]
}

/// Asks for the cache lines of `bytes` bytes that lie `distance` bytes after `start`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn prefetch(hint: Hint, start: *const u8, distance: usize, bytes: usize) {
    match hint {
        Hint::None => {}
        Hint::NonTemporal => prefetch_lines::<_MM_HINT_NTA>(start, distance, bytes),
        Hint::L1 => prefetch_lines::<_MM_HINT_T0>(start, distance, bytes),
        Hint::L2 => prefetch_lines::<_MM_HINT_T1>(start, distance, bytes),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn prefetch_lines<const HINT: i32>(start: *const u8, distance: usize, bytes: usize) {
    for i in 0..bytes / 64 {
        _mm_prefetch::<HINT>(start.wrapping_add(distance + i * 64).cast());
    }
}

/// Same as [`scalar::rms_norm`](super::scalar::rms_norm).
#[target_feature(enable = "avx2")]
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    rows::rms_norm(x, weight, eps, y);
}

/// Same as [`scalar::rms_norm_in_place`](super::scalar::rms_norm_in_place).
#[target_feature(enable = "avx2")]
pub(super) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    rows::rms_norm_in_place(x, weight, eps);
}

/// Same as [`scalar::layer_norm`](super::scalar::layer_norm).
#[target_feature(enable = "avx2")]
pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    rows::layer_norm(x, weight, bias, eps, y);
}

/// Same as [`scalar::gate`](super::scalar::gate).
#[target_feature(enable = "avx2")]
pub(super) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    rows::gate(activation, gate, up);
}

/// Same as [`scalar::activate`](super::scalar::activate).
#[target_feature(enable = "avx2")]
pub(super) fn activate(activation: Activation, x: &mut [f32]) {
    rows::activate(activation, x);
}

/// Same as [`scalar::soft_cap`](super::scalar::soft_cap).
#[target_feature(enable = "avx2")]
pub(super) fn soft_cap(x: &mut [f32], cap: f32) {
    rows::soft_cap(x, cap);
}

/// Same as [`scalar::add`](super::scalar::add).
#[target_feature(enable = "avx2")]
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    rows::add(x, y);
}

/// Same as [`scalar::conv`](super::scalar::conv).
#[target_feature(enable = "avx2")]
pub(super) fn conv(panels: &[f32], width: usize, inputs: &[&[f32]], out: &mut [f32]) {
    rows::conv(panels, width, inputs, out);
}

/// Same as [`scalar::unit_length`](super::scalar::unit_length).
#[target_feature(enable = "avx2")]
pub(super) fn unit_length(x: &mut [f32], dim: usize, divisor: f32) {
    rows::unit_length(x, dim, divisor);
}

/// Same as [`scalar::delta`](super::scalar::delta).
#[target_feature(enable = "avx2")]
pub(super) fn delta(state: &mut [f32], q: &[f32], k: &[f32], v: &[f32], decay: f32, strength: f32) {
    rows::delta(state, q, k, v, decay, strength);
}

/// Same as [`scalar::scan`](super::scalar::scan).
#[target_feature(enable = "avx2")]
pub(super) fn scan(state: &mut [f32], c: &[f32], b: &[f32], x: &[f32], decay: f32, step: f32) {
    rows::scan(state, c, b, x, decay, step);
}

/// Same as [`scalar::selective_scan`](super::scalar::selective_scan).
#[target_feature(enable = "avx2")]
pub(super) fn selective_scan(state: &mut [f32], rates: &[f32], c: &[f32], b: &[f32], x: &[f32], steps: &[f32]) {
    rows::selective_scan(state, rates, c, b, x, steps);
}

/// Same as [`scalar::rope`](super::scalar::rope).
#[target_feature(enable = "avx2")]
pub(super) fn rope(x: &mut [f32], angles: &[f32], head_dim: usize) {
    rows::rope(x, angles, head_dim);
}

/// Independent sums of a peak: they hide the latency of a chain and leave registers for its operands.
const PEAK_SUMS: usize = 12;

/// See [`Peaks::quantized`](super::Peaks::quantized). Each product depends on its sum, so that none can be left out.
#[target_feature(enable = "avx2")]
pub(super) fn int8_peak(rounds: usize) -> u64 {
    let (w, ones) = (black_box(_mm256_set1_epi8(3)), _mm256_set1_epi16(1));
    let mut sums = black_box([_mm256_set1_epi32(1); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, *sum), ones));
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 32) as u64
}

/// See [`Peaks::floats`](super::Peaks::floats).
#[target_feature(enable = "avx2,fma")]
pub(super) fn f32_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(_mm256_set1_ps(0.75)), black_box(_mm256_set1_ps(0.25)));
    let mut sums = black_box([_mm256_set1_ps(2.0); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, w, x);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 8) as u64
}
