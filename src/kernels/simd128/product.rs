//! Products with quantized inputs, written once for every packing of the codes.
//!
//! A register holds 4 columns of 4 rows. Their even and their odd columns are extended to i16, and multiplied with those of the
//! token, which every row meets: `i32x4.dot_i16x8` adds the products of a row. It is one instruction of x86. ARM has it in three,
//! and would need fewer for sums of i16, with which x86 takes a quarter more time.

use super::super::scalar::{check_matmul, check_matvec};
use super::super::{Group, PanelOut, Products, Tokens};
use super::Row;
use crate::quant::{Dtype, PANEL_ROWS, groups, panel_bytes};
use bytemuck::{must_cast, must_cast_mut};
use core::arch::wasm32::*;

/// Lines of a group: 4 columns of 16 rows each.
const LINES: usize = 8;
/// Panels of a matvec that meet an input before the next: it is extended once for all of them.
const STREAMS: usize = 4;
/// Tokens of a matmul that meet a line before the next: their sums stay in registers.
const TOKENS: usize = 4;

/// How panels of a weight format hold their codes.
pub(in super::super) trait Packing {
    /// The format.
    const DTYPE: Dtype;
    /// There are offsets.
    const OFFSETS: bool = false;
    /// What the groups of a panel share.
    type Head;
    /// The scales of a group.
    type Scales: 'static;
    /// The codes of a group.
    type Codes: 'static;

    /// A panel: its head, and by group its scales and codes.
    fn open(panel: &[u8], cols: usize) -> (Self::Head, &[Self::Scales], &[Self::Codes]);
    /// The values of the columns `4 j .. 4 j + 4` of the rows `4 i .. 4 i + 4`, as i8.
    fn values(head: &Self::Head, codes: &Self::Codes, j: usize, i: usize) -> v128;
    /// The scales of 16 rows, and the offsets, which are not read where there are none.
    fn scales(head: &Self::Head, scales: &Self::Scales) -> [Row; 2];
}

/// The products of a format.
pub(in super::super) const fn products<P: Packing>() -> Products {
    Products {
        matvec: |panels, x, _hint, out| matvec::<P>(panels, x, out),
        matmul: |panel, x, _hint, out| matmul::<P>(panel, x, out),
    }
}

/// The even and the odd columns of 4 columns, as i16: those of a row in each quarter of a register.
type Line = [v128; 2];

/// The lines of bytes.
#[inline(always)]
fn split(bytes: v128) -> Line {
    [i16x8_shr(i16x8_shl(bytes, 8), 8), i16x8_shr(bytes, 8)]
}

/// A group of a token, for every row.
#[derive(Clone, Copy)]
pub(super) struct Input {
    lines: [Line; LINES],
    scale: v128,
    /// The sum of the codes, as f32.
    sum: v128,
}

impl Input {
    #[inline(always)]
    pub(super) fn new(x: &Group) -> Self {
        let halves: [v128; 2] = must_cast(x.codes);
        let [low, high] = halves.map(|half| {
            let line = split(half);
            [
                line.map(|x| i32x4_shuffle::<0, 0, 0, 0>(x, x)),
                line.map(|x| i32x4_shuffle::<1, 1, 1, 1>(x, x)),
                line.map(|x| i32x4_shuffle::<2, 2, 2, 2>(x, x)),
                line.map(|x| i32x4_shuffle::<3, 3, 3, 3>(x, x)),
            ]
        });
        let lines = [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]];
        Input { lines, scale: f32x4_splat(x.scale), sum: f32x4_splat(x.sum() as f32) }
    }
}

/// The exact dot products of 4 rows with each of N tokens; `values(j)` are those of line j.
#[inline(always)]
pub(super) fn dots<const N: usize>(values: impl Fn(usize) -> v128, x: &[Input; N]) -> [v128; N] {
    let mut sums = [i32x4_splat(0); N];
    for j in 0..LINES {
        let [even, odd] = split(values(j));
        for (sum, x) in sums.iter_mut().zip(x) {
            let x = &x.lines[j];
            *sum = i32x4_add(i32x4_add(*sum, i32x4_dot_i16x8(even, x[0])), i32x4_dot_i16x8(odd, x[1]));
        }
    }
    sums
}

