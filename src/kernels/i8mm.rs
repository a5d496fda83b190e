//! aarch64 with the int8 matrix multiplication extension (Neoverse V1 and N2, Cortex-A510 and A710 on; no Raspberry Pi):
//! [`dotprod`](super::dotprod) with `smmla`, two rows by two tokens by eight columns, for matmuls. Every kernel is the same
//! as in [`scalar`](super::scalar), bit for bit.
//!
//! Two lines are zipped, so that eight columns of two rows fill a register. A tile of 16 rows and 4 tokens takes half as many
//! multiplications as dotprod's, and zips in addition: 184 vector instructions instead of 192 for each group, the 64 of the
//! rescale, which are the same, included.
#![allow(unsafe_code)]

use super::dotprod::{TOKENS, ZEROS, by_tiles, rescale, rescale_with_offsets, tile_of_four};
use super::neon::tiles::each;
use super::neon::{self, Part};
use super::scalar::check_matmul;
use super::{Group, PanelOut};
use crate::quant::{Dtype, groups};
use core::arch::aarch64::{int8x16_t, int32x4_t, vdupq_n_s8, vdupq_n_s32};
use core::arch::asm;
use core::hint::black_box;
use core::mem::offset_of;

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), out.len());
    neon::int8_parts(panel, cols, x, out, |part, x, out| add(part, x, out));
}

/// Adds the products of a part of a panel with the tokens of `x` to `out`.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
fn add(part: &Part<'_>, x: &[Group], out: &mut [PanelOut]) {
    by_tiles(part, x, out, |x, n, out| tile(part, x, n, out));
}

/// Loads eight columns of eight rows, `at` bytes into the codes of a group, and those of the next four columns.
macro_rules! load {
    ($at:literal, $next:literal) => {
        concat!("ldp q4, q5, [{codes}, #", $at, "]\n", "ldp q6, q7, [{codes}, #", $next, "]\n")
    };
}

/// Zips what [`load`] has loaded, loads the next, and multiplies with two pairs of tokens, v`x` and v`y`: for each pair of
/// rows, two sums from v`s0`.
macro_rules! columns {
    ($load:expr, $x:literal $y:literal, $s0:literal $s1:literal $s2:literal $s3:literal $s4:literal $s5:literal $s6:literal $s7:literal) => {
        concat!(
            "zip1 v12.4s, v4.4s, v6.4s\n",
            "zip2 v13.4s, v4.4s, v6.4s\n",
            "zip1 v14.4s, v5.4s, v7.4s\n",
            "zip2 v15.4s, v5.4s, v7.4s\n",
            $load,
            "smmla v",
            $s0,
            ".4s, v",
            $x,
            ".16b, v12.16b\n",
            "smmla v",
            $s1,
            ".4s, v",
            $y,
            ".16b, v12.16b\n",
            "smmla v",
            $s2,
            ".4s, v",
            $x,
            ".16b, v13.16b\n",
            "smmla v",
            $s3,
            ".4s, v",
            $y,
            ".16b, v13.16b\n",
            "smmla v",
            $s4,
            ".4s, v",
            $x,
            ".16b, v14.16b\n",
            "smmla v",
            $s5,
            ".4s, v",
            $y,
            ".16b, v14.16b\n",
            "smmla v",
            $s6,
            ".4s, v",
            $x,
            ".16b, v15.16b\n",
            "smmla v",
            $s7,
            ".4s, v",
            $y,
            ".16b, v15.16b\n",
        )
    };
}

/// Turns the sums of a pair of tokens, which v`a0`, v`b0` and so on hold for two rows each, into those of the first token
/// in v`t`, v`a0`, v`a1`, v`a2` and of the second in v`b0` to v`b3`.
macro_rules! part {
    ($t:literal, $a0:literal $b0:literal, $a1:literal $b1:literal, $a2:literal $b2:literal, $a3:literal $b3:literal) => {
        concat!(
            "zip1 v", $t, ".2d, v", $a0, ".2d, v", $b0, ".2d\n", "zip2 v", $b0, ".2d, v", $a0, ".2d, v", $b0, ".2d\n",
            "zip1 v", $a0, ".2d, v", $a1, ".2d, v", $b1, ".2d\n", "zip2 v", $b1, ".2d, v", $a1, ".2d, v", $b1, ".2d\n",
            "zip1 v", $a1, ".2d, v", $a2, ".2d, v", $b2, ".2d\n", "zip2 v", $b2, ".2d, v", $a2, ".2d, v", $b2, ".2d\n",
            "zip1 v", $a2, ".2d, v", $a3, ".2d, v", $b3, ".2d\n", "zip2 v", $b3, ".2d, v", $a3, ".2d, v", $b3, ".2d\n",
        )
    };
}

/// Adds the products of a part with the first four of each `n` groups of `x` to `out`.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
fn tile(part: &Part<'_>, x: &[Group], n: usize, out: &mut [PanelOut; TOKENS]) {
    tile_of_four!(
        part, x, n, out,
        load: [
            "ld1 {{v8.16b, v9.16b}}, [{x}], {size}",
            "ld1 {{v10.16b, v11.16b}}, [{x}], {size}",
            "ld1 {{v12.16b, v13.16b}}, [{x}], {size}",
            "ld1 {{v14.16b, v15.16b}}, [{x}], {size}",
            load!(0, 64),
        ],
        multiply: [
            "zip1 v0.2d, v8.2d, v10.2d",
            "zip2 v1.2d, v8.2d, v10.2d",
            "zip1 v2.2d, v9.2d, v11.2d",
            "zip2 v3.2d, v9.2d, v11.2d",
            "zip1 v8.2d, v12.2d, v14.2d",
            "zip2 v10.2d, v12.2d, v14.2d",
            "zip1 v9.2d, v13.2d, v15.2d",
            "zip2 v11.2d, v13.2d, v15.2d",
            columns!(load!(32, 96), 0 8, 16 17 18 19 20 21 22 23),
            columns!(load!(128, 192), 0 8, 24 25 26 27 28 29 30 31),
            columns!(load!(160, 224), 1 10, 16 17 18 19 20 21 22 23),
            columns!(load!(256, 320), 1 10, 24 25 26 27 28 29 30 31),
            columns!(load!(288, 352), 2 9, 16 17 18 19 20 21 22 23),
            columns!(load!(384, 448), 2 9, 24 25 26 27 28 29 30 31),
            columns!(load!(416, 480), 3 11, 16 17 18 19 20 21 22 23),
            columns!("", 3 11, 24 25 26 27 28 29 30 31),
            "add {codes}, {codes}, #512",
            part!(5, 16 18, 20 22, 24 26, 28 30),
            part!(6, 17 19, 21 23, 25 27, 29 31),
        ],
        sums: [5 16 20 24; 18 22 26 30; 6 17 21 25; 19 23 27 31]
    );
}

/// Independent sums of a peak.
const PEAK_SUMS: usize = 16;

/// See [`Peaks::quantized`](super::Peaks::quantized).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(super) fn int8_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(vdupq_n_s8(3)), black_box(vdupq_n_s8(5)));
    let mut sums = black_box([vdupq_n_s32(1); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = smmla(*sum, w, x);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 32) as u64
}

/// `sum` plus the products of two times 8 codes of `x` with two times 8 of `w`.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
fn smmla(mut sum: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes only the registers named, and the function has the feature it needs.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {x:v}.16b, {w:v}.16b",
            sum = inout(vreg) sum,
            x = in(vreg) x,
            w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
