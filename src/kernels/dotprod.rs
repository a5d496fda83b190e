//! aarch64 with the dot product extension (Pi 5; Cortex-A55 and A75 on): [`neon`](super::neon) with four int8 products
//! and their sum in one instruction. Every kernel is the same as in [`scalar`](super::scalar), bit for bit.
//!
//! The loops over the groups of a panel are assembly: the instruction has no stable name in Rust, the compiler keeps too
//! little of a tile in registers, and where a core runs in order (A55) the order of instructions is its speed.
//!
//! The table has instructions and cycles per 16 multiply-adds, rescale and loads from L1 included, as llvm-mca 19 computes
//! them (for A76 with its model of Neoverse N1, the same core), and the fewest cycles that the pipeline allows: it starts two
//! vector instructions a cycle on A76, one on A55.
//!
//! | loop | instructions | A55 | bound | A76 | bound |
//! |---|---|---|---|---|---|
//! | one token | 2.2 | 4.6 | 1.8 | 1.0 | 0.9 |
//! | tile of 4 | 1.9 | 2.9 | 1.7 | 1.0 | 0.8 |
#![allow(unsafe_code)]

use super::attention::{KvHeadInt8, Query};
use super::kv4::{KvHeadQ4, Unpacked};
use super::neon::planes::{self, Rows};
use super::neon::ternary;
use super::neon::{self, Codes, Dots, Int8Panel, Row};
use super::scalar::check_matmul;
use super::{Group, PanelOut, Tokens};
use crate::quant::{Dtype, PANEL_ROWS, groups};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::aarch64::{int8x16_t, int32x4_t, vaddq_s32, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32};
use core::arch::asm;
use core::hint::black_box;
use core::mem::offset_of;

/// Tokens of a tile, whose integer sums stay in registers, 16 rows each.
const TOKENS: usize = 4;

/// Same as [`scalar::int8_matvec`](super::scalar::int8_matvec).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    neon::matvec(panels, cols, x, out, |panel, x| product(panel, x, 1));
}

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    neon::matmul::<TOKENS>(panel, cols, x, out, |p, x, n| product(p, x, n), |p, x, n, out| tile(p, x, n, out));
}

/// Same as [`scalar`](super::scalar)'s product of one token with weights of `BITS` bits.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn planes_matvec<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &Tokens<'_>,
    out: &mut [f32],
) {
    planes::matvec(dtype, panels, x, out, |panel, x, out| {
        planes::product::<BITS, CODES, SCALES>(panel, x, out, |w, x| dots_of_rows(w, x));
    });
}

/// Same as [`scalar`](super::scalar)'s product of some tokens with weights of `BITS` bits.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn planes_matmul<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panel: &[u8],
    x: &Tokens<'_>,
    out: &mut [PanelOut],
) {
    check_matmul(dtype, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    planes::product::<BITS, CODES, SCALES>(panel, x, out, |w, x| dots_of_rows(w, x));
}

/// Same as [`scalar`](super::scalar)'s product of one token with weights of three values.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn ternary_matvec(panels: &[u8], x: &Tokens<'_>, out: &mut [f32]) {
    planes::matvec(Dtype::T2, panels, x, out, |panel, x, out| {
        ternary::product(panel, x, out, |w, x| dots_of_rows(w, x));
    });
}

/// Same as [`scalar`](super::scalar)'s product of some tokens with weights of three values.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn ternary_matmul(panel: &[u8], x: &Tokens<'_>, out: &mut [PanelOut]) {
    check_matmul(Dtype::T2, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    ternary::product(panel, x, out, |w, x| dots_of_rows(w, x));
}

/// The exact dot products of 4 rows of a group with one token.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dots_of_rows(w: &Rows, x: &Group) -> int32x4_t {
    let x: [int8x16_t; 2] = must_cast(x.codes);
    let mut sums = [vdupq_n_s32(0); 2];
    for (sum, (x, w)) in sums.iter_mut().zip(x.into_iter().zip(w.as_chunks::<4>().0)) {
        *sum = sdot::<0>(*sum, w[0], x);
        *sum = sdot::<1>(*sum, w[1], x);
        *sum = sdot::<2>(*sum, w[2], x);
        *sum = sdot::<3>(*sum, w[3], x);
    }
    vaddq_s32(sums[0], sums[1])
}

/// Same as [`scalar::attend_int8`](super::scalar::attend_int8).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn attend_int8(queries: &mut [Query<'_>], mut head: &KvHeadInt8<'_>) {
    neon::attend_blocks(queries, &mut head, |panel, q| product(panel, q, 1), |codes, x| dots(codes, x));
}

