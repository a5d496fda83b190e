//! An opened language model: it owns the bytes of its file and what was read out of their front.

use super::config::Config;
use super::forward::Network;
use super::generation::GenerationDefaults;
use super::network::{self, Weights};
use super::spec::Reading;
use super::state::{State, StateOptions};
use super::uses::WeightUse;
use crate::error::{Error, Result};
use crate::format::{Bytes, File, FileKind, SectionId};
use crate::quant::Matrix;
use crate::token::TokenId;
use crate::tokenizer::Tokenizer;
use alloc::string::String;
use alloc::vec::Vec;

/// Views into the bytes of a file.
struct Views<'a> {
    file: File<'a>,
    weights: Weights<'a>,
    tokenizer: Option<Tokenizer<'a>>,
}

self_cell::self_cell!(
    /// The bytes of a file, and views into them.
    struct Opened {
        owner: Bytes,
        #[covariant]
        dependent: Views,
    }
);

/// An opened language model. Its weights stay where they are: nothing is copied. It can be shared between threads, as an `Arc`.
pub struct Model {
    opened: Opened,
    config: Config,
    generation: GenerationDefaults,
    weight_uses: Vec<WeightUse>,
    weight_bytes: u64,
    bytes_per_token: u64,
}

impl Model {
    /// Checks header, configuration, tensor table and tokenizer of a file; touches no weight.
    pub fn open(bytes: impl Into<Bytes>) -> Result<Self> {
        let mut read = None;
        let opened = Opened::try_new(bytes.into(), |bytes| {
            let file = File::open(bytes)?;
            let (parts, weights) = Parts::read(&file)?;
            let tokenizer = parts.tokenizer(&file)?;
            read = Some(parts);
            Ok(Views { file, weights, tokenizer })
        })?;
        let Some(Parts { config, generation, weight_uses, weight_bytes, bytes_per_token }) = read else {
            return Err(Error::data("nothing was read"));
        };
        Ok(Model { opened, config, generation, weight_uses, weight_bytes, bytes_per_token })
    }

    fn views(&self) -> &Views<'_> {
        self.opened.borrow_dependent()
    }

    /// The plan and the weights.
    pub(super) fn network(&self) -> Network<'_> {
        Network { config: &self.config, weights: &self.views().weights }
    }

    /// Dimensions and options.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file.
    pub fn file(&self) -> &File<'_> {
        &self.views().file
    }

    /// The tokenizer; a model that is fed token ids may have none.
    pub fn tokenizer(&self) -> Option<&Tokenizer<'_>> {
        self.views().tokenizer.as_ref()
    }

    /// What the checkpoint's authors recommend for generation.
    pub fn generation(&self) -> &GenerationDefaults {
        &self.generation
    }

    /// The tokens that end a text, each once: by the checkpoint's authors, by the tokenizer, and by their names.
    pub fn end_tokens(&self) -> Vec<TokenId> {
        let mut tokens = self.generation.eos.clone();
        let tokenizer = self.tokenizer().into_iter();
        for token in tokenizer.flat_map(|tokenizer| tokenizer.eos().into_iter().chain(tokenizer.named_ends())) {
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        tokens
    }

    /// The chat template, in the Jinja language.
    pub fn chat_template(&self) -> Option<&str> {
        self.file().template()
    }

    /// Token vectors, (vocab_size, dim).
    pub fn embedding(&self) -> &Matrix<'_> {
        &self.views().weights.embedding
    }

    /// The score of each head of block `layer` that has no value, (n_heads); empty where there is none.
    pub fn sinks(&self, layer: usize) -> &[f32] {
        self.views().weights.blocks[layer].sinks()
    }

    /// The directions that logits measure, (vocab_size, dim); the embedding itself where they are tied.
    pub fn unembedding(&self) -> &Matrix<'_> {
        &self.views().weights.unembedding.weight
    }

    /// The weights that the ops of a token multiply with, in the order of use.
    pub fn weight_uses(&self) -> &[WeightUse] {
        &self.weight_uses
    }

    /// What names the content of the file: a hash over all of it.
    pub fn content_hash(&self) -> [u8; 32] {
        self.file().content_hash()
    }

    /// What names the model and its arithmetic, as `whit-0123456789abcdef-n2`: equal where all logits are.
    pub fn fingerprint(&self) -> String {
        let hash = blake3::Hash::from_bytes(self.content_hash()).to_hex();
        format!("whit-{}-n{}", &hash[..16], crate::ops::NUMERICS_VERSION)
    }

    /// Bytes of all weights in the file.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// Bytes of weights that decoding one token reads: all but the tables of which it looks up one row.
    pub fn bytes_per_token(&self) -> u64 {
        self.bytes_per_token
    }

    /// The state of an empty text. Fails where memory is missing, or where more positions are asked for than the model has
    /// learned.
    pub fn state(&self, options: StateOptions) -> Result<State> {
        let (config, StateOptions { context_length, slack, .. }) = (&self.config, options);
        if context_length == 0 || slack == 0 {
            return Err(Error::usage("context length and slack are at least 1"));
        }
        if config.learned_positions && context_length > config.context_length {
            let message = format!("{context_length} positions asked for, the model has {}", config.context_length);
            return Err(Error::usage(message).field("context length"));
        }
        let layer_options = config.layer_options(options);
        let layers = config.layers.iter().enumerate();
        let layers = layers.flat_map(|(i, layer)| layer.states(i, layer_options)).collect::<Result<_>>()?;
        State::new(layers, options)
    }
}

