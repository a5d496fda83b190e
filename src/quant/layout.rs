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

/// The importance of the columns of group `g`: 1 where nothing is known of it, and past the last column.
pub(super) fn importance_of(g: usize, importance: &[f32]) -> [f32; GROUP_SIZE] {
    let mut out = [1.0; GROUP_SIZE];
    if let Some(known) = importance.get(g * GROUP_SIZE..) {
        let n = known.len().min(GROUP_SIZE);
        out[..n].copy_from_slice(&known[..n]);
    }
    out
}

/// Element `index` of `bytes`, which are halves.
pub(super) fn read_f16(bytes: &[u8], index: usize) -> f32 {
    half::f16::from_le_bytes([bytes[index * 2], bytes[index * 2 + 1]]).to_f32()
}
