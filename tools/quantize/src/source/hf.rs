//! A Hugging Face directory: config.json, safetensors (one file, or shards with an index), tokenizer, generation
//! defaults, chat template, licence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use whit::error::{Error, Kind, Result, listed, moves_cursor, printable};

use super::checkpoint::{Checkpoint, OpenOptions, SourceFormat};
use super::hf_config::{self, HfConfig};
use super::hf_files::{MAX_CONFIG, check_link, optional, with_object};
use super::json::Value;
use super::source_file::SourceFile;
use super::tensor::{Location, MAX_TENSORS, SourceTensor, check_name};
use super::{hf_tokenizer, safetensors};
use crate::families::{Family, Layout, Naming};

/// Bytes of an index, at most.
const MAX_INDEX: u64 = 64 << 20;
const MAX_SHARDS: usize = 1024;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const LICENCES: [&str; 6] = ["LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING"];

/// Opens the directory.
pub(super) fn open(dir: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    let Some(config_file) = optional(dir, "config.json", MAX_CONFIG)? else {
        let error = Error::new(Kind::NoInput, "no config.json: not a Hugging Face checkpoint");
        return Err(error.in_file(dir.display().to_string()));
    };
    let HfConfig { family, config, bos, eos, dtype, mut notes, query_scales } =
        with_object(&config_file, hf_config::parse)?;
    let mut files = vec![config_file];
    let mut generation = whit::model::GenerationDefaults::default();
    if let Some(file) = optional(dir, "generation_config.json", MAX_CONFIG)? {
        generation = with_object(&file, |object| hf_config::generation(object, config.vocab_size, &mut notes))?;
        files.push(file);
    }
    if generation.eos.is_empty() {
        generation.eos = eos.unwrap_or_default();
    }
    let (tensors, locations) = weights(dir, family, &mut files, &mut notes)?;
    if let Some(note) = dtype.and_then(|dtype| differing_dtype(&dtype, &tensors)) {
        notes.push(note);
    }
    let tokenizer = hf_tokenizer::read(dir, options, &config, bos, &mut files, &mut notes)?;
    if let Some(eos) = tokenizer.vocabulary.as_ref().and_then(|v| v.eos).filter(|_| generation.eos.is_empty()) {
        generation.eos.push(eos);
    }
    let mut licence = None;
    for name in LICENCES {
        if check_link(dir, &dir.join(name)).is_err() {
            notes.push(format!("{name} is left out: it is a link out of the directory"));
            continue;
        }
        if let Some(file) = optional(dir, name, 1 << 20)? {
            licence = Some(String::from_utf8_lossy(&file.map).into_owned());
            files.push(file);
            break;
        }
    }
    let name = dir.canonicalize().ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
    let mut source = Checkpoint {
        format: SourceFormat::HuggingFace,
        config,
        name: name.unwrap_or_default(),
        vocabulary: tokenizer.vocabulary,
        vocabulary_file: tokenizer.file,
        chat_template: tokenizer.chat_template,
        generation,
        licence,
        family,
        layout: Layout { naming: Naming::HuggingFace, interleaved_rotary: false },
        files,
        tensors,
        notes,
        locations,
        query_scales,
    };
    source.leave_out_later_blocks();
    source.tie();
    Ok(source)
}

type Weights = (Vec<SourceTensor>, Vec<Location>);

fn weights(dir: &Path, family: &Family, files: &mut Vec<SourceFile>, notes: &mut Vec<String>) -> Result<Weights> {
    let mut weights = (Vec::new(), Vec::new());
    if let Some(file) = optional(dir, SINGLE, u64::MAX)? {
        if dir.join(INDEX).exists() {
            notes.push(format!("both {SINGLE} and {INDEX} are present: {SINGLE} is used"));
        }
        add_file(file, family, files, &mut weights)?;
    } else if let Some(index) = optional(dir, INDEX, MAX_INDEX)? {
        shards(dir, index, family, files, &mut weights)?;
    } else {
        let error = Error::new(Kind::NoInput, format!("neither {SINGLE} nor {INDEX}"));
        let error = error.in_file(dir.display().to_string());
        return Err(if dir.join("pytorch_model.bin").exists() || dir.join("pytorch_model.bin.index.json").exists() {
            error.hint("pytorch_model.bin is a pickle, which runs code when loaded: save the model as safetensors")
        } else {
            error.hint(format!(
                "the directory needs the weights of the whole model as {SINGLE}, or in shards with an index"
            ))
        });
    }
    let names = weights.0.iter().map(|t: &SourceTensor| t.name.clone()).collect();
    let mut names = family.normalize(names);
    weights.0.iter_mut().zip(&names).for_each(|(tensor, name)| tensor.name.clone_from(name));
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let error = Error::data("appears twice, with and without prefix").field(format!("tensor \"{}\"", pair[0]));
        return Err(error.in_file(dir.display().to_string()));
    }
    Ok(weights)
}

