//! fp16: IEEE binary16, a panel being `[cols][16] f16`, rounded up to 64 bytes.

use super::layout::{ALIGNMENT, PANEL_ROWS, read_f16};
use super::{Encoding, Format, Inputs};
use half::f16;

/// The format. Weights are rounded to the nearest half, ties to even.
pub(super) static FORMAT: Format = Format {
    name: "fp16",
    bits: 16,
    max_weight: f16::MAX.to_f32_const(),
    inputs: Inputs::Floats,
    panel_bytes,
    encoding: Encoding::Each(encode_panel),
    read_row,
};

/// See [`Format::panel_bytes`].
fn panel_bytes(cols: usize) -> usize {
    (cols * PANEL_ROWS * 2).next_multiple_of(ALIGNMENT)
}

/// See [`Encoding::Each`].
fn encode_panel(rows: &[f32], cols: usize, out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut();
    for (r, row) in rows.chunks_exact(cols).enumerate() {
        for (k, x) in row.iter().enumerate() {
            out[k * PANEL_ROWS + r] = f16::from_f32(*x).to_le_bytes();
        }
    }
}

/// See [`Format::read_row`].
fn read_row(panel: &[u8], r: usize, out: &mut [f32]) {
    for (k, y) in out.iter_mut().enumerate() {
        *y = read_f16(panel, k * PANEL_ROWS + r);
    }
}