/// What is read out of a file besides views into it.
struct Parts {
    config: Config,
    generation: GenerationDefaults,
    weight_uses: Vec<WeightUse>,
    weight_bytes: u64,
    bytes_per_token: u64,
}

impl Parts {
    fn read<'a>(file: &File<'a>) -> Result<(Self, Weights<'a>)> {
        if file.kind() != FileKind::LanguageModel {
            return Err(Error::data("holds word vectors, not a language model")
                .field("kind")
                .hint("whit words reads them"));
        }
        let config = Config::decode(file.require(SectionId::CONF)?)?;
        // So the table of those that should be there is not much longer than the directory of those that are.
        let n = file.tensors().len();
        if network::n_of_blocks(&config) > 2 * n + 64 {
            let message = format!("{n} tensors for {} layers", config.n_layers());
            return Err(Error::data(message).field("tensors").hint("convert the checkpoint again"));
        }
        let table = network::tensors(&config);
        let weights = Weights::open(file, &config, &table)?;
        let generation = file.section(SectionId::GENR).map(GenerationDefaults::decode).transpose()?.unwrap_or_default();
        if let Some(id) = generation.eos.iter().find(|id| **id as usize >= config.vocab_size) {
            let message = format!("token {id} is outside the vocabulary of {}", config.vocab_size);
            return Err(Error::data(message).field("generation defaults eos"));
        }
        let read_whole = table.iter().filter(|spec| spec.reads.iter().any(|(_, reading)| *reading == Reading::Whole));
        let bytes_per_token = read_whole.filter_map(|spec| Some(spec.used(file.tensor(&spec.name)?.bytes))).sum();
        let weight_bytes = file.tensors().iter().map(|entry| entry.bytes).sum();
        let weight_uses = WeightUse::all(file, &table)?;
        Ok((Parts { config, generation, weight_uses, weight_bytes, bytes_per_token }, weights))
    }

    fn tokenizer<'a>(&self, file: &File<'a>) -> Result<Option<Tokenizer<'a>>> {
        let tokenizer = file.section(SectionId::TOKN).map(Tokenizer::open).transpose()?;
        if let Some(tokenizer) = &tokenizer
            && tokenizer.vocab_size() > self.config.vocab_size
        {
            let message = format!("{} tokens, the model has {}", tokenizer.vocab_size(), self.config.vocab_size);
            return Err(Error::data(message).field("tokenizer"));
        }
        Ok(tokenizer)
    }
}