/// A panel as the loops over its groups read it.
struct Panel<'a, P: Packing> {
    head: P::Head,
    scales: &'a [P::Scales],
    codes: &'a [P::Codes],
}

impl<'a, P: Packing> Panel<'a, P> {
    #[inline(always)]
    fn open(panel: &'a [u8], cols: usize) -> Self {
        let (head, scales, codes) = P::open(panel, cols);
        Panel { head, scales, codes }
    }

    /// Adds the products of group `g` with each of N tokens to `out`.
    #[inline(always)]
    fn add<const N: usize>(&self, g: usize, x: &[Input; N], out: &mut [PanelOut]) {
        let Panel { head, scales, codes } = self;
        let [scales, offsets] = P::scales(head, &scales[g]);
        for i in 0..4 {
            let dots = dots(|j| P::values(head, &codes[g], j, i), x);
            for ((out, x), dots) in out.iter_mut().zip(x).zip(dots) {
                let out: &mut [[f32; 4]; 4] = must_cast_mut(out);
                let products = f32x4_mul(f32x4_convert_i32x4(dots), f32x4_mul(scales[i], x.scale));
                let mut sums = f32x4_add(must_cast(out[i]), products);
                if P::OFFSETS {
                    sums = f32x4_add(sums, f32x4_mul(x.sum, f32x4_mul(offsets[i], x.scale)));
                }
                out[i] = must_cast(sums);
            }
        }
    }
}

/// The product of a panel with one token.
#[inline(always)]
pub(super) fn product<P: Packing>(panel: &[u8], cols: usize, x: &[Group], out: &mut PanelOut) {
    let panel = Panel::<P>::open(panel, cols);
    *out = [0.0; PANEL_ROWS];
    for (g, x) in x.iter().enumerate() {
        panel.add(g, &[Input::new(x)], core::slice::from_mut(out));
    }
}

/// Same as [`scalar`](super::super::scalar)'s product of one token with weights of a format.
fn matvec<P: Packing>(panels: &[u8], x: &Tokens<'_>, out: &mut [f32]) {
    let bytes = panel_bytes(P::DTYPE, x.cols);
    check_matvec(panels, bytes, out);
    assert_eq!(x.groups.len(), groups(x.cols), "groups of {} columns", x.cols);
    let out = out.as_chunks_mut::<PANEL_ROWS>().0;
    for (panels, out) in panels.chunks(STREAMS * bytes).zip(out.chunks_mut(STREAMS)) {
        out.fill([0.0; PANEL_ROWS]);
        let last = out.len() - 1;
        let panels: [_; STREAMS] =
            core::array::from_fn(|p| Panel::<P>::open(&panels[p.min(last) * bytes..][..bytes], x.cols));
        for (g, x) in x.groups.iter().enumerate() {
            let x = [Input::new(x)];
            for (panel, out) in panels.iter().zip(out.iter_mut()) {
                panel.add(g, &x, core::slice::from_mut(out));
            }
        }
    }
}

/// Same as [`scalar`](super::super::scalar)'s product of some tokens with weights of a format.
fn matmul<P: Packing>(panel: &[u8], x: &Tokens<'_>, out: &mut [PanelOut]) {
    check_matmul(P::DTYPE, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    let panel = Panel::<P>::open(panel, x.cols);
    let n = out.len();
    out.fill([0.0; PANEL_ROWS]);
    for (g, x) in x.groups.chunks_exact(n).enumerate() {
        let (x, x_rest) = x.as_chunks::<TOKENS>();
        let (out, out_rest) = out.as_chunks_mut::<TOKENS>();
        for (x, out) in x.iter().zip(out) {
            panel.add(g, &x.each_ref().map(Input::new), out);
        }
        for (x, out) in x_rest.iter().zip(out_rest) {
            panel.add(g, &[Input::new(x)], core::slice::from_mut(out));
        }
    }
}
