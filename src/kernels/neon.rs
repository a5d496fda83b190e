//! 128-bit aarch64: NEON as every ARMv8 core has it (Pi 3, Pi 4, Zero 2). Every kernel is the same as in
//! [`scalar`](super::scalar), bit for bit.
//!
//! int8: `smull` and `smlal` multiply to i16 and add two products, `sadalp` adds pairs of these to i32. The sum of two
//! products is at most 2 * 128 * 127 = 32512 and fits an i16 for every weight byte.

use super::scalar::{check_matmul, check_matvec, check_quantize, group_scale};
use super::streams::attend;
use super::{Group, Heads, PanelOut};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, scale_bytes};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::aarch64::*;
use core::hint::black_box;

/// Tokens that an int8 product keeps in registers, 8 rows each.
const INT8_TILE: usize = 4;
/// Tokens that a float product keeps in registers, 16 rows each.
const FLOAT_TILE: usize = 4;
/// Panels that a float matvec reads side by side.
const STREAMS: usize = 4;

/// 16 f32 in four registers.
type Row = [float32x4_t; 4];

/// 16 halves, as bytes, widened.
#[inline]
#[target_feature(enable = "neon")]
fn widen(halves: &[u8; 32]) -> Row {
    let halves: [uint16x4_t; 4] = must_cast(*halves);
    halves.map(|h| vcvt_f32_f16(vreinterpret_f16_u16(h)))
}

/// Same as [`scalar::quantize`](super::scalar::quantize).
#[target_feature(enable = "neon")]
pub(super) fn quantize(x: &[f32], cols: usize, out: &mut [Group]) {
    let n = check_quantize(x, cols, out);
    for (t, row) in x.chunks_exact(cols).enumerate() {
        let (full, tail) = row.as_chunks::<GROUP_SIZE>();
        for (g, x) in full.iter().enumerate() {
            quantize_group(x, &mut out[g * n + t]);
        }
        if !tail.is_empty() {
            quantize_group(&padded(tail), &mut out[full.len() * n + t]);
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn quantize_group(x: &[f32; GROUP_SIZE], out: &mut Group) {
    let x: [float32x4_t; 8] = must_cast(*x);
    let bits = x.map(|x| vreinterpretq_u32_f32(vabsq_f32(x)));
    let largest = bits.into_iter().fold(vdupq_n_u32(0), |m, bits| vmaxq_u32(m, bits));
    let scale = group_scale(vmaxvq_u32(largest));
    *out = Group { scale, ..Group::ZERO };
    if scale > 0.0 {
        let divisor = vdupq_n_f32(scale);
        let q = x.map(|x| vmovn_s32(vcvtnq_s32_f32(vdivq_f32(x, divisor))));
        let q: [int8x8_t; 4] = std::array::from_fn(|i| vmovn_s16(vcombine_s16(q[2 * i], q[2 * i + 1])));
        out.codes = must_cast(q);
    }
}

/// Same as [`scalar::int8_matvec`](super::scalar::int8_matvec).
#[target_feature(enable = "neon")]
pub(super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    matvec(panels, cols, x, out, |codes, half, x| dots(codes, half, x));
}

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul).
#[target_feature(enable = "neon")]
pub(super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    matmul(panel, cols, x, out, |codes, half, x| dots(codes, half, x));
}

/// The codes of one group of 16 rows: lines of 4 columns, halves of a line, registers of 4 rows.
pub(super) type Codes = [[[[i8; 16]; 2]; 2]; 8];
/// Dot products of 8 rows.
pub(super) type Dots = [int32x4_t; 2];

/// [`int8_matvec`] by any way to get the exact dot products of half a group with one token.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn matvec(
    panels: &[u8],
    cols: usize,
    x: &[Group],
    out: &mut [f32],
    dots: impl Fn(&Codes, usize, &Group) -> Dots + Copy,
) {
    let bytes = panel_bytes(Dtype::Int8, cols);
    check_matvec(panels, bytes, out);
    assert_eq!(x.len(), groups(cols), "groups of {cols} columns");
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        int8_tile::<1>(panel, cols, x, 1, std::slice::from_mut(out), dots);
    }
}

/// [`int8_matmul`] by any way to get the exact dot products of half a group with one token.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn matmul(
    panel: &[u8],
    cols: usize,
    x: &[Group],
    out: &mut [PanelOut],
    dots: impl Fn(&Codes, usize, &Group) -> Dots + Copy,
) {
    let n = out.len();
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), n);
    for (i, out) in out.chunks_mut(INT8_TILE).enumerate() {
        let x = &x[i * INT8_TILE..];
        match out.len() {
            1 => int8_tile::<1>(panel, cols, x, n, out, dots),
            2 => int8_tile::<2>(panel, cols, x, n, out, dots),
            3 => int8_tile::<3>(panel, cols, x, n, out, dots),
            _ => int8_tile::<INT8_TILE>(panel, cols, x, n, out, dots),
        }
    }
}

