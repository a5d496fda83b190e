//! The library as an embedder meets it: a model with what computes it, which begins texts.

use super::{ModelFile, OnFull, StopRules, Text, Together, Writer, advance, prompt_tokens, recommended_sampling};
use crate::compute::Compute;
use crate::error::Result;
use crate::format::Bytes;
use crate::model::{Model, Session, SessionOptions, StateOptions, Workspace};
use crate::ops::KvDtype;
use crate::sampler::{Sampler, SamplerOptions};
use crate::token::TokenId;
use crate::tokenizer::Specials;
use crate::{kernels, os, threads};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::path::Path;

/// A model and what computes it. Copies share both; it can be sent to and shared between threads.
///
/// One pool of threads computes one pass at a time: texts that are to be written at the same time go through
/// [`Engine::advance`] together.
#[derive(Clone)]
pub struct Engine {
    file: ModelFile,
    compute: Arc<Compute>,
}

/// How a text is written.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// At most this many tokens; `None`: as many as the context holds.
    pub n_tokens: Option<usize>,
    /// Tokens that the context holds; `None`: as many as the model was made for, 4096 at most.
    pub context_length: Option<usize>,
    /// How tokens are chosen; `None`: as the model's authors recommend, with the seed 0.
    pub sampling: Option<SamplerOptions>,
    /// Strings that end the text and are not part of it.
    pub stops: Vec<String>,
    /// Strings that the text must not hold; see [`StopRules::banned`].
    pub banned: Vec<String>,
    /// Tokens that end the text beside the model's, as those of a conversation.
    pub end_tokens: Vec<TokenId>,
    /// Type of cached keys and values.
    pub kv: KvDtype,
}

/// The context where nobody asks for one and the model's is longer.
pub const OPEN_CONTEXT: usize = 4096;

impl Engine {
    /// Maps and opens the file at `path`; computes with the best kernels on as many threads as are best on this machine.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::of(ModelFile::open(path)?)
    }

    /// The same of a file in memory.
    pub fn of_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        Self::of(ModelFile::of_bytes(bytes)?)
    }

    fn of(file: ModelFile) -> Result<Self> {
        let n_threads = os::cpu::choose_threads().n_threads.min(threads::MAX_THREADS);
        Ok(Engine { file, compute: Arc::new(Compute::new(kernels::detect(), n_threads)?) })
    }

    /// A model that `compute` computes.
    pub fn new(file: ModelFile, compute: Arc<Compute>) -> Self {
        Engine { file, compute }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        self.file.model()
    }

    /// What computes it.
    pub fn compute(&self) -> &Arc<Compute> {
        &self.compute
    }

    /// The model with its file.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// The tokens of a prompt, in which names of control tokens are text like any other.
    pub fn tokens(&self, prompt: &str) -> Result<Vec<TokenId>> {
        prompt_tokens(self.model(), &[], prompt, Specials::AsText)
    }

    /// Begins a text after `prompt`, in which names of control tokens are text like any other.
    pub fn write(&self, prompt: &str, options: WriteOptions) -> Result<Text> {
        self.write_tokens(&self.tokens(prompt)?, options)
    }

    /// Begins a text after the tokens of a prompt.
    pub fn write_tokens(&self, prompt: &[TokenId], options: WriteOptions) -> Result<Text> {
        let session = self.session(&options)?;
        self.write_in(session, prompt, options)
    }

    /// The same in a `session` of this model, whose context and cache take the place of those in `options`. What it holds of the
    /// prompt is not computed again.
    pub fn write_in(&self, session: Session, prompt: &[TokenId], options: WriteOptions) -> Result<Text> {
        let writer = self.writer(prompt, session.context_length(), options)?;
        Ok(Text::new(writer, session))
    }

    /// Begins a text that [`Engine::advance`] writes in `workspace`, together with others.
    pub fn write_together(&self, workspace: &Workspace, prompt: &[TokenId], options: WriteOptions) -> Result<Together> {
        let context_length = self.context_length(&options);
        let state = StateOptions { context_length, kv: options.kv, slack: workspace.batch() };
        Ok(Together { state: self.model().state(state)?, writer: self.writer(prompt, context_length, options)? })
    }

    /// Advances texts of this engine by one pass; see [`advance`].
    pub fn advance(&self, workspace: &mut Workspace, texts: &mut [Together]) -> Result<usize> {
        advance(self.model(), &self.compute, workspace, texts)
    }

    /// An empty session with room for a text that is written with `options`.
    pub fn session(&self, options: &WriteOptions) -> Result<Session> {
        let context_length = self.context_length(options);
        let options = SessionOptions { context_length, kv: options.kv, ..SessionOptions::default() };
        Session::new(self.model(), &self.compute, options)
    }

    fn context_length(&self, options: &WriteOptions) -> usize {
        options.context_length.unwrap_or(self.model().config().context_length.min(OPEN_CONTEXT))
    }

    fn writer(&self, prompt: &[TokenId], context_length: usize, options: WriteOptions) -> Result<Writer> {
        let model = self.model();
        let sampling = options.sampling.unwrap_or_else(|| recommended_sampling(model.generation()));
        let sampler = Sampler::new(sampling, model.config().vocab_size)?;
        let rules = StopRules {
            n_tokens: options.n_tokens,
            stops: options.stops,
            end_tokens: [model.end_tokens(), options.end_tokens].concat(),
            banned: options.banned,
            on_full: OnFull::Stop,
        };
        Writer::new(model, prompt, context_length, sampler, rules)
    }
}
