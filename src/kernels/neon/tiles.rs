//! The loops of int8 products over the groups of a panel, in assembly: the compiler keeps too little of a tile in registers,
//! and where a core runs in order (A53) the order of instructions is its speed.
//!
//! The table has instructions and cycles per 16 multiply-adds, rescale and loads from L1 included, as llvm-mca 19 computes
//! them, and the fewest cycles that the pipeline allows. 16 multiply-adds are three instructions, `smull`, `smlal` and
//! `sadalp`, and 3.8 with the rescale. A core that runs in order (A53) starts one of them a cycle; A72 multiplies in one of
//! its two pipes, and 16 multiply-adds are two multiplications.
//!
//! | loop | instructions | A53 | bound | A72 | bound |
//! |---|---|---|---|---|---|
//! | one token | 4.2 | 6.2 | 3.8 | 2.6 | 2.0 |
//! | tile of 2 | 4.0 | 6.2 | 3.8 | 2.4 | 2.0 |
#![allow(unsafe_code)]

use super::super::{Group, PanelOut, Tokens};
use super::Row;
use super::panel::{Int8Panel, Part};
use crate::quant::planes::{BYTES, HALVES, Head, OFFSETS, group_bytes, parts};
use bytemuck::must_cast;
use core::arch::aarch64::{int8x16_t, vdupq_n_f32, vdupq_n_s8};
use core::arch::asm;
use core::mem::offset_of;

/// Tokens of a tile, whose integer sums stay in registers, 16 rows each.
pub(super) const TOKENS: usize = 2;
/// Offset of the scale of a group, where its codes end and which `start` follows.
const SCALE: usize = offset_of!(Group, scale);
const _: () = assert!(SCALE == 32 && offset_of!(Group, start) == 36);

/// Multiplies two lines, v0 to v3 and v4 to v7, with a token's codes of these columns in v`x` and v`y` into the sums v16 to
/// v23, two rows each, in stages of eight independent instructions; a line is loaded when its registers are free.
macro_rules! two_lines {
    ($sum:literal, $x:literal $y:literal, $load_even:literal, $load_odd:literal) => {
        concat!(
            "smull v8.8h, v0.8b, v",
            $x,
            ".8b\n",
            "smull2 v9.8h, v0.16b, v",
            $x,
            ".16b\n",
            "smull v10.8h, v1.8b, v",
            $x,
            ".8b\n",
            "smull2 v11.8h, v1.16b, v",
            $x,
            ".16b\n",
            "smull v12.8h, v2.8b, v",
            $x,
            ".8b\n",
            "smull2 v13.8h, v2.16b, v",
            $x,
            ".16b\n",
            "smull v14.8h, v3.8b, v",
            $x,
            ".8b\n",
            "smull2 v15.8h, v3.16b, v",
            $x,
            ".16b\n",
            $load_even,
            "\n",
            "smlal v8.8h, v4.8b, v",
            $y,
            ".8b\n",
            "smlal2 v9.8h, v4.16b, v",
            $y,
            ".16b\n",
            "smlal v10.8h, v5.8b, v",
            $y,
            ".8b\n",
            "smlal2 v11.8h, v5.16b, v",
            $y,
            ".16b\n",
            "smlal v12.8h, v6.8b, v",
            $y,
            ".8b\n",
            "smlal2 v13.8h, v6.16b, v",
            $y,
            ".16b\n",
            "smlal v14.8h, v7.8b, v",
            $y,
            ".8b\n",
            "smlal2 v15.8h, v7.16b, v",
            $y,
            ".16b\n",
            $load_odd,
            "\n",
            $sum,
            " v16.4s, v8.8h\n",
            $sum,
            " v17.4s, v9.8h\n",
            $sum,
            " v18.4s, v10.8h\n",
            $sum,
            " v19.4s, v11.8h\n",
            $sum,
            " v20.4s, v12.8h\n",
            $sum,
            " v21.4s, v13.8h\n",
            $sum,
            " v22.4s, v14.8h\n",
            $sum,
            " v23.4s, v15.8h\n",
        )
    };
}

