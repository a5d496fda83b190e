//! t2: weights of three values, in codes of 2 bits: -1, 0 or 1 times the scale of their row. A panel is `[16] f32` scales, then the
//! planes of each group of 32 columns, 2 lines of 64 bytes `[16][4] u8`.
//!
//! With `k = 4 j + i` a column of the group and `r` a row, the code of `k` is bits `2 (j mod 4)` and the next of byte (r, i) of line
//! `j / 4`. `w[r, k] = (code - 1) * scale[r]`; the encoder writes the codes 0, 1 and 2. Columns past `cols` hold the code 1.

use super::layout::{GROUP_SIZE, PANEL_ROWS, groups};
use super::planes::{Codes, LINE_BYTES, MAX_WEIGHT};
use super::{Encoding, Format, Inputs};

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "t2",
    bits: 2,
    max_weight: MAX_WEIGHT,
    inputs: Inputs::Quantized,
    panel_bytes,
    encoding: Encoding::Each(encode),
    read_row,
};

/// Bytes of the scales before the planes.
const SCALE_BYTES: usize = PANEL_ROWS * 4;
/// Bytes of the planes of a group.
pub(crate) const GROUP_BYTES: usize = 2 * LINE_BYTES;
/// The code of 0.
const ZERO: u8 = 1;

/// Groups of so many columns as a matrix may have.
const MAX_GROUPS: usize = 1 << 26;
/// What the groups of a panel have of scales: nothing, since those of the rows stand before all of them.
static NO_SCALES: [[u8; 0]; MAX_GROUPS] = [[]; MAX_GROUPS];

/// See [`Format::panel_bytes`].
fn panel_bytes(cols: usize) -> usize {
    SCALE_BYTES + groups(cols) * GROUP_BYTES
}

/// The scales of the rows of a panel.
#[inline(always)]
pub(crate) fn scales(panel: &[u8]) -> [f32; PANEL_ROWS] {
    let (scales, _) = panel.split_at(SCALE_BYTES);
    let scales = scales.as_chunks::<4>().0;
    core::array::from_fn(|r| f32::from_le_bytes(scales[r]))
}

/// The planes of a panel of `cols` columns by group, beside what the group has of scales.
#[inline(always)]
pub(crate) fn parts(panel: &[u8], cols: usize) -> (&'static [[u8; 0]], &[[u8; GROUP_BYTES]]) {
    let (_, planes) = panel.split_at(SCALE_BYTES);
    let n = groups(cols);
    (&NO_SCALES[..n], &planes.as_chunks().0[..n])
}

/// The values of a group's codes as int8 has them.
pub(crate) fn values(planes: &[u8; GROUP_BYTES]) -> Codes {
    let (lines, _) = planes.as_chunks::<LINE_BYTES>();
    let mut out = [0; PANEL_ROWS * GROUP_SIZE];
    for (j, out) in out.as_chunks_mut::<LINE_BYTES>().0.iter_mut().enumerate() {
        for (at, out) in out.iter_mut().enumerate() {
            *out = (lines[j / 4][at] >> (2 * (j % 4)) & 3).wrapping_sub(ZERO);
        }
    }
    out
}

/// The place of the code of row `r`, column `k` in the planes of a panel: its byte, and its lowest bit.
const fn place(r: usize, k: usize) -> (usize, usize) {
    let j = k % GROUP_SIZE / 4;
    (k / GROUP_SIZE * GROUP_BYTES + j / 4 * LINE_BYTES + r * 4 + k % 4, 2 * (j % 4))
}

/// See [`Encoding::Each`]. The scale of a row is its largest magnitude, and each weight becomes the nearest of the three values: those
/// of a row that has no others stay what they are.
fn encode(rows: &[f32], cols: usize, out: &mut [u8]) {
    let (scales, planes) = out.split_at_mut(SCALE_BYTES);
    planes.fill(0b01_01_01_01);
    for ((r, row), scale) in rows.chunks_exact(cols).enumerate().zip(scales.as_chunks_mut::<4>().0) {
        let largest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        *scale = largest.to_le_bytes();
        for (k, x) in row.iter().enumerate().filter(|(_, x)| x.abs() > largest / 2.0) {
            let (byte, bit) = place(r, k);
            let code = if *x > 0.0 { 2 } else { 0 };
            planes[byte] ^= (ZERO ^ code) << bit;
        }
    }
}

/// See [`Format::read_row`].
fn read_row(panel: &[u8], r: usize, out: &mut [f32]) {
    assert_eq!(panel.len(), panel_bytes(out.len()), "panel bytes");
    let (scale, (_, planes)) = (scales(panel)[r], panel.split_at(SCALE_BYTES));
    for (k, y) in out.iter_mut().enumerate() {
        let (byte, bit) = place(r, k);
        *y = f32::from((planes[byte] >> bit & 3).cast_signed() - 1) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dtype, encode_panel, read_panel_row};
    use super::*;

    #[test]
    fn weights_of_three_values_stay_what_they_are() {
        for cols in [1, 3, 32, 33, 100] {
            for scale in [1.0, 0.3, 1e-30, MAX_WEIGHT] {
                let rows: Vec<f32> = (0..16 * cols).map(|i| ((i * 7 + i / 5) % 3) as f32 * scale - scale).collect();
                let mut panel = vec![0xa5; panel_bytes(cols)];
                encode_panel(Dtype::T2, &rows, cols, &mut panel);
                let mut row = vec![f32::NAN; cols];
                for (r, want) in rows.chunks(cols).enumerate() {
                    read_panel_row(Dtype::T2, &panel, r, &mut row);
                    assert_eq!(row, want, "row {r} of {cols} columns");
                }
            }
        }
    }

    #[test]
    fn other_weights_become_the_nearest_value() {
        let mut panel = vec![0; panel_bytes(5)];
        encode_panel(Dtype::T2, &[-2.0, 0.9, -1.1, 1.1, 1.0], 5, &mut panel);
        let mut row = [f32::NAN; 5];
        read_panel_row(Dtype::T2, &panel, 0, &mut row);
        assert_eq!(row, [-2.0, 0.0, -2.0, 2.0, 0.0]);
    }

    #[test]
    fn padding_and_rows_of_zeros_are_zeros() {
        let mut panel = vec![0; panel_bytes(33)];
        encode_panel(Dtype::T2, &[0.0; 33], 33, &mut panel);
        assert_eq!(scales(&panel), [0.0; PANEL_ROWS]);
        let (_, planes) = parts(&panel, 33);
        assert!(planes.iter().all(|planes| values(planes) == [0; PANEL_ROWS * GROUP_SIZE]));
    }
}
