//! GGUF, versions 2 and 3, little endian: metadata, tensor descriptions, data.

pub(in crate::source) mod blocks;
pub(in crate::source) mod config;
pub(in crate::source) mod divisors;
pub(in crate::source) mod header;
pub(crate) mod keys;
pub(in crate::source) mod meta;
pub(in crate::source) mod patterns;
pub(in crate::source) mod rope;
pub(in crate::source) mod split;
pub(in crate::source) mod tensors;
pub(in crate::source) mod vocabulary;

use whit::error::{Error, Result};
use whit::format::cursor::Cursor;

use crate::source::checkpoint::{Checkpoint, OpenOptions, SourceFormat};
use crate::source::source_file::SourceFile;
use crate::source::tensor::{Location, SourceTensor};
use divisors::Divisors;
use header::header;
use keys::Keys;

use crate::families::{Factors, Family, Layout, Naming};

/// Opens a GGUF file, with all other parts of a model that is split.
pub(in crate::source) fn open(file: SourceFile, options: &OpenOptions) -> Result<Checkpoint> {
    if options.tokenizer.is_some() {
        return Err(file.error(Error::usage("a GGUF file has its own tokenizer").field("--tokenizer")));
    }
    let files = split::parts(file)?;
    let parts = read(&files, options.context).map_err(|e| files[0].error(e))?;
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
        factors,
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
        files,
        tensors,
        notes,
        locations,
        factors,
        merges: Default::default(),
    };
    source.leave_out_shared();
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
    factors: Factors,
}

fn read(files: &[SourceFile], wanted: Option<usize>) -> Result<Parts> {
    let (_, metadata) = header(&mut Cursor::new(&files[0].map, "GGUF"))?;
    let (family, gguf, architecture) = config::family(&metadata)?;
    let (mut tensors, mut locations) = (Vec::new(), Vec::new());
    for (i, file) in files.iter().enumerate() {
        let (more, places) = of_file(i, file).map_err(|e| file.error(e))?;
        tensors.extend(more);
        locations.extend(places);
    }
    split::check(&metadata, files, &tensors, &locations)?;
    let divisors = Divisors::read(files, &tensors, &locations)?;
    let mut keys = Keys::new(&metadata, architecture, &tensors, (divisors, wanted));
    let config = family.name_plan((gguf.config)(&mut keys)?);
    let (mut notes, factors) = keys.into_told();
    let keep = |t: &SourceTensor| !Divisors::has(&t.name) && !t.name.ends_with(".attn_rot_embd.weight");
    let dropped = tensors.iter().filter(|t| t.name.ends_with(".attn_rot_embd.weight")).count();
    if dropped > 0 {
        notes.push(format!("{dropped} tensors of rotary tables are ignored: they follow from the configuration"));
    }
    let n_layers = config.n_layers();
    let guesses = |t: &SourceTensor| keys::block_of(t).is_some_and(|block| block >= n_layers);
    let dropped = tensors.iter().filter(|t| guesses(t)).count();
    if dropped > 0 {
        notes.push(format!("{dropped} tensors of blocks that guess several tokens at once are left out"));
    }
    let tensors = tensors.into_iter().zip(locations).filter(|(t, _)| keep(t) && !guesses(t));
    let (tensors, locations) = tensors.map(|(t, location)| (renamed(family, t), location)).unzip();
    let stem = files[0].path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let name = metadata.str("general.name")?.map(str::to_string).or(stem).unwrap_or_default();
    let generation = config::generation(&metadata, config.vocab_size)?;
    let chat_template = config::chat_template(&metadata)?;
    let vocabulary = vocabulary::read(&metadata)?;
    notes.extend(vocabulary::guessed(&metadata)?);
    let licence = metadata.str("general.license")?.map(str::to_string);
    let layout =
        Layout { naming: Naming::Gguf, interleaved_rotary: gguf.interleaved_rotary, turning: factors.turning() };
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
        factors,
    })
}

/// The tensor with the name of the family's table.
fn renamed(family: &Family, tensor: SourceTensor) -> SourceTensor {
    let ends = family.gguf_renamed.iter();
    let name = ends.filter_map(|(from, to)| Some(format!("{}{to}", tensor.name.strip_suffix(from)?))).next();
    SourceTensor { name: name.unwrap_or(tensor.name), ..tensor }
}

/// The tensors of the file of the given number.
fn of_file(number: usize, file: &SourceFile) -> Result<(Vec<SourceTensor>, Vec<Location>)> {
    let mut input = Cursor::new(&file.map, "GGUF");
    let (n_tensors, metadata) = header(&mut input)?;
    let infos = tensors::infos(&mut input, n_tensors)?;
    tensors::layout(&infos, &metadata, input.position() as u64, (number, file.bytes))
}

/// The vocabulary of a file that need not hold a model.
pub(in crate::source) fn vocabulary(file: &SourceFile) -> Result<whit::tokenizer::Vocabulary> {
    let (_, metadata) = header(&mut Cursor::new(&file.map, "GGUF"))?;
    vocabulary::read(&metadata)?.ok_or_else(|| metadata.error("tokenizer.ggml.model", "missing"))
}
