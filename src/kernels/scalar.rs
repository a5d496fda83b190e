//! The truth: every kernel in plain Rust. Every other backend computes the same bits.

use super::Activation;
use super::attention::{BLOCK, Blocks, KvHead, KvHeadInt8, Query, check_queries, quantize_queries, rotate_outputs};
use super::kv4::{KvHeadQ4, Unpacked};
use super::lanes::{sum, widen};
use super::math::exp;
use super::rows;
#[cfg(not(feature = "std"))]
use super::soft::Soft;
use super::{Group, PanelOut, ProductTable, Products, TILE, Tokens};
use crate::quant::planes::{self, Codes, Head, OFFSETS, Scaling};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, scale_bytes, t2};
use core::borrow::Borrow;
use core::convert::identity;
use core::hint::black_box;

/// Checks the arguments of [`quantize`] and returns n.
#[inline]
pub(super) fn check_quantize(x: &[f32], cols: usize, out: &[Group]) -> usize {
    assert!(cols > 0 && x.len().is_multiple_of(cols), "{} inputs in rows of {cols}", x.len());
    let n = x.len() / cols;
    assert_eq!(out.len(), groups(cols) * n, "groups of {n} tokens of {cols} columns");
    n
}

/// Checks the arguments of a matvec over panels of `bytes` bytes.
#[inline]
pub(super) fn check_matvec(panels: &[u8], bytes: usize, out: &[f32]) {
    assert!(bytes > 0, "a panel has at least one column");
    assert_eq!(panels.len() % bytes, 0, "whole panels");
    assert_eq!(out.len(), panels.len() / bytes * PANEL_ROWS, "16 outputs a panel");
}

/// Checks the arguments of a matmul over a panel of `cols` columns; `x` holds `per_token` elements a token.
#[inline]
pub(super) fn check_matmul(dtype: Dtype, panel: &[u8], cols: usize, x: usize, per_token: usize, n: usize) {
    assert!(cols > 0 && (1..=TILE).contains(&n), "{n} tokens of {cols} columns");
    assert_eq!(panel.len(), panel_bytes(dtype, cols), "bytes of a panel of {cols} columns");
    assert_eq!(x, per_token * n, "inputs of {n} tokens");
}

/// Scale of a group whose largest magnitude has the bits `largest`: see [`Group::scale`].
#[inline(always)]
pub(super) fn group_scale(largest: u32) -> f32 {
    if largest >= 0x7f80_0000 {
        return f32::NAN;
    }
    let scale = f32::from_bits(largest) / 127.0;
    if scale < f32::MIN_POSITIVE { 0.0 } else { scale }
}

/// Quantizes inputs with one scale, which it returns: see [`Group`].
pub fn quantize_codes(x: &[f32], codes: &mut [i8]) -> f32 {
    let largest = x.iter().fold(0, |m, v| v.abs().to_bits().max(m));
    let scale = group_scale(largest);
    codes.fill(0);
    if scale > 0.0 {
        for (code, v) in codes.iter_mut().zip(x) {
            *code = (v / scale).round_ties_even() as i8;
        }
    }
    scale
}

/// Quantizes up to 32 inputs; the codes past them are 0.
pub(super) fn quantize_group(x: &[f32]) -> Group {
    let mut group = Group::ZERO;
    group.scale = quantize_codes(x, &mut group.codes);
    group.start = -128 * group.codes.iter().map(|&code| i32::from(code)).sum::<i32>();
    group
}

/// See [`Kernels::quantize`](super::Kernels::quantize).
pub fn quantize(x: &[f32], cols: usize, out: &mut [Group]) {
    let n = check_quantize(x, cols, out);
    for (t, row) in x.chunks_exact(cols).enumerate() {
        for (g, x) in row.chunks(GROUP_SIZE).enumerate() {
            out[g * n + t] = quantize_group(x);
        }
    }
}

/// The products of a format of [`planes`] with codes of so many bits and so many bytes of scales a group.
macro_rules! planes_products {
    ($dtype:expr, $bits:literal, $scales:ident) => {
        Products {
            matvec: |panels, x, _, out| {
                let bytes = panel_bytes($dtype, x.cols);
                check_matvec(panels, bytes, out);
                for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
                    planes_matmul::<$bits, { planes::group_bytes($bits) }, { planes::$scales }>(
                        panel,
                        x,
                        core::slice::from_mut(out),
                    );
                }
            },
            matmul: |panel, x, _, out| {
                check_matmul($dtype, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
                planes_matmul::<$bits, { planes::group_bytes($bits) }, { planes::$scales }>(panel, x, out);
            },
        }
    };
}