/// The products of one panel with one token, whose groups are the first of each `n` in `x`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn product(panel: &Int8Panel<'_>, x: &[Group], n: usize) -> Row {
    let [mut a, mut b, mut c, mut d] = [vdupq_n_f32(0.0); 4];
    panel.check(x, 1, n);
    // SAFETY: `check` holds that there is at least one group and that all groups of the panel and of the token lie in
    // their slices. Each round reads one group: 512 bytes of codes, 32 of scales, the codes and the scale of a `Group`;
    // nothing is written.
    unsafe {
        asm!(
            "2:",
            "ld4r {{v28.4s-v31.4s}}, [{x}], #16",
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            "ld1 {{v4.16b-v7.16b}}, [{codes}], #64",
            two_lines!("saddlp", 28 29, "ld1 {{v0.16b-v3.16b}}, [{codes}], #64", "ld1 {{v4.16b-v7.16b}}, [{codes}], #64"),
            two_lines!("sadalp", 30 31, "ld1 {{v0.16b-v3.16b}}, [{codes}], #64", "ld1 {{v4.16b-v7.16b}}, [{codes}], #64"),
            "ld4r {{v28.4s-v31.4s}}, [{x}], #16",
            two_lines!("sadalp", 28 29, "ld1 {{v0.16b-v3.16b}}, [{codes}], #64", "ld1 {{v4.16b-v7.16b}}, [{codes}], #64"),
            two_lines!("sadalp", 30 31, "", ""),
            "ld1r {{v28.4s}}, [{x}], {step}",
            "ld1 {{v0.8h, v1.8h}}, [{scales}], #32",
            "addp v16.4s, v16.4s, v17.4s",
            "addp v17.4s, v18.4s, v19.4s",
            "addp v18.4s, v20.4s, v21.4s",
            "addp v19.4s, v22.4s, v23.4s",
            "fcvtl v4.4s, v0.4h",
            "fcvtl2 v5.4s, v0.8h",
            "fcvtl v6.4s, v1.4h",
            "fcvtl2 v7.4s, v1.8h",
            "scvtf v16.4s, v16.4s",
            "scvtf v17.4s, v17.4s",
            "scvtf v18.4s, v18.4s",
            "scvtf v19.4s, v19.4s",
            "fmul v4.4s, v4.4s, v28.4s",
            "fmul v5.4s, v5.4s, v28.4s",
            "fmul v6.4s, v6.4s, v28.4s",
            "fmul v7.4s, v7.4s, v28.4s",
            "subs {groups}, {groups}, #1",
            "fmul v16.4s, v16.4s, v4.4s",
            "fmul v17.4s, v17.4s, v5.4s",
            "fmul v18.4s, v18.4s, v6.4s",
            "fmul v19.4s, v19.4s, v7.4s",
            "fadd {a:v}.4s, {a:v}.4s, v16.4s",
            "fadd {b:v}.4s, {b:v}.4s, v17.4s",
            "fadd {c:v}.4s, {c:v}.4s, v18.4s",
            "fadd {d:v}.4s, {d:v}.4s, v19.4s",
            "b.ne 2b",
            codes = inout(reg) panel.codes.as_ptr() => _,
            scales = inout(reg) panel.scales.as_ptr() => _,
            x = inout(reg) x.as_ptr() => _,
            groups = inout(reg) panel.codes.len() => _,
            step = in(reg) n * size_of::<Group>() - SCALE,
            a = inout(vreg) a,
            b = inout(vreg) b,
            c = inout(vreg) c,
            d = inout(vreg) d,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack)
        );
    }
    [a, b, c, d]
}

