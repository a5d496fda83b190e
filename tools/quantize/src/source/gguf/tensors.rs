//! The descriptions of the tensors of a GGUF file, and where their data lie.

use whit::error::{Error, Result};
use whit::format::cursor::Cursor;

use super::meta::{self, Metadata};
use crate::source::encoding::Encoding;
use crate::source::tensor::{Location, SourceTensor, check_dimensions};

/// Bytes of a tensor's name, at most: ggml's own limit.
const MAX_TENSOR_NAME: u64 = 63;

/// A tensor's description.
pub(in crate::source) struct Info<'a> {
    name: &'a str,
    /// Outermost first.
    shape: Vec<u64>,
    encoding: Encoding,
    /// From the start of the data.
    offset: u64,
    /// Of the description.
    at: u64,
}

impl Info<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::data(message).field(format!("tensor \"{}\"", self.name)).at(self.at)
    }
}

pub(in crate::source) fn infos<'a>(input: &mut Cursor<'a>, n: usize) -> Result<Vec<Info<'a>>> {
    let mut infos = Vec::with_capacity(n);
    for _ in 0..n {
        let at = input.position() as u64;
        let name = meta::name(input, MAX_TENSOR_NAME, "tensor name")?;
        let field = |e: Error| e.field(format!("tensor \"{name}\""));
        let rank_at = input.position() as u64;
        let rank = input.u32("rank").map_err(field)?;
        if !(1..=4).contains(&rank) {
            return Err(field(Error::data(format!("{rank} dimensions, expected 1 to 4")).at(rank_at)));
        }
        let mut shape = (0..rank).map(|_| input.u64("dimension")).collect::<Result<Vec<_>>>().map_err(field)?;
        shape.reverse();
        check_dimensions(&shape).map_err(|message| field(Error::data(message).at(rank_at)))?;
        let type_at = input.position() as u64;
        let number = input.u32("type").map_err(field)?;
        let encoding = encoding(number).map_err(|e| field(e.at(type_at)))?;
        let offset = input.u64("offset").map_err(field)?;
        infos.push(Info { name, shape, encoding, offset, at });
    }
    let mut names: Vec<_> = infos.iter().map(|i| (i.name, i.at)).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Error::data("appears twice").field(format!("tensor \"{}\"", pair[1].0)).at(pair[1].1)),
        None => Ok(infos),
    }
}

/// The encoding of a ggml type.
fn encoding(number: u32) -> Result<Encoding> {
    Ok(match number {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => Encoding::Q4_1,
        6 => Encoding::Q5_0,
        7 => Encoding::Q5_1,
        8 => Encoding::Q8_0,
        10 => Encoding::Q2K,
        11 => Encoding::Q3K,
        12 => Encoding::Q4K,
        13 => Encoding::Q5K,
        14 => Encoding::Q6K,
        20 => Encoding::Iq4Nl,
        23 => Encoding::Iq4Xs,
        30 => Encoding::Bf16,
        34 => Encoding::Tq1_0,
        35 => Encoding::Tq2_0,
        // Of bitnet.cpp; in files of llama.cpp it was a repacked type, which is gone.
        36 => Encoding::I2S,
        39 => Encoding::Mxfp4,
        _ => {
            let name = match number {
                4 => "Q4_2 (removed)",
                5 => "Q4_3 (removed)",
                9 => "Q8_1",
                15 => "Q8_K",
                16 => "IQ2_XXS",
                17 => "IQ2_XS",
                18 => "IQ3_XXS",
                19 => "IQ1_S",
                21 => "IQ3_S",
                22 => "IQ2_S",
                24..=27 => "an integer type",
                28 => "F64",
                29 => "IQ1_M",
                31..=33 | 37..=38 => "a repacked type (removed)",
                _ => "unknown",
            };
            let error = Error::data(format!("weights of ggml type {number}, {name}, are not supported"));
            return Err(error.hint(
                "supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, I2_S, MXFP4",
            ));
        }
    })
}

/// Where each tensor of the file of the given number and length lies: aligned, within the file, one after the other with no more than padding between them.
pub(in crate::source) fn layout(
    infos: &[Info<'_>],
    metadata: &Metadata<'_>,
    end_of_infos: u64,
    (file, file_bytes): (usize, u64),
) -> Result<(Vec<SourceTensor>, Vec<Location>)> {
    let key = "general.alignment";
    let alignment = u64::from(metadata.exact_u32(key)?.unwrap_or(32));
    if !alignment.is_power_of_two() || alignment > 65_536 {
        let message = format!("{alignment}, expected a power of two from 1 to 65536");
        return Err(metadata.error(key, message));
    }
    let base = end_of_infos.next_multiple_of(alignment);
    let mut order: Vec<&Info<'_>> = infos.iter().collect();
    order.sort_by_key(|info| info.offset);
    let (mut tensors, mut locations) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
    let (mut end, mut previous) = (0u64, "the descriptions");
    for info in order {
        let Info { name, shape, encoding, offset, .. } = info;
        let (length, _) = encoding.block();
        if !shape[shape.len() - 1].is_multiple_of(length as u64) {
            let message = format!(
                "rows of {} elements of {}: no whole blocks of {length}",
                shape[shape.len() - 1],
                encoding.name()
            );
            return Err(info.error(message));
        }
        let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        let Some(bytes) = elements.and_then(|n| encoding.bytes(n)) else {
            return Err(info.error(format!("shape {shape:?} overflows")));
        };
        if !offset.is_multiple_of(alignment) {
            return Err(info.error(format!("data at {offset}, no multiple of the alignment {alignment}")));
        }
        if *offset < end {
            return Err(info.error(format!("data at {offset}, within {previous}, which ends at {end}: they overlap")));
        }
        if offset - end >= alignment {
            return Err(
                info.error(format!("data at {offset}, {} bytes after the end of {previous}: a gap", offset - end))
            );
        }
        let start = base.checked_add(*offset);
        let Some((start, stop)) = start.and_then(|s| Some((s, s.checked_add(bytes)?))) else {
            return Err(info.error(format!("data at {offset} of {bytes} bytes overflows")));
        };
        if stop > file_bytes {
            let message =
                format!("data ends at byte {stop}, the file at {file_bytes}: {} bytes missing", stop - file_bytes);
            return Err(info.error(message).hint("the file is cut short: copy it again"));
        }
        (end, previous) = (offset + bytes, name);
        tensors.push(SourceTensor { name: name.to_string(), shape: shape.clone(), dtype: encoding.name() });
        locations.push(Location { file, offset: start, bytes, encoding: *encoding, strides: None, factor: 1.0 });
    }
    let after = file_bytes.saturating_sub(base.saturating_add(end));
    if after >= alignment.max(32) {
        let message = format!("{after} unexpected bytes after {previous}");
        return Err(Error::data(message).field("data").at(base + end));
    }
    Ok((tensors, locations))
}
