//! 32-bit ARM with NEON (Pi 2; Pi 3, 4 and Zero 2 under a 32-bit system): int8 dot products as in `neon`, by `vmull`,
//! `vmlal` and `vpadal`. Every kernel is the same as in [`scalar`](super::scalar), bit for bit.
//!
//! NEON of ARMv7 flushes subnormals, so that no f32 goes through it: scales and sums are plain Rust, which the compiler
//! gives to VFP. Intrinsics for this architecture are not stable, hence assembly. It names what it overwrites as d registers:
//! where the target has no NEON the compiler drops q registers from such a list, and d16 to d31 only if it cannot use them.
#![allow(unsafe_code)]

use super::attention::{BLOCK, Blocks, KvHeadInt8, Query, check_queries, quantize_queries, rotate_outputs};
use super::kv4::{KvHeadQ4, Unpacked};
use super::lanes::widen;
use super::online_softmax::{attend, by_panel, softmax};
use super::scalar::{check_matmul, check_matvec, quantize, quantize_group};
use super::{Group, PanelOut, Tokens};
use crate::quant::planes::{self, Head, LEVELS, LINE_BYTES, OFFSETS};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, scale_bytes, t2};
use core::arch::asm;
use core::ops::Range;

/// Same as [`scalar::int8_matvec`](super::scalar::int8_matvec).
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::Int8, cols);
    check_matvec(panels, bytes, out);
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        // SAFETY: the contract of this function.
        unsafe { int8_matmul(panel, cols, x, core::slice::from_mut(out)) };
    }
}

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul).
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    let n = out.len();
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), n);
    let (scales, codes) = panel.split_at(scale_bytes(cols));
    out.fill([0.0; PANEL_ROWS]);
    for ((codes, scales), x) in codes.as_chunks().0.iter().zip(scales.as_chunks().0).zip(x.chunks_exact(n)) {
        let scales = widen_16(scales);
        for (x, out) in x.iter().zip(out.iter_mut()) {
            // SAFETY: the contract of this function.
            let dots = unsafe { dots(codes, &x.codes) };
            for r in 0..PANEL_ROWS {
                out[r] += dots[r] as f32 * (scales[r] * x.scale);
            }
        }
    }
}

/// Same as [`scalar`](super::scalar)'s product of one token with weights of `BITS` bits.
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn planes_matvec<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &Tokens<'_>,
    out: &mut [f32],
) {
    let bytes = panel_bytes(dtype, x.cols);
    check_matvec(panels, bytes, out);
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        // SAFETY: the contract of this function.
        unsafe { planes_matmul::<BITS, CODES, SCALES>(dtype, panel, x, core::slice::from_mut(out)) };
    }
}

/// Same as [`scalar`](super::scalar)'s product of some tokens with weights of `BITS` bits. The codes of a group are put together
/// once for all tokens.
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn planes_matmul<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panel: &[u8],
    x: &Tokens<'_>,
    out: &mut [PanelOut],
) {
    let n = out.len();
    check_matmul(dtype, panel, x.cols, x.groups.len(), groups(x.cols), n);
    let head = Head::read(panel);
    let (scales, planes) = planes::parts::<SCALES, CODES>(panel, x.cols);
    let zero = u32::from(planes::zero(BITS, SCALES));
    let mut codes = [0; PANEL_ROWS * GROUP_SIZE];
    out.fill([0.0; PANEL_ROWS]);
    for ((planes, scales), x) in planes.iter().zip(scales).zip(x.groups.chunks_exact(n)) {
        let lines = planes.as_chunks::<LINE_BYTES>().0;
        for (j, out) in codes.as_chunks_mut::<LINE_BYTES>().0.iter_mut().enumerate() {
            let down = if j < 4 { 0 } else { -4 };
            // SAFETY: the contract of this function.
            unsafe {
                match BITS {
                    4 => level_line(&lines[j % 4], down, &head.levels, out),
                    5 => integer_line([&lines[j % 4], &lines[4]], [down, 4 - j as i32], [0x10, zero], out),
                    _ => {
                        let up = 4 - 2 * (j % 4) as i32;
                        integer_line([&lines[j % 4], &lines[4 + j / 4]], [down, up], [0x30, zero], out);
                    }
                }
            }
        }
        let scales = planes::scalings(&head, scales);
        for (x, out) in x.iter().zip(out.iter_mut()) {
            // SAFETY: the contract of this function.
            let dots = unsafe { dots(&codes, &x.codes) };
            for r in 0..PANEL_ROWS {
                out[r] += dots[r] as f32 * (scales[r].scale * x.scale);
                if SCALES == OFFSETS {
                    out[r] += x.sum() as f32 * (scales[r].offset * x.scale);
                }
            }
        }
    }
}