/// Multiplies two lines, rows 4 i .. 4 i + 4 of them in v`a`, v`b` (even) and v`c`, v`d` (odd), with a token's codes of
/// these columns in all quarters of v`x` and v`y`; the products go through four registers from v`t0` into the sums from
/// v`s0`, two rows each, by `sum`, `saddlp` or `sadalp`.
macro_rules! lines {
    ($sum:literal, $a:literal $b:literal $c:literal $d:literal, $x:literal $y:literal,
     $t0:literal $t1:literal $t2:literal $t3:literal, $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            "smull v", $t0, ".8h, v", $a, ".8b, v", $x, ".8b\n", "smull2 v", $t1, ".8h, v", $a, ".16b, v", $x,
            ".16b\n", "smull v", $t2, ".8h, v", $b, ".8b, v", $x, ".8b\n", "smull2 v", $t3, ".8h, v", $b, ".16b, v",
            $x, ".16b\n", "smlal v", $t0, ".8h, v", $c, ".8b, v", $y, ".8b\n", "smlal2 v", $t1, ".8h, v", $c,
            ".16b, v", $y, ".16b\n", "smlal v", $t2, ".8h, v", $d, ".8b, v", $y, ".8b\n", "smlal2 v", $t3, ".8h, v",
            $d, ".16b, v", $y, ".16b\n", $sum, " v", $s0, ".4s, v", $t0, ".8h\n", $sum, " v", $s1, ".4s, v", $t1,
            ".8h\n", $sum, " v", $s2, ".4s, v", $t2, ".8h\n", $sum, " v", $s3, ".4s, v", $t3, ".8h\n",
        )
    };
}

/// One operation on each of four registers, from the registers after it: `to`, `from`, and what they share or bring each.
macro_rules! each {
    ($op:literal, $($to:literal = $from:literal),+; $with:literal) => {
        concat!($($op, " v", $to, ".4s, v", $from, ".4s", $with, "\n"),+)
    };
    ($op:literal, $($to:literal = $from:literal, $with:literal);+) => {
        concat!($($op, " v", $to, ".4s, v", $from, ".4s, v", $with, ".4s\n"),+)
    };
}
pub(in super::super) use each;

/// Adds a group's products with one token to the 16 floats at `out`, in v0 to v3: eight sums of pairs of columns from v`s0`, the
/// scales of the rows in v4 to v7, that of the token in v`x`.s[0].
macro_rules! add_products {
    ($x:literal, $s0:literal $s1:literal $s2:literal $s3:literal $s4:literal $s5:literal $s6:literal $s7:literal) => {
        concat!(
            "ld1 {{v0.4s-v3.4s}}, [{out}]\n",
            each!("addp", $s0 = $s0, $s1; $s2 = $s2, $s3; $s4 = $s4, $s5; $s6 = $s6, $s7),
            "fmul v12.4s, v4.4s, v", $x, ".s[0]\n",
            "fmul v13.4s, v5.4s, v", $x, ".s[0]\n",
            "fmul v14.4s, v6.4s, v", $x, ".s[0]\n",
            "fmul v15.4s, v7.4s, v", $x, ".s[0]\n",
            each!("scvtf", $s0 = $s0, $s2 = $s2, $s4 = $s4, $s6 = $s6; ""),
            each!("fmul", 12 = 12, $s0; 13 = 13, $s2; 14 = 14, $s4; 15 = 15, $s6),
            each!("fadd", 0 = 0, 12; 1 = 1, 13; 2 = 2, 14; 3 = 3, 15),
        )
    };
}

/// Adds a group's products with one token to the 16 floats at `out`.
macro_rules! rescale {
    ($x:literal, $($sum:literal)+) => {
        concat!(add_products!($x, $($sum)+), "st1 {{v0.4s-v3.4s}}, [{out}], #64\n")
    };
}

/// The same where rows have offsets, at {scales}. They are multiplied with the scale of the token and with the sum of its codes. That
/// is the `start` of a `Group`, in v`x`.s[1], divided by -128, so that the products are subtracted: a sum of f32 that began with 0 is
/// never -0, and to subtract a product is to add its negative.
macro_rules! rescale_with_offsets {
    ($x:literal, $($sum:literal)+) => {
        concat!(
            add_products!($x, $($sum)+),
            "ld1 {{v12.4s-v15.4s}}, [{scales}]\n",
            "scvtf v9.2s, v", $x, ".2s, #7\n",
            "fmul v12.4s, v12.4s, v", $x, ".s[0]\n",
            "fmul v13.4s, v13.4s, v", $x, ".s[0]\n",
            "fmul v14.4s, v14.4s, v", $x, ".s[0]\n",
            "fmul v15.4s, v15.4s, v", $x, ".s[0]\n",
            each!("fmul", 12 = 12, 13 = 13, 14 = 14, 15 = 15; ", v9.s[1]"),
            each!("fsub", 0 = 0, 12; 1 = 1, 13; 2 = 2, 14; 3 = 3, 15),
            "st1 {{v0.4s-v3.4s}}, [{out}], #64\n",
        )
    };
}

