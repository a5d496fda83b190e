//! An opened checkpoint, whatever its format: a configuration, a tokenizer and tensors.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use whit::error::{Error, Result, listed, printable};
use whit::model::spec::{Part, TensorSpec};
use whit::model::{Config, GenerationDefaults, Layer};
use whit::tokenizer::{Token, TokenKind, Vocabulary, VocabularyModel};

use super::source_file::SourceFile;
use super::tensor::{Location, SourceTensor};
use crate::families::{Factors, Family, Layout, RowFactors};

/// The format of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFormat {
    /// A directory with config.json and safetensors.
    HuggingFace,
    /// A directory with params.json and consolidated weights, as Mistral and Meta publish models.
    Consolidated,
    /// A GGUF file, or several of one model.
    Gguf,
    /// A llama2.c checkpoint with its tokenizer.bin.
    Llama2c,
}

impl SourceFormat {
    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            SourceFormat::HuggingFace => "Hugging Face",
            SourceFormat::Consolidated => "consolidated",
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
    /// Directories of low-rank adapters that are merged, in this order, and what each is multiplied by.
    pub lora: Vec<(PathBuf, f64)>,
    /// Positions that are wanted: where they are more than before the scaling of LongRoPE, its factors for long texts count.
    pub context: Option<usize>,
}

