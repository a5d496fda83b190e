//! Matrices in panels: their sizes, reading a row, encoding a panel.

use super::layout::{ALIGNMENT, PANEL_ROWS};
use super::{Dtype, Encoding};

/// Bytes of one panel of `cols` columns.
#[inline]
pub fn panel_bytes(dtype: Dtype, cols: usize) -> usize {
    (dtype.format().panel_bytes)(cols)
}

/// Bytes of a matrix of shape (rows, cols), or `None` where the size does not fit a u64 or a dimension exceeds 2^31.
pub fn matrix_bytes(dtype: Dtype, rows: u64, cols: u64) -> Option<u64> {
    let limit = 1 << 31;
    if rows > limit || cols > limit {
        return None;
    }
    rows.div_ceil(PANEL_ROWS as u64).checked_mul(panel_bytes(dtype, usize::try_from(cols).ok()?) as u64)
}

/// A borrowed matrix of shape (rows, cols), stored in panels; the unit that is multiplied.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    dtype: Dtype,
    rows: usize,
    cols: usize,
    data: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// The matrix over `data`, or `None` where the length is not exactly that of the shape or the start is not
    /// aligned to 64 bytes.
    pub fn new(dtype: Dtype, rows: usize, cols: usize, data: &'a [u8]) -> Option<Self> {
        let bytes = matrix_bytes(dtype, rows as u64, cols as u64)?;
        (bytes == data.len() as u64 && data.as_ptr().addr().is_multiple_of(ALIGNMENT)).then_some(Matrix {
            dtype,
            rows,
            cols,
            data,
        })
    }

    /// The type of the weights.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of rows: outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All bytes, panel after panel.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The bytes of panel `index`.
    pub fn panel(&self, index: usize) -> &'a [u8] {
        let bytes = panel_bytes(self.dtype, self.cols);
        &self.data[index * bytes..(index + 1) * bytes]
    }

    /// Decodes row `row` into `out`, of length `cols`.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(
            row < self.rows && out.len() == self.cols,
            "row {row} of {}, {} of {} columns",
            self.rows,
            out.len(),
            self.cols
        );
        read_panel_row(self.dtype, self.panel(row / PANEL_ROWS), row % PANEL_ROWS, out);
    }
}

/// Decodes row `r` of a panel into `out`, of as many elements as the panel has columns.
pub fn read_panel_row(dtype: Dtype, panel: &[u8], r: usize, out: &mut [f32]) {
    (dtype.format().read_row)(panel, r, out);
}

/// Encodes up to 16 rows, `rows` of shape (n, cols), into one panel; writes every byte of `out`, padding included. All columns are
/// equally important.
///
/// The caller has checked that all values are finite and at most [`Format::max_weight`](super::Format::max_weight) in
/// magnitude.
pub fn encode_panel(dtype: Dtype, rows: &[f32], cols: usize, out: &mut [u8]) {
    encode_panel_for(dtype, rows, cols, &[], out);
}

/// [`encode_panel`], the columns being as important as `importance` (cols) says: finite numbers, none negative; empty: all alike.
///
/// The caller has checked that all values are finite and at most [`Format::max_weight`](super::Format::max_weight) in
/// magnitude.
pub fn encode_panel_for(dtype: Dtype, rows: &[f32], cols: usize, importance: &[f32], out: &mut [u8]) {
    encode(dtype, rows, cols, importance, false, out);
}

/// [`encode_panel`] for weights that lie on a grid of the format: it holds them as they are, if it can.
///
/// The caller has checked that all values are finite and at most [`Format::max_weight`](super::Format::max_weight) in
/// magnitude.
pub fn encode_panel_on_grid(dtype: Dtype, rows: &[f32], cols: usize, out: &mut [u8]) {
    encode(dtype, rows, cols, &[], true, out);
}

fn encode(dtype: Dtype, rows: &[f32], cols: usize, importance: &[f32], exactly: bool, out: &mut [u8]) {
    assert!(
        cols > 0 && rows.len().is_multiple_of(cols) && rows.len() <= PANEL_ROWS * cols,
        "a panel has at most 16 rows"
    );
    assert_eq!(out.len(), panel_bytes(dtype, cols), "panel bytes");
    assert!(importance.is_empty() || importance.len() == cols, "the importance of each of {cols} columns");
    out.fill(0);
    match dtype.format().encoding {
        Encoding::Each(each) => each(rows, cols, out),
        Encoding::Groups(groups) => groups.encode(rows, cols, importance, exactly, out),
    }
}

#[cfg(test)]
mod tests {
    use super::super::GROUP_SIZE;
    use super::*;

    /// `n` reproducible values in [-1, 1).
    fn values(n: usize) -> Vec<f32> {
        let mut state = 0x9e37_79b9_u32;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn sizes_follow_the_table() {
        assert_eq!(panel_bytes(Dtype::F32, 3), 192);
        assert_eq!(panel_bytes(Dtype::F16, 3), 128);
        assert_eq!(panel_bytes(Dtype::Int8, 33), 64 + 2 * 512);
        assert_eq!(matrix_bytes(Dtype::Int8, 17, 33), Some(2 * (64 + 1024)));
        assert_eq!(matrix_bytes(Dtype::F32, u64::MAX, 1), None);
    }

    #[test]
    fn panels_are_aligned_and_within_twice_their_bits() {
        for dtype in Dtype::ALL {
            for cols in [1, 3, 31, 32, 33, 288, 1 << 20] {
                let (bytes, bits) = (panel_bytes(dtype, cols), dtype.format().bits as usize);
                assert!(bytes.is_multiple_of(ALIGNMENT), "{dtype:?}, {cols} columns: {bytes} bytes");
                let padded = cols.next_multiple_of(GROUP_SIZE);
                assert!(bytes <= PANEL_ROWS * padded * bits / 8 * 2, "{dtype:?}, {cols} columns: {bytes} bytes");
            }
        }
    }

    #[test]
    fn rows_survive_encode_and_decode() {
        for dtype in Dtype::ALL {
            for (rows, cols) in [(1, 1), (16, 32), (17, 33), (31, 100)] {
                let x = values(rows * cols);
                let bytes = matrix_bytes(dtype, rows as u64, cols as u64).expect("small") as usize;
                let mut buffer = vec![0xa5_u8; bytes + ALIGNMENT];
                let start = buffer.as_ptr().align_offset(ALIGNMENT);
                let data = &mut buffer[start..start + bytes];
                for (panel, out) in x.chunks(PANEL_ROWS * cols).zip(data.chunks_exact_mut(panel_bytes(dtype, cols))) {
                    encode_panel(dtype, panel, cols, out);
                }
                let matrix = Matrix::new(dtype, rows, cols, data).expect("exact size");
                let mut row = vec![f32::NAN; cols];
                let tolerance = match dtype {
                    Dtype::F32 => 0.0,
                    Dtype::F16 => 1.0 / 2048.0,
                    Dtype::Int8 => 1.0 / 100.0,
                    Dtype::Q6 => 1.0 / 30.0,
                    Dtype::Q5 | Dtype::Q5h | Dtype::Q5m => 1.0 / 15.0,
                    Dtype::Q4 | Dtype::Q4h | Dtype::Q4m => 1.0 / 5.0,
                    Dtype::T2 => 1.0 / 2.0,
                };
                for r in 0..rows {
                    matrix.read_row(r, &mut row);
                    for (got, want) in row.iter().zip(&x[r * cols..]) {
                        assert!((got - want).abs() <= tolerance, "{dtype:?} {rows}x{cols}: {got} for {want}");
                    }
                }
            }
        }
    }
}