/// The body of [`tile`], by what adds the sums of a group and what steps over the offsets.
macro_rules! tile_of_two {
    ($part:ident, $x:ident, $n:ident, $out:ident, $rescale:ident, $next_scales:literal) => {
        // SAFETY: `check` holds that there is at least one group and that all groups of the part and of the tokens lie in
        // their slices. Each round reads one group, 512 bytes of codes and 64 of scales, where there are offsets 64 more, one
        // `Group` of each token, and reads and writes the 128 bytes of `out`.
        unsafe {
            asm!(
                "2:",
                "ldp q0, q1, [{codes}]",
                "ldp q4, q5, [{codes}, #64]",
                "ldp q2, q3, [{codes}, #32]",
                "ldp q6, q7, [{codes}, #96]",
                "ld2r {{v8.4s, v9.4s}}, [{x}], #8",
                "ld2r {{v10.4s, v11.4s}}, [{y}], #8",
                lines!("saddlp", 0 1 4 5, 8 9, 12 13 14 15, 16 17 18 19),
                lines!("saddlp", 0 1 4 5, 10 11, 12 13 14 15, 24 25 26 27),
                "ldp q0, q1, [{codes}, #128]",
                "ldp q4, q5, [{codes}, #192]",
                lines!("saddlp", 2 3 6 7, 8 9, 12 13 14 15, 20 21 22 23),
                "ld2r {{v8.4s, v9.4s}}, [{x}], #8",
                lines!("saddlp", 2 3 6 7, 10 11, 12 13 14 15, 28 29 30 31),
                "ld2r {{v10.4s, v11.4s}}, [{y}], #8",
                "ldp q2, q3, [{codes}, #160]",
                "ldp q6, q7, [{codes}, #224]",
                lines!("sadalp", 0 1 4 5, 8 9, 12 13 14 15, 16 17 18 19),
                lines!("sadalp", 0 1 4 5, 10 11, 12 13 14 15, 24 25 26 27),
                "ldp q0, q1, [{codes}, #256]",
                "ldp q4, q5, [{codes}, #320]",
                lines!("sadalp", 2 3 6 7, 8 9, 12 13 14 15, 20 21 22 23),
                "ld2r {{v8.4s, v9.4s}}, [{x}], #8",
                lines!("sadalp", 2 3 6 7, 10 11, 12 13 14 15, 28 29 30 31),
                "ld2r {{v10.4s, v11.4s}}, [{y}], #8",
                "ldp q2, q3, [{codes}, #288]",
                "ldp q6, q7, [{codes}, #352]",
                lines!("sadalp", 0 1 4 5, 8 9, 12 13 14 15, 16 17 18 19),
                lines!("sadalp", 0 1 4 5, 10 11, 12 13 14 15, 24 25 26 27),
                "ldp q0, q1, [{codes}, #384]",
                "ldp q4, q5, [{codes}, #448]",
                lines!("sadalp", 2 3 6 7, 8 9, 12 13 14 15, 20 21 22 23),
                "ld2r {{v8.4s, v9.4s}}, [{x}], #8",
                lines!("sadalp", 2 3 6 7, 10 11, 12 13 14 15, 28 29 30 31),
                "ld2r {{v10.4s, v11.4s}}, [{y}], #8",
                "ldp q2, q3, [{codes}, #416]",
                "ldp q6, q7, [{codes}, #480]",
                lines!("sadalp", 0 1 4 5, 8 9, 12 13 14 15, 16 17 18 19),
                lines!("sadalp", 0 1 4 5, 10 11, 12 13 14 15, 24 25 26 27),
                lines!("sadalp", 2 3 6 7, 8 9, 12 13 14 15, 20 21 22 23),
                lines!("sadalp", 2 3 6 7, 10 11, 12 13 14 15, 28 29 30 31),
                "ld1 {{v4.4s-v7.4s}}, [{scales}], #64",
                "ld1 {{v8.2s}}, [{x}], {step}",
                "ld1 {{v10.2s}}, [{y}], {step}",
                $rescale!(8, 16 17 18 19 20 21 22 23),
                $rescale!(10, 24 25 26 27 28 29 30 31),
                $next_scales,
                "add {codes}, {codes}, #512",
                "subs {groups}, {groups}, #1",
                "sub {out}, {out}, #128",
                "b.ne 2b",
                codes = inout(reg) $part.codes.as_ptr() => _,
                scales = inout(reg) $part.scales.as_ptr() => _,
                x = inout(reg) $x.as_ptr() => _,
                y = inout(reg) $x[1..].as_ptr() => _,
                out = inout(reg) $out.as_mut_ptr() => _,
                groups = inout(reg) $part.codes.len() => _,
                step = in(reg) $n * size_of::<Group>() - SCALE,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                options(nostack)
            );
        }
    };
}