/// Adds all tensors of a safetensors file; returns their names as they are in the file.
fn add_file(file: SourceFile, family: &Family, files: &mut Vec<SourceFile>, out: &mut Weights) -> Result<Vec<String>> {
    let parsed = safetensors::parse(&file.map, |name| family.ignores(name)).map_err(|e| file.error(e))?;
    let mut names = Vec::with_capacity(parsed.len());
    for entry in parsed {
        let safetensors::Entry { name, encoding, shape, start } = entry;
        let bytes = encoding.bytes(shape.iter().product()).unwrap_or(0);
        names.push(name.clone());
        out.0.push(SourceTensor { name, shape, dtype: encoding.name() });
        out.1.push(Location { file: files.len(), offset: start, bytes, encoding });
    }
    files.push(file);
    Ok(names)
}

/// Adds the shards that the index names, and holds the index against them.
fn shards(
    dir: &Path,
    index: SourceFile,
    family: &Family,
    files: &mut Vec<SourceFile>,
    out: &mut Weights,
) -> Result<()> {
    let map = with_object(&index, weight_map)?;
    let mut problems = Vec::new();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let shown = index.path.display().to_string();
    for (shard, tensors) in &map {
        let path = dir.join(shard);
        if std::fs::symlink_metadata(&path).is_err() {
            problems.push(format!("shard {shard} is missing"));
            continue;
        }
        check_link(dir, &path)?;
        let present = add_file(SourceFile::open(&path)?, family, files, out)?;
        let present: BTreeSet<String> = present.into_iter().collect();
        for name in tensors.iter().filter(|name| !present.contains(*name) && !family.ignores(name)) {
            problems.push(format!("tensor \"{}\" is not in {shard}", printable(name)));
        }
        for name in present {
            if !tensors.contains(&name) {
                problems.push(format!("{shard} holds \"{}\", which the index does not place there", printable(&name)));
            }
            if let Some(other) = seen.insert(name.clone(), shard) {
                problems.push(format!("tensor \"{}\" is in {other} and in {shard}", printable(&name)));
            }
        }
    }
    if !problems.is_empty() {
        let error = Error::data(listed(&problems)).field("weight_map").in_file(shown);
        return Err(error.hint("the directory is incomplete or mixed: copy it again"));
    }
    files.push(index);
    Ok(())
}

/// The tensors of each shard.
fn weight_map(object: Value<'_>) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let field = "weight_map";
    let map = object.get(field).ok_or_else(|| object.error("missing: weight_map", field))?;
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (n, (tensor, value)) in map.entries(field)?.enumerate() {
        if n == MAX_TENSORS {
            return Err(value.error(format!("more than {MAX_TENSORS} tensors"), field));
        }
        check_name(&tensor).map_err(|message| value.error(message, field))?;
        let shard = value.str(&format!("{field} \"{tensor}\""))?;
        if !is_base_name(&shard) {
            let message =
                format!("\"{}\" is no plain name of a .safetensors file in this directory", printable(&shard));
            return Err(value.error(message, &format!("{field} \"{tensor}\"")));
        }
        shards.entry(shard.into_owned()).or_default().insert(tensor.into_owned());
        if shards.len() > MAX_SHARDS {
            return Err(value.error(format!("more than {MAX_SHARDS} shards"), field));
        }
    }
    if shards.is_empty() {
        return Err(map.error("no tensors", field));
    }
    Ok(shards)
}

/// True for names that cannot lead out of the directory, on any system.
fn is_base_name(name: &str) -> bool {
    let plain = |c: char| !moves_cursor(c) && !matches!(c, '/' | '\\' | ':');
    name.ends_with(".safetensors") && !name.starts_with('.') && name.len() <= 255 && name.chars().all(plain)
}

/// What to say where config.json announces another dtype than the weights have.
fn differing_dtype(announced: &str, tensors: &[SourceTensor]) -> Option<String> {
    let expected = match announced.trim_start_matches("torch.") {
        "float32" => "F32",
        "float16" => "F16",
        "bfloat16" => "BF16",
        _ => return None,
    };
    let other = tensors.iter().find(|t| t.dtype != expected)?;
    Some(format!("config.json says {announced}, \"{}\" is {}: the weights count", other.name, other.dtype))
}