/// The products of each weight format, in the order of [`Dtype::ALL`].
pub const PRODUCTS: ProductTable = ProductTable([
    Products {
        matvec: |panels, x, _, out| f32_matvec(panels, x.floats, out),
        matmul: |panel, x, _, out| f32_matmul(panel, x.cols, x.floats, out),
    },
    Products {
        matvec: |panels, x, _, out| f16_matvec(panels, x.floats, out),
        matmul: |panel, x, _, out| f16_matmul(panel, x.cols, x.floats, out),
    },
    Products {
        matvec: |panels, x, _, out| int8_matvec(panels, x.cols, x.groups, out),
        matmul: |panel, x, _, out| int8_matmul(panel, x.cols, x.groups, out),
    },
    planes_products!(Dtype::Q4, 4, BYTES),
    planes_products!(Dtype::Q5, 5, BYTES),
    planes_products!(Dtype::Q6, 6, BYTES),
    Products {
        matvec: |panels, x, _, out| {
            let bytes = panel_bytes(Dtype::T2, x.cols);
            check_matvec(panels, bytes, out);
            for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
                ternary_matmul(panel, x, core::slice::from_mut(out));
            }
        },
        matmul: |panel, x, _, out| {
            check_matmul(Dtype::T2, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
            ternary_matmul(panel, x, out);
        },
    },
    planes_products!(Dtype::Q4h, 4, HALVES),
    planes_products!(Dtype::Q4m, 4, OFFSETS),
    planes_products!(Dtype::Q5h, 5, HALVES),
    planes_products!(Dtype::Q5m, 5, OFFSETS),
]);

/// Product of consecutive int8 `panels` with one token `x` (groups): `out` (panels * 16).
pub fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::Int8, cols);
    check_matvec(panels, bytes, out);
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        int8_matmul(panel, cols, x, core::slice::from_mut(out));
    }
}

/// Product of one int8 `panel` with the n tokens of `x` (groups, n): `out` (n, 16).
pub fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), out.len());
    let (scales, codes) = panel.split_at(scale_bytes(cols));
    let scales = scales.as_chunks::<{ PANEL_ROWS * 2 }>().0;
    group_matmul(codes.as_chunks().0, scales, x, out, identity::<&Codes>, |scales| {
        core::array::from_fn(|r| Scaling { scale: read_f16(scales, r), offset: 0.0 })
    });
}

/// Product of one panel of planes of `CODES` bytes a group, of codes of `BITS` bits, and `SCALES` bytes of scales a group, with the n
/// tokens of `x`: `out` (n, 16).
fn planes_matmul<const BITS: usize, const CODES: usize, const SCALES: usize>(
    panel: &[u8],
    x: &Tokens<'_>,
    out: &mut [PanelOut],
) {
    let head = Head::read(panel);
    let (scales, codes) = planes::parts::<SCALES, CODES>(panel, x.cols);
    let unpack = |codes: &[u8; CODES]| planes::values::<BITS, SCALES>(&head, codes);
    group_matmul(codes, scales, x.groups, out, unpack, |scales| planes::scalings(&head, scales));
}

/// Product of one panel of weights of three values with the n tokens of `x`: `out` (n, 16).
fn ternary_matmul(panel: &[u8], x: &Tokens<'_>, out: &mut [PanelOut]) {
    let scales = t2::scales(panel).map(|scale| Scaling { scale, offset: 0.0 });
    let (none, codes) = t2::parts(panel, x.cols);
    group_matmul(codes, none, x.groups, out, t2::values, |_| scales);
}

/// The products of one panel with the n tokens of `x` (groups, n), whatever the packing: of the bytes of a group `unpack` makes
/// the codes and `widen` the scales. An offset is added to every weight of its row, and so meets the sum of the inputs.
#[inline(always)]
fn group_matmul<'a, const BYTES: usize, const SCALES: usize, C: Borrow<Codes>>(
    codes: &'a [[u8; BYTES]],
    scales: &[[u8; SCALES]],
    x: &[Group],
    out: &mut [PanelOut],
    unpack: impl Fn(&'a [u8; BYTES]) -> C,
    widen: impl Fn(&[u8; SCALES]) -> [Scaling; PANEL_ROWS],
) {
    let n = out.len();
    out.fill([0.0; PANEL_ROWS]);
    for ((codes, scales), x) in codes.iter().zip(scales).zip(x.chunks_exact(n)) {
        let (codes, scales) = (unpack(codes), widen(scales));
        for (x, out) in x.iter().zip(out.iter_mut()) {
            let dots = int8_dots(codes.borrow(), &x.codes);
            for r in 0..PANEL_ROWS {
                out[r] += dots[r] as f32 * (scales[r].scale * x.scale);
                if SCALES == OFFSETS {
                    out[r] += x.sum() as f32 * (scales[r].offset * x.scale);
                }
            }
        }
    }
}

