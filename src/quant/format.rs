//! What a weight format says about itself.

use super::layout::{GROUP_SIZE, PANEL_ROWS, groups, importance_of};

/// A weight format: the layout of its panels, how they are encoded and decoded, and what its products need. Each format is
/// one file of this folder with one static of this type; [`Dtype::format`](super::Dtype::format) returns it.
#[derive(Debug)]
pub struct Format {
    /// The name on the command line and in views.
    pub name: &'static str,
    /// Bits of a weight, its share of a scale not counted.
    pub bits: u32,
    /// The largest magnitude of a weight that the format holds.
    pub max_weight: f32,
    /// The form of the inputs that its products multiply the weights with.
    pub inputs: Inputs,
    /// `panel_bytes(cols)`: bytes of one panel of `cols` columns, a multiple of [`ALIGNMENT`](super::ALIGNMENT).
    pub panel_bytes: fn(usize) -> usize,
    /// How weights become the bytes of a panel.
    pub encoding: Encoding,
    /// `read_row(panel, r, out)` decodes row `r` of a panel into `out`, one element for each column.
    pub read_row: fn(&[u8], usize, &mut [f32]),
}

/// How weights, finite and at most [`Format::max_weight`] in magnitude, become the bytes of a panel.
#[derive(Debug, Clone, Copy)]
pub enum Encoding {
    /// Each weight by itself: `each(rows, cols, out)` encodes `rows` of shape (n, cols), n being at most 16, into the zeroed panel `out`.
    Each(fn(&[f32], usize, &mut [u8])),
    /// In groups of 32 columns.
    Groups(Groups),
}

/// 16 rows of the weights of a group of columns.
pub type GroupRows = [[f32; GROUP_SIZE]; PANEL_ROWS];

/// The encoding of a format whose weights stand in groups of 32 columns, each row of a group with a scale of its own. What a panel
/// holds is what `put` wrote: values of codes times scales.
#[derive(Debug, Clone, Copy)]
pub struct Groups {
    /// `begin(largest, panel)` writes what the groups of a zeroed panel share; `largest` is the largest magnitude of its weights.
    pub begin: fn(f32, &mut [u8]),
    /// `fit(panel, weights, importance)`: of the scales tried for one row of a group, that of least squared error. The error of a
    /// column counts as much as its importance says, a finite number that is not negative.
    pub fit: fn(&[u8], &[f32; GROUP_SIZE], &[f32; GROUP_SIZE]) -> f32,
    /// `exact(weights)`: a scale that gives one row of a group as it is, if there is one and the format looks for it.
    pub exact: fn(&[f32; GROUP_SIZE]) -> Option<f32>,
    /// `round(weights, scales)`: what the panel would hold of a column of 16 rows, each with its scale.
    pub round: fn(&[f32; PANEL_ROWS], &[f32; PANEL_ROWS]) -> [f32; PANEL_ROWS],
    /// `put(panel, cols, group, scales, weights)` writes a group over zeros: the scales, which `fit` gave, and the codes that are
    /// nearest to the weights.
    pub put: fn(&mut [u8], usize, usize, &[f32; PANEL_ROWS], &GroupRows),
}

impl Groups {
    /// Encodes `rows` of shape (n, cols), n being at most 16, into the zeroed panel `out`, each group by the errors of its own weights;
    /// with `exactly` by a scale that leaves none, where there is one.
    pub(super) fn encode(&self, rows: &[f32], cols: usize, importance: &[f32], exactly: bool, out: &mut [u8]) {
        (self.begin)(rows.iter().fold(0.0_f32, |m, v| m.max(v.abs())), out);
        for g in 0..groups(cols) {
            let importance = importance_of(g, importance);
            let mut weights = [[0.0; GROUP_SIZE]; PANEL_ROWS];
            for (weights, row) in weights.iter_mut().zip(rows.chunks_exact(cols)) {
                let row = &row[g * GROUP_SIZE..cols.min((g + 1) * GROUP_SIZE)];
                weights[..row.len()].copy_from_slice(row);
            }
            let scales = weights.each_ref().map(|weights| {
                let exact = if exactly { (self.exact)(weights) } else { None };
                exact.unwrap_or_else(|| (self.fit)(out, weights, &importance))
            });
            (self.put)(out, cols, g, &scales, &weights);
        }
    }
}

/// The form of the inputs that a product multiplies weights with. The form also decides which instructions multiply, and
/// so the peak that the product is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inputs {
    /// f32, by fused multiply-adds.
    Floats,
    /// int8 in groups of 32 with one scale, by integer products.
    Quantized,
}

impl Inputs {
    /// The name of the type that the instructions multiply, as views print it.
    pub fn name(self) -> &'static str {
        match self {
            Inputs::Floats => "f32",
            Inputs::Quantized => "int8",
        }
    }
}
