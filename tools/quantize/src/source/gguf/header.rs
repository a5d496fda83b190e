//! What a GGUF file begins with: magic, version, counts, metadata.

use whit::error::{Error, Result};
use whit::format::cursor::Cursor;

use super::meta::Metadata;
use crate::source::tensor::MAX_TENSORS;

const MAX_PAIRS: u64 = 65_536;
/// Bytes of the shortest pair: key length, a letter, type, a byte.
const PAIR_BYTES: u64 = 14;
/// Bytes of the shortest tensor description: name length, a letter, rank, a dimension, type, offset.
const TENSOR_BYTES: u64 = 33;

/// Reads up to the end of the metadata; returns the number of tensors and the metadata.
pub(in crate::source) fn header<'a>(input: &mut Cursor<'a>) -> Result<(usize, Metadata<'a>)> {
    input.take(4, "magic")?;
    let version = input.u32("version")?;
    match version {
        2 | 3 => {}
        1 => {
            let error = Error::data("GGUF version 1").field("version").at(4);
            return Err(error.hint("only versions 2 and 3 are read: find a newer file of the model"));
        }
        _ if version.swap_bytes() <= 3 && version != 0 => {
            let error = Error::data("a big-endian GGUF file").field("version").at(4);
            return Err(error.hint("convert it to little endian, as gguf-convert-endian does"));
        }
        _ => {
            let error = Error::data(format!("GGUF version {version}")).field("version").at(4);
            return Err(error.hint("only versions 2 and 3 are read"));
        }
    }
    let n_tensors = count(input, "tensor count", MAX_TENSORS as u64, TENSOR_BYTES)?;
    let n_pairs = count(input, "metadata count", MAX_PAIRS, PAIR_BYTES)?;
    let metadata = Metadata::read(input, n_pairs)?;
    Ok((n_tensors, metadata))
}

/// A count of things of at least `bytes` bytes each.
fn count(input: &mut Cursor<'_>, field: &'static str, limit: u64, bytes: u64) -> Result<usize> {
    let at = input.position() as u64;
    let n = input.u64(field)?;
    if n > limit {
        return Err(Error::data(format!("{n}, the limit is {limit}")).field(field).at(at));
    }
    if n > input.left() as u64 / bytes {
        let message = format!("{n}, too many for the {} bytes left", input.left());
        return Err(Error::data(message).field(field).at(at).hint("the file is cut short: copy it again"));
    }
    Ok(n as usize)
}
