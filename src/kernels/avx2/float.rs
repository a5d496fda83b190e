//! fp16 and f32 products: fused multiply-adds over k in order, 16 rows in two registers.

use super::super::PanelOut;
use super::super::scalar::{check_matmul, check_matvec};
use super::super::x86::parts;
use super::{load, load_16, store_16, widen};
use crate::quant::{Dtype, PANEL_ROWS, panel_bytes};
use core::arch::x86_64::*;

/// Tokens that a product keeps in registers, 16 rows each.
const TOKENS: usize = 6;
/// Panels that a matvec reads side by side.
const STREAMS: usize = 4;
/// Columns of a panel that a matmul widens at once: 8 KiB, which stay in L1 for all tokens.
const COLUMNS: usize = 128;

/// Same as [`scalar::f16_matvec`](super::super::scalar::f16_matvec).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn f16_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F16, panels, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matvec`](super::super::scalar::f32_matvec).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn f32_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F32, panels, x, out, |line: &[u8; 64]| load_line(line));
}

/// Same as [`scalar::f16_matmul`](super::super::scalar::f16_matmul).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn f16_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F16, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks().0, cols, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matmul`](super::super::scalar::f32_matmul).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn f32_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F32, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks().0, cols, x, out, |line: &[u8; 64]| load_line(line));
}

/// The 16 f32 weights of one column.
#[inline]
#[target_feature(enable = "avx2")]
fn load_line(line: &[u8; 64]) -> [__m256; 2] {
    let line: &[[u8; 32]; 2] = bytemuck::must_cast_ref(line);
    [_mm256_castsi256_ps(load(&line[0])), _mm256_castsi256_ps(load(&line[1]))]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_matvec<const BYTES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &[f32],
    out: &mut [f32],
    read: impl Fn(&[u8; BYTES]) -> [__m256; 2] + Copy,
) {
    let bytes = panel_bytes(dtype, x.len());
    check_matvec(panels, bytes, out);
    let (many, one) = panels.split_at(panels.len() / (STREAMS * bytes) * STREAMS * bytes);
    let (out_many, out_one) = out.split_at_mut(many.len() / bytes * PANEL_ROWS);
    for (panels, out) in many.chunks_exact(STREAMS * bytes).zip(out_many.chunks_exact_mut(STREAMS * PANEL_ROWS)) {
        float_streams::<STREAMS, BYTES>(panels, bytes, x, out, read);
    }
    for (panel, out) in one.chunks_exact(bytes).zip(out_one.chunks_exact_mut(PANEL_ROWS)) {
        float_streams::<1, BYTES>(panel, bytes, x, out, read);
    }
}

/// `P` panels side by side, one token: independent sums hide the latency of the fused multiply-add.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_streams<const P: usize, const BYTES: usize>(
    panels: &[u8],
    bytes: usize,
    x: &[f32],
    out: &mut [f32],
    read: impl Fn(&[u8; BYTES]) -> [__m256; 2],
) {
    let lines: [&[[u8; BYTES]]; P] = core::array::from_fn(|p| &panels[p * bytes..][..bytes].as_chunks().0[..x.len()]);
    let mut sums = [[_mm256_setzero_ps(); 2]; P];
    for (k, &x) in x.iter().enumerate() {
        let x = _mm256_set1_ps(x);
        for (lines, sum) in lines.iter().zip(&mut sums) {
            let w = read(&lines[k]);
            *sum = [_mm256_fmadd_ps(w[0], x, sum[0]), _mm256_fmadd_ps(w[1], x, sum[1])];
        }
    }
    for (sum, out) in sums.into_iter().zip(out.as_chunks_mut().0) {
        store_16(sum, out);
    }
}

/// Walks the panel in pieces of [`COLUMNS`], which `widen` turns into f32, and multiplies each piece with all tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_matmul<const BYTES: usize>(
    lines: &[[u8; BYTES]],
    cols: usize,
    x: &[f32],
    out: &mut [PanelOut],
    widen: impl Fn(&[u8; BYTES]) -> [__m256; 2],
) {
    out.fill([0.0; PANEL_ROWS]);
    let mut wide = [[0.0; PANEL_ROWS]; COLUMNS];
    for (i, lines) in lines[..cols].chunks(COLUMNS).enumerate() {
        for (line, wide) in lines.iter().zip(&mut wide) {
            store_16(widen(line), wide);
        }
        let (wide, start) = (&wide[..lines.len()], i * COLUMNS);
        for part in parts(out.len(), TOKENS) {
            let (x, out) = (&x[part.start * cols..part.end * cols], &mut out[part]);
            match out.len() {
                1 => float_tile::<1>(wide, start, cols, x, out),
                2 => float_tile::<2>(wide, start, cols, x, out),
                3 => float_tile::<3>(wide, start, cols, x, out),
                4 => float_tile::<4>(wide, start, cols, x, out),
                5 => float_tile::<5>(wide, start, cols, x, out),
                _ => float_tile::<TOKENS>(wide, start, cols, x, out),
            }
        }
    }
}

/// Adds the products of the columns `start ..` with N tokens to `out`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_tile<const N: usize>(w: &[[f32; PANEL_ROWS]], start: usize, cols: usize, x: &[f32], out: &mut [PanelOut]) {
    const UNROLL: usize = 4;
    let x: [&[f32]; N] = core::array::from_fn(|t| &x[t * cols + start..][..w.len()]);
    let mut sums: [[__m256; 2]; N] = core::array::from_fn(|t| load_16(&out[t]));
    let (unrolled, rest) = w.as_chunks::<UNROLL>();
    for (i, w) in unrolled.iter().enumerate() {
        let x: [&[f32; UNROLL]; N] = core::array::from_fn(|t| &x[t].as_chunks().0[i]);
        for k in 0..UNROLL {
            add_column(&mut sums, &w[k], core::array::from_fn(|t| x[t][k]));
        }
    }
    for (i, w) in rest.iter().enumerate() {
        add_column(&mut sums, w, core::array::from_fn(|t| x[t][unrolled.len() * UNROLL + i]));
    }
    for (sum, out) in sums.into_iter().zip(out) {
        store_16(sum, out);
    }
}

/// `sums[t] = fma(w, x[t], sums[t])`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_column<const N: usize>(sums: &mut [[__m256; 2]; N], w: &[f32; PANEL_ROWS], x: [f32; N]) {
    let w = load_16(w);
    for (sum, x) in sums.iter_mut().zip(x) {
        let x = _mm256_set1_ps(x);
        *sum = [_mm256_fmadd_ps(w[0], x, sum[0]), _mm256_fmadd_ps(w[1], x, sum[1])];
    }
}
