//! GGUF, versions 2 and 3, little endian: metadata, tensor descriptions, data.

use whit::error::{Error, Result};
use whit::format::cursor::Cursor;

use super::checkpoint::{Checkpoint, OpenOptions, SourceFormat};
use super::encoding::Encoding;
use super::gguf_keys::Keys;
use super::gguf_meta::{self, Metadata};
use super::source_file::SourceFile;
use super::tensor::{Location, MAX_TENSORS, SourceTensor, check_dimensions};
use super::{gguf_config, gguf_vocabulary};
use crate::families::{Family, Layout, Naming};

const MAX_PAIRS: u64 = 65_536;
/// Bytes of a tensor's name, at most: ggml's own limit.
const MAX_TENSOR_NAME: u64 = 63;
/// Bytes of the shortest pair: key length, a letter, type, a byte.
const PAIR_BYTES: u64 = 14;
/// Bytes of the shortest tensor description: name length, a letter, rank, a dimension, type, offset.
const TENSOR_BYTES: u64 = 33;

/// Opens a GGUF file.
pub(super) fn open(file: SourceFile, options: &OpenOptions) -> Result<Checkpoint> {
    if options.tokenizer.is_some() {
        return Err(file.error(Error::usage("a GGUF file has its own tokenizer").field("--tokenizer")));
    }
    let parts = read(&file).map_err(|e| file.error(e))?;
    let Parts {
        config,
        name,
        vocabulary,
        chat_template,
        generation,
        licence,
        family,
        layout,
        tensors,
        locations,
        notes,
    } = parts;
    let mut source = Checkpoint {
        format: SourceFormat::Gguf,
        config,
        name,
        vocabulary,
        vocabulary_file: 0,
        chat_template,
        generation,
        licence,
        family,
        layout,
        files: vec![file],
        tensors,
        notes,
        locations,
        query_scales: Vec::new(),
    };
    source.tie();
    Ok(source)
}

/// All that is read out of the file.
struct Parts {
    config: whit::model::Config,
    name: String,
    vocabulary: Option<whit::tokenizer::Vocabulary>,
    chat_template: Option<String>,
    generation: whit::model::GenerationDefaults,
    licence: Option<String>,
    family: &'static Family,
    layout: Layout,
    tensors: Vec<SourceTensor>,
    locations: Vec<Location>,
    notes: Vec<String>,
}

fn read(file: &SourceFile) -> Result<Parts> {
    let mut input = Cursor::new(&file.map, "GGUF");
    let (n_tensors, metadata) = header(&mut input)?;
    let (family, gguf) = gguf_config::family(&metadata)?;
    refuse_split(&metadata)?;
    let infos = tensor_infos(&mut input, n_tensors)?;
    let (tensors, locations) = layout(&infos, &metadata, input.position() as u64, file.bytes)?;
    let mut notes = Vec::new();
    let factors = rope_factors(file, &tensors, &locations)?;
    let config = (gguf.config)(&mut Keys::new(&metadata, gguf.architecture, &tensors, factors))?;
    let keep = |t: &SourceTensor| t.name != "rope_freqs.weight" && !t.name.ends_with(".attn_rot_embd.weight");
    let dropped = tensors.iter().filter(|t| t.name.ends_with(".attn_rot_embd.weight")).count();
    if dropped > 0 {
        notes.push(format!("{dropped} tensors of rotary tables are ignored: they follow from the configuration"));
    }
    let (tensors, locations) = tensors.into_iter().zip(locations).filter(|(t, _)| keep(t)).unzip();
    let stem = file.path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let name = metadata.str("general.name")?.map(str::to_string).or(stem).unwrap_or_default();
    let generation = gguf_config::generation(&metadata, config.vocab_size)?;
    let chat_template = gguf_config::chat_template(&metadata)?;
    let vocabulary = gguf_vocabulary::read(&metadata)?;
    notes.extend(gguf_vocabulary::guessed(&metadata)?);
    let licence = metadata.str("general.license")?.map(str::to_string);
    let layout = Layout { naming: Naming::Gguf, interleaved_rotary: gguf.interleaved_rotary };
    Ok(Parts {
        config,
        name,
        vocabulary,
        chat_template,
        generation,
        licence,
        family,
        layout,
        tensors,
        locations,
        notes,
    })
}