/// One panel, N tokens: the first of each `stride` groups of `x`.
#[inline]
#[target_feature(enable = "neon")]
fn int8_tile<const N: usize>(
    panel: &[u8],
    cols: usize,
    x: &[Group],
    stride: usize,
    out: &mut [PanelOut],
    dots: impl Fn(&Codes, usize, &Group) -> Dots,
) {
    let (scales, codes) = panel.split_at(scale_bytes(cols));
    let (codes, scales) = (codes.as_chunks::<{ PANEL_ROWS * GROUP_SIZE }>().0, scales.as_chunks().0);
    let mut sums = [[vdupq_n_f32(0.0); 4]; N];
    for ((codes, scales), x) in codes.iter().zip(scales).zip(x.chunks(stride)) {
        let scales = widen(scales);
        let codes: &Codes = must_cast_ref(codes);
        let x: [&Group; N] = std::array::from_fn(|t| &x[t]);
        for half in 0..2 {
            for t in 0..N {
                let dots = dots(codes, half, x[t]);
                for i in 0..2 {
                    let sum = &mut sums[t][2 * half + i];
                    let scale = vmulq_n_f32(scales[2 * half + i], x[t].scale);
                    *sum = vaddq_f32(*sum, vmulq_f32(vcvtq_f32_s32(dots[i]), scale));
                }
            }
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        *out = must_cast(sum);
    }
}

/// The exact dot products of the lower (`half` 0) or upper 8 rows of a group with one token.
#[inline]
#[target_feature(enable = "neon")]
fn dots(codes: &Codes, half: usize, x: &Group) -> Dots {
    let x: &[[i8; 4]; 8] = must_cast_ref(&x.codes);
    // Each register holds two rows, each as the sums of its even and of its odd pairs of columns.
    let mut sums = [vdupq_n_s32(0); 4];
    for j in 0..4 {
        let w: [[int8x16_t; 2]; 2] = [must_cast(codes[2 * j][half]), must_cast(codes[2 * j + 1][half])];
        let x = [broadcast(x[2 * j]), broadcast(x[2 * j + 1])];
        for i in 0..2 {
            let low = vmull_s8(vget_low_s8(w[0][i]), vget_low_s8(x[0]));
            let low = vmlal_s8(low, vget_low_s8(w[1][i]), vget_low_s8(x[1]));
            sums[2 * i] = vpadalq_s16(sums[2 * i], low);
            let high = vmlal_high_s8(vmull_high_s8(w[0][i], x[0]), w[1][i], x[1]);
            sums[2 * i + 1] = vpadalq_s16(sums[2 * i + 1], high);
        }
    }
    [vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3])]
}

/// 4 codes in each quarter of a register.
#[inline]
#[target_feature(enable = "neon")]
fn broadcast(codes: [i8; 4]) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(must_cast(codes))))
}

