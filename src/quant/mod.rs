//! What weight bytes mean: dtypes, panels of 16 rows, groups of 32 with their scales, encode and decode.
//!
//! A matrix of shape (rows, cols) is stored as `ceil(rows / 16)` panels in row order; the rows of the last panel are
//! padded with zeros. Within a panel, for `k` along `cols` and `r` the row within the panel:
//!
//! | dtype | panel |
//! |---|---|
//! | f32 | `[cols][16] f32` |
//! | fp16 | `[cols][16] f16`, rounded up to 64 bytes |
//! | int8 | `[groups][16] f16` scales, rounded up to 64 bytes, then `[groups][8][16][4] i8` codes |
//!
//! Each format is a file of this folder, which says all of this once more in code: see [`Format`]. All values are
//! little-endian.

mod float16;
mod float32;
mod format;
mod int8;

pub use format::{Format, Inputs};

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;
/// Columns that share one scale, of weights in int8 and of quantized inputs.
pub const GROUP_SIZE: usize = 32;
/// Every tensor and every panel starts at a multiple of this.
pub const ALIGNMENT: usize = 64;

/// The type of stored weights; its number is the code in a file and the place in tables of formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE binary32.
    F32 = 0,
    /// IEEE binary16.
    F16 = 1,
    /// 8-bit integers in groups of 32 along the columns, one f16 scale per row and group.
    Int8 = 2,
}

impl Dtype {
    /// All dtypes, in the order of their codes, which begin at 0 and leave none out.
    pub const ALL: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Int8];

    /// What the format says about itself.
    pub fn format(self) -> &'static Format {
        match self {
            Dtype::F32 => &float32::FORMAT,
            Dtype::F16 => &float16::FORMAT,
            Dtype::Int8 => &int8::FORMAT,
        }
    }

    /// The code in a file.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The dtype of a code in a file.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.code() == code)
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.format().name
    }

    /// The dtype of a name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }
}

/// Number of groups along `cols` columns.
pub const fn groups(cols: usize) -> usize {
    cols.div_ceil(GROUP_SIZE)
}

/// Bytes of the scales before the codes of a panel in groups, padding included.
pub const fn scale_bytes(cols: usize) -> usize {
    (groups(cols) * PANEL_ROWS * 2).next_multiple_of(ALIGNMENT)
}

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

/// Encodes up to 16 rows, `rows` of shape (n, cols), into one panel; writes every byte of `out`, padding included.
///
/// Values must be finite and, as the caller has checked, at most [`Format::max_weight`] in magnitude.
pub fn encode_panel(dtype: Dtype, rows: &[f32], cols: usize, out: &mut [u8]) {
    assert!(
        cols > 0 && rows.len().is_multiple_of(cols) && rows.len() <= PANEL_ROWS * cols,
        "a panel has at most 16 rows"
    );
    assert_eq!(out.len(), panel_bytes(dtype, cols), "panel bytes");
    out.fill(0);
    (dtype.format().encode_panel)(rows, cols, out);
}

/// Element `index` of `bytes`, which are halves.
fn read_f16(bytes: &[u8], index: usize) -> f32 {
    half::f16::from_le_bytes([bytes[index * 2], bytes[index * 2 + 1]]).to_f32()
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
    fn codes_are_places_and_names_are_unique() {
        for (i, dtype) in Dtype::ALL.into_iter().enumerate() {
            assert_eq!((dtype.code(), dtype as usize), (i as u32, i));
            assert_eq!((Dtype::from_code(dtype.code()), Dtype::from_name(dtype.name())), (Some(dtype), Some(dtype)));
        }
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