/// What is added to a matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    /// A (rank, in).
    pub(super) a: Location,
    /// B (out, rank).
    pub(super) b: Location,
    pub(super) rank: usize,
    /// The matrix is stored as (in, out), as that of an embedding or of GPT-2 is.
    pub(super) transposed: bool,
    pub(super) scale: f64,
    /// What the length of each output's weights becomes (DoRA, Liu et al. 2024).
    pub(super) magnitude: Option<Location>,
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
    /// What parts of the network are multiplied by on the way.
    pub(super) factors: Factors,
    pub(super) locations: Vec<Location>,
    /// What adapters add to matrices, by their names.
    pub(super) merges: HashMap<String, Vec<Merge>>,
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

    /// As many tokens as the embedding has rows: added ones without a row are left out, missing ones never occur in a text.
    pub(super) fn fit_vocabulary(&mut self) -> Result<()> {
        let (Some(vocabulary), rows) = (&mut self.vocabulary, self.config.vocab_size) else { return Ok(()) };
        let n = vocabulary.tokens.len();
        if let Some(beyond) = vocabulary.tokens.get(rows..).filter(|beyond| !beyond.is_empty()) {
            if beyond.iter().any(|token| !matches!(token.kind, TokenKind::Control | TokenKind::UserDefined)) {
                let error = Error::data(format!("{n} tokens, the embedding has {rows} rows")).field("tokenizer");
                let error = error.hint("give the tokenizer that this model was trained with");
                return Err(self.files[self.vocabulary_file].error(error));
            }
            let names: Vec<_> = beyond.iter().map(|token| String::from_utf8_lossy(&token.bytes)).collect();
            let names: Vec<_> = names.iter().map(|name| format!("\"{}\"", printable(name))).collect();
            self.notes
                .push(format!("the embedding has no row for added tokens, which are left out: {}", listed(&names)));
            vocabulary.tokens.truncate(rows);
            if let VocabularyModel::Pipeline(pipeline) = &mut vocabulary.model {
                pipeline.truncate(rows);
            }
            let there = |id: &u32| (*id as usize) < rows;
            vocabulary.bos = vocabulary.bos.filter(there);
            vocabulary.eos = vocabulary.eos.filter(there);
            vocabulary.unk = vocabulary.unk.filter(there);
            vocabulary.add_bos &= vocabulary.bos.is_some();
            self.generation.eos.retain(there);
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
        self.reader(tensor)?.read(start, out)
    }

    /// The bytes of a tensor as they lie in the file.
    fn raw(&self, tensor: usize) -> &[u8] {
        let Location { file, offset, bytes, .. } = self.locations[tensor];
        &self.files[file].map[offset as usize..(offset + bytes) as usize]
    }

    /// What the values of a tensor of the plan are multiplied by.
    pub(crate) fn factor(&self, spec: &TensorSpec) -> Option<f32> {
        self.factors.of(&self.config, spec)
    }

    /// What the rows of a tensor of the plan are multiplied by, where it is not the same for all.
    pub(crate) fn row_factors(&self, spec: &TensorSpec) -> Option<RowFactors> {
        self.factors.of_rows(spec)
    }

    /// Leaves out tensors of blocks that the configuration does not count, and says so.
    pub(super) fn leave_out_later_blocks(&mut self) {
        let n_layers = self.config.n_layers();
        let counts = |tensor: &SourceTensor| self.family.block_of(&tensor.name).is_none_or(|block| block < n_layers);
        let counted: Vec<bool> = self.tensors.iter().map(counts).collect();
        let left_out = counted.iter().filter(|counts| !**counts).count();
        if left_out == 0 {
            return;
        }
        self.notes
            .push(format!("{left_out} tensors are of blocks beyond the {n_layers} of the configuration: ignored"));
        let mut kept = counted.iter();
        self.tensors.retain(|_| kept.next() == Some(&true));
        let mut kept = counted.iter();
        self.locations.retain(|_| kept.next() == Some(&true));
    }

    /// Leaves out keys and values of layers that read those of others, and says so: published checkpoints have them.
    pub(super) fn leave_out_shared(&mut self) {
        let shares = |layer: &Layer| layer.attention().is_some_and(|attention| attention.shares.is_some());
        let layers = self.config.layers.iter().enumerate().filter(|(_, layer)| shares(layer)).map(|(i, _)| i);
        let parts = |layer| [Part::Key, Part::Value, Part::KeyNorm].map(|part| (part, layer));
        let named = layers.flat_map(parts);
        let named = named.filter_map(|(part, i)| self.family.tensor_name(part, Some(i), false, self.layout.naming));
        let names: HashSet<String> = named.collect();
        let found = self.tensors.iter().filter(|tensor| names.contains(&tensor.name)).count();
        if found == 0 {
            return;
        }
        self.notes.push(format!("{found} tensors of keys and values are ignored: their layers read those of others"));
        let keep: Vec<bool> = self.tensors.iter().map(|tensor| !names.contains(&tensor.name)).collect();
        let mut kept = keep.iter();
        self.tensors.retain(|_| kept.next() == Some(&true));
        let mut kept = keep.iter();
        self.locations.retain(|_| kept.next() == Some(&true));
    }

    /// Stores the embedding and the unembedding once where one is a copy of the other, or stands for both, and says so. Where they
    /// differ both count, whatever the configuration says of them.
    pub(super) fn tie(&mut self) {
        let name = |part| self.family.tensor_name(part, None, false, self.layout.naming);
        let (Some(unembedding), Some(embedding)) = (name(Part::Unembedding), name(Part::Embedding)) else { return };
        let find = |name: &str| self.tensors.iter().position(|t| t.name == name);
        match (find(&unembedding), find(&embedding)) {
            (Some(output), Some(input)) if self.same(output, input) && !self.config.unembedding_bias => {
                self.notes.push(format!("{unembedding} is a copy of {embedding}: stored once"));
                self.config.tied = true;
                self.tensors.remove(output);
                self.locations.remove(output);
            }
            (Some(_), Some(_)) if self.config.tied => {
                let differs = format!("{unembedding} differs from {embedding}, to which the configuration ties it");
                self.notes.push(format!("{differs}: both are used"));
                self.config.tied = false;
            }
            (Some(output), None) if self.config.tied => {
                self.notes.push(format!("{embedding} is stored as {unembedding}, to which the configuration ties it"));
                self.tensors[output].name = embedding;
            }
            _ => {}
        }
    }

    /// Two tensors are alike to the last byte.
    fn same(&self, one: usize, other: usize) -> bool {
        let merged = |tensor: usize| self.merges.contains_key(&self.tensors[tensor].name);
        !merged(one)
            && !merged(other)
            && self.locations[one].encoding == self.locations[other].encoding
            && self.locations[one].strides == self.locations[other].strides
            && self.locations[one].factor == self.locations[other].factor
            && self.tensors[one].shape == self.tensors[other].shape
            && self.raw(one) == self.raw(other)
    }
}
