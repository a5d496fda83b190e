//! `y = x w^T + bias`: the products of a layer's inputs with a matrix, in any dtype of weights.

use super::buffer::buffer;
use crate::compute::Compute;
use crate::error::Result;
use crate::kernels::{Activation, Group, PanelOut, TILE, Tokens};
use crate::quant::{Inputs, Matrix, PANEL_ROWS, groups, panel_bytes};
use crate::threads::{Columns, MatricesBody};
use alloc::vec::Vec;
use core::ops::Range;

/// Multiply-adds below which a part of a product is not worth a thread: some microseconds of work.
const MIN_MACS: u64 = 1 << 16;
/// Panels of one matvec call.
const PANELS_AT_ONCE: usize = 8;

/// Scratch for quantized inputs, allocated once.
pub struct Activations {
    groups: Vec<Group>,
}

/// The inputs of an op: `x` (T, cols) and, where weights want it, its quantized form.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    x: &'a [f32],
    cols: usize,
    /// Tiles of [`TILE`] tokens, the last one shorter, each (groups, n).
    quantized: Option<&'a [Group]>,
}

impl Activations {
    /// Scratch for up to `max_tokens` tokens of up to `max_cols` columns; fails where there is no memory for it.
    pub fn new(max_tokens: usize, max_cols: usize) -> Result<Self> {
        Ok(Activations { groups: buffer(max_tokens, groups(max_cols), Group::ZERO)? })
    }

    /// Bytes of scratch for up to `max_tokens` tokens of up to `max_cols` columns.
    pub fn bytes(max_tokens: usize, max_cols: usize) -> u64 {
        ((size_of::<Group>() * groups(max_cols)) as u64).saturating_mul(max_tokens as u64)
    }

    /// The inputs `x` (T, cols) in every form that `wanted` names, quantized once.
    pub fn load<'a>(
        &'a mut self,
        compute: &Compute,
        x: &'a [f32],
        cols: usize,
        wanted: impl IntoIterator<Item = Inputs>,
    ) -> Input<'a> {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "{} inputs in rows of {cols}", x.len());
        let n_tokens = x.len() / cols;
        if n_tokens == 0 || wanted.into_iter().all(|inputs| inputs == Inputs::Floats) {
            return Input { x, cols, quantized: None };
        }
        let needed = n_tokens * groups(cols);
        assert!(needed <= self.groups.len(), "scratch for {} groups, {needed} needed", self.groups.len());
        let out = &mut self.groups[..needed];
        let tile = TILE * groups(cols);
        let min_tiles = MIN_MACS.div_ceil((16 * TILE) as u64 * cols as u64) as usize;
        compute.threads.run_columns(out, needed, tile, min_tiles, &|tiles, mut columns| {
            let out = columns.row(0);
            let x = &x[tiles.start * TILE * cols..(tiles.end * TILE).min(n_tokens) * cols];
            for (x, out) in x.chunks(TILE * cols).zip(out.chunks_mut(tile)) {
                (compute.kernels.quantize)(x, cols, out);
            }
        });
        Input { x, cols, quantized: Some(out) }
    }
}

impl Input<'_> {
    /// The inputs as they are, (T, cols).
    pub fn floats(&self) -> &[f32] {
        self.x
    }

    /// Number of tokens, T.
    pub fn n_tokens(&self) -> usize {
        self.x.len() / self.cols
    }
}

/// A linear layer: `y = x w^T + bias`.
#[derive(Clone, Copy)]
pub struct Linear<'a> {
    /// (out, in).
    pub weight: Matrix<'a>,
    /// (out), where there is one.
    pub bias: Option<&'a [f32]>,
}

impl Linear<'_> {
    /// The form of inputs that the weights want.
    pub fn inputs(&self) -> Inputs {
        self.weight.dtype().format().inputs
    }

    /// Checks the shapes and that the inputs have the form wanted; `y` are the outputs.
    fn check(&self, input: &Input<'_>, y: &[f32]) {
        let (rows, n_tokens) = (self.weight.rows(), input.n_tokens());
        assert_eq!(self.weight.cols(), input.cols, "columns of the weights and of the inputs");
        assert_eq!(y.len(), n_tokens * rows, "outputs of {n_tokens} tokens and {rows} rows");
        assert!(self.bias.is_none_or(|bias| bias.len() == rows), "a bias for each of {rows} rows");
        let has_form = input.quantized.is_some() || self.inputs() == Inputs::Floats;
        assert!(has_form || n_tokens == 0, "inputs that were quantized");
    }
}