/// Adds the products of a part of a panel with the first two of each `n` groups of `x` to `out`, which lies in L1.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn tile(part: &Part<'_>, x: &[Group], n: usize, out: &mut [PanelOut; TOKENS]) {
    part.check(x, TOKENS, n);
    if part.has_offsets {
        tile_of_two!(part, x, n, out, rescale_with_offsets, "add {scales}, {scales}, #64");
    } else {
        tile_of_two!(part, x, n, out, rescale, "");
    }
}

/// Takes the codes of a line apart, four registers from v`r0`, whose upper halves stay there while the lower go to four from v`l0`, by
/// the mask in v`mask`, and makes values of them by `values`.
macro_rules! halves {
    ($values:ident, $mask:literal, $r0:literal $r1:literal $r2:literal $r3:literal, $l0:literal $l1:literal $l2:literal $l3:literal) => {
        concat!(
            halves!(@ "and", $l0 $r0, $l1 $r1, $l2 $r2, $l3 $r3; concat!("v", $mask, ".16b")),
            halves!(@ "ushr", $r0 $r0, $r1 $r1, $r2 $r2, $r3 $r3; "#4"),
            $values!($l0 $l1 $l2 $l3 $r0 $r1 $r2 $r3),
        )
    };
    (@ $op:literal, $($to:literal $from:literal),+; $with:expr) => {
        concat!($($op, " v", $to, ".16b, v", $from, ".16b, ", $with, "\n"),+)
    };
}

/// Values of codes by the table in v7.
macro_rules! by_table {
    ($($code:literal)+) => { concat!($("tbl v", $code, ".16b, {{v7.16b}}, v", $code, ".16b\n"),+) };
}

/// Values that are the codes themselves.
macro_rules! as_they_are {
    ($($code:literal)+) => {
        ""
    };
}

/// Widens 16 bytes of scales to v0 to v3: see [`planes::Head::scale`](crate::quant::planes::Head::scale). Sign, exponent and mantissa
/// lie in the upper half of an f32, where {bits} has ones; {exponent} is the exponent of the head there.
macro_rules! scales_of_bytes {
    () => {
        concat!(
            "ldr q0, [{scales}], #16\n",
            "dup v20.8h, {bits:w}\n",
            "dup v21.8h, {exponent:w}\n",
            "sshll v2.8h, v0.8b, #3\n",
            "sshll2 v3.8h, v0.16b, #3\n",
            "and v2.16b, v2.16b, v20.16b\n",
            "and v3.16b, v3.16b, v20.16b\n",
            "add v2.8h, v2.8h, v21.8h\n",
            "add v3.8h, v3.8h, v21.8h\n",
            "shll v0.4s, v2.4h, #16\n",
            "shll2 v1.4s, v2.8h, #16\n",
            "shll v2.4s, v3.4h, #16\n",
            "shll2 v3.4s, v3.8h, #16\n",
        )
    };
}