/// Same as [`scalar::attend_q4`](super::scalar::attend_q4).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn attend_q4(queries: &mut [Query<'_>], head: &KvHeadQ4<'_>) {
    let blocks = &mut Unpacked::new(head);
    neon::attend_blocks(queries, blocks, |panel, q| product(panel, q, 1), |codes, x| dots(codes, x));
}

/// Multiplies a line, in the four registers from v`w0`, with one lane of 4 codes in v`x`: 16 rows from v`s0`.
macro_rules! line {
    ($lane:literal, $w0:literal $w1:literal $w2:literal $w3:literal, $($x:literal: $s0:literal $s1:literal $s2:literal $s3:literal),+) => {
        concat!($(
            "sdot v", $s0, ".4s, v", $w0, ".16b, v", $x, ".4b[", $lane, "]\n",
            "sdot v", $s1, ".4s, v", $w1, ".16b, v", $x, ".4b[", $lane, "]\n",
            "sdot v", $s2, ".4s, v", $w2, ".16b, v", $x, ".4b[", $lane, "]\n",
            "sdot v", $s3, ".4s, v", $w3, ".16b, v", $x, ".4b[", $lane, "]\n",
        )+)
    };
}

/// The products of one panel with one token, whose groups are the first of each `n` in `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn product(panel: &Int8Panel<'_>, x: &[Group], n: usize) -> Row {
    let [mut a, mut b, mut c, mut d] = [vdupq_n_f32(0.0); 4];
    panel.check(x, 1, n);
    // SAFETY: `check` holds that there is at least one group and that all groups of the panel and of the token lie in
    // their slices. Each round reads one group: 512 bytes of codes, 32 of scales, one `Group`; nothing is written.
    unsafe {
        asm!(
            "2:",
            "ldr s6, [{x}, #{scale}]",
            "ld1 {{v4.16b, v5.16b}}, [{x}], {step}",
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            "movi v16.2d, #0",
            "movi v17.2d, #0",
            "movi v18.2d, #0",
            "movi v19.2d, #0",
            "ld1 {{v24.16b-v27.16b}}, [{codes}], #64",
            line!(0, 0 1 2 3, 4: 16 17 18 19),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            line!(1, 24 25 26 27, 4: 16 17 18 19),
            "ld1 {{v24.16b-v27.16b}}, [{codes}], #64",
            line!(2, 0 1 2 3, 4: 16 17 18 19),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            line!(3, 24 25 26 27, 4: 16 17 18 19),
            "ld1 {{v24.16b-v27.16b}}, [{codes}], #64",
            line!(0, 0 1 2 3, 5: 16 17 18 19),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            line!(1, 24 25 26 27, 5: 16 17 18 19),
            "ld1 {{v24.16b-v27.16b}}, [{codes}], #64",
            line!(2, 0 1 2 3, 5: 16 17 18 19),
            "ld1 {{v28.8h, v29.8h}}, [{scales}], #32",
            line!(3, 24 25 26 27, 5: 16 17 18 19),
            "fcvtl v0.4s, v28.4h",
            "fcvtl2 v1.4s, v28.8h",
            "fcvtl v2.4s, v29.4h",
            "fcvtl2 v3.4s, v29.8h",
            "scvtf v16.4s, v16.4s",
            "scvtf v17.4s, v17.4s",
            "scvtf v18.4s, v18.4s",
            "scvtf v19.4s, v19.4s",
            "fmul v0.4s, v0.4s, v6.s[0]",
            "fmul v1.4s, v1.4s, v6.s[0]",
            "fmul v2.4s, v2.4s, v6.s[0]",
            "fmul v3.4s, v3.4s, v6.s[0]",
            "subs {groups}, {groups}, #1",
            "fmul v16.4s, v16.4s, v0.4s",
            "fmul v17.4s, v17.4s, v1.4s",
            "fmul v18.4s, v18.4s, v2.4s",
            "fmul v19.4s, v19.4s, v3.4s",
            "fadd {a:v}.4s, {a:v}.4s, v16.4s",
            "fadd {b:v}.4s, {b:v}.4s, v17.4s",
            "fadd {c:v}.4s, {c:v}.4s, v18.4s",
            "fadd {d:v}.4s, {d:v}.4s, v19.4s",
            "b.ne 2b",
            codes = inout(reg) panel.codes.as_ptr() => _,
            scales = inout(reg) panel.scales.as_ptr() => _,
            x = inout(reg) x.as_ptr() => _,
            groups = inout(reg) panel.codes.len() => _,
            step = in(reg) n * size_of::<Group>(),
            scale = const offset_of!(Group, scale),
            a = inout(vreg) a,
            b = inout(vreg) b,
            c = inout(vreg) c,
            d = inout(vreg) d,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            options(readonly, nostack)
        );
    }
    [a, b, c, d]
}