/// The vocabulary of a file that need not hold a model.
pub(super) fn vocabulary(file: &SourceFile) -> Result<whit::tokenizer::Vocabulary> {
    let (_, metadata) = header(&mut Cursor::new(&file.map, "GGUF"))?;
    gguf_vocabulary::read(&metadata)?.ok_or_else(|| metadata.error("tokenizer.ggml.model", "missing"))
}

/// Reads up to the end of the metadata; returns the number of tensors and the metadata.
fn header<'a>(input: &mut Cursor<'a>) -> Result<(usize, Metadata<'a>)> {
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

fn refuse_split(metadata: &Metadata<'_>) -> Result<()> {
    let count = metadata.integer("split.count")?.unwrap_or(1);
    if count <= 1 {
        return Ok(());
    }
    let part = metadata.integer("split.no")?.unwrap_or(0).saturating_add(1);
    let error = metadata.error("split.count", format!("part {part} of {count} of a split checkpoint"));
    Err(error.hint("merge the parts first, as `llama-gguf-split --merge` does"))
}

/// A tensor's description.
struct Info<'a> {
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

fn tensor_infos<'a>(input: &mut Cursor<'a>, n: usize) -> Result<Vec<Info<'a>>> {
    let mut infos = Vec::with_capacity(n);
    for _ in 0..n {
        let at = input.position() as u64;
        let name = gguf_meta::name(input, MAX_TENSOR_NAME, "tensor name")?;
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
                31..=33 | 36..=38 => "a repacked type (removed)",
                _ => "unknown",
            };
            let error = Error::data(format!("weights of ggml type {number}, {name}, are not supported"));
            return Err(error.hint(
                "supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4",
            ));
        }
    })
}

/// Where each tensor lies: aligned, within the file, one after the other with no more than padding between them.
fn layout(
    infos: &[Info<'_>],
    metadata: &Metadata<'_>,
    end_of_infos: u64,
    file_bytes: u64,
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
        locations.push(Location { file: 0, offset: start, bytes, encoding: *encoding });
    }
    let after = file_bytes.saturating_sub(base.saturating_add(end));
    if after >= alignment.max(32) {
        let message = format!("{after} unexpected bytes after {previous}");
        return Err(Error::data(message).field("data").at(base + end));
    }
    Ok((tensors, locations))
}

/// The divisors of the rotary frequencies that Llama 3 files carry.
fn rope_factors(file: &SourceFile, tensors: &[SourceTensor], locations: &[Location]) -> Result<Option<Vec<f32>>> {
    let name = "rope_freqs.weight";
    let Some(at) = tensors.iter().position(|t| t.name == name) else { return Ok(None) };
    let n = tensors[at].elements();
    let Location { offset, bytes, encoding, .. } = locations[at];
    if n > 4096 || encoding != Encoding::F32 {
        let message = format!("{n} x {}, expected F32, half a head's width of them", encoding.name());
        return Err(Error::data(message).field(format!("tensor \"{name}\"")).at(offset));
    }
    let mut out = vec![0.0; n as usize];
    encoding.decode(&file.map[offset as usize..(offset + bytes) as usize], 0, &mut out);
    match out.iter().position(|f| !(f.is_finite() && *f > 0.0)) {
        Some(i) => {
            let message = format!("element {i} is {}, expected a positive divisor", out[i]);
            Err(Error::data(message).field(format!("tensor \"{name}\"")).at(offset + 4 * i as u64))
        }
        None => Ok(Some(out)),
    }
}
