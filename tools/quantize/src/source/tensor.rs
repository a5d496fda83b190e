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
    pub(super) bytes: u64,
    pub(super) encoding: Encoding,
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
