//! What weight bytes mean: dtypes, panels of 16 rows, groups of 32 with their scales, encode and decode.
//!
//! A matrix of shape (rows, cols) is stored as `ceil(rows / 16)` panels in row order; the rows of the last panel are
//! padded with zeros. Within a panel, for `k` along `cols` and `r` the row within the panel:
//!
//! | dtype | panel | bytes |
//! |---|---|---|
//! | f32 | `[cols][16] f32` | `cols * 64` |
//! | fp16 | `[cols][16] f16` | `cols * 32`, rounded up to 64 |
//! | int8 | `[groups][16] f16` scales, rounded up to 64 bytes, then `[groups][8][16][4] i8` codes | see [`panel_bytes`] |
//!
//! For int8 `groups = ceil(cols / 32)`, `w[r, k] = code[g][j][r][i] * scale[g][r]` with `k = 32 g + 4 j + i`; columns past
//! `cols` hold code 0. All values are little-endian.

mod int8;

pub use int8::{MAX_INT8_WEIGHT, encode_group};

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;
/// Columns that share one scale in int8.
pub const GROUP_SIZE: usize = 32;
/// Every tensor and every panel starts at a multiple of this.
pub const ALIGNMENT: usize = 64;

/// The type of stored weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// 8-bit integers in groups of 32 along the columns, one f16 scale per row and group.
    Int8,
}

impl Dtype {
    /// All dtypes, in the order of their codes.
    pub const ALL: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Int8];

    /// The code in a file.
    pub fn code(self) -> u32 {
        match self {
            Dtype::F32 => 0,
            Dtype::F16 => 1,
            Dtype::Int8 => 2,
        }
    }

    /// The dtype of a code in a file.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.code() == code)
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "fp16",
            Dtype::Int8 => "int8",
        }
    }

    /// The dtype of a name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }
}

/// Number of int8 groups along `cols` columns.
pub const fn groups(cols: usize) -> usize {
    cols.div_ceil(GROUP_SIZE)
}

/// Bytes of the scales of an int8 panel, padding included.
pub const fn scale_bytes(cols: usize) -> usize {
    (groups(cols) * PANEL_ROWS * 2).next_multiple_of(ALIGNMENT)
}

/// Bytes of one panel of `cols` columns.
pub const fn panel_bytes(dtype: Dtype, cols: usize) -> usize {
    match dtype {
        Dtype::F32 => cols * PANEL_ROWS * 4,
        Dtype::F16 => (cols * PANEL_ROWS * 2).next_multiple_of(ALIGNMENT),
        Dtype::Int8 => scale_bytes(cols) + groups(cols) * PANEL_ROWS * GROUP_SIZE,
    }
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
    match dtype {
        Dtype::F32 => {
            for (k, y) in out.iter_mut().enumerate() {
                *y = read_f32(panel, k * PANEL_ROWS + r);
            }
        }
        Dtype::F16 => {
            for (k, y) in out.iter_mut().enumerate() {
                *y = read_f16(panel, k * PANEL_ROWS + r);
            }
        }
        Dtype::Int8 => int8::read_row(panel, r, out),
    }
}

/// Encodes up to 16 rows, `rows` of shape (n, cols), into one panel; writes every byte of `out`, padding included.
///
/// Values must be finite; fp16 rounds to nearest even, and the caller has checked that none overflows.
pub fn encode_panel(dtype: Dtype, rows: &[f32], cols: usize, out: &mut [u8]) {
    assert!(
        cols > 0 && rows.len().is_multiple_of(cols) && rows.len() <= PANEL_ROWS * cols,
        "a panel has at most 16 rows"
    );
    assert_eq!(out.len(), panel_bytes(dtype, cols), "panel bytes");
    out.fill(0);
    match dtype {
        Dtype::F32 => {
            for (r, row) in rows.chunks_exact(cols).enumerate() {
                for (k, x) in row.iter().enumerate() {
                    let at = (k * PANEL_ROWS + r) * 4;
                    out[at..at + 4].copy_from_slice(&x.to_le_bytes());
                }
            }
        }
        Dtype::F16 => {
            for (r, row) in rows.chunks_exact(cols).enumerate() {
                for (k, x) in row.iter().enumerate() {
                    let at = (k * PANEL_ROWS + r) * 2;
                    out[at..at + 2].copy_from_slice(&half::f16::from_f32(*x).to_le_bytes());
                }
            }
        }
        Dtype::Int8 => int8::encode_panel(rows, cols, out),
    }
}

fn read_f16(bytes: &[u8], index: usize) -> f32 {
    half::f16::from_le_bytes([bytes[index * 2], bytes[index * 2 + 1]]).to_f32()
}

fn read_f32(bytes: &[u8], index: usize) -> f32 {
    let at = index * 4;
    f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
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