/// The exact dot products of one group of 16 rows `[8][16][4]` with 32 inputs.
fn int8_dots(codes: &Codes, x: &[i8; GROUP_SIZE]) -> [i32; PANEL_ROWS] {
    let mut dots = [0; PANEL_ROWS];
    for (line, x) in codes.as_chunks::<{ PANEL_ROWS * 4 }>().0.iter().zip(x.as_chunks::<4>().0) {
        for (dot, w) in dots.iter_mut().zip(line.as_chunks::<4>().0) {
            for i in 0..4 {
                *dot += i32::from(w[i].cast_signed()) * i32::from(x[i]);
            }
        }
    }
    dots
}

fn read_f16(bytes: &[u8], index: usize) -> f32 {
    widen(u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]))
}

/// Product of consecutive fp16 `panels` with one token `x` (cols): `out` (panels * 16).
pub fn f16_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F16, panels, x, out, f16_matmul);
}

/// Product of one fp16 `panel` with the n tokens of `x` (n, cols): `out` (n, 16).
pub fn f16_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F16, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks::<{ PANEL_ROWS * 2 }>().0, cols, x, out, read_f16);
}

/// Product of consecutive f32 `panels` with one token `x` (cols): `out` (panels * 16).
pub fn f32_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F32, panels, x, out, f32_matmul);
}

/// Product of one f32 `panel` with the n tokens of `x` (n, cols): `out` (n, 16).
pub fn f32_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F32, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks::<{ PANEL_ROWS * 4 }>().0, cols, x, out, |bytes, index| {
        f32::from_bits(u32::from_le_bytes(bytes.as_chunks::<4>().0[index]))
    });
}

/// A matvec as one matmul of one token a panel.
fn float_matvec(
    dtype: Dtype,
    panels: &[u8],
    x: &[f32],
    out: &mut [f32],
    matmul: fn(&[u8], usize, &[f32], &mut [PanelOut]),
) {
    let bytes = panel_bytes(dtype, x.len());
    check_matvec(panels, bytes, out);
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        matmul(panel, x.len(), x, core::slice::from_mut(out));
    }
}

/// `out[t][r]` = fused sum over k in order of `w[k][r] * x[t][k]`, from 0. `lines` are the 16 weights of each k.
#[inline(always)]
fn float_matmul<const BYTES: usize>(
    lines: &[[u8; BYTES]],
    cols: usize,
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8], usize) -> f32,
) {
    out.fill([0.0; PANEL_ROWS]);
    for (k, line) in lines[..cols].iter().enumerate() {
        let w: [f32; PANEL_ROWS] = core::array::from_fn(|r| read(line, r));
        for (x, out) in x.chunks_exact(cols).zip(out.iter_mut()) {
            for r in 0..PANEL_ROWS {
                out[r] = w[r].mul_add(x[k], out[r]);
            }
        }
    }
}

