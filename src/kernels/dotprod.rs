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
//! | one token, four panels | 2.0 | 4.6 | 1.6 | 0.9 | 0.8 |
//! | tile of 4 | 1.8 | 3.0 | 1.5 | 0.9 | 0.8 |
#![allow(unsafe_code)]

use super::attention::{KvHeadInt8, Query};
use super::kv4::{KvHeadQ4, Unpacked};
use super::neon::planes::{self, Rows};
use super::neon::ternary;
use super::neon::tiles::{
    add_offsets, add_sums, as_they_are, by_table, each, halves, no_offsets, product_of_four_bits, scales_and_offsets,
    scales_of_bytes, scales_of_halves,
};
use super::neon::{self, Codes, Dots, Int8Panel, Part, Row};
use super::scalar::{check_matmul, check_matvec};
use super::{Group, PanelOut, Tokens};
use crate::quant::planes::{BYTES, HALVES, Head, OFFSETS, group_bytes, parts};
use crate::quant::{Dtype, PANEL_ROWS, groups, panel_bytes};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::aarch64::{int8x16_t, int32x4_t, vaddq_s32, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32};
use core::arch::asm;
use core::hint::black_box;
use core::mem::offset_of;

/// Tokens of a tile, whose integer sums stay in registers, 16 rows each.
pub(super) const TOKENS: usize = 4;
/// Panels that one reading of a token's groups serves, whose f32 sums stay in registers.
const PANELS: usize = 4;
/// What clears the integer sums of 16 rows: a load is one instruction, and takes no slot of the pipes that multiply.
pub(super) static ZEROS: [i32; PANEL_ROWS] = [0; PANEL_ROWS];

/// Same as [`scalar::int8_matvec`](super::scalar::int8_matvec).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::Int8, cols);
    check_matvec(panels, bytes, out);
    let (together, rest) = out.as_chunks_mut::<{ PANELS * PANEL_ROWS }>();
    let (panels, last) = panels.split_at(together.len() * PANELS * bytes);
    for (panels, out) in panels.chunks_exact(PANELS * bytes).zip(together) {
        let panels = core::array::from_fn(|i| Int8Panel::new(&panels[i * bytes..][..bytes], cols));
        *out = must_cast(products(&panels, x));
    }
    neon::matvec(last, cols, x, rest, |panel, x| product(panel, x, 1));
}

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul).
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), out.len());
    neon::int8_parts(panel, cols, x, out, |part, x, out| add(part, x, out));
}

/// Adds the products of a part of a panel with the tokens of `x` to `out`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add(part: &Part<'_>, x: &[Group], out: &mut [PanelOut]) {
    by_tiles(part, x, out, |x, n, out| tile(part, x, n, out));
}

