//! int8 products: `smull` and `smlal` multiply to i16 and add two products, `sadalp` adds pairs of these to i32. The sum of
//! two products is at most 2 * 128 * 127 = 32512 and fits an i16 for every weight byte.

use super::super::scalar::{check_matmul, check_matvec, check_quantize, group_scale};
use super::super::{Group, PanelOut};
use super::{padded, widen};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, scale_bytes};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::aarch64::*;

/// Tokens that a product keeps in registers, 16 rows each.
const TOKENS: usize = 4;

/// Same as [`scalar::quantize`](super::super::scalar::quantize).
#[target_feature(enable = "neon")]
pub(in super::super) fn quantize(x: &[f32], cols: usize, out: &mut [Group]) {
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
pub(super) fn quantize_group(x: &[f32; GROUP_SIZE], out: &mut Group) {
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
        out.sum = must_cast::<_, [int8x16_t; 2]>(q).map(|codes| i32::from(vaddlvq_s8(codes))).iter().sum();
    }
}

/// Same as [`scalar::int8_matvec`](super::super::scalar::int8_matvec).
#[target_feature(enable = "neon")]
pub(in super::super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    matvec(panels, cols, x, out, |codes, half, x| dots(codes, half, x));
}

/// Same as [`scalar::int8_matmul`](super::super::scalar::int8_matmul).
#[target_feature(enable = "neon")]
pub(in super::super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    matmul(panel, cols, x, out, |codes, half, x| dots(codes, half, x));
}

/// The codes of one group of 16 rows: lines of 4 columns, halves of a line, registers of 4 rows.
pub(in super::super) type Codes = [[[[i8; 16]; 2]; 2]; 8];
/// Dot products of 8 rows.
pub(in super::super) type Dots = [int32x4_t; 2];

/// [`int8_matvec`] by any way to get the exact dot products of half a group with one token.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn matvec(
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
        tile::<1>(panel, cols, x, 1, std::slice::from_mut(out), dots);
    }
}

/// [`int8_matmul`] by any way to get the exact dot products of half a group with one token.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn matmul(
    panel: &[u8],
    cols: usize,
    x: &[Group],
    out: &mut [PanelOut],
    dots: impl Fn(&Codes, usize, &Group) -> Dots + Copy,
) {
    let n = out.len();
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), n);
    for (i, out) in out.chunks_mut(TOKENS).enumerate() {
        let x = &x[i * TOKENS..];
        match out.len() {
            1 => tile::<1>(panel, cols, x, n, out, dots),
            2 => tile::<2>(panel, cols, x, n, out, dots),
            3 => tile::<3>(panel, cols, x, n, out, dots),
            _ => tile::<TOKENS>(panel, cols, x, n, out, dots),
        }
    }
}

/// One panel, N tokens: the first of each `stride` groups of `x`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn tile<const N: usize>(
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
pub(super) fn dots(codes: &Codes, half: usize, x: &Group) -> Dots {
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
