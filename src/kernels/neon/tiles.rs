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
//! | tile of 2 | 4.2 | 6.5 | 3.8 | 2.5 | 2.0 |
#![allow(unsafe_code)]

use super::super::{Group, PanelOut};
use super::Row;
use super::panel::Int8Panel;
use crate::quant::PANEL_ROWS;
use core::arch::aarch64::vdupq_n_f32;
use core::arch::asm;
use core::mem::offset_of;

/// Tokens of a tile, whose integer sums stay in registers, 16 rows each.
pub(super) const TOKENS: usize = 2;
/// Offset of the scale of a group, where its codes end.
const SCALE: usize = offset_of!(Group, scale);

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

/// Adds a group's products with one token to the 16 floats at `out`: eight sums of pairs of columns from v`s0`, the scales
/// of the rows in v4 to v7, that of the token in v`x`.
macro_rules! rescale {
    ($x:literal, $s0:literal $s1:literal $s2:literal $s3:literal $s4:literal $s5:literal $s6:literal $s7:literal) => {
        concat!(
            "ld1 {{v0.4s-v3.4s}}, [{out}]\n",
            "addp v",
            $s0,
            ".4s, v",
            $s0,
            ".4s, v",
            $s1,
            ".4s\n",
            "addp v",
            $s2,
            ".4s, v",
            $s2,
            ".4s, v",
            $s3,
            ".4s\n",
            "addp v",
            $s4,
            ".4s, v",
            $s4,
            ".4s, v",
            $s5,
            ".4s\n",
            "addp v",
            $s6,
            ".4s, v",
            $s6,
            ".4s, v",
            $s7,
            ".4s\n",
            "fmul v12.4s, v4.4s, v",
            $x,
            ".4s\n",
            "fmul v13.4s, v5.4s, v",
            $x,
            ".4s\n",
            "fmul v14.4s, v6.4s, v",
            $x,
            ".4s\n",
            "fmul v15.4s, v7.4s, v",
            $x,
            ".4s\n",
            "scvtf v",
            $s0,
            ".4s, v",
            $s0,
            ".4s\n",
            "scvtf v",
            $s2,
            ".4s, v",
            $s2,
            ".4s\n",
            "scvtf v",
            $s4,
            ".4s, v",
            $s4,
            ".4s\n",
            "scvtf v",
            $s6,
            ".4s, v",
            $s6,
            ".4s\n",
            "fmul v12.4s, v12.4s, v",
            $s0,
            ".4s\n",
            "fmul v13.4s, v13.4s, v",
            $s2,
            ".4s\n",
            "fmul v14.4s, v14.4s, v",
            $s4,
            ".4s\n",
            "fmul v15.4s, v15.4s, v",
            $s6,
            ".4s\n",
            "fadd v0.4s, v0.4s, v12.4s\n",
            "fadd v1.4s, v1.4s, v13.4s\n",
            "fadd v2.4s, v2.4s, v14.4s\n",
            "fadd v3.4s, v3.4s, v15.4s\n",
            "st1 {{v0.4s-v3.4s}}, [{out}], #64\n",
        )
    };
}

/// The products of one panel with the first two of each `n` groups of `x`. The f32 sums stay in `out`, which lies in L1.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn tile(panel: &Int8Panel<'_>, x: &[Group], n: usize, out: &mut [PanelOut; TOKENS]) {
    *out = [[0.0; PANEL_ROWS]; TOKENS];
    panel.check(x, TOKENS, n);
    // SAFETY: `check` holds that there is at least one group and that all groups of the panel and of the tokens lie in
    // their slices. Each round reads one group, 512 bytes of codes and 32 of scales, the codes and the scale of a `Group`
    // of each token, and reads and writes the 128 bytes of `out`.
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
            "ld1 {{v2.8h, v3.8h}}, [{scales}], #32",
            "ld1r {{v8.4s}}, [{x}], {step}",
            "ld1r {{v10.4s}}, [{y}], {step}",
            "fcvtl v4.4s, v2.4h",
            "fcvtl2 v5.4s, v2.8h",
            "fcvtl v6.4s, v3.4h",
            "fcvtl2 v7.4s, v3.8h",
            rescale!(8, 16 17 18 19 20 21 22 23),
            rescale!(10, 24 25 26 27 28 29 30 31),
            "add {codes}, {codes}, #512",
            "subs {groups}, {groups}, #1",
            "sub {out}, {out}, #128",
            "b.ne 2b",
            codes = inout(reg) panel.codes.as_ptr() => _,
            scales = inout(reg) panel.scales.as_ptr() => _,
            x = inout(reg) x.as_ptr() => _,
            y = inout(reg) x[1..].as_ptr() => _,
            out = inout(reg) out.as_mut_ptr() => _,
            groups = inout(reg) panel.codes.len() => _,
            step = in(reg) n * size_of::<Group>() - SCALE,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
}
