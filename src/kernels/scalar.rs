//! The truth: every kernel in plain Rust. What another backend computes has these bits.

use super::lanes::{LANES, tree, widen};
use super::streams::attend;
use super::{Group, Heads, PanelOut, TILE};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, scale_bytes};
use core::hint::black_box;

/// Checks the arguments of [`quantize`] and returns n.
#[inline]
pub(super) fn check_quantize(x: &[f32], cols: usize, out: &[Group]) -> usize {
    assert!(cols > 0 && x.len().is_multiple_of(cols), "{} inputs in rows of {cols}", x.len());
    let n = x.len() / cols;
    assert_eq!(out.len(), groups(cols) * n, "groups of {n} tokens of {cols} columns");
    n
}

/// Checks the arguments of a matvec over panels of `bytes` bytes.
#[inline]
pub(super) fn check_matvec(panels: &[u8], bytes: usize, out: &[f32]) {
    assert!(bytes > 0, "a panel has at least one column");
    assert_eq!(panels.len() % bytes, 0, "whole panels");
    assert_eq!(out.len(), panels.len() / bytes * PANEL_ROWS, "16 outputs a panel");
}

/// Checks the arguments of a matmul over a panel of `cols` columns; `x` holds `per_token` elements a token.
#[inline]
pub(super) fn check_matmul(dtype: Dtype, panel: &[u8], cols: usize, x: usize, per_token: usize, n: usize) {
    assert!(cols > 0 && (1..=TILE).contains(&n), "{n} tokens of {cols} columns");
    assert_eq!(panel.len(), panel_bytes(dtype, cols), "bytes of a panel of {cols} columns");
    assert_eq!(x, per_token * n, "inputs of {n} tokens");
}

/// Scale of a group whose largest magnitude has the bits `largest`: see [`Group::scale`].
#[inline(always)]
pub(super) fn group_scale(largest: u32) -> f32 {
    if largest >= 0x7f80_0000 {
        return f32::NAN;
    }
    let scale = f32::from_bits(largest) / 127.0;
    if scale < f32::MIN_POSITIVE { 0.0 } else { scale }
}

/// Quantizes up to 32 inputs; the codes past them are 0.
pub(super) fn quantize_group(x: &[f32]) -> Group {
    let largest = x.iter().fold(0, |m, v| v.abs().to_bits().max(m));
    let mut group = Group { scale: group_scale(largest), ..Group::ZERO };
    if group.scale > 0.0 {
        for (code, v) in group.codes.iter_mut().zip(x) {
            *code = (v / group.scale).round_ties_even() as i8;
        }
    }
    group
}

/// See [`Kernels::quantize`](super::Kernels::quantize).
pub fn quantize(x: &[f32], cols: usize, out: &mut [Group]) {
    let n = check_quantize(x, cols, out);
    for (t, row) in x.chunks_exact(cols).enumerate() {
        for (g, x) in row.chunks(GROUP_SIZE).enumerate() {
            out[g * n + t] = quantize_group(x);
        }
    }
}

/// See [`Kernels::int8_matvec`](super::Kernels::int8_matvec).
pub fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::Int8, cols);
    check_matvec(panels, bytes, out);
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        int8_matmul(panel, cols, x, std::slice::from_mut(out));
    }
}

/// See [`Kernels::int8_matmul`](super::Kernels::int8_matmul).
pub fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    let n = out.len();
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), n);
    let (scales, codes) = panel.split_at(scale_bytes(cols));
    let (codes, _) = codes.as_chunks::<{ PANEL_ROWS * GROUP_SIZE }>();
    let (scales, _) = scales.as_chunks::<{ PANEL_ROWS * 2 }>();
    out.fill([0.0; PANEL_ROWS]);
    for ((codes, scales), x) in codes.iter().zip(scales).zip(x.chunks_exact(n)) {
        let scales: [f32; PANEL_ROWS] = std::array::from_fn(|r| read_f16(scales, r));
        for (x, out) in x.iter().zip(out.iter_mut()) {
            let dots = int8_dots(codes, &x.codes);
            for r in 0..PANEL_ROWS {
                out[r] += dots[r] as f32 * (scales[r] * x.scale);
            }
        }
    }
}

/// The exact dot products of one group of 16 rows `[8][16][4]` with 32 inputs.
fn int8_dots(codes: &[u8; PANEL_ROWS * GROUP_SIZE], x: &[i8; GROUP_SIZE]) -> [i32; PANEL_ROWS] {
    let mut dots = [0; PANEL_ROWS];
    for (line, x) in codes.as_chunks::<{ PANEL_ROWS * 4 }>().0.iter().zip(x.as_chunks::<4>().0) {
        for (dot, w) in dots.iter_mut().zip(line.as_chunks::<4>().0) {
            for i in 0..4 {
                *dot += i32::from(w[i].cast_signed()) * i32::from(x[i]);
            }
        }
    }
    dots
}

fn read_f16(bytes: &[u8], index: usize) -> f32 {
    widen(u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]))
}

/// See [`Kernels::f16_matvec`](super::Kernels::f16_matvec).
pub fn f16_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F16, panels, x, out, f16_matmul);
}

/// See [`Kernels::f16_matmul`](super::Kernels::f16_matmul).
pub fn f16_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F16, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks::<{ PANEL_ROWS * 2 }>().0, cols, x, out, read_f16);
}

