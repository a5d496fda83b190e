//! What a network is: configuration, tensor tables, weights, the forward pass of each family, and the session.

mod config;
mod forward;
mod observe;
pub mod saved;
mod scratch;
mod session;
pub mod spec;
mod uses;
mod weights;

pub use config::{Config, Family, GenerationDefaults};
pub use observe::{Observer, Op, Point};
pub use session::{Session, SessionBytes, SessionOptions};
pub use uses::WeightUse;

use crate::error::{Error, Result};
use crate::format::{File, FileKind, SectionId, TensorEntry};
use crate::quant::Matrix;
use crate::token::TokenId;
use crate::tokenizer::Tokenizer;
use alloc::vec::Vec;
use weights::Weights;

/// An opened language model: views into the file's bytes, nothing copied.
pub struct Model<'a> {
    config: Config,
    weights: Weights<'a>,
    tokenizer: Option<Tokenizer<'a>>,
    generation: GenerationDefaults,
    chat_template: Option<&'a str>,
    content_hash: [u8; 32],
    weight_uses: Vec<WeightUse>,
    weight_bytes: u64,
    bytes_per_token: u64,
}

impl<'a> Model<'a> {
    /// Checks the configuration, the tensor table and the tokenizer; touches no weight.
    pub fn open(file: &File<'a>) -> Result<Self> {
        if file.kind() != FileKind::LanguageModel {
            return Err(Error::data("holds word vectors, not a language model")
                .field("kind")
                .hint("whit words reads them"));
        }
        let config = Config::decode(file.require(SectionId::CONF)?)?;
        let weights = Weights::open(file, &config)?;
        let tokenizer = file.section(SectionId::TOKN).map(Tokenizer::open).transpose()?;
        if let Some(tokenizer) = &tokenizer
            && tokenizer.vocab_size() > config.vocab_size
        {
            let message = format!("{} tokens, the model has {}", tokenizer.vocab_size(), config.vocab_size);
            return Err(Error::data(message).field("tokenizer"));
        }
        let generation = file.section(SectionId::GENR).map(GenerationDefaults::decode).transpose()?.unwrap_or_default();
        if let Some(id) = generation.eos.iter().find(|id| **id as usize >= config.vocab_size) {
            let message = format!("token {id} is outside the vocabulary of {}", config.vocab_size);
            return Err(Error::data(message).field("generation defaults eos"));
        }
        let weight_bytes = file.tensors().iter().map(|entry| entry.bytes).sum();
        let looked_up = |entry: &&TensorEntry<'_>| match entry.name {
            "positions" => true,
            "embedding" => !config.tied,
            _ => false,
        };
        let rows_only: u64 = file.tensors().iter().filter(looked_up).map(|entry| entry.bytes).sum();
        Ok(Model {
            bytes_per_token: weight_bytes - rows_only,
            weight_uses: WeightUse::all(file, &config)?,
            weights,
            config,
            tokenizer,
            generation,
            chat_template: file.template(),
            content_hash: file.content_hash(),
            weight_bytes,
        })
    }

    /// Dimensions and options.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tokenizer; a model that is fed token ids may have none.
    pub fn tokenizer(&self) -> Option<&Tokenizer<'a>> {
        self.tokenizer.as_ref()
    }

    /// What the checkpoint's authors recommend for generation.
    pub fn generation(&self) -> &GenerationDefaults {
        &self.generation
    }

    /// The tokens that end a text, by the checkpoint's authors and by the tokenizer.
    pub fn end_tokens(&self) -> Vec<TokenId> {
        let mut tokens = self.generation.eos.clone();
        tokens.extend(self.tokenizer.and_then(|tokenizer| tokenizer.eos()));
        tokens
    }

    /// The chat template, in the Jinja language.
    pub fn chat_template(&self) -> Option<&'a str> {
        self.chat_template
    }

    /// Token vectors, (vocab_size, dim).
    pub fn embedding(&self) -> &Matrix<'a> {
        &self.weights.embedding
    }

    /// The directions that logits measure, (vocab_size, dim); the embedding itself where they are tied.
    pub fn unembedding(&self) -> &Matrix<'a> {
        &self.weights.unembedding.weight
    }

    /// The weights that the ops of a token multiply with, in the order of use.
    pub fn weight_uses(&self) -> &[WeightUse] {
        &self.weight_uses
    }

    /// What names the content of the file: a hash over all of it.
    pub fn content_hash(&self) -> [u8; 32] {
        self.content_hash
    }

    /// Bytes of all weights in the file.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// Bytes of weights that decoding one token reads: all but the tables of which it looks up one row.
    pub fn bytes_per_token(&self) -> u64 {
        self.bytes_per_token
    }
}