/// Adds a group's products with one token, whose integer sums are four registers from v`s0`, to 16 floats of `out`.
/// The scales of the rows are in v0 to v3; the scale of the token is `at` bytes from {x}.
macro_rules! rescale {
    ($at:literal, $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            "ldur s4, [{x}, #{",
            $at,
            "}]\n",
            "ld1 {{v8.4s-v11.4s}}, [{out}]\n",
            "scvtf v",
            $s0,
            ".4s, v",
            $s0,
            ".4s\n",
            "scvtf v",
            $s1,
            ".4s, v",
            $s1,
            ".4s\n",
            "scvtf v",
            $s2,
            ".4s, v",
            $s2,
            ".4s\n",
            "scvtf v",
            $s3,
            ".4s, v",
            $s3,
            ".4s\n",
            "fmul v12.4s, v0.4s, v4.s[0]\n",
            "fmul v13.4s, v1.4s, v4.s[0]\n",
            "fmul v14.4s, v2.4s, v4.s[0]\n",
            "fmul v15.4s, v3.4s, v4.s[0]\n",
            "fmul v12.4s, v12.4s, v",
            $s0,
            ".4s\n",
            "fmul v13.4s, v13.4s, v",
            $s1,
            ".4s\n",
            "fmul v14.4s, v14.4s, v",
            $s2,
            ".4s\n",
            "fmul v15.4s, v15.4s, v",
            $s3,
            ".4s\n",
            "fadd v8.4s, v8.4s, v12.4s\n",
            "fadd v9.4s, v9.4s, v13.4s\n",
            "fadd v10.4s, v10.4s, v14.4s\n",
            "fadd v11.4s, v11.4s, v15.4s\n",
            "st1 {{v8.4s-v11.4s}}, [{out}], #64\n",
        )
    };
}
pub(super) use rescale;

/// The body of a tile: the products of a panel with the first four of each `n` groups of `x`. The f32 sums stay in `out`,
/// which lies in L1. A round of the loop does what `load` says, clears v16 to v31, does what `multiply` says, which leaves
/// the scales of the rows, as halves, in v2 and v3, and rescales the integer sums of each token, which lie in the four
/// registers of `sums`.
///
/// A round takes, and steps over, the 512 bytes at {codes}, the 32 at {scales} and four times {size} at {x}.
macro_rules! tile_of_four {
    ($panel:expr, $x:expr, $n:expr, $out:expr,
     load: [$($load:expr),+ $(,)?], multiply: [$($multiply:expr),+ $(,)?],
     sums: [$($a:literal)+; $($b:literal)+; $($c:literal)+; $($d:literal)+ $(;)?]) => {
        const SIZE: isize = size_of::<Group>().cast_signed();
        const SCALE: isize = offset_of!(Group, scale).cast_signed();
        *$out = [[0.0; PANEL_ROWS]; TOKENS];
        $panel.check($x, TOKENS, $n);
        // SAFETY: `check` holds that there is at least one group and that all groups of the panel and of the tokens lie
        // in their slices. Each round reads one group, 512 bytes of codes and 32 of scales, one `Group` of each token,
        // and reads and writes the 256 bytes of `out`.
        unsafe {
            asm!(
                "2:",
                $($load,)+
                "movi v16.2d, #0",
                "movi v17.2d, #0",
                "movi v18.2d, #0",
                "movi v19.2d, #0",
                "movi v20.2d, #0",
                "movi v21.2d, #0",
                "movi v22.2d, #0",
                "movi v23.2d, #0",
                "movi v24.2d, #0",
                "movi v25.2d, #0",
                "movi v26.2d, #0",
                "movi v27.2d, #0",
                "movi v28.2d, #0",
                "movi v29.2d, #0",
                "movi v30.2d, #0",
                "movi v31.2d, #0",
                $($multiply,)+
                "fcvtl v0.4s, v2.4h",
                "fcvtl2 v1.4s, v2.8h",
                "fcvtl v2.4s, v3.4h",
                "fcvtl2 v3.4s, v3.8h",
                rescale!("scale0", $($a)+),
                rescale!("scale1", $($b)+),
                rescale!("scale2", $($c)+),
                rescale!("scale3", $($d)+),
                "subs {groups}, {groups}, #1",
                "sub {out}, {out}, #256",
                "add {x}, {x}, {rest}",
                "b.ne 2b",
                codes = inout(reg) $panel.codes.as_ptr() => _,
                scales = inout(reg) $panel.scales.as_ptr() => _,
                x = inout(reg) $x.as_ptr() => _,
                out = inout(reg) $out.as_mut_ptr() => _,
                groups = inout(reg) $panel.codes.len() => _,
                size = in(reg) SIZE,
                rest = in(reg) ($n - TOKENS) * size_of::<Group>(),
                scale0 = const SCALE - 4 * SIZE,
                scale1 = const SCALE - 3 * SIZE,
                scale2 = const SCALE - 2 * SIZE,
                scale3 = const SCALE - SIZE,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
                out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _,
                out("v29") _, out("v30") _, out("v31") _,
                options(nostack)
            );
        }
    };
}
pub(super) use tile_of_four;