/// The same by a tile of four tokens, which lie at the start of each `n` groups: `tile(x, n, out)`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn by_tiles(
    part: &Part<'_>,
    x: &[Group],
    out: &mut [PanelOut],
    tile: impl Fn(&[Group], usize, &mut [PanelOut; TOKENS]),
) {
    let n = out.len();
    let (tiles, rest) = out.as_chunks_mut();
    let first_rest = tiles.len() * TOKENS;
    for (i, out) in tiles.iter_mut().enumerate() {
        tile(&x[i * TOKENS..], n, out);
    }
    for (i, out) in rest.iter_mut().enumerate() {
        neon::add_one(part, &x[first_rest + i..], n, out, |codes, x| dots(codes, x));
    }
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
        if BITS == 4 {
            out[0] = must_cast(product_of_halves::<CODES, SCALES>(panel, x));
        } else {
            planes::product::<BITS, CODES, SCALES>(panel, x, out, |w, x| dots_of_rows(w, x));
        }
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
    if out.len() < TOKENS {
        planes::product::<BITS, CODES, SCALES>(panel, x, out, |w, x| dots_of_rows(w, x));
    } else {
        planes::parts::<BITS, CODES, SCALES>(panel, x, out, |part, x, out| add(part, x, out));
    }
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

/// Multiplies a group of one panel with a token, whose codes are in v4 and v5 and whose scale is in v6, and adds the products to
/// 16 f32 sums, four registers from v`a`.
macro_rules! panel {
    ($codes:literal, $scales:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{", $codes, "}], #64\n",
            "ld1 {{v16.4s-v19.4s}}, [{zeros}]\n",
            "ld1 {{v24.16b-v27.16b}}, [{", $codes, "}], #64\n",
            line!(0, 0 1 2 3, 4: 16 17 18 19),
            "ld1 {{v0.16b-v3.16b}}, [{", $codes, "}], #64\n",
            line!(1, 24 25 26 27, 4: 16 17 18 19),
            "ld1 {{v24.16b-v27.16b}}, [{", $codes, "}], #64\n",
            line!(2, 0 1 2 3, 4: 16 17 18 19),
            "ld1 {{v0.16b-v3.16b}}, [{", $codes, "}], #64\n",
            line!(3, 24 25 26 27, 4: 16 17 18 19),
            "ld1 {{v24.16b-v27.16b}}, [{", $codes, "}], #64\n",
            line!(0, 0 1 2 3, 5: 16 17 18 19),
            "ld1 {{v0.16b-v3.16b}}, [{", $codes, "}], #64\n",
            line!(1, 24 25 26 27, 5: 16 17 18 19),
            "ld1 {{v24.16b-v27.16b}}, [{", $codes, "}], #64\n",
            line!(2, 0 1 2 3, 5: 16 17 18 19),
            "ld1 {{v0.8h, v1.8h}}, [{", $scales, "}], #32\n",
            line!(3, 24 25 26 27, 5: 16 17 18 19),
            "fcvtl v2.4s, v1.4h\n",
            "fcvtl2 v3.4s, v1.8h\n",
            "fcvtl2 v1.4s, v0.8h\n",
            "fcvtl v0.4s, v0.4h\n",
            each!("scvtf", 16 = 16, 17 = 17, 18 = 18, 19 = 19; ""),
            each!("fmul", 0 = 0, 1 = 1, 2 = 2, 3 = 3; ", v6.s[0]"),
            each!("fmul", 16 = 16, 0; 17 = 17, 1; 18 = 18, 2; 19 = 19, 3),
            each!("fadd", $a = $a, 16; $b = $b, 17; $c = $c, 18; $d = $d, 19),
        )
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

/// The products of four panels with one token.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn products(panels: &[Int8Panel<'_>; PANELS], x: &[Group]) -> [Row; PANELS] {
    let [mut a, mut b, mut c, mut d] = [[vdupq_n_f32(0.0); 4]; PANELS];
    let groups = panels[0].codes.len();
    for panel in panels {
        panel.check(x, 1, 1);
        assert_eq!(panel.codes.len(), groups, "panels of as many groups");
    }
    let [codes0, codes1, codes2, codes3] = panels.each_ref().map(|panel| panel.codes.as_ptr());
    let [scales0, scales1, scales2, scales3] = panels.each_ref().map(|panel| panel.scales.as_ptr());
    // SAFETY: `check` holds that there is at least one group and that all groups of the panels, of which each has as many,
    // and of the token lie in their slices. Each round reads one group, 512 bytes of codes and 32 of scales of each panel,
    // one `Group`, and the 64 bytes of ZEROS; nothing is written.
    unsafe {
        asm!(
            "2:",
            "ld1 {{v4.16b, v5.16b}}, [{x}], #32",
            "ldr s6, [{x}], #8",
            panel!("codes0", "scales0", 8 9 10 11),
            panel!("codes1", "scales1", 12 13 14 15),
            panel!("codes2", "scales2", 20 21 22 23),
            "subs {groups}, {groups}, #1",
            panel!("codes3", "scales3", 28 29 30 31),
            "b.ne 2b",
            codes0 = inout(reg) codes0 => _,
            codes1 = inout(reg) codes1 => _,
            codes2 = inout(reg) codes2 => _,
            codes3 = inout(reg) codes3 => _,
            scales0 = inout(reg) scales0 => _,
            scales1 = inout(reg) scales1 => _,
            scales2 = inout(reg) scales2 => _,
            scales3 = inout(reg) scales3 => _,
            x = inout(reg) x.as_ptr() => _,
            groups = inout(reg) groups => _,
            zeros = in(reg) ZEROS.as_ptr(),
            inout("v8") a[0], inout("v9") a[1], inout("v10") a[2], inout("v11") a[3],
            inout("v12") b[0], inout("v13") b[1], inout("v14") b[2], inout("v15") b[3],
            inout("v20") c[0], inout("v21") c[1], inout("v22") c[2], inout("v23") c[3],
            inout("v28") d[0], inout("v29") d[1], inout("v30") d[2], inout("v31") d[3],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            options(readonly, nostack)
        );
    }
    [a, b, c, d]
}