/// Same as [`scalar`](super::scalar)'s product of one token with weights of three values.
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn ternary_matvec(panels: &[u8], x: &Tokens<'_>, out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::T2, x.cols);
    check_matvec(panels, bytes, out);
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        // SAFETY: the contract of this function.
        unsafe { ternary_matmul(panel, x, core::slice::from_mut(out)) };
    }
}

/// Same as [`scalar`](super::scalar)'s product of some tokens with weights of three values, whose codes are put together once for all
/// tokens.
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn ternary_matmul(panel: &[u8], x: &Tokens<'_>, out: &mut [PanelOut]) {
    let n = out.len();
    check_matmul(Dtype::T2, panel, x.cols, x.groups.len(), groups(x.cols), n);
    let (scales, (_, planes)) = (t2::scales(panel), t2::parts(panel, x.cols));
    out.fill([0.0; PANEL_ROWS]);
    for (planes, x) in planes.iter().zip(x.groups.chunks_exact(n)) {
        let codes = t2::values(planes);
        for (x, out) in x.iter().zip(out.iter_mut()) {
            // SAFETY: the contract of this function.
            let dots = unsafe { dots(&codes, &x.codes) };
            for r in 0..PANEL_ROWS {
                out[r] += dots[r] as f32 * (scales[r] * x.scale);
            }
        }
    }
}

/// Does an instruction with each of the registers named.
macro_rules! each {
    ($name:literal, $($operands:literal)+) => { concat!($($name, " ", $operands, "\n",)+) };
}

/// The levels of the codes in the lower (`shift` 0) or upper (-4) halves of the bytes of a line.
///
/// # Safety
///
/// The CPU has NEON.
#[inline]
unsafe fn level_line(line: &[u8; LINE_BYTES], shift: i32, levels: &[u8; LEVELS], out: &mut [u8; LINE_BYTES]) {
    // SAFETY: the CPU has NEON. The 64 bytes of the line and the 16 levels are read, the 64 of `out` written; no instruction
    // asks for alignment.
    unsafe {
        asm!(
            ".fpu neon",
            "vld1.8 {{d0-d3}}, [{line}]!",
            "vld1.8 {{d4-d7}}, [{line}]",
            "vld1.8 {{d16, d17}}, [{levels}]",
            "vdup.8 q9, {shift}",
            "vmov.i8 q10, #15",
            each!("vshl.u8", "q0, q0, q9" "q1, q1, q9" "q2, q2, q9" "q3, q3, q9"),
            each!("vand", "q0, q0, q10" "q1, q1, q10" "q2, q2, q10" "q3, q3, q10"),
            each!("vtbl.8", "d0, {{d16, d17}}, d0" "d1, {{d16, d17}}, d1" "d2, {{d16, d17}}, d2" "d3, {{d16, d17}}, d3"),
            each!("vtbl.8", "d4, {{d16, d17}}, d4" "d5, {{d16, d17}}, d5" "d6, {{d16, d17}}, d6" "d7, {{d16, d17}}, d7"),
            "vst1.8 {{d0-d3}}, [{out}]!",
            "vst1.8 {{d4-d7}}, [{out}]",
            line = inout(reg) line.as_ptr() => _,
            levels = in(reg) levels.as_ptr(),
            shift = in(reg) shift,
            out = inout(reg) out.as_mut_ptr() => _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d16") _, out("d17") _, out("d18") _, out("d19") _, out("d20") _, out("d21") _,
            options(nostack, preserves_flags)
        );
    }
}