/// Widens 16 halves of scales to v0 to v3.
macro_rules! scales_of_halves {
    () => {
        concat!(
            "ld1 {{v0.8h, v1.8h}}, [{scales}], #32\n",
            "fcvtl v2.4s, v1.4h\n",
            "fcvtl2 v3.4s, v1.8h\n",
            "fcvtl2 v1.4s, v0.8h\n",
            "fcvtl v0.4s, v0.4h\n",
        )
    };
}

/// Widens 16 scales to v0 to v3 and 16 offsets to v20 to v23.
macro_rules! scales_and_offsets {
    () => {
        concat!(
            "ld1 {{v0.8h-v3.8h}}, [{scales}], #64\n",
            "fcvtl v20.4s, v2.4h\n",
            "fcvtl2 v21.4s, v2.8h\n",
            "fcvtl v22.4s, v3.4h\n",
            "fcvtl2 v23.4s, v3.8h\n",
            "fcvtl v2.4s, v1.4h\n",
            "fcvtl2 v3.4s, v1.8h\n",
            "fcvtl2 v1.4s, v0.8h\n",
            "fcvtl v0.4s, v0.4h\n",
        )
    };
}

/// Adds the products of 16 rows, integer sums in v16 to v19, scales of the rows in v0 to v3, that of the token in v6.s[0], to the f32
/// sums v12 to v15.
macro_rules! add_sums {
    () => {
        concat!(
            each!("scvtf", 16 = 16, 17 = 17, 18 = 18, 19 = 19; ""),
            each!("fmul", 0 = 0, 1 = 1, 2 = 2, 3 = 3; ", v6.s[0]"),
            each!("fmul", 16 = 16, 0; 17 = 17, 1; 18 = 18, 2; 19 = 19, 3),
            each!("fadd", 12 = 12, 16; 13 = 13, 17; 14 = 14, 18; 15 = 15, 19),
        )
    };
}

/// Adds those with the offsets v20 to v23, as [`rescale_with_offsets`] does.
macro_rules! add_offsets {
    () => {
        concat!(
            "scvtf v8.2s, v6.2s, #7\n",
            each!("fmul", 20 = 20, 21 = 21, 22 = 22, 23 = 23; ", v6.s[0]"),
            each!("fmul", 20 = 20, 21 = 21, 22 = 22, 23 = 23; ", v8.s[1]"),
            each!("fsub", 12 = 12, 20; 13 = 13, 21; 14 = 14, 22; 15 = 15, 23),
        )
    };
}

macro_rules! no_offsets {
    () => {
        ""
    };
}

