//! What a weight format says about itself.

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
    /// `encode_panel(rows, cols, importance, out)` encodes `rows` of shape (n, cols), n being at most 16, into the zeroed panel
    /// `out`. The values are finite and at most [`max_weight`](Self::max_weight) in magnitude. Where there is a choice of scales, the
    /// squared error of a column counts as much as its `importance` says, (cols), finite and not negative; empty: all alike.
    pub encode_panel: fn(&[f32], usize, &[f32], &mut [u8]),
    /// `read_row(panel, r, out)` decodes row `r` of a panel into `out`, one element for each column.
    pub read_row: fn(&[u8], usize, &mut [f32]),
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
