//! aarch64 with the dot product extension (Pi 5; Cortex-A55 and A75 on): [`neon`](super::neon) with four int8 products
//! and their sum in one instruction. Every kernel is the same as in [`scalar`](super::scalar), bit for bit.
#![allow(unsafe_code)]

use super::attention::{KvHeadInt8, Query};
use super::neon::{self, Codes, Dots};
use super::{Group, PanelOut};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::aarch64::{int8x16_t, int32x4_t, vdupq_n_s8, vdupq_n_s32};
use core::arch::asm;
use core::hint::black_box;

/// Same as [`scalar::int8_matvec`](super::scalar::int8_matvec).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    neon::matvec(panels, cols, x, out, |codes, half, x| dots(codes, half, x));
}

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    neon::matmul(panel, cols, x, out, |codes, half, x| dots(codes, half, x));
}

/// Same as [`scalar::attend_int8`](super::scalar::attend_int8).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn attend_int8(queries: &mut [Query<'_>], head: &KvHeadInt8<'_>) {
    neon::attend_int8_by(queries, head, |codes, half, x| dots(codes, half, x));
}

/// The exact dot products of the lower (`half` 0) or upper 8 rows of a group with one token.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dots(codes: &Codes, half: usize, x: &Group) -> Dots {
    let x: [int8x16_t; 2] = must_cast(x.codes);
    let mut sums = [vdupq_n_s32(0); 2];
    for (x, codes) in x.into_iter().zip(must_cast_ref::<Codes, [[[[[i8; 16]; 2]; 2]; 4]; 2]>(codes)) {
        for i in 0..2 {
            sums[i] = sdot::<0>(sums[i], must_cast(codes[0][half][i]), x);
            sums[i] = sdot::<1>(sums[i], must_cast(codes[1][half][i]), x);
            sums[i] = sdot::<2>(sums[i], must_cast(codes[2][half][i]), x);
            sums[i] = sdot::<3>(sums[i], must_cast(codes[3][half][i]), x);
        }
    }
    sums
}

/// `sum[r]` plus the products of 4 codes of row r with codes `4 LANE .. 4 LANE + 4` of `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: usize>(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes only the registers named, and the function has the feature it needs.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            w = in(vreg) w,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Independent sums of a peak.
const PEAK_SUMS: usize = 16;

/// See [`Kernels::int8_peak`](super::Kernels::int8_peak).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int8_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(vdupq_n_s8(3)), black_box(vdupq_n_s8(5)));
    let mut sums = black_box([vdupq_n_s32(1); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sdot::<0>(*sum, w, x);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 16) as u64
}
