//! int8 products: `smull` and `smlal` multiply to i16 and add two products, `sadalp` adds pairs of these to i32. The sum of
//! two products is at most 2 * 128 * 127 = 32512 and fits an i16 for every weight byte.
#![allow(unsafe_code)]

use super::super::scalar::{check_matmul, check_matvec, check_quantize, group_scale};
use super::super::{Group, PanelOut};
use super::{Row, padded, widen};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, scale_bytes};
use bytemuck::{must_cast, must_cast_ref, must_cast_slice};
use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::offset_of;

/// Tokens whose integer sums stay in registers, 16 rows each.
const TOKENS: usize = 2;
/// Offset of the scale of a group, where its codes end.
const SCALE: usize = offset_of!(Group, scale);

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
    matmul::<TOKENS>(panel, cols, x, out, |p, x, n| product(p, x, n), |p, x, n, out| tile(p, x, n, out));
}

/// The codes of one group of 16 rows: lines of 4 columns.
pub(in super::super) type Codes = [[i8; 4 * PANEL_ROWS]; 8];
/// Dot products of 16 rows.
pub(in super::super) type Dots = [int32x4_t; 4];

/// The scales and codes of a panel by group.
pub(in super::super) struct Int8Panel<'a> {
    pub(in super::super) scales: &'a [[u8; PANEL_ROWS * 2]],
    pub(in super::super) codes: &'a [Codes],
}

impl<'a> Int8Panel<'a> {
    #[inline]
    pub(super) fn new(panel: &'a [u8], cols: usize) -> Self {
        let (scales, codes) = panel.split_at(scale_bytes(cols));
        let codes = must_cast_slice::<[u8; PANEL_ROWS * GROUP_SIZE], Codes>(codes.as_chunks().0);
        let n = groups(cols);
        Int8Panel { scales: &scales.as_chunks().0[..n], codes: &codes[..n] }
    }

    /// Holds that there is a group, and that `x` has `tokens` of each `n` groups for all of them.
    #[inline]
    pub(in super::super) fn check(&self, x: &[Group], tokens: usize, n: usize) {
        let groups = self.codes.len();
        assert!(groups > 0 && groups == self.scales.len(), "a panel of at least one column");
        assert!(tokens <= n && x.len() >= (groups - 1) * n + tokens, "inputs of a tile");
    }
}

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

/// [`int8_matmul`] by the product of a panel with one token and with a tile of N, which lie at the start of each `n`
/// groups: `product(panel, x, n)`, `tile(panel, x, n, out)`.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn matmul<const N: usize>(
    panel: &[u8],
    cols: usize,
    x: &[Group],
    out: &mut [PanelOut],
    product: impl Fn(&Int8Panel<'_>, &[Group], usize) -> Row,
    tile: impl Fn(&Int8Panel<'_>, &[Group], usize, &mut [PanelOut; N]),
) {
    let n = out.len();
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), n);
    let panel = Int8Panel::new(panel, cols);
    let (tiles, rest) = out.as_chunks_mut();
    let first_rest = tiles.len() * N;
    for (i, out) in tiles.iter_mut().enumerate() {
        tile(&panel, &x[i * N..], n, out);
    }
    for (i, out) in rest.iter_mut().enumerate() {
        *out = must_cast(product(&panel, &x[first_rest + i..], n));
    }
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

/// The products of one panel with one token, whose groups are the first of each `n` in `x`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn product(panel: &Int8Panel<'_>, x: &[Group], n: usize) -> Row {
    let [mut a, mut b, mut c, mut d] = [vdupq_n_f32(0.0); 4];
    panel.check(x, 1, n);
    // SAFETY: `check` holds that there is at least one group and that all groups of the panel and of the token lie in
    // their slices. Each round reads one group: 512 bytes of codes, 32 of scales, 36 of a `Group`; nothing is written.
    unsafe {
        asm!(
            "2:",
            "ld4r {{v28.4s-v31.4s}}, [{x}], #16",
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            "ld1 {{v4.16b-v7.16b}}, [{codes}], #64",
            lines!("saddlp", 0 1 4 5, 28 29, 8 9 10 11, 16 17 18 19),
            lines!("saddlp", 2 3 6 7, 28 29, 12 13 14 15, 20 21 22 23),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            "ld1 {{v4.16b-v7.16b}}, [{codes}], #64",
            lines!("sadalp", 0 1 4 5, 30 31, 8 9 10 11, 16 17 18 19),
            lines!("sadalp", 2 3 6 7, 30 31, 12 13 14 15, 20 21 22 23),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            "ld1 {{v4.16b-v7.16b}}, [{codes}], #64",
            "ld4r {{v28.4s-v31.4s}}, [{x}], #16",
            lines!("sadalp", 0 1 4 5, 28 29, 8 9 10 11, 16 17 18 19),
            lines!("sadalp", 2 3 6 7, 28 29, 12 13 14 15, 20 21 22 23),
            "ld1 {{v0.16b-v3.16b}}, [{codes}], #64",
            "ld1 {{v4.16b-v7.16b}}, [{codes}], #64",
            lines!("sadalp", 0 1 4 5, 30 31, 8 9 10 11, 16 17 18 19),
            lines!("sadalp", 2 3 6 7, 30 31, 12 13 14 15, 20 21 22 23),
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
fn tile(panel: &Int8Panel<'_>, x: &[Group], n: usize, out: &mut [PanelOut; TOKENS]) {
    *out = [[0.0; PANEL_ROWS]; TOKENS];
    panel.check(x, TOKENS, n);
    // SAFETY: `check` holds that there is at least one group and that all groups of the panel and of the tokens lie in
    // their slices. Each round reads one group, 512 bytes of codes and 32 of scales, 36 bytes of a `Group` of each
    // token, and reads and writes the 128 bytes of `out`.
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

/// The exact dot products of a group with one token.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn dots(codes: &Codes, x: &Group) -> Dots {
    let codes: &[[[i8; 16]; 4]; 8] = must_cast_ref(codes);
    let x: &[[i8; 4]; 8] = must_cast_ref(&x.codes);
    std::array::from_fn(|i| {
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