/// Multiplies the codes of a line by halves, as values in four registers from v`r0` and from v`l0`, with lane `lane` of v4 and of v24.
macro_rules! line_of_halves {
    ($values:ident, $lane:literal, $($raw:literal)+, $($low:literal)+) => {
        concat!(
            halves!($values, 5, $($raw)+, $($low)+),
            line!($lane, $($low)+, 4: 16 17 18 19),
            line!($lane, $($raw)+, 24: 16 17 18 19),
        )
    };
}

/// Multiplies a group of codes of 4 bits.
macro_rules! group_of_halves {
    ($values:ident) => {
        concat!(
            "ldr d6, [{x}, #32]\n",
            "ldr q24, [{x}, #16]\n",
            "ldr q4, [{x}], #40\n",
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64\n",
            "ld1 {{v16.4s-v19.4s}}, [{zeros}]\n",
            "ld1 {{v28.16b-v31.16b}}, [{codes}], #64\n",
            line_of_halves!($values, 0, 0 1 2 3, 8 9 10 11),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64\n",
            line_of_halves!($values, 1, 28 29 30 31, 20 21 22 23),
            "ld1 {{v28.16b-v31.16b}}, [{codes}], #64\n",
            line_of_halves!($values, 2, 0 1 2 3, 8 9 10 11),
            line_of_halves!($values, 3, 28 29 30 31, 20 21 22 23),
        )
    };
}

/// The products of one panel of codes of 4 bits with one token.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn product_of_halves<const CODES: usize, const SCALES: usize>(panel: &[u8], x: &Tokens<'_>) -> Row {
    // The operand is for the 64 bytes of ZEROS.
    product_of_four_bits!(panel, x, group_of_halves, operands: [zeros = in(reg) ZEROS.as_ptr(),])
}

/// Converts the integer sums of 16 rows with one token, four registers from v`s0`, multiplies them with the product of the scales
/// of the rows, v0 to v3, and that of the token, v4.s[0], and adds them to the 16 floats at {out}. The registers v8 to v15 are free.
/// The scale of the token is `at` bytes from {x}.
macro_rules! rescale {
    ($at:literal, $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            "ldur s4, [{x}, #{", $at, "}]\n",
            "ld1 {{v8.4s-v11.4s}}, [{out}]\n",
            each!("scvtf", $s0 = $s0, $s1 = $s1, $s2 = $s2, $s3 = $s3; ""),
            each!("fmul", 12 = 0, 13 = 1, 14 = 2, 15 = 3; ", v4.s[0]"),
            each!("fmul", 12 = 12, $s0; 13 = 13, $s1; 14 = 14, $s2; 15 = 15, $s3),
            each!("fadd", 8 = 8, 12; 9 = 9, 13; 10 = 10, 14; 11 = 11, 15),
            "st1 {{v8.4s-v11.4s}}, [{out}], #64\n",
        )
    };
}
pub(super) use rescale;

