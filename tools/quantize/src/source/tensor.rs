//! What is said of a tensor of a checkpoint, and what its name and dimensions may be.

use whit::error::moves_cursor;

use super::encoding::Encoding;

/// Tensors of a checkpoint, at most.
pub(super) const MAX_TENSORS: usize = 65_536;
/// Bytes of a name, at most.
pub(super) const MAX_NAME: usize = 256;

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceTensor {
    /// Name as the format has it: of Hugging Face (also for llama2.c) or of GGUF.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Name of the encoding, as F32 or Q4_K.
    pub dtype: &'static str,
}

impl SourceTensor {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// Where a tensor's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Location {
    pub(super) file: usize,
    pub(super) offset: u64,
    /// From its first element to its last.
    pub(super) bytes: u64,
    pub(super) encoding: Encoding,
    /// Elements from one to the next, of each dimension; `None`: they follow one another in the order of the shape.
    pub(super) strides: Option<Strides>,
    /// What the elements that are stored are multiplied by.
    pub(super) factor: f32,
}

/// Of as many dimensions as a tensor has; the others are 0.
pub(super) type Strides = [u64; 4];

/// A tensor as a file of tensors describes it.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) encoding: Encoding,
    pub(super) shape: Vec<u64>,
    /// Offset in the file.
    pub(super) start: u64,
    pub(super) bytes: u64,
    pub(super) strides: Option<Strides>,
}

impl Entry {
    /// What is said of it, and where it lies in the file of the number `file`.
    pub(super) fn placed(self, file: usize) -> (SourceTensor, Location) {
        let Entry { name, encoding, shape, start, bytes, strides } = self;
        let location = Location { file, offset: start, bytes, encoding, strides, factor: 1.0 };
        (SourceTensor { name, shape, dtype: encoding.name() }, location)
    }
}

/// Why `name` cannot be a tensor's name or a key, if so.
pub(super) fn check_name(name: &str) -> std::result::Result<(), String> {
    if name.is_empty() {
        return Err("an empty name".into());
    }
    if name.len() > MAX_NAME {
        return Err(format!("a name of {} bytes, the limit is {MAX_NAME}", name.len()));
    }
    if name.chars().any(moves_cursor) {
        return Err("a name with control characters or direction marks".into());
    }
    Ok(())
}

/// Why `shape` cannot be a tensor's shape, if so.
pub(super) fn check_dimensions(shape: &[u64]) -> std::result::Result<(), String> {
    if !(1..=4).contains(&shape.len()) {
        return Err(format!("{} dimensions, expected 1 to 4", shape.len()));
    }
    match shape.iter().find(|d| !(1..1 << 31).contains(*d)) {
        Some(d) => Err(format!("a dimension of {d} in shape {shape:?}, expected 1 to 2^31 - 1")),
        None => Ok(()),
    }
}