/// Same as [`scalar::f16_matvec`](super::scalar::f16_matvec).
#[target_feature(enable = "neon")]
pub(super) fn f16_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F16, panels, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matvec`](super::scalar::f32_matvec).
#[target_feature(enable = "neon")]
pub(super) fn f32_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F32, panels, x, out, |line: &[u8; 64]| must_cast(*line));
}

/// Same as [`scalar::f16_matmul`](super::scalar::f16_matmul).
#[target_feature(enable = "neon")]
pub(super) fn f16_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F16, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks().0, cols, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matmul`](super::scalar::f32_matmul).
#[target_feature(enable = "neon")]
pub(super) fn f32_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
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
    let lines: [&[[u8; BYTES]]; P] = std::array::from_fn(|p| &panels[p * bytes..][..bytes].as_chunks().0[..x.len()]);
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
    for (x, out) in x.chunks(FLOAT_TILE * cols).zip(out.chunks_mut(FLOAT_TILE)) {
        match out.len() {
            1 => float_tile::<1, BYTES>(lines, x, out, read),
            2 => float_tile::<2, BYTES>(lines, x, out, read),
            3 => float_tile::<3, BYTES>(lines, x, out, read),
            _ => float_tile::<FLOAT_TILE, BYTES>(lines, x, out, read),
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
    let x: [&[f32]; N] = std::array::from_fn(|t| &x[t * lines.len()..][..lines.len()]);
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

/// Same as [`scalar::attend_f16`](super::scalar::attend_f16).
#[target_feature(enable = "neon")]
pub(super) fn attend_f16(heads: &Heads<'_, u16>, out: &mut [f32]) {
    let read = |x: &[u16; 16]| widen(must_cast_ref(x));
    attend(heads, out, |q, k| dot(q, k, read), |out, p, v| add_weighted(out, p, v, read));
}

/// Same as [`scalar::attend_f32`](super::scalar::attend_f32).
#[target_feature(enable = "neon")]
pub(super) fn attend_f32(heads: &Heads<'_, f32>, out: &mut [f32]) {
    let read = |x: &[f32; 16]| must_cast(*x);
    attend(heads, out, |q, k| dot(q, k, read), |out, p, v| add_weighted(out, p, v, read));
}

/// Up to N elements, zeros after them.
#[inline]
fn padded<E: Copy + Default, const N: usize>(x: &[E]) -> [E; N] {
    let mut out = [E::default(); N];
    out[..x.len()].copy_from_slice(x);
    out
}

/// `sum[i] += a[i] * b[i]`, rounded twice.
#[inline]
#[target_feature(enable = "neon")]
fn add_products(sum: &mut Row, a: Row, b: Row) {
    for i in 0..4 {
        sum[i] = vaddq_f32(sum[i], vmulq_f32(a[i], b[i]));
    }
}

/// Sum of products in the 16-lane order; zeros after a tail leave their lanes as they are.
#[inline]
#[target_feature(enable = "neon")]
fn dot<E: Copy + Default>(q: &[f32], k: &[E], read: impl Fn(&[E; 16]) -> Row) -> f32 {
    let ((q, q_tail), (k, k_tail)) = (q.as_chunks::<16>(), k.as_chunks::<16>());
    let mut lanes = [vdupq_n_f32(0.0); 4];
    for (q, k) in q.iter().zip(k) {
        add_products(&mut lanes, must_cast(*q), read(k));
    }
    if !q_tail.is_empty() {
        add_products(&mut lanes, must_cast(padded::<f32, 16>(q_tail)), read(&padded(k_tail)));
    }
    let sum = vaddq_f32(vaddq_f32(lanes[0], lanes[2]), vaddq_f32(lanes[1], lanes[3]));
    let sum = vadd_f32(vget_low_f32(sum), vget_high_f32(sum));
    vpadds_f32(sum)
}

/// `out[i] += p[j] * v[j][i]`, 16 columns at a time.
#[inline]
#[target_feature(enable = "neon")]
fn add_weighted<E: Copy + Default>(out: &mut [f32], p: &[f32], v: &[E], read: impl Fn(&[E; 16]) -> Row) {
    let head_dim = out.len();
    let (chunks, tail) = out.as_chunks_mut::<16>();
    let full = chunks.len() * 16;
    for (c, chunk) in chunks.iter_mut().enumerate() {
        let mut sum: Row = must_cast(*chunk);
        for (&p, v) in p.iter().zip(v.chunks_exact(head_dim)) {
            add_products(&mut sum, [vdupq_n_f32(p); 4], read(&v.as_chunks().0[c]));
        }
        *chunk = must_cast(sum);
    }
    if !tail.is_empty() {
        let mut sum: Row = must_cast(padded::<f32, 16>(tail));
        for (&p, v) in p.iter().zip(v.chunks_exact(head_dim)) {
            add_products(&mut sum, [vdupq_n_f32(p); 4], read(&padded(&v[full..])));
        }
        let sum: [f32; 16] = must_cast(sum);
        tail.copy_from_slice(&sum[..tail.len()]);
    }
}

/// Independent sums of a peak, in stages, so that a core that runs in order waits for none.
const PEAK_SUMS: usize = 8;

/// See [`Kernels::int8_peak`](super::Kernels::int8_peak). Each product depends on its sum, so that none can be left out.
#[target_feature(enable = "neon")]
pub(super) fn int8_peak(rounds: usize) -> u64 {
    let w = black_box(vdupq_n_s8(3));
    let mut sums = black_box([vdupq_n_s32(1); PEAK_SUMS]);
    for _ in 0..rounds {
        let mut products = [vdupq_n_s16(0); PEAK_SUMS];
        for i in 0..PEAK_SUMS {
            products[i] = vmull_s8(vget_low_s8(w), vget_low_s8(vreinterpretq_s8_s32(sums[i])));
        }
        for i in 0..PEAK_SUMS {
            products[i] = vmlal_high_s8(products[i], w, vreinterpretq_s8_s32(sums[i]));
        }
        for i in 0..PEAK_SUMS {
            sums[i] = vpadalq_s16(sums[i], products[i]);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 16) as u64
}

/// See [`Kernels::f32_peak`](super::Kernels::f32_peak).
#[target_feature(enable = "neon")]
pub(super) fn f32_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(vdupq_n_f32(0.75)), black_box(vdupq_n_f32(0.25)));
    let mut sums = black_box([vdupq_n_f32(2.0); 2 * PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = vfmaq_f32(x, *sum, w);
        }
    }
    black_box(sums);
    (rounds * 2 * PEAK_SUMS * 4) as u64
}