/// See [`Kernels::f32_matvec`](super::Kernels::f32_matvec).
pub fn f32_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F32, panels, x, out, f32_matmul);
}

/// See [`Kernels::f32_matmul`](super::Kernels::f32_matmul).
pub fn f32_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F32, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks::<{ PANEL_ROWS * 4 }>().0, cols, x, out, |bytes, index| {
        f32::from_bits(u32::from_le_bytes(bytes.as_chunks::<4>().0[index]))
    });
}

/// A matvec as one matmul of one token a panel.
fn float_matvec(
    dtype: Dtype,
    panels: &[u8],
    x: &[f32],
    out: &mut [f32],
    matmul: fn(&[u8], usize, &[f32], &mut [PanelOut]),
) {
    let bytes = panel_bytes(dtype, x.len());
    check_matvec(panels, bytes, out);
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        matmul(panel, x.len(), x, std::slice::from_mut(out));
    }
}

/// `out[t][r]` = fused sum over k in order of `w[k][r] * x[t][k]`, from 0. `lines` are the 16 weights of each k.
#[inline(always)]
fn float_matmul<const BYTES: usize>(
    lines: &[[u8; BYTES]],
    cols: usize,
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8], usize) -> f32,
) {
    out.fill([0.0; PANEL_ROWS]);
    for (k, line) in lines[..cols].iter().enumerate() {
        let w: [f32; PANEL_ROWS] = std::array::from_fn(|r| read(line, r));
        for (x, out) in x.chunks_exact(cols).zip(out.iter_mut()) {
            for r in 0..PANEL_ROWS {
                out[r] = w[r].mul_add(x[k], out[r]);
            }
        }
    }
}

/// See [`Kernels::attend_f16`](super::Kernels::attend_f16).
pub fn attend_f16(heads: &Heads<'_, u16>, out: &mut [f32]) {
    attend(heads, out, |q, k| dot(q, k, widen), |out, p, v| add_weighted(out, p, v, widen));
}

/// See [`Kernels::attend_f32`](super::Kernels::attend_f32).
pub fn attend_f32(heads: &Heads<'_, f32>, out: &mut [f32]) {
    attend(heads, out, |q, k| dot(q, k, |k| k), |out, p, v| add_weighted(out, p, v, |v| v));
}

#[inline(always)]
fn dot<E: Copy>(q: &[f32], k: &[E], widen: impl Fn(E) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((q, q_tail), (k, k_tail)) = (q.as_chunks::<LANES>(), k.as_chunks::<LANES>());
    for (q, k) in q.iter().zip(k) {
        for l in 0..LANES {
            lanes[l] += q[l] * widen(k[l]);
        }
    }
    for ((lane, &q), &k) in lanes.iter_mut().zip(q_tail).zip(k_tail) {
        *lane += q * widen(k);
    }
    tree(lanes)
}

#[inline(always)]
fn add_weighted<E: Copy>(out: &mut [f32], p: &[f32], v: &[E], widen: impl Fn(E) -> f32) {
    for (&p, v) in p.iter().zip(v.chunks_exact(out.len())) {
        for (y, &v) in out.iter_mut().zip(v) {
            *y += p * widen(v);
        }
    }
}

/// Sums of a peak: some vector registers of any width.
const PEAK_SUMS: usize = 32;

/// See [`Kernels::int8_peak`](super::Kernels::int8_peak): pairs of products of codes that are already widened to i16.
pub fn int8_peak(rounds: usize) -> u64 {
    let (mut w, mut x) = ([[3_i16; 2]; PEAK_SUMS], [[5_i16; 2]; PEAK_SUMS]);
    let mut sums = [0_i32; PEAK_SUMS];
    for _ in 0..rounds {
        black_box((&mut w, &mut x));
        for i in 0..PEAK_SUMS {
            let products = i32::from(w[i][0]) * i32::from(x[i][0]) + i32::from(w[i][1]) * i32::from(x[i][1]);
            sums[i] = sums[i].wrapping_add(products);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 2) as u64
}

/// See [`Kernels::f32_peak`](super::Kernels::f32_peak): fused, as the products are, also where that is a call.
pub fn f32_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(0.75_f32), black_box(0.25_f32));
    let mut sums = black_box([2.0_f32; PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_add(w, x);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_nothing_of_tiny_and_of_infinite_inputs() {
        assert_eq!(quantize_group(&[0.0; 32]), Group::ZERO);
        assert_eq!(quantize_group(&[-1e-37; 5]), Group::ZERO);
        assert_eq!(quantize_group(&[f32::from_bits(1); 5]), Group::ZERO);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let group = quantize_group(&[1.0, bad, 2.0]);
            assert!(group.scale.is_nan());
            assert_eq!(group.codes, [0; GROUP_SIZE]);
        }
    }

    #[test]
    fn codes_round_to_even_and_reach_127() {
        let group = quantize_group(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0]);
        assert_eq!(group.scale, 1.0);
        assert_eq!(group.codes[..8], [127, 0, 2, 2, 0, -2, -127, 0]);
        for largest in [f32::MAX, 2.0e-36, 3.3, 1.0 / 3.0] {
            assert_eq!(quantize_group(&[largest, -largest]).codes[..2], [127, -127]);
        }
    }
}