/// The codes of a line of the low plane and one of a plane above it, shifted to the left by `shifts`, the latter with the bits of
/// `mask`; less `offset`.
///
/// # Safety
///
/// The CPU has NEON.
#[inline]
unsafe fn integer_line(
    [low, high]: [&[u8; LINE_BYTES]; 2],
    shifts: [i32; 2],
    [mask, offset]: [u32; 2],
    out: &mut [u8; LINE_BYTES],
) {
    // SAFETY: the CPU has NEON. The 64 bytes of each line are read, the 64 of `out` written; no instruction asks for alignment.
    unsafe {
        asm!(
            ".fpu neon",
            "vld1.8 {{d0-d3}}, [{low}]!",
            "vld1.8 {{d4-d7}}, [{low}]",
            "vld1.8 {{d16-d19}}, [{high}]!",
            "vld1.8 {{d20-d23}}, [{high}]",
            "vdup.8 q12, {down}",
            "vdup.8 q13, {up}",
            "vmov.i8 q14, #15",
            "vdup.8 q15, {mask}",
            each!("vshl.u8", "q0, q0, q12" "q1, q1, q12" "q2, q2, q12" "q3, q3, q12"),
            each!("vshl.u8", "q8, q8, q13" "q9, q9, q13" "q10, q10, q13" "q11, q11, q13"),
            each!("vand", "q0, q0, q14" "q1, q1, q14" "q2, q2, q14" "q3, q3, q14"),
            each!("vand", "q8, q8, q15" "q9, q9, q15" "q10, q10, q15" "q11, q11, q15"),
            "vdup.8 q15, {offset}",
            each!("vorr", "q0, q0, q8" "q1, q1, q9" "q2, q2, q10" "q3, q3, q11"),
            each!("vsub.i8", "q0, q0, q15" "q1, q1, q15" "q2, q2, q15" "q3, q3, q15"),
            "vst1.8 {{d0-d3}}, [{out}]!",
            "vst1.8 {{d4-d7}}, [{out}]",
            low = inout(reg) low.as_ptr() => _,
            high = inout(reg) high.as_ptr() => _,
            down = in(reg) shifts[0],
            up = in(reg) shifts[1],
            mask = in(reg) mask,
            offset = in(reg) offset,
            out = inout(reg) out.as_mut_ptr() => _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d16") _, out("d17") _, out("d18") _, out("d19") _, out("d20") _, out("d21") _, out("d22") _, out("d23") _,
            out("d24") _, out("d25") _, out("d26") _, out("d27") _, out("d28") _, out("d29") _, out("d30") _, out("d31") _,
            options(nostack, preserves_flags)
        );
    }
}