/// See [`Kernels::attend_f16`](super::Kernels::attend_f16).
pub fn attend_f16(queries: &mut [Query<'_>], head: &KvHead<'_, u16>) {
    let (_, n_blocks) = check_queries(queries, |head_dim| head.n_blocks(head_dim));
    queries.iter_mut().for_each(|query| attend_float(query, head, n_blocks, widen));
}

/// See [`Kernels::attend_f32`](super::Kernels::attend_f32).
pub fn attend_f32(queries: &mut [Query<'_>], head: &KvHead<'_, f32>) {
    let (_, n_blocks) = check_queries(queries, |head_dim| head.n_blocks(head_dim));
    queries.iter_mut().for_each(|query| attend_float(query, head, n_blocks, |v| v));
}

fn attend_float<E: Copy>(query: &mut Query<'_>, head: &KvHead<'_, E>, n_blocks: usize, widen: impl Fn(E) -> f32) {
    let head_dim = query.q.len();
    let scores = |_: &mut (), q: &[f32], panel: usize| {
        let mut scores = [0.0; PANEL_ROWS];
        let keys = &head.keys[panel * PANEL_ROWS * head_dim..];
        for (&q, k) in q.iter().zip(keys.as_chunks::<PANEL_ROWS>().0) {
            for r in 0..PANEL_ROWS {
                scores[r] += q * widen(k[r]);
            }
        }
        scores
    };
    attend(query, n_blocks, &mut (), scores, |_, out, p, block, seen| {
        for j in seen {
            let v = &head.values[(block * BLOCK + j) * head_dim..][..head_dim];
            for (y, &v) in out.iter_mut().zip(v) {
                *y += p[j] * widen(v);
            }
        }
    });
}

/// See [`Kernels::attend_int8`](super::Kernels::attend_int8).
pub fn attend_int8(queries: &mut [Query<'_>], mut head: &KvHeadInt8<'_>) {
    attend_blocks(queries, &mut head);
}

/// See [`Kernels::attend_q4`](super::Kernels::attend_q4).
pub fn attend_q4(queries: &mut [Query<'_>], head: &KvHeadQ4<'_>) {
    attend_blocks(queries, &mut Unpacked::new(head));
}

fn attend_blocks<B: Blocks>(queries: &mut [Query<'_>], blocks: &mut B) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| blocks.n_blocks(head_dim));
    let quantized = quantize_queries::<B>(queries, |q, out| quantize(q, head_dim, out));
    for (query, quantized) in queries.iter_mut().zip(&quantized) {
        let scores = |blocks: &mut B, _: &[f32], panel: usize| {
            blocks.prepare(panel * PANEL_ROWS / BLOCK, head_dim);
            let mut scores = [PanelOut::default()];
            let x = &quantized[..groups(head_dim)];
            int8_matmul(blocks.key_panel(panel, head_dim), head_dim, x, &mut scores);
            scores[0]
        };
        attend(query, n_blocks, blocks, scores, |blocks, out, p, block, seen| {
            for values in blocks.values(block, head_dim) {
                let mut weights = [0.0; BLOCK];
                for j in seen.clone() {
                    weights[j] = p[j] * read_f16(values.scales, j);
                }
                let weights = quantize_group(&weights);
                for (codes, out) in values.codes.iter().zip(out[values.start..].chunks_mut(PANEL_ROWS)) {
                    for (y, dot) in out.iter_mut().zip(int8_dots(codes, &weights.codes)) {
                        *y += dot as f32 * weights.scale;
                    }
                }
            }
        });
    }
    rotate_outputs::<B>(queries);
}

/// Attention of one query over a ring of `n_blocks` blocks, block by block: `scores(s, q, panel)` are the products with 16 keys,
/// `weigh(s, out, p, block, seen)` adds the values of the places `seen` of a block weighted by `p`; panels and blocks are
/// slots of the ring.
#[inline(always)]
fn attend<S>(
    query: &mut Query<'_>,
    n_blocks: usize,
    s: &mut S,
    scores: impl Fn(&mut S, &[f32], usize) -> [f32; PANEL_ROWS],
    weigh: impl Fn(&S, &mut [f32], &[f32; BLOCK], usize, core::ops::Range<usize>),
) {
    let Query { q, out, visible, scoring } = query;
    let scale = 1.0 / (q.len() as f32).sqrt();
    let (mut max, mut total) = scoring.start();
    out.fill(0.0);
    for block in visible.start / BLOCK..visible.end.div_ceil(BLOCK) {
        let (first, slot) = (block * BLOCK, block % n_blocks);
        let seen = visible.start.max(first) - first..visible.end.min(first + BLOCK) - first;
        let mut p = [f32::NEG_INFINITY; BLOCK];
        let before = max;
        for j in seen.clone() {
            if j == seen.start || j == PANEL_ROWS {
                p.as_chunks_mut().0[j / PANEL_ROWS] = scores(s, q, (slot * BLOCK + j) / PANEL_ROWS);
            }
            p[j] = scoring.apply(p[j] * scale, (visible.end - 1 - (first + j)) as f32);
            max = if p[j] > max { p[j] } else { max };
        }
        for (j, p) in p.iter_mut().enumerate() {
            *p = if seen.contains(&j) { exp(*p - max) } else { 0.0 };
        }
        let correction = if max > before { exp(before - max) } else { 1.0 };
        total = total * correction + sum(&p);
        for y in out.iter_mut() {
            *y *= correction;
        }
        weigh(s, out, &p, slot, seen);
    }
    for y in out.iter_mut() {
        *y /= total;
    }
}

/// See [`Kernels::rms_norm`](super::Kernels::rms_norm).
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    rows::rms_norm(x, weight, eps, y);
}

/// See [`Kernels::rms_norm_in_place`](super::Kernels::rms_norm_in_place).
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    rows::rms_norm_in_place(x, weight, eps);
}

/// See [`Kernels::layer_norm`](super::Kernels::layer_norm).
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    rows::layer_norm(x, weight, bias, eps, y);
}

/// See [`Kernels::gate`](super::Kernels::gate).
pub fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    rows::gate(activation, gate, up);
}

/// See [`Kernels::activate`](super::Kernels::activate).
pub fn activate(activation: Activation, x: &mut [f32]) {
    rows::activate(activation, x);
}

/// See [`Kernels::soft_cap`](super::Kernels::soft_cap).
pub fn soft_cap(x: &mut [f32], cap: f32) {
    rows::soft_cap(x, cap);
}

/// See [`Kernels::add`](super::Kernels::add).
pub fn add(x: &mut [f32], y: &[f32]) {
    rows::add(x, y);
}

/// See [`Kernels::conv`](super::Kernels::conv).
pub fn conv(panels: &[f32], width: usize, inputs: &[&[f32]], out: &mut [f32]) {
    rows::conv(panels, width, inputs, out);
}

/// See [`Kernels::unit_length`](super::Kernels::unit_length).
pub fn unit_length(x: &mut [f32], dim: usize, divisor: f32) {
    rows::unit_length(x, dim, divisor);
}

/// See [`Kernels::delta`](super::Kernels::delta).
pub fn delta(state: &mut [f32], q: &[f32], k: &[f32], v: &[f32], decay: f32, strength: f32) {
    rows::delta(state, q, k, v, decay, strength);
}

/// See [`Kernels::scan`](super::Kernels::scan).
pub fn scan(state: &mut [f32], c: &[f32], b: &[f32], x: &[f32], decay: f32, step: f32) {
    rows::scan(state, c, b, x, decay, step);
}

/// See [`Kernels::selective_scan`](super::Kernels::selective_scan).
pub fn selective_scan(state: &mut [f32], rates: &[f32], c: &[f32], b: &[f32], x: &[f32], steps: &[f32]) {
    rows::selective_scan(state, rates, c, b, x, steps);
}

/// See [`Kernels::rope`](super::Kernels::rope).
pub fn rope(x: &mut [f32], angles: &[f32], head_dim: usize) {
    rows::rope(x, angles, head_dim);
}

/// Independent sums of a peak: they fill several vector registers of any width.
const PEAK_SUMS: usize = 32;

/// See [`Peaks::quantized`](super::Peaks::quantized): pairs of products of codes that are already widened to i16.
pub fn int8_peak(rounds: usize) -> u64 {
    let (mut w, mut x) = ([[3_i16; 2]; PEAK_SUMS], [[5_i16; 2]; PEAK_SUMS]);
    let mut sums = [0_i32; PEAK_SUMS];
    for _ in 0..rounds {
        black_box((&mut w, &mut x));
        for i in 0..PEAK_SUMS {
            let products = i32::from(w[i][0]) * i32::from(x[i][0]) + i32::from(w[i][1]) * i32::from(x[i][1]);
            sums[i] = sums[i].wrapping_add(products);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 2) as u64
}

/// See [`Peaks::floats`](super::Peaks::floats): fused, as the products are, even where that is a call of a function.
pub fn f32_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(0.75_f32), black_box(0.25_f32));
    let mut sums = black_box([2.0_f32; PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_add(w, x);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_nothing_of_tiny_and_of_infinite_inputs() {
        assert_eq!(quantize_group(&[0.0; 32]), Group::ZERO);
        assert_eq!(quantize_group(&[-1e-37; 5]), Group::ZERO);
        assert_eq!(quantize_group(&[f32::from_bits(1); 5]), Group::ZERO);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let group = quantize_group(&[1.0, bad, 2.0]);
            assert!(group.scale.is_nan());
            assert_eq!((group.codes, group.start), ([0; GROUP_SIZE], 0));
        }
    }

    #[test]
    fn codes_round_to_even_and_reach_127() {
        let group = quantize_group(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0]);
        assert_eq!(group.scale, 1.0);
        assert_eq!(group.codes[..8], [127, 0, 2, 2, 0, -2, -127, 0]);
        assert_eq!(group.start, -256);
        for largest in [f32::MAX, 2.0e-36, 3.3, 1.0 / 3.0] {
            assert_eq!(quantize_group(&[largest, -largest]).codes[..2], [127, -127]);
        }
    }
}