/// The products of one panel with the first four of each `n` groups of `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn tile(panel: &Int8Panel<'_>, x: &[Group], n: usize, out: &mut [PanelOut; TOKENS]) {
    tile_of_four!(
        panel, x, n, out,
        load: [
            "ld1 {{v8.16b, v9.16b}}, [{x}], {size}",
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            "ld1 {{v10.16b, v11.16b}}, [{x}], {size}",
            "ld1 {{v12.16b, v13.16b}}, [{x}], {size}",
            "ld1 {{v14.16b, v15.16b}}, [{x}], {size}",
            "ld1 {{v4.16b-v7.16b}}, [{codes}], #64",
        ],
        multiply: [
            line!(0, 0 1 2 3, 8: 16 17 18 19, 10: 20 21 22 23, 12: 24 25 26 27, 14: 28 29 30 31),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            line!(1, 4 5 6 7, 8: 16 17 18 19, 10: 20 21 22 23, 12: 24 25 26 27, 14: 28 29 30 31),
            "ld1 {{v4.16b-v7.16b}}, [{codes}], #64",
            line!(2, 0 1 2 3, 8: 16 17 18 19, 10: 20 21 22 23, 12: 24 25 26 27, 14: 28 29 30 31),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            line!(3, 4 5 6 7, 8: 16 17 18 19, 10: 20 21 22 23, 12: 24 25 26 27, 14: 28 29 30 31),
            "ld1 {{v4.16b-v7.16b}}, [{codes}], #64",
            line!(0, 0 1 2 3, 9: 16 17 18 19, 11: 20 21 22 23, 13: 24 25 26 27, 15: 28 29 30 31),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            line!(1, 4 5 6 7, 9: 16 17 18 19, 11: 20 21 22 23, 13: 24 25 26 27, 15: 28 29 30 31),
            "ld1 {{v4.16b-v7.16b}}, [{codes}], #64",
            line!(2, 0 1 2 3, 9: 16 17 18 19, 11: 20 21 22 23, 13: 24 25 26 27, 15: 28 29 30 31),
            "ld1 {{v2.8h, v3.8h}}, [{scales}], #32",
            line!(3, 4 5 6 7, 9: 16 17 18 19, 11: 20 21 22 23, 13: 24 25 26 27, 15: 28 29 30 31),
        ],
        sums: [16 17 18 19; 20 21 22 23; 24 25 26 27; 28 29 30 31]
    );
}

/// The exact dot products of a group with one token.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dots(codes: &Codes, x: &Group) -> Dots {
    let x: [int8x16_t; 2] = must_cast(x.codes);
    let mut sums = [vdupq_n_s32(0); 4];
    for (x, codes) in x.into_iter().zip(must_cast_ref::<Codes, [[[[i8; 16]; 4]; 4]; 2]>(codes)) {
        for i in 0..4 {
            sums[i] = sdot::<0>(sums[i], must_cast(codes[0][i]), x);
            sums[i] = sdot::<1>(sums[i], must_cast(codes[1][i]), x);
            sums[i] = sdot::<2>(sums[i], must_cast(codes[2][i]), x);
            sums[i] = sdot::<3>(sums[i], must_cast(codes[3][i]), x);
        }
    }
    sums
}

/// `sum[r]` plus the products of 4 codes of row r with codes `4 LANE .. 4 LANE + 4` of `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: i32>(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
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

/// See [`Peaks::quantized`](super::Peaks::quantized).
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
