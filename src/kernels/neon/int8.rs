//! int8 products: `smull` and `smlal` multiply to i16 and add two products, `sadalp` adds pairs of these to i32. The sum of
//! two products is at most 2 * 128 * 127 = 32512 and fits an i16 for every weight byte.

use super::super::scalar::{check_matmul, check_matvec, check_quantize, group_scale};
use super::super::{Group, PanelOut};
use super::panel::{Codes, Int8Panel, Part, int8_parts};
use super::tiles::{TOKENS, product, tile};
use super::{Row, padded};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::aarch64::*;

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
        let q: [int8x8_t; 4] = core::array::from_fn(|i| vmovn_s16(vcombine_s16(q[2 * i], q[2 * i + 1])));
        out.codes = must_cast(q);
        let sums = must_cast::<_, [int8x16_t; 2]>(q).map(|codes| i32::from(vaddlvq_s8(codes)));
        out.start = -128 * (sums[0] + sums[1]);
    }
}

/// Same as [`scalar::int8_matvec`](super::super::scalar::int8_matvec).
#[target_feature(enable = "neon")]
pub(in super::super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    matvec(panels, cols, x, out, |panel, x| product(panel, x, 1));
}

/// Same as [`scalar::int8_matmul`](super::super::scalar::int8_matmul).
#[target_feature(enable = "neon")]
pub(in super::super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), out.len());
    int8_parts(panel, cols, x, out, |part, x, out| add(part, x, out));
}

/// Adds the products of a part of a panel with the tokens of `x` to `out`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add(part: &Part<'_>, x: &[Group], out: &mut [PanelOut]) {
    let n = out.len();
    let (tiles, rest) = out.as_chunks_mut();
    let first_rest = tiles.len() * TOKENS;
    for (i, out) in tiles.iter_mut().enumerate() {
        tile(part, &x[i * TOKENS..], n, out);
    }
    for (i, out) in rest.iter_mut().enumerate() {
        add_one(part, &x[first_rest + i..], n, out, |codes, x| dots(codes, x));
    }
}

/// Dot products of 16 rows.
pub(in super::super) type Dots = [int32x4_t; 4];

/// [`int8_matvec`] by the product of a panel with one token.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn matvec(
    panels: &[u8],
    cols: usize,
    x: &[Group],
    out: &mut [f32],
    product: impl Fn(&Int8Panel<'_>, &[Group]) -> Row,
) {
    let bytes = panel_bytes(Dtype::Int8, cols);
    check_matvec(panels, bytes, out);
    assert_eq!(x.len(), groups(cols), "groups of {cols} columns");
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        *out = must_cast(product(&Int8Panel::new(panel, cols), x));
    }
}

/// Adds the products of a part of a panel with one token, the first of each `n` groups of `x`, to `out`.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn add_one(
    part: &Part<'_>,
    x: &[Group],
    n: usize,
    out: &mut PanelOut,
    dots: impl Fn(&Codes, &Group) -> Dots,
) {
    part.check(x, 1, n);
    let mut sums: Row = must_cast(*out);
    let scales = part.scales.chunks_exact(if part.has_offsets { 2 } else { 1 });
    for ((codes, scales), x) in part.codes.iter().zip(scales).zip(x.iter().step_by(n)) {
        let dots = dots(codes, x);
        let offsets = scales.get(1).map(|offsets| must_cast::<_, Row>(*offsets));
        let scales: Row = must_cast(scales[0]);
        for i in 0..4 {
            let products = vmulq_f32(vcvtq_f32_s32(dots[i]), vmulq_n_f32(scales[i], x.scale));
            sums[i] = vaddq_f32(sums[i], products);
            if let Some(offsets) = offsets {
                let sum = vdupq_n_f32(x.sum() as f32);
                sums[i] = vaddq_f32(sums[i], vmulq_f32(sum, vmulq_n_f32(offsets[i], x.scale)));
            }
        }
    }
    *out = must_cast(sums);
}

/// The exact dot products of a group with one token.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn dots(codes: &Codes, x: &Group) -> Dots {
    let codes: &[[[i8; 16]; 4]; 8] = must_cast_ref(codes);
    let x: &[[i8; 4]; 8] = must_cast_ref(&x.codes);
    core::array::from_fn(|i| {
        // Two rows each, as the sums of their even and of their odd pairs of columns.
        let mut sums = [vdupq_n_s32(0); 2];
        for j in 0..4 {
            let w: [int8x16_t; 2] = [must_cast(codes[2 * j][i]), must_cast(codes[2 * j + 1][i])];
            let x = [broadcast(x[2 * j]), broadcast(x[2 * j + 1])];
            let low = vmull_s8(vget_low_s8(w[0]), vget_low_s8(x[0]));
            let low = vmlal_s8(low, vget_low_s8(w[1]), vget_low_s8(x[1]));
            sums[0] = vpadalq_s16(sums[0], low);
            let high = vmlal_high_s8(vmull_high_s8(w[0], x[0]), w[1], x[1]);
            sums[1] = vpadalq_s16(sums[1], high);
        }
        vpaddq_s32(sums[0], sums[1])
    })
}

/// 4 codes in each quarter of a register.
#[inline]
#[target_feature(enable = "neon")]
fn broadcast(codes: [i8; 4]) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(must_cast(codes))))
}
