//! Constants and sizes that layouts of panels share.

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;
/// Columns that share one scale, of weights in int8 and of quantized inputs.
pub const GROUP_SIZE: usize = 32;
/// Every tensor and every panel starts at a multiple of this.
pub const ALIGNMENT: usize = 64;

/// Number of groups along `cols` columns.
pub const fn groups(cols: usize) -> usize {
    cols.div_ceil(GROUP_SIZE)
}

/// Bytes of the scales before the codes of a panel in groups, padding included.
pub const fn scale_bytes(cols: usize) -> usize {
    (groups(cols) * PANEL_ROWS * 2).next_multiple_of(ALIGNMENT)
}

/// Element `index` of `bytes`, which are halves.
pub(super) fn read_f16(bytes: &[u8], index: usize) -> f32 {
    half::f16::from_le_bytes([bytes[index * 2], bytes[index * 2 + 1]]).to_f32()
}
