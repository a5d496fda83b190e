//! Inputs and weights of int8.

use super::super::Group;
use super::super::scalar::{check_quantize, group_scale};
use super::product::Packing;
use super::{Row, padded, widen};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, scale_bytes};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::wasm32::*;

/// Same as [`scalar::quantize`](super::super::scalar::quantize).
pub(in super::super) fn quantize(x: &[f32], cols: usize, out: &mut [Group]) {
    let n = check_quantize(x, cols, out);
    for (t, row) in x.chunks_exact(cols).enumerate() {
        let (full, tail) = row.as_chunks::<GROUP_SIZE>();
        for (g, x) in full.iter().enumerate() {
            out[g * n + t] = quantize_group(x);
        }
        if !tail.is_empty() {
            out[full.len() * n + t] = quantize_group(&padded(tail));
        }
    }
}

#[inline(always)]
pub(super) fn quantize_group(x: &[f32; GROUP_SIZE]) -> Group {
    /// Adding 1.5 * 2^23 rounds to an integer, ties to even, which the lower bits of the sum then are.
    const ROUND: f32 = 12_582_912.0;
    let x: [v128; 8] = must_cast(*x);
    let bits = x.into_iter().fold(u32x4_splat(0), |bits, x| u32x4_max(bits, f32x4_abs(x)));
    let bits = u32x4_max(bits, i32x4_shuffle::<2, 3, 0, 1>(bits, bits));
    let bits = u32x4_max(bits, i32x4_shuffle::<1, 0, 3, 2>(bits, bits));
    let scale = group_scale(u32x4_extract_lane::<0>(bits));
    let mut out = Group { scale, ..Group::ZERO };
    if scale > 0.0 {
        let (divisor, round) = (f32x4_splat(scale), f32x4_splat(ROUND));
        let q = x.map(|x| i32x4_sub(f32x4_add(f32x4_div(x, divisor), round), round));
        let q: [v128; 4] = core::array::from_fn(|i| i16x8_narrow_i32x4(q[2 * i], q[2 * i + 1]));
        out.codes = must_cast([i8x16_narrow_i16x8(q[0], q[1]), i8x16_narrow_i16x8(q[2], q[3])]);
        let sums = i16x8_add(i16x8_add(q[0], q[1]), i16x8_add(q[2], q[3]));
        let sums = i32x4_extadd_pairwise_i16x8(sums);
        let sums = i32x4_add(sums, i32x4_shuffle::<2, 3, 0, 1>(sums, sums));
        let sums = i32x4_add(sums, i32x4_shuffle::<1, 0, 3, 2>(sums, sums));
        out.start = -128 * i32x4_extract_lane::<0>(sums);
    }
    out
}

/// The codes of one group of 16 rows.
pub(super) type Codes = [u8; PANEL_ROWS * GROUP_SIZE];

/// The columns `4 j .. 4 j + 4` of the rows `4 i .. 4 i + 4`.
#[inline(always)]
pub(super) fn values(codes: &Codes, j: usize, i: usize) -> v128 {
    let quarters: &[[u8; 16]; 32] = must_cast_ref(codes);
    must_cast(quarters[4 * j + i])
}

/// int8.
pub(in super::super) struct Int8;

impl Packing for Int8 {
    const DTYPE: Dtype = Dtype::Int8;
    type Head = ();
    type Scales = [u8; PANEL_ROWS * 2];
    type Codes = Codes;

    #[inline(always)]
    fn open(panel: &[u8], cols: usize) -> ((), &[Self::Scales], &[Codes]) {
        let (scales, codes) = panel.split_at(scale_bytes(cols));
        let n = groups(cols);
        ((), &scales.as_chunks().0[..n], &codes.as_chunks().0[..n])
    }

    #[inline(always)]
    fn values(_: &(), codes: &Codes, j: usize, i: usize) -> v128 {
        values(codes, j, i)
    }

    #[inline(always)]
    fn scales(_: &(), scales: &Self::Scales) -> [Row; 2] {
        [widen(scales); 2]
    }
}
