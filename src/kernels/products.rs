//! The products of each weight format: one row of functions for each format, with the same arguments in every row.

use super::{Group, Hint};
use crate::quant::{Dtype, Inputs, PANEL_ROWS};
use core::ops::Index;

/// The most tokens that one matmul call multiplies with a panel.
pub const TILE: usize = 96;

/// The products of one panel with one token.
pub type PanelOut = [f32; PANEL_ROWS];

/// The inputs of a product: n tokens of `cols` columns, in each form that a weight format may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// Columns of the weights, elements of a token.
    pub cols: usize,
    /// The inputs as they are, (n, cols).
    pub floats: &'a [f32],
    /// The inputs quantized, (groups, n) with `groups = ceil(cols / 32)`; empty where no weights ask for them.
    pub groups: &'a [Group],
}

/// See [`Products::matmul`].
pub(super) type Matmul = fn(panel: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [PanelOut]);

/// The products of one weight format. Panels are as in [`quant`](crate::quant); `hint` changes no result.
#[derive(Clone, Copy)]
pub struct Products {
    /// Product of consecutive `panels` with one token `x`: `out` (panels * 16).
    pub matvec: fn(panels: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [f32]),
    /// Product of one `panel` with the n tokens of `x`, at most [`TILE`]: `out` (n, 16).
    pub matmul: Matmul,
}

/// A row of [`Products`] for each weight format, in the order of [`Dtype::ALL`]: `table[dtype]`.
#[derive(Clone, Copy)]
pub struct ProductTable(pub(super) [Products; Dtype::ALL.len()]);

impl ProductTable {
    /// The table with another row for `dtype`.
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "arm", target_os = "linux"),
        all(target_arch = "wasm32", target_feature = "simd128")
    ))]
    pub(super) const fn with(mut self, dtype: Dtype, row: Products) -> Self {
        self.0[dtype as usize] = row;
        self
    }

    /// The table with other products of some tokens for `dtype`, and those of one as they are.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(super) const fn with_matmul(mut self, dtype: Dtype, matmul: Matmul) -> Self {
        self.0[dtype as usize].matmul = matmul;
        self
    }
}

impl Index<Dtype> for ProductTable {
    type Output = Products;

    #[inline]
    fn index(&self, dtype: Dtype) -> &Products {
        &self.0[dtype as usize]
    }
}

/// The peaks that a backend's products are compared with: functions that do only the multiply-adds of a product, in
/// registers. Each runs for a number of rounds and returns the number of its multiply-adds.
#[derive(Clone, Copy)]
pub struct Peaks {
    /// Fused multiply-adds of f32.
    pub floats: fn(rounds: usize) -> u64,
    /// Integer products of int8 with their sums.
    pub quantized: fn(rounds: usize) -> u64,
}

impl Peaks {
    /// The peak of products with inputs of this form.
    pub fn of(&self, inputs: Inputs) -> fn(usize) -> u64 {
        match inputs {
            Inputs::Floats => self.floats,
            Inputs::Quantized => self.quantized,
        }
    }
}