/// `y` (T, rows) = `input` (T, cols) times the transpose of the weights (rows, cols), plus the bias, for each of `layers`,
/// in one region.
///
/// Panics where the shapes do not fit, or where the input was not loaded in the form that the weights want.
pub fn linear<const N: usize>(compute: &Compute, layers: [(&Linear<'_>, &mut [f32]); N], input: &Input<'_>) {
    layers.iter().for_each(|(layer, y)| layer.check(input, y));
    let weights = layers.each_ref().map(|(layer, _)| **layer);
    let ys = layers.map(|(layer, y)| (y, layer.weight.rows()));
    run(compute, ys, input, &|i, panels, mut y| {
        let mut out = [PanelOut::default(); TILE];
        for piece in pieces(panels.clone(), input.n_tokens()) {
            let out = products(compute, &weights[i], input, &piece, &mut out);
            piece.store(out, panels.start, &mut y, copy);
        }
    });
}

/// `x += input w^T + bias`, x being the residual stream (T, rows).
pub fn linear_add(compute: &Compute, layer: &Linear<'_>, input: &Input<'_>, x: &mut [f32]) {
    layer.check(input, x);
    run(compute, [(x, layer.weight.rows())], input, &|_, panels, mut x| {
        let mut out = [PanelOut::default(); TILE];
        for piece in pieces(panels.clone(), input.n_tokens()) {
            let out = products(compute, layer, input, &piece, &mut out);
            piece.store(out, panels.start, &mut x, |x, out| (compute.kernels.add)(x, out));
        }
    });
}

/// `y` (T, hidden_dim) = activation(gate) * up, the products of two layers with `input`, which are never stored (Shazeer 2020).
pub fn linear_gated(
    compute: &Compute,
    activation: Activation,
    gate: &Linear<'_>,
    up: &Linear<'_>,
    input: &Input<'_>,
    y: &mut [f32],
) {
    gate.check(input, y);
    up.check(input, y);
    run(compute, [(y, gate.weight.rows())], input, &|_, panels, mut y| {
        let (mut out, mut factors) = ([PanelOut::default(); TILE], [PanelOut::default(); TILE]);
        for piece in pieces(panels.clone(), input.n_tokens()) {
            let out = products(compute, gate, input, &piece, &mut out);
            let factors = products(compute, up, input, &piece, &mut factors);
            (compute.kernels.gate)(activation, out.as_flattened_mut(), factors.as_flattened());
            piece.store(out, panels.start, &mut y, copy);
        }
    });
}

/// Shares the panels of the outputs `ys`, each with its rows, between threads.
fn run<const N: usize>(
    compute: &Compute,
    ys: [(&mut [f32], usize); N],
    input: &Input<'_>,
    body: &MatricesBody<'_, f32>,
) {
    if input.n_tokens() > 0 {
        let macs = PANEL_ROWS as u64 * input.cols as u64 * input.n_tokens() as u64;
        let min_panels = MIN_MACS.div_ceil(macs) as usize;
        compute.threads.run_matrices(ys, PANEL_ROWS, min_panels, body);
    }
}

/// A part of a product whose outputs fit [`TILE`] panels: some panels of one token, or one panel of some tokens.
struct Piece {
    panels: Range<usize>,
    tokens: Range<usize>,
}

/// The pieces of the products of `panels` with `n_tokens` tokens: all tokens of one panel come before the next panel.
fn pieces(panels: Range<usize>, n_tokens: usize) -> impl Iterator<Item = Piece> {
    let (at_once, end) = (if n_tokens == 1 { PANELS_AT_ONCE } else { 1 }, panels.end);
    panels.step_by(at_once).flat_map(move |panel| {
        (0..n_tokens).step_by(TILE).map(move |token| Piece {
            panels: panel..(panel + at_once).min(end),
            tokens: token..(token + TILE).min(n_tokens),
        })
    })
}

impl Piece {
    /// Hands the outputs to `store` with their places in `y`, whose first column is that of panel `first`.
    fn store(&self, out: &[PanelOut], first: usize, y: &mut Columns<'_, f32>, store: impl Fn(&mut [f32], &[f32])) {
        let start = (self.panels.start - first) * PANEL_ROWS;
        let per_token = out.len() / self.tokens.len();
        for (t, out) in self.tokens.clone().zip(out.chunks_exact(per_token)) {
            let (y, out) = (&mut y.row(t)[start..], out.as_flattened());
            let n = y.len().min(out.len());
            store(&mut y[..n], &out[..n]);
        }
    }
}

/// Copies panel by panel: a token's outputs of one panel are no more than a register or a few.
fn copy(y: &mut [f32], out: &[f32]) {
    let (y, tail) = y.as_chunks_mut::<PANEL_ROWS>();
    let (out, last) = out.as_chunks::<PANEL_ROWS>();
    for (y, out) in y.iter_mut().zip(out) {
        *y = *out;
    }
    // Mostly there is none, and a call for nothing costs as much as a panel.
    if !tail.is_empty() {
        tail.copy_from_slice(last);
    }
}

/// The outputs of `piece`, bias added, (tokens or panels, 16).
fn products<'o>(
    compute: &Compute,
    layer: &Linear<'_>,
    input: &Input<'_>,
    piece: &Piece,
    out: &'o mut [PanelOut; TILE],
) -> &'o mut [PanelOut] {
    let (kernels, w, cols) = (compute.kernels, &layer.weight, input.cols);
    let bytes = panel_bytes(w.dtype(), cols);
    let data = &w.data()[piece.panels.start * bytes..piece.panels.end * bytes];
    let out = &mut out[..piece.panels.len() * piece.tokens.len()];
    let x = &input.x[piece.tokens.start * cols..piece.tokens.end * cols];
    let tile = piece.tokens.start * groups(cols)..piece.tokens.end * groups(cols);
    let quantized = input.quantized.map(|groups| &groups[tile]).unwrap_or_default();
    let tokens = Tokens { cols, floats: x, groups: quantized };
    let products = &kernels.products[w.dtype()];
    if input.n_tokens() == 1 {
        (products.matvec)(data, &tokens, compute.hint, out.as_flattened_mut());
    } else {
        (products.matmul)(data, &tokens, compute.hint, out);
    }
    if let Some(bias) = layer.bias {
        let rows = piece.panels.start * PANEL_ROWS..(piece.panels.end * PANEL_ROWS).min(bias.len());
        let per_token = piece.panels.len();
        for out in out.chunks_exact_mut(per_token) {
            (kernels.add)(&mut out.as_flattened_mut()[..rows.len()], &bias[rows.clone()]);
        }
    }
    out
}
