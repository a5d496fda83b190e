//! fp16 and f32 products: fused multiply-adds over k in order, 16 rows in four registers.

use super::super::PanelOut;
use super::super::scalar::{check_matmul, check_matvec};
use super::{Row, widen};
use crate::quant::{Dtype, panel_bytes};
use bytemuck::must_cast;
use core::arch::aarch64::*;

/// Tokens that a product keeps in registers, 16 rows each.
const TOKENS: usize = 4;
/// Panels that a matvec reads side by side.
const STREAMS: usize = 4;

/// Same as [`scalar::f16_matvec`](super::super::scalar::f16_matvec).
#[target_feature(enable = "neon")]
pub(in super::super) fn f16_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F16, panels, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matvec`](super::super::scalar::f32_matvec).
#[target_feature(enable = "neon")]
pub(in super::super) fn f32_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F32, panels, x, out, |line: &[u8; 64]| must_cast(*line));
}

/// Same as [`scalar::f16_matmul`](super::super::scalar::f16_matmul).
#[target_feature(enable = "neon")]
pub(in super::super) fn f16_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F16, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks().0, cols, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matmul`](super::super::scalar::f32_matmul).
#[target_feature(enable = "neon")]
pub(in super::super) fn f32_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F32, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks().0, cols, x, out, |line: &[u8; 64]| must_cast(*line));
}

#[inline]
#[target_feature(enable = "neon")]
fn float_matvec<const BYTES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &[f32],
    out: &mut [f32],
    read: impl Fn(&[u8; BYTES]) -> Row + Copy,
) {
    let bytes = panel_bytes(dtype, x.len());
    check_matvec(panels, bytes, out);
    let (many, one) = panels.split_at(panels.len() / (STREAMS * bytes) * STREAMS * bytes);
    let (out_many, out_one) = out.as_chunks_mut().0.split_at_mut(many.len() / bytes);
    for (panels, out) in many.chunks_exact(STREAMS * bytes).zip(out_many.chunks_exact_mut(STREAMS)) {
        float_streams::<STREAMS, BYTES>(panels, bytes, x, out, read);
    }
    for (panel, out) in one.chunks_exact(bytes).zip(out_one.chunks_exact_mut(1)) {
        float_streams::<1, BYTES>(panel, bytes, x, out, read);
    }
}

/// `P` panels side by side, one token: independent sums hide the latency of the fused multiply-add.
#[inline]
#[target_feature(enable = "neon")]
fn float_streams<const P: usize, const BYTES: usize>(
    panels: &[u8],
    bytes: usize,
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8; BYTES]) -> Row,
) {
    let lines: [&[[u8; BYTES]]; P] = core::array::from_fn(|p| &panels[p * bytes..][..bytes].as_chunks().0[..x.len()]);
    let mut sums = [[vdupq_n_f32(0.0); 4]; P];
    for (k, &x) in x.iter().enumerate() {
        for (lines, sum) in lines.iter().zip(&mut sums) {
            fused(sum, read(&lines[k]), x);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        *out = must_cast(sum);
    }
}

/// `sum[r] = fma(w[r], x, sum[r])`.
#[inline]
#[target_feature(enable = "neon")]
fn fused(sum: &mut Row, w: Row, x: f32) {
    for i in 0..4 {
        sum[i] = vfmaq_n_f32(sum[i], w[i], x);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn float_matmul<const BYTES: usize>(
    lines: &[[u8; BYTES]],
    cols: usize,
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8; BYTES]) -> Row + Copy,
) {
    let lines = &lines[..cols];
    for (x, out) in x.chunks(TOKENS * cols).zip(out.chunks_mut(TOKENS)) {
        match out.len() {
            1 => float_tile::<1, BYTES>(lines, x, out, read),
            2 => float_tile::<2, BYTES>(lines, x, out, read),
            3 => float_tile::<3, BYTES>(lines, x, out, read),
            _ => float_tile::<TOKENS, BYTES>(lines, x, out, read),
        }
    }
}

/// One panel, N tokens.
#[inline]
#[target_feature(enable = "neon")]
fn float_tile<const N: usize, const BYTES: usize>(
    lines: &[[u8; BYTES]],
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8; BYTES]) -> Row,
) {
    let x: [&[f32]; N] = core::array::from_fn(|t| &x[t * lines.len()..][..lines.len()]);
    let mut sums = [[vdupq_n_f32(0.0); 4]; N];
    for (k, line) in lines.iter().enumerate() {
        let w = read(line);
        for (sum, x) in sums.iter_mut().zip(x) {
            fused(sum, w, x[k]);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        *out = must_cast(sum);
    }
}
