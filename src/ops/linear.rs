//! `y = x w^T + bias`: the products of a layer's inputs with a matrix, in any dtype of weights.

use crate::compute::Compute;
use crate::kernels::{Group, PanelOut, TILE};
use crate::quant::{Dtype, Matrix, PANEL_ROWS, groups, panel_bytes};
use crate::threads::Columns;

/// Multiply-adds below which a part of a product is not worth a thread: some microseconds of work.
const MIN_MACS: usize = 1 << 16;
/// Panels that one matvec call is given.
const PANELS_AT_ONCE: usize = 8;

/// Scratch for quantized inputs, allocated once.
pub struct Activations {
    groups: Vec<Group>,
}

/// The inputs of an op: `x` (T, cols) and, for int8 weights, its quantized form.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    x: &'a [f32],
    cols: usize,
    /// Tiles of [`TILE`] tokens, the last one shorter, each (groups, n).
    quantized: Option<&'a [Group]>,
}

impl Activations {
    /// Scratch for up to `max_tokens` tokens of up to `max_cols` columns.
    pub fn new(max_tokens: usize, max_cols: usize) -> Self {
        Activations { groups: vec![Group::ZERO; max_tokens * groups(max_cols)] }
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.groups)
    }

    /// The inputs `x` (T, cols), quantized once if any weight they meet is `int8`.
    pub fn load<'a>(&'a mut self, compute: &Compute, x: &'a [f32], cols: usize, int8: bool) -> Input<'a> {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "{} inputs in rows of {cols}", x.len());
        let n_tokens = x.len() / cols;
        if !int8 || n_tokens == 0 {
            return Input { x, cols, quantized: None };
        }
        let needed = n_tokens * groups(cols);
        assert!(needed <= self.groups.len(), "scratch for {} groups, {needed} needed", self.groups.len());
        let out = &mut self.groups[..needed];
        let tile = TILE * groups(cols);
        let min_tiles = MIN_MACS.div_ceil(16 * TILE * cols);
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
    /// Number of tokens, T.
    pub fn n_tokens(&self) -> usize {
        self.x.len() / self.cols
    }

    /// Token range of tile `tile`.
    fn tile(&self, tile: usize) -> core::ops::Range<usize> {
        tile * TILE..(tile * TILE + TILE).min(self.n_tokens())
    }
}

/// `y` (T, rows) = `input` (T, cols) times the transpose of `w` (rows, cols), plus `bias` (rows).
///
/// Panics where the shapes do not fit, or where `w` is int8 and the input was not loaded for it.
pub fn linear(compute: &Compute, w: &Matrix<'_>, bias: Option<&[f32]>, input: &Input<'_>, y: &mut [f32]) {
    let (rows, n_tokens) = (w.rows(), input.n_tokens());
    assert_eq!(w.cols(), input.cols, "columns of the weights and of the inputs");
    assert_eq!(y.len(), n_tokens * rows, "outputs of {n_tokens} tokens and {rows} rows");
    assert!(bias.is_none_or(|bias| bias.len() == rows), "a bias for each of {rows} rows");
    assert!(w.dtype() != Dtype::Int8 || input.quantized.is_some() || n_tokens == 0, "inputs loaded for int8");
    if n_tokens == 0 || rows == 0 {
        return;
    }
    let min_panels = MIN_MACS.div_ceil(PANEL_ROWS * w.cols().max(1) * n_tokens);
    compute.threads.run_columns(y, rows, PANEL_ROWS, min_panels, &|panels, mut y| {
        if n_tokens == 1 {
            matvec(compute, w, input, panels.clone(), y.row(0));
        } else {
            matmul(compute, w, input, panels.clone(), &mut y);
        }
        if let Some(bias) = bias {
            for t in 0..n_tokens {
                let y = y.row(t);
                super::add(y, &bias[panels.start * PANEL_ROWS..][..y.len()]);
            }
        }
    });
}

/// The products of `panels` with one token; `y` may end within the last panel.
fn matvec(compute: &Compute, w: &Matrix<'_>, input: &Input<'_>, panels: core::ops::Range<usize>, y: &mut [f32]) {
    let kernels = compute.kernels;
    let bytes = panel_bytes(w.dtype(), w.cols());
    let data = &w.data()[panels.start * bytes..panels.end * bytes];
    let mut out = [0.0; PANELS_AT_ONCE * PANEL_ROWS];
    for (data, y) in data.chunks(PANELS_AT_ONCE * bytes).zip(y.chunks_mut(PANELS_AT_ONCE * PANEL_ROWS)) {
        let out = &mut out[..data.len() / bytes * PANEL_ROWS];
        match (w.dtype(), input.quantized) {
            (Dtype::Int8, x) => (kernels.int8_matvec)(data, w.cols(), x.unwrap_or_default(), out),
            (Dtype::F16, _) => (kernels.f16_matvec)(data, input.x, out),
            (Dtype::F32, _) => (kernels.f32_matvec)(data, input.x, out),
        }
        y.copy_from_slice(&out[..y.len()]);
    }
}

/// The products of `panels` with all tokens: a panel stays in cache while the tiles pass.
fn matmul(
    compute: &Compute,
    w: &Matrix<'_>,
    input: &Input<'_>,
    panels: core::ops::Range<usize>,
    y: &mut Columns<'_, f32>,
) {
    let kernels = compute.kernels;
    let cols = w.cols();
    let mut out = [PanelOut::default(); TILE];
    for (i, p) in panels.enumerate() {
        let panel = w.panel(p);
        for tile in 0..input.n_tokens().div_ceil(TILE) {
            let tokens = input.tile(tile);
            let out = &mut out[..tokens.len()];
            let x = &input.x[tokens.start * cols..tokens.end * cols];
            match (w.dtype(), input.quantized) {
                (Dtype::Int8, x) => {
                    let x = &x.unwrap_or_default()[tokens.start * groups(cols)..tokens.end * groups(cols)];
                    (kernels.int8_matmul)(panel, cols, x, out);
                }
                (Dtype::F16, _) => (kernels.f16_matmul)(panel, cols, x, out),
                (Dtype::F32, _) => (kernels.f32_matmul)(panel, cols, x, out),
            }
            for (t, out) in tokens.zip(out) {
                let y = &mut y.row(t)[i * PANEL_ROWS..];
                let n = y.len().min(PANEL_ROWS);
                y[..n].copy_from_slice(&out[..n]);
            }
        }
    }
}