/// The same where rows have offsets, v8 to v11, which are multiplied with the scale of the token and with the sum of its codes, and
/// added after the products. That sum is the `start` of a `Group`, which follows its scale, divided by -128: it is subtracted. A sum
/// of f32 that began with 0 is never -0, so that to subtract a product is to add its negative.
macro_rules! rescale_with_offsets {
    ($at:literal, $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            "ldur d4, [{x}, #{", $at, "}]\n",
            "scvtf v7.2s, v4.2s, #7\n",
            each!("scvtf", $s0 = $s0, $s1 = $s1, $s2 = $s2, $s3 = $s3; ""),
            each!("fmul", 12 = 0, 13 = 1, 14 = 2, 15 = 3; ", v4.s[0]"),
            each!("fmul", $s0 = $s0, 12; $s1 = $s1, 13; $s2 = $s2, 14; $s3 = $s3, 15),
            "ld1 {{v12.4s-v15.4s}}, [{out}]\n",
            each!("fadd", 12 = 12, $s0; 13 = 13, $s1; 14 = 14, $s2; 15 = 15, $s3),
            each!("fmul", $s0 = 8, $s1 = 9, $s2 = 10, $s3 = 11; ", v4.s[0]"),
            each!("fmul", $s0 = $s0, $s1 = $s1, $s2 = $s2, $s3 = $s3; ", v7.s[1]"),
            each!("fsub", 12 = 12, $s0; 13 = 13, $s1; 14 = 14, $s2; 15 = 15, $s3),
            "st1 {{v12.4s-v15.4s}}, [{out}], #64\n",
        )
    };
}
pub(super) use rescale_with_offsets;

/// The body of a tile: adds the products of a part with the first four of each `n` groups of `x` to `out`, which lies in L1. A
/// round of the loop does what `load` says, clears v16 to v31, does what `multiply` says, and rescales the integer sums of each
/// token, which lie in the four registers of `sums`.
///
/// A round takes, and steps over, the 512 bytes at {codes} and four times {size} at {x}.
macro_rules! tile_of_four {
    ($part:expr, $x:expr, $n:expr, $out:expr, load: $load:tt, multiply: $multiply:tt, sums: $sums:tt) => {
        $part.check($x, TOKENS, $n);
        if $part.has_offsets {
            tile_of_four!(
                @ $part, $x, $n, $out, $load, $multiply, rescale_with_offsets, $sums,
                "ld1 {{v0.4s-v3.4s}}, [{scales}], #64\nld1 {{v8.4s-v11.4s}}, [{scales}], #64"
            );
        } else {
            tile_of_four!(@ $part, $x, $n, $out, $load, $multiply, rescale, $sums, "ld1 {{v0.4s-v3.4s}}, [{scales}], #64");
        }
    };
    (@ $part:expr, $x:expr, $n:expr, $out:expr, [$($load:expr),+ $(,)?], [$($multiply:expr),+ $(,)?],
     $rescale:ident, [$($a:literal)+; $($b:literal)+; $($c:literal)+; $($d:literal)+], $load_scales:literal) => {
        const SIZE: isize = size_of::<Group>().cast_signed();
        const SCALE: isize = offset_of!(Group, scale).cast_signed();
        const { assert!(offset_of!(Group, start) == offset_of!(Group, scale) + 4) };
        // SAFETY: `check` holds that there is at least one group and that all groups of the part and of the tokens lie in
        // their slices. Each round reads one group, 512 bytes of codes and 64 of scales, where there are offsets 64 more, one
        // `Group` of each token, and the 64 bytes of ZEROS, and reads and writes the 256 bytes of `out`.
        unsafe {
            asm!(
                "2:",
                $($load,)+
                "ld1 {{v16.4s-v19.4s}}, [{zeros}]",
                "ld1 {{v20.4s-v23.4s}}, [{zeros}]",
                "ld1 {{v24.4s-v27.4s}}, [{zeros}]",
                "ld1 {{v28.4s-v31.4s}}, [{zeros}]",
                $($multiply,)+
                $load_scales,
                $rescale!("scale0", $($a)+),
                $rescale!("scale1", $($b)+),
                $rescale!("scale2", $($c)+),
                $rescale!("scale3", $($d)+),
                "subs {groups}, {groups}, #1",
                "sub {out}, {out}, #256",
                "add {x}, {x}, {rest}",
                "b.ne 2b",
                codes = inout(reg) $part.codes.as_ptr() => _,
                scales = inout(reg) $part.scales.as_ptr() => _,
                x = inout(reg) $x.as_ptr() => _,
                out = inout(reg) $out.as_mut_ptr() => _,
                groups = inout(reg) $part.codes.len() => _,
                zeros = in(reg) ZEROS.as_ptr(),
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

/// Adds the products of a part with the first four of each `n` groups of `x` to `out`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn tile(part: &Part<'_>, x: &[Group], n: usize, out: &mut [PanelOut; TOKENS]) {
    tile_of_four!(
        part, x, n, out,
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
