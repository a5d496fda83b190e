//! f32: IEEE binary32, a panel being `[cols][16] f32`.

use super::layout::PANEL_ROWS;
use super::{Encoding, Format, Inputs};

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "f32",
    bits: 32,
    max_weight: f32::MAX,
    inputs: Inputs::Floats,
    panel_bytes,
    encoding: Encoding::Each(encode_panel),
    read_row,
};

/// See [`Format::panel_bytes`].
fn panel_bytes(cols: usize) -> usize {
    cols * PANEL_ROWS * 4
}

/// See [`Encoding::Each`].
fn encode_panel(rows: &[f32], cols: usize, out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut();
    for (r, row) in rows.chunks_exact(cols).enumerate() {
        for (k, x) in row.iter().enumerate() {
            out[k * PANEL_ROWS + r] = x.to_le_bytes();
        }
    }
}

/// See [`Format::read_row`].
fn read_row(panel: &[u8], r: usize, out: &mut [f32]) {
    let (panel, _) = panel.as_chunks();
    for (k, y) in out.iter_mut().enumerate() {
        *y = f32::from_le_bytes(panel[k * PANEL_ROWS + r]);
    }
}
