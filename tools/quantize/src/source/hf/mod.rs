//! A Hugging Face directory: config.json, weights, tokenizer, generation defaults, chat template, licence.

pub(in crate::source) mod config;
pub(in crate::source) mod consolidated;
pub(crate) mod fields;
pub(in crate::source) mod files;
pub(in crate::source) mod packed;
pub(crate) mod rope;
pub(in crate::source) mod weights;

use std::path::Path;

use whit::error::{Error, Kind, Result};
use whit::model::GenerationDefaults;

use crate::source::checkpoint::{Checkpoint, OpenOptions, SourceFormat};
use crate::source::encoding::Encoding;
use crate::source::lora;
use crate::source::source_file::SourceFile;
use crate::source::tensor::SourceTensor;
use crate::source::tokenizer::directory;
use config::HfConfig;
use files::{MAX_CONFIG, check_link, optional, with_object};
use weights::Weights;

use crate::families::{Layout, Naming};

const LICENCES: [&str; 6] = ["LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING"];

/// Opens the directory.
pub(in crate::source) fn open(dir: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    let Some(config_file) = optional(dir, "config.json", MAX_CONFIG)? else {
        if let Some(error) = lora::config::alone(dir) {
            return Err(error);
        }
        let error = Error::new(Kind::NoInput, "no config.json: not a Hugging Face checkpoint");
        return Err(error.in_file(dir.display().to_string()));
    };
    let mut settings = with_object(&config_file, |object| config::parse(object, options.context))?;
    let mut files = vec![config_file];
    let generation = generation(dir, &mut settings, &mut files)?;
    let model = (settings.family, settings.left_out, settings.packed.is_some());
    let mut weights = weights::read(dir, model, &weights::OF_TRANSFORMERS, &mut files, &mut settings.notes)?;
    if let Some(scaling) = settings.packed {
        packed::scale(&mut weights, &files, scaling)?;
    }
    if let Some(note) = settings.dtype.take().and_then(|dtype| differing_dtype(&dtype, &weights.0)) {
        settings.notes.push(note);
    }
    let layout = Layout {
        naming: Naming::HuggingFace,
        interleaved_rotary: settings.family.interleaved_rotary,
        turning: settings.factors.turning(),
    };
    finish(dir, options, (SourceFormat::HuggingFace, layout), settings, generation, files, weights)
}

/// What generation_config.json recommends, and config.json where that names no ends of texts.
pub(in crate::source) fn generation(
    dir: &Path,
    settings: &mut HfConfig,
    files: &mut Vec<SourceFile>,
) -> Result<GenerationDefaults> {
    let mut generation = GenerationDefaults::default();
    if let Some(file) = optional(dir, "generation_config.json", MAX_CONFIG)? {
        let HfConfig { config, notes, .. } = settings;
        generation = with_object(&file, |object| config::generation(object, config.vocab_size, notes))?;
        files.push(file);
    }
    if generation.eos.is_empty() {
        generation.eos = settings.eos.take().unwrap_or_default();
    }
    Ok(generation)
}

/// Reads what lies beside the configuration and the weights of a directory, whoever named the tensors.
pub(in crate::source) fn finish(
    dir: &Path,
    options: &OpenOptions,
    (format, layout): (SourceFormat, Layout),
    settings: HfConfig,
    mut generation: GenerationDefaults,
    mut files: Vec<SourceFile>,
    (tensors, locations): Weights,
) -> Result<Checkpoint> {
    let HfConfig { family, config, bos, mut notes, factors, .. } = settings;
    let tokenizer = directory::read(dir, options, &config, bos, &mut files, &mut notes)?;
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
        format,
        config,
        name: name.unwrap_or_default(),
        vocabulary: tokenizer.vocabulary,
        vocabulary_file: tokenizer.file,
        chat_template: tokenizer.chat_template,
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
    source.leave_out_later_blocks();
    source.leave_out_shared();
    for (adapter, strength) in &options.lora {
        lora::apply(&mut source, adapter, *strength)?;
    }
    source.tie();
    Ok(source)
}

/// What to say where config.json announces another dtype than the weights have.
fn differing_dtype(announced: &str, tensors: &[SourceTensor]) -> Option<String> {
    let expected = match announced.trim_start_matches("torch.") {
        "float32" => "F32",
        "float16" => "F16",
        "bfloat16" => "BF16",
        _ => return None,
    };
    let other = tensors.iter().find(|t| t.dtype != expected && t.dtype != Encoding::Packed.name())?;
    Some(format!("config.json says {announced}, \"{}\" is {}: the weights count", other.name, other.dtype))
}
