//! An opened checkpoint, whatever its format: a configuration, a tokenizer and tensors.

use std::path::PathBuf;

use whit::error::{Error, Result};
use whit::model::spec::Part;
use whit::model::{Config, GenerationDefaults};
use whit::tokenizer::{Token, TokenKind, Vocabulary};

use super::source_file::SourceFile;
use super::tensor::{Location, SourceTensor};
use crate::families::{Family, Layout};

/// The format of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFormat {
    /// A directory with config.json and safetensors.
    HuggingFace,
    /// One GGUF file.
    Gguf,
    /// A llama2.c checkpoint with its tokenizer.bin.
    Llama2c,
}

impl SourceFormat {
    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            SourceFormat::HuggingFace => "Hugging Face",
            SourceFormat::Gguf => "GGUF",
            SourceFormat::Llama2c => "llama2.c",
        }
    }
}

/// What the user may say about a source.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The tokenizer, where it is not with the checkpoint: a tokenizer.json or, for llama2.c, a tokenizer.bin.
    pub tokenizer: Option<PathBuf>,
}

/// An opened checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its format.
    pub format: SourceFormat,
    /// The network's configuration, checked.
    pub config: Config,
    /// The model's name.
    pub name: String,
    /// The tokenizer; `None` where a directory has none.
    pub vocabulary: Option<Vocabulary>,
    /// The chat template (Jinja).
    pub chat_template: Option<String>,
    /// Recommended generation settings. `eos`: of generation_config.json, else config.json, else the tokenizer.
    pub generation: GenerationDefaults,
    /// Licence text.
    pub licence: Option<String>,
    /// The family that it is a checkpoint of.
    pub family: &'static Family,
    /// How its tensors are named and their rotary rows ordered.
    pub layout: Layout,
    /// The files that were read.
    pub files: Vec<SourceFile>,
    /// The tensors, in the order of the files.
    pub tensors: Vec<SourceTensor>,
    /// What the user should know: what was ignored or assumed.
    pub notes: Vec<String>,
    pub(super) locations: Vec<Location>,
    /// The file that `vocabulary` comes from.
    pub(super) vocabulary_file: usize,
}

impl Checkpoint {
    /// The tokenizer's section of a flat file: `vocabulary`, checked and built, with the file in the error.
    pub fn tokenizer_section(&self) -> Result<Option<Vec<u8>>> {
        let Some(vocabulary) = &self.vocabulary else { return Ok(None) };
        let named = |e: Error| self.files[self.vocabulary_file].error(e.field("tokenizer"));
        vocabulary.build().map(Some).map_err(named)
    }

    /// Refuses to go on where an input file was changed or cut since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(SourceFile::check_unchanged)
    }

    /// As many tokens as the embedding has rows: more are refused, missing ones never occur in a text.
    pub(super) fn fit_vocabulary(&mut self) -> Result<()> {
        let (Some(vocabulary), rows) = (&mut self.vocabulary, self.config.vocab_size) else { return Ok(()) };
        let n = vocabulary.tokens.len();
        if n > rows {
            let error = Error::data(format!("{n} tokens, the embedding has {rows} rows")).field("tokenizer");
            return Err(self.files[self.vocabulary_file].error(error));
        }
        // Weights for as many rows are there, so the padding is no longer than the file.
        let stored = self.tensors.iter().any(|tensor| tensor.shape.contains(&(rows as u64)));
        if n < rows && stored {
            self.notes.push(format!("the tokenizer has {n} tokens, the embedding {rows} rows: the others stay unused"));
            vocabulary.tokens.resize(rows, Token { bytes: Vec::new(), kind: TokenKind::Unused, score: 0.0 });
        }
        Ok(())
    }

    /// Decodes elements `start..start + out.len()` of a tensor, in row-major order of its shape.
    pub fn read(&self, tensor: usize, start: u64, out: &mut [f32]) -> Result<()> {
        let range = |what: String| Error::usage(what).field("tensor");
        let found = self.tensors.get(tensor).zip(self.locations.get(tensor));
        let (tensor, location) = found.ok_or_else(|| range(format!("no tensor {tensor}")))?;
        let end = start.checked_add(out.len() as u64).filter(|end| *end <= tensor.elements());
        if end.is_none() {
            let message = format!("{} elements from {start} of {}", out.len(), tensor.elements());
            return Err(range(message).field(format!("tensor \"{}\"", tensor.name)));
        }
        let Location { file, offset, bytes, encoding } = *location;
        let file = &self.files[file];
        let data = (offset as usize).checked_add(bytes as usize).and_then(|end| file.map.get(offset as usize..end));
        let Some(data) = data else {
            let error = Error::data("ends past the end of the file").field(format!("tensor \"{}\"", tensor.name));
            return Err(file.error(error.at(offset)));
        };
        encoding.decode(data, start as usize, out);
        Ok(())
    }

    /// The bytes of a tensor as they lie in the file.
    fn raw(&self, tensor: usize) -> &[u8] {
        let Location { file, offset, bytes, .. } = self.locations[tensor];
        &self.files[file].map[offset as usize..(offset + bytes) as usize]
    }

    /// Leaves out the unembedding where it is a copy of the embedding, and says so.
    pub(super) fn tie(&mut self) {
        let name = |part| self.family.tensor_name(part, None, false, self.layout.naming);
        let (Some(name), Some(embedding)) = (name(Part::Unembedding), name(Part::Embedding)) else { return };
        let find = |name: &str| self.tensors.iter().position(|t| t.name == name);
        let (Some(output), Some(input)) = (find(&name), find(&embedding)) else { return };
        let same = self.locations[output].encoding == self.locations[input].encoding
            && self.tensors[output].shape == self.tensors[input].shape
            && self.raw(output) == self.raw(input);
        if same {
            self.notes.push(format!("{name} is a copy of {embedding}: stored once"));
        } else if self.config.tied {
            self.notes.push(format!("{name} is ignored: the configuration ties it to {embedding}"));
        } else {
            return;
        }
        self.config.tied = true;
        self.tensors.remove(output);
        self.locations.remove(output);
    }
}
