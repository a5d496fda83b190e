//! The tensor directory: what each tensor is called, what it is and where it lies.

use super::cursor::{Cursor, Encoder};
use super::layout::{self, ALIGNMENT, MAX_TENSORS};
use crate::error::{Error, Result, printable};
use crate::quant::Dtype;
use alloc::{string::String, vec::Vec};

/// What the stored weights differ from the source's by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TensorErrors {
    /// Root mean square of the differences.
    pub rms: f32,
    /// Largest absolute difference.
    pub max: f32,
    /// Root mean square of the source.
    pub signal_rms: f32,
}

impl TensorErrors {
    /// Signal to noise in dB; infinite where nothing was lost.
    #[cfg(feature = "std")]
    pub fn snr_db(&self) -> f64 {
        20.0 * (f64::from(self.signal_rms) / f64::from(self.rms)).log10()
    }
}

/// One entry of the tensor directory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TensorEntry<'a> {
    /// Unique name.
    pub name: &'a str,
    /// Type of the stored weights.
    pub dtype: Dtype,
    pub(crate) dims: [u64; 2],
    pub(crate) rank: usize,
    /// Start, relative to the weights section.
    pub offset: u64,
    /// Stored bytes, padding of the panels included.
    pub bytes: u64,
    /// BLAKE3 of the stored bytes.
    pub hash: [u8; 32],
    /// What the quantization cost.
    pub errors: TensorErrors,
}

impl TensorEntry<'_> {
    /// Dimensions: `[n]` of a vector, `[rows, cols]` of a matrix.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.rank]
    }

    /// Appends the entry to a directory.
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "for the writer, which needs files"))]
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.u16(self.name.len() as u16);
        out.bytes(self.name.as_bytes());
        out.u32(self.dtype.code());
        out.u32(self.rank as u32);
        for dim in self.dims() {
            out.u64(*dim);
        }
        out.u64(self.offset);
        out.u64(self.bytes);
        out.bytes(&self.hash);
        out.f32(self.errors.rms);
        out.f32(self.errors.max);
        out.f32(self.errors.signal_rms);
    }
}

/// Bytes of a directory entry of a name of `name_bytes` and `rank` dimensions.
pub(crate) const fn entry_bytes(name_bytes: usize, rank: usize) -> usize {
    2 + name_bytes + 4 + 4 + 8 * rank + 8 + 8 + 32 + 12
}

/// The directory in `section`, which starts at byte `base` of the file, checked against the `weights_bytes` it
/// describes. Touches no weights.
pub(crate) fn decode(section: &[u8], base: u64, weights_bytes: u64) -> Result<Vec<TensorEntry<'_>>> {
    let mut cursor = Cursor::based(section, "TDIR", base);
    let n = cursor.count(entry_bytes(1, 1), "count")?;
    if n == 0 || n > MAX_TENSORS {
        return Err(Error::data(format!("{n} tensors, not 1..={MAX_TENSORS}")).field("TDIR count").at(base));
    }
    let mut entries: Vec<TensorEntry<'_>> = Vec::with_capacity(n);
    let mut end = 0_u64;
    for index in 0..n {
        let at = cursor.offset();
        let entry = decode_entry(&mut cursor).map_err(|error| error.field(format!("tensor {index}")).at(at))?;
        let place = |error: Error| error.field(format!("tensor {index} \"{}\"", entry.name)).at(at);
        let expected = layout::align(end, ALIGNMENT);
        if entry.offset < end {
            let other = entries.last().map_or("", |entry| entry.name);
            let message = format!(
                "starts at {} of the weights, within tensor \"{}\" up to {end}",
                entry.offset,
                printable(other)
            );
            return Err(place(Error::data(message)));
        }
        if Some(entry.offset) != expected {
            let message =
                format!("starts at {} of the weights, not at the next multiple of 64 after {end}", entry.offset);
            return Err(place(Error::data(message)));
        }
        end = match entry.offset.checked_add(entry.bytes).filter(|end| *end <= weights_bytes) {
            Some(end) => end,
            None => {
                let message = format!(
                    "{} bytes from {} end past the end of the {weights_bytes} bytes of weights",
                    entry.bytes, entry.offset
                );
                return Err(place(Error::data(message)));
            }
        };
        entries.push(entry);
    }
    if end != weights_bytes {
        let message = format!("the tensors end at {end}, the weights at {weights_bytes}");
        return Err(Error::data(message).field("TDIR").at(base));
    }
    cursor.finish()?;
    Ok(entries)
}

fn decode_entry<'a>(cursor: &mut Cursor<'a>) -> Result<TensorEntry<'a>> {
    let at = cursor.offset();
    let length = cursor.u16("name length")?;
    let name = cursor.take(usize::from(length), "name")?;
    let name = layout::check_name(name).map_err(|message| Error::data(message).at(at))?;
    let named = |message: String, at| Error::data(message).field(format!("tensor \"{name}\"")).at(at);

    let at = cursor.offset();
    let code = cursor.u32("dtype")?;
    let dtype = Dtype::from_code(code).ok_or_else(|| named(format!("dtype {code} is unknown"), at))?;
    let at = cursor.offset();
    let rank = cursor.u32("rank")?;
    if rank != 1 && rank != 2 {
        return Err(named(format!("rank {rank} is not 1 or 2"), at));
    }
    let rank = rank as usize;
    let at = cursor.offset();
    let mut dims = [1; 2];
    for dim in &mut dims[..rank] {
        *dim = cursor.u64("dimension")?;
    }
    let expected = layout::tensor_bytes(dtype, &dims[..rank]).map_err(|message| named(message, at))?;
    let offset = cursor.u64("offset")?;
    let at = cursor.offset();
    let bytes = cursor.u64("bytes")?;
    if bytes != expected {
        let message = format!("{bytes} bytes, but {} of shape {:?} takes {expected}", dtype.name(), &dims[..rank]);
        return Err(named(message, at));
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(cursor.take(32, "hash")?);
    let at = cursor.offset();
    let errors =
        TensorErrors { rms: cursor.f32("rms error")?, max: cursor.f32("max error")?, signal_rms: cursor.f32("rms")? };
    check_errors(&errors).map_err(|message| named(message, at))?;
    Ok(TensorEntry { name, dtype, dims, rank, offset, bytes, hash, errors })
}

/// Refuses errors that are not numbers of their kind; gives what is wrong.
pub(crate) fn check_errors(errors: &TensorErrors) -> core::result::Result<(), String> {
    for (what, value) in [("rms error", errors.rms), ("max error", errors.max), ("rms", errors.signal_rms)] {
        if !value.is_finite() || value.is_sign_negative() {
            return Err(format!("{what} {value} is not a finite number from 0 up"));
        }
    }
    Ok(())
}

/// Indices of `names` in the order of their names, or the two that share one.
pub(crate) fn order_by_name(names: &[&str]) -> core::result::Result<Vec<u32>, (usize, usize)> {
    let mut order: Vec<u32> = (0..names.len() as u32).collect();
    order.sort_unstable_by_key(|index| (names[*index as usize], *index));
    match order.windows(2).find(|pair| names[pair[0] as usize] == names[pair[1] as usize]) {
        Some(pair) => Err((pair[0] as usize, pair[1] as usize)),
        None => Ok(order),
    }
}

/// The hash of the weights section: over the hashes of its tensors.
pub(crate) fn weights_hash(tensors: &[TensorEntry<'_>]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for tensor in tensors {
        hasher.update(&tensor.hash);
    }
    *hasher.finalize().as_bytes()
}