/// The body of a function with `CODES` and `SCALES`: the products of one panel of codes of 4 bits with one token. A round of its loop
/// has `multiply`, a macro, multiply a group by the values of another, step over its codes and the token, and leave the integer sums
/// of 16 rows in v16 to v19, scale and `start` of the token in v6. It may use v0 to v4, v6, v8 to v11 and v16 to v31; v5 has 15 in all
/// bytes, v7 the table. It reads at most the 256 bytes at {codes}, the `Group` at {x} and what `operands` are for.
macro_rules! product_of_four_bits {
    ($panel:expr, $x:expr, $multiply:ident, operands: $operands:tt) => {{
        let head = Head::read($panel);
        let (scales, codes) = parts::<SCALES, CODES>($panel, $x.cols);
        assert!(CODES == group_bytes(4) && !codes.is_empty() && codes.len() == scales.len(), "groups of 4 bits");
        assert_eq!($x.groups.len(), codes.len(), "inputs of a panel");
        const { assert!(offset_of!(Group, scale) == 32 && offset_of!(Group, start) == 36 && size_of::<Group>() == 40) };
        let mut sums = [vdupq_n_f32(0.0); 4];
        let are_codes = head.levels == core::array::from_fn(|code| code as u8);
        macro_rules! run {
            ($values:ident, $widen:ident, $offsets:ident, $more:tt) => {
                product_of_four_bits!(
                    @ head, scales, codes, $x, sums, $multiply, $values, $widen, $offsets, $operands, $more
                )
            };
        }
        match SCALES {
            BYTES => run!(
                by_table, scales_of_bytes, no_offsets,
                [bits = in(reg) 0x83f8_u32, exponent = in(reg) head.exponent << 7,]
            ),
            HALVES => run!(by_table, scales_of_halves, no_offsets, []),
            OFFSETS if are_codes => run!(as_they_are, scales_and_offsets, add_offsets, []),
            _ => run!(by_table, scales_and_offsets, add_offsets, []),
        }
        sums
    }};
    (@ $head:ident, $scales:ident, $codes:ident, $x:expr, $sums:ident, $multiply:ident, $values:ident, $widen:ident, $offsets:ident,
     [$($operand:tt)*], [$($more:tt)*]) => {
        // SAFETY: there is at least one group, there are as many groups of scales and of the token, and those of codes have 256
        // bytes, as the assertions hold. Each round reads one group of codes, one `Group`, the scales of a group, which have as many
        // bytes as `widen` reads where it is chosen, and what `operands` are for; nothing is written.
        unsafe {
            asm!(
                "2:",
                $multiply!($values),
                $widen!(),
                "subs {groups}, {groups}, #1",
                add_sums!(),
                $offsets!(),
                "b.ne 2b",
                codes = inout(reg) $codes.as_ptr() => _,
                scales = inout(reg) $scales.as_ptr() => _,
                x = inout(reg) $x.groups.as_ptr() => _,
                groups = inout(reg) $codes.len() => _,
                $($operand)*
                $($more)*
                inout("v12") $sums[0], inout("v13") $sums[1], inout("v14") $sums[2], inout("v15") $sums[3],
                in("v5") vdupq_n_s8(0x0f),
                in("v7") must_cast::<_, int8x16_t>($head.levels),
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v6") _,
                out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                options(readonly, nostack)
            );
        }
    };
}
pub(in super::super) use {
    add_offsets, add_sums, as_they_are, by_table, halves, no_offsets, product_of_four_bits, scales_and_offsets,
    scales_of_bytes, scales_of_halves,
};

/// Multiplies the codes of a line by halves, as values in v8 to v11 and v0 to v3, with v`x` and v`y`, which have the codes of the token
/// in all quarters, and adds the products to v16 to v23 as i16, two rows each. `first` is `smull` where nothing is there yet.
macro_rules! narrow_line {
    ($values:ident, $first:literal, $x:literal $y:literal) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64\n",
            halves!($values, 5, 0 1 2 3, 8 9 10 11),
            narrow_line!(@ $first, $x, 16 17 8, 18 19 9, 20 21 10, 22 23 11),
            narrow_line!(@ "smlal", $y, 16 17 0, 18 19 1, 20 21 2, 22 23 3),
        )
    };
    (@ $op:literal, $x:literal, $($even:literal $odd:literal $w:literal),+) => {
        concat!($(
            $op, " v", $even, ".8h, v", $w, ".8b, v", $x, ".8b\n",
            $op, "2 v", $odd, ".8h, v", $w, ".16b, v", $x, ".16b\n",
        )+)
    };
}

/// Multiplies a group of codes of 4 bits whose values are at most 32 in magnitude: eight products fit into an i16.
macro_rules! narrow_group {
    ($values:ident) => {
        concat!(
            "ld4r {{v24.4s-v27.4s}}, [{x}], #16\n",
            "ld4r {{v28.4s-v31.4s}}, [{x}], #16\n",
            narrow_line!($values, "smull", 24 28),
            narrow_line!($values, "smlal", 25 29),
            narrow_line!($values, "smlal", 26 30),
            narrow_line!($values, "smlal", 27 31),
            "ldr d6, [{x}], #8\n",
            narrow_group!(@ 16 17 18 19 20 21 22 23),
            each!("addp", 16 = 16, 17; 17 = 18, 19; 18 = 20, 21; 19 = 22, 23),
        )
    };
    (@ $($sum:literal)+) => { concat!($("saddlp v", $sum, ".4s, v", $sum, ".8h\n"),+) };
}

/// The products of one panel of codes of 4 bits, whose values are at most 32 in magnitude, with one token.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn narrow_product<const CODES: usize, const SCALES: usize>(panel: &[u8], x: &Tokens<'_>) -> Row {
    product_of_four_bits!(panel, x, narrow_group, operands: [])
}