/// Same as [`scalar::attend_int8`](super::scalar::attend_int8).
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn attend_int8(queries: &mut [Query<'_>], mut head: &KvHeadInt8<'_>) {
    // SAFETY: the contract of this function.
    unsafe { attend_blocks(queries, &mut head) };
}

/// Same as [`scalar::attend_q4`](super::scalar::attend_q4).
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn attend_q4(queries: &mut [Query<'_>], head: &KvHeadQ4<'_>) {
    // SAFETY: the contract of this function.
    unsafe { attend_blocks(queries, &mut Unpacked::new(head)) };
}

/// Attention over blocks that are read as int8.
///
/// # Safety
///
/// The CPU has NEON.
unsafe fn attend_blocks<B: Blocks>(queries: &mut [Query<'_>], blocks: &mut B) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| blocks.n_blocks(head_dim));
    let quantized = quantize_queries::<B>(queries, |q, out| quantize(q, head_dim, out));
    let scores = |blocks: &B, first: usize, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let panel = blocks.key_panel(panel, head_dim);
        for (q, out) in quantized[first..][..queries.len()].iter().zip(out) {
            // SAFETY: the contract of this function.
            unsafe { int8_matmul(panel, head_dim, &q[..groups(head_dim)], core::slice::from_mut(out)) };
        }
    };
    let weigh = |blocks: &B, queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        for values in blocks.values(block, head_dim) {
            let (low, high) = values.scales.split_at(PANEL_ROWS * 2);
            let scales =
                [widen_16(low.as_chunks().0.first().expect("16")), widen_16(high.as_chunks().0.first().expect("16"))];
            for (query, p) in queries.iter_mut().zip(p) {
                let mut weighted = [0.0; BLOCK];
                for j in seen.clone() {
                    weighted[j] = p[j] * scales.as_flattened()[j];
                }
                let weights = quantize_group(&weighted);
                let out = query.out[values.start..].chunks_mut(PANEL_ROWS);
                for (codes, out) in values.codes.iter().zip(out) {
                    // SAFETY: the contract of this function.
                    let dots = unsafe { dots(codes, &weights.codes) };
                    out.iter_mut().zip(dots).for_each(|(y, dot)| *y += dot as f32 * weights.scale);
                }
            }
        }
    };
    attend(
        queries,
        n_blocks,
        blocks,
        |blocks, block| blocks.prepare(block, head_dim),
        |s, first, queries, slot, seen, p| by_panel(slot, seen, p, |panel, out| scores(s, first, queries, panel, out)),
        softmax,
        weigh,
    );
    rotate_outputs::<B>(queries);
}

/// 16 halves, as bytes, widened.
#[inline]
fn widen_16(halves: &[u8; PANEL_ROWS * 2]) -> [f32; PANEL_ROWS] {
    core::array::from_fn(|r| widen(u16::from_le_bytes([halves[2 * r], halves[2 * r + 1]])))
}

/// Multiplies two lines of codes, 16 rows, with a token's codes of these columns: pairs of products go through three
/// registers into the sums q8 to q15, two rows each, by `sum`, `vpaddl` or `vpadal`.
macro_rules! two_lines {
    ($sum:literal) => {
        concat!(
            "vld1.32 {{d8[]}}, [{x}]!\n",
            "vld1.32 {{d9[]}}, [{x}]!\n",
            "vld1.8 {{d0-d3}}, [{even}]!\n",
            "vld1.8 {{d4-d7}}, [{odd}]!\n",
            "vmull.s8 q5, d0, d8\n",
            "vmull.s8 q6, d1, d8\n",
            "vmull.s8 q7, d2, d8\n",
            "vmlal.s8 q5, d4, d9\n",
            "vmlal.s8 q6, d5, d9\n",
            "vmlal.s8 q7, d6, d9\n",
            $sum,
            " q8, q5\n",
            "vmull.s8 q5, d3, d8\n",
            $sum,
            " q9, q6\n",
            "vmlal.s8 q5, d7, d9\n",
            $sum,
            " q10, q7\n",
            "vld1.8 {{d0-d3}}, [{even}]\n",
            "vld1.8 {{d4-d7}}, [{odd}]\n",
            "add {even}, {even}, #96\n",
            "add {odd}, {odd}, #96\n",
            $sum,
            " q11, q5\n",
            "vmull.s8 q5, d0, d8\n",
            "vmull.s8 q6, d1, d8\n",
            "vmull.s8 q7, d2, d8\n",
            "vmlal.s8 q5, d4, d9\n",
            "vmlal.s8 q6, d5, d9\n",
            "vmlal.s8 q7, d6, d9\n",
            $sum,
            " q12, q5\n",
            "vmull.s8 q5, d3, d8\n",
            $sum,
            " q13, q6\n",
            "vmlal.s8 q5, d7, d9\n",
            $sum,
            " q14, q7\n",
            $sum,
            " q15, q5\n",
        )
    };
}

/// The exact dot products of one group of 16 rows `[8][16][4]` with 32 codes.
///
/// # Safety
///
/// The CPU has NEON.
#[inline]
unsafe fn dots(codes: &[u8; PANEL_ROWS * GROUP_SIZE], x: &[i8; GROUP_SIZE]) -> [i32; PANEL_ROWS] {
    let mut out = [0; PANEL_ROWS];
    // SAFETY: the CPU has NEON. The 512 bytes of codes and the 32 of `x` are read, the 64 of `out` written; no
    // instruction asks for alignment.
    unsafe {
        asm!(
            ".fpu neon",
            two_lines!("vpaddl.s16"),
            two_lines!("vpadal.s16"),
            two_lines!("vpadal.s16"),
            two_lines!("vpadal.s16"),
            "vpadd.i32 d0, d16, d17",
            "vpadd.i32 d1, d18, d19",
            "vpadd.i32 d2, d20, d21",
            "vpadd.i32 d3, d22, d23",
            "vpadd.i32 d4, d24, d25",
            "vpadd.i32 d5, d26, d27",
            "vpadd.i32 d6, d28, d29",
            "vpadd.i32 d7, d30, d31",
            "vst1.32 {{d0-d3}}, [{out}]!",
            "vst1.32 {{d4-d7}}, [{out}]",
            even = inout(reg) codes.as_ptr() => _,
            odd = inout(reg) codes[4 * PANEL_ROWS..].as_ptr() => _,
            x = inout(reg) x.as_ptr() => _,
            out = inout(reg) out.as_mut_ptr() => _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _, out("d12") _, out("d13") _, out("d14") _, out("d15") _,
            out("d16") _, out("d17") _, out("d18") _, out("d19") _, out("d20") _, out("d21") _, out("d22") _, out("d23") _,
            out("d24") _, out("d25") _, out("d26") _, out("d27") _, out("d28") _, out("d29") _, out("d30") _, out("d31") _,
            options(nostack, preserves_flags)
        );
    }
    out
}

/// See [`Peaks::quantized`](super::Peaks::quantized).
///
/// # Safety
///
/// The CPU has NEON.
pub(super) unsafe fn int8_peak(rounds: usize) -> u64 {
    for _ in 0..rounds {
        // SAFETY: the CPU has NEON; only registers are used.
        unsafe {
            asm!(
                ".fpu neon",
                "vmull.s8 q0, d8, d9",
                "vmull.s8 q1, d8, d9",
                "vmull.s8 q2, d8, d9",
                "vmull.s8 q3, d8, d9",
                "vmlal.s8 q0, d10, d11",
                "vmlal.s8 q1, d10, d11",
                "vmlal.s8 q2, d10, d11",
                "vmlal.s8 q3, d10, d11",
                "vpadal.s16 q8, q0",
                "vpadal.s16 q9, q1",
                "vpadal.s16 q10, q2",
                "vpadal.s16 q11, q3",
                "vmull.s8 q0, d8, d11",
                "vmull.s8 q1, d8, d11",
                "vmull.s8 q2, d8, d11",
                "vmull.s8 q3, d8, d11",
                "vmlal.s8 q0, d10, d9",
                "vmlal.s8 q1, d10, d9",
                "vmlal.s8 q2, d10, d9",
                "vmlal.s8 q3, d10, d9",
                "vpadal.s16 q12, q0",
                "vpadal.s16 q13, q1",
                "vpadal.s16 q14, q2",
                "vpadal.s16 q15, q3",
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _, out("d6") _, out("d7") _,
                out("d16") _, out("d17") _, out("d18") _, out("d19") _, out("d20") _, out("d21") _, out("d22") _, out("d23") _,
                out("d24") _, out("d25") _, out("d26") _, out("d27") _, out("d28") _, out("d29") _, out("d30") _, out("d31") _,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
    (rounds * 8 * 16) as u64
}
