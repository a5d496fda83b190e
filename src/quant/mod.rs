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
//! | q4, q5, q6 | a head of 32 bytes and `[groups][16] u8` scales, rounded up to 64 bytes, then `[groups][4, 5, 6][16][4] u8` planes |
//! | q4h, q5h | the same with `[groups][16] f16` scales |
//! | q4m, q5m | the same with `[groups][2][16] f16` scales and offsets |
//! | t2 | `[16] f32` scales, then `[groups][2][16][4] u8` planes |
//!
//! Each format is a file of this folder that holds its layout as code: see [`Format`]. All values are little-endian.

mod float16;
mod float32;
mod format;
mod grids;
mod int8;
mod layout;
mod matrix;
pub(crate) mod planes;
mod q4;
mod q5;
mod q6;
pub(crate) mod t2;

pub use format::{Encoding, Format, GroupRows, Groups, Inputs};
pub use layout::{ALIGNMENT, GROUP_SIZE, PANEL_ROWS, groups, scale_bytes};
pub use matrix::{
    Matrix, encode_panel, encode_panel_for, encode_panel_on_grid, matrix_bytes, panel_bytes, read_panel_row,
};

/// The type of stored weights; its number is the code in a file and the place in tables of formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE binary32.
    F32 = 0,
    /// IEEE binary16.
    F16 = 1,
    /// 8-bit integers in groups of 32 along the columns, one f16 scale per row and group.
    Int8 = 2,
    /// 4-bit numbers of 16 levels, in groups of 32 along the columns, one byte of scale per row and group.
    Q4 = 3,
    /// 5-bit integers, scaled as [`Q4`](Self::Q4).
    Q5 = 4,
    /// 6-bit integers, scaled as [`Q4`](Self::Q4).
    Q6 = 5,
    /// Three values, -1, 0 and 1 times one f32 scale per row.
    T2 = 6,
    /// 4-bit numbers of 16 levels, in groups of 32 along the columns, one f16 scale per row and group.
    Q4h = 7,
    /// The same with an f16 offset, too.
    Q4m = 8,
    /// 5-bit integers, scaled as [`Q4h`](Self::Q4h).
    Q5h = 9,
    /// 5-bit integers, scaled and moved as [`Q4m`](Self::Q4m).
    Q5m = 10,
}

impl Dtype {
    /// All dtypes in the order of their codes, which are 0, 1, 2 and so on without a gap.
    pub const ALL: [Dtype; 11] = [
        Dtype::F32,
        Dtype::F16,
        Dtype::Int8,
        Dtype::Q4,
        Dtype::Q5,
        Dtype::Q6,
        Dtype::T2,
        Dtype::Q4h,
        Dtype::Q4m,
        Dtype::Q5h,
        Dtype::Q5m,
    ];

    /// What the format says about itself.
    pub fn format(self) -> &'static Format {
        match self {
            Dtype::F32 => &float32::FORMAT,
            Dtype::F16 => &float16::FORMAT,
            Dtype::Int8 => &int8::FORMAT,
            Dtype::Q4 => &q4::FORMAT,
            Dtype::Q5 => &q5::FORMAT,
            Dtype::Q6 => &q6::FORMAT,
            Dtype::T2 => &t2::FORMAT,
            Dtype::Q4h => &grids::Q4H,
            Dtype::Q4m => &grids::Q4M,
            Dtype::Q5h => &grids::Q5H,
            Dtype::Q5m => &grids::Q5M,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_places_and_names_are_unique() {
        for (i, dtype) in Dtype::ALL.into_iter().enumerate() {
            assert_eq!((dtype.code(), dtype as usize), (i as u32, i));
            assert_eq!((Dtype::from_code(dtype.code()), Dtype::from_name(dtype.name())), (Some(dtype), Some(dtype)));
        }
    }
}
