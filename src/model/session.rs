//! A session: one text in progress, with its KV cache and scratch, all allocated once.

use super::forward::{forward, unembed};
use super::observe::{Observer, Op, Point};
use super::scratch::{Scratch, zeros};
use super::{Config, Model};
use crate::compute::Compute;
use crate::error::{Error, Kind, Remedy, Result};
use crate::ops::{KV_BLOCK, KvCache, KvDtype};
use crate::token::TokenId;
use alloc::{boxed::Box, vec::Vec};
use core::ops::Range;

/// How a session is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Positions the KV cache holds; at most the model's own `context_length` for learned positions.
    pub context_length: usize,
    /// Type of cached keys and values.
    pub kv: KvDtype,
    /// Tokens per prefill step; changes speed and memory, never a bit of the result.
    pub batch: usize,
    /// Rows of logits computed at once by [`Session::extend_each`]; changes speed and memory, never a bit.
    pub logit_rows: usize,
}

/// Bytes that a session allocates, all of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionBytes {
    /// Keys and values of every position.
    pub kv: u64,
    /// Buffers of a prefill step, and logits.
    pub scratch: u64,
}

impl SessionOptions {
    /// What a session of `config`'s network with these options allocates.
    pub fn bytes(&self, config: &Config) -> SessionBytes {
        let (batch, logit_rows) = self.sizes();
        let logits = logit_rows as u64 * config.vocab_size as u64 * size_of::<f32>() as u64;
        let (layers, heads) = (config.n_layers, config.n_kv_heads);
        SessionBytes {
            kv: KvCache::bytes(self.kv, layers, heads, config.head_dim, self.context_length),
            scratch: Scratch::bytes(config, batch) + logits,
        }
    }

    /// Batch and logit rows as they can be used: not more tokens than there are positions.
    fn sizes(&self) -> (usize, usize) {
        let batch = self.batch.min(self.context_length);
        (batch, self.logit_rows.min(batch))
    }
}

impl Default for SessionOptions {
    /// 2048 positions, f16 cache, 192 tokens a prefill step.
    fn default() -> Self {
        SessionOptions { context_length: 2048, kv: KvDtype::F16, batch: 192, logit_rows: 1 }
    }
}

/// Those who watch a pass: the pace, which is told first, and the caller's observer. One type for all of them, so that a forward
/// pass is compiled for it and for nobody.
struct Watchers<'w>([Option<&'w mut dyn Observer>; 2]);

impl<'w> Watchers<'w> {
    /// `None` where nobody watches.
    fn of(
        pace: &'w mut Option<Box<dyn Observer + '_>>,
        observer: Option<&'w mut (dyn Observer + '_)>,
    ) -> Option<Watchers<'w>> {
        let pace = pace.as_mut().map(|pace| -> &mut dyn Observer { pace.as_mut() });
        let observer = observer.map(|observer| -> &mut dyn Observer { observer });
        (pace.is_some() || observer.is_some()).then_some(Watchers([pace, observer]))
    }
}

impl Observer for Watchers<'_> {
    fn op(&mut self, layer: Option<usize>, op: Op) {
        self.0.iter_mut().flatten().for_each(|watcher| watcher.op(layer, op));
    }

    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        self.0.iter_mut().flatten().for_each(|watcher| watcher.see(layer, point, values));
    }
}

/// One text in progress.
pub struct Session<'m, 'a> {
    model: &'m Model<'a>,
    compute: &'m Compute,
    context_length: usize,
    batch: usize,
    logit_rows: usize,
    position: usize,
    cache: KvCache,
    scratch: Scratch,
    logits: Vec<f32>,
    /// Told of every op before anybody else.
    pace: Option<Box<dyn Observer + 'm>>,
}

impl<'m, 'a> Session<'m, 'a> {
    /// Allocates everything the session will ever use.
    pub fn new(model: &'m Model<'a>, compute: &'m Compute, options: SessionOptions) -> Result<Self> {
        let config = &model.config;
        let SessionOptions { context_length, kv, .. } = options;
        let (batch, logit_rows) = options.sizes();
        if logit_rows == 0 {
            return Err(Error::usage("context length, batch and logit rows are at least 1"));
        }
        if model.weights.positions.is_some() && context_length > config.context_length {
            let message = format!("{context_length} positions asked for, the model has {}", config.context_length);
            return Err(Error::usage(message).field("context length"));
        }
        Ok(Session {
            model,
            compute,
            context_length,
            batch,
            logit_rows,
            position: 0,
            cache: KvCache::new(kv, config.n_layers, config.n_kv_heads, config.head_dim, context_length)?,
            scratch: Scratch::new(config, batch)?,
            logits: zeros(logit_rows * config.vocab_size)?,
            pace: None,
        })
    }

    /// Has `pace` told of every op from now on, before it begins: it may make the op wait.
    pub fn pace(&mut self, pace: impl Observer + 'm) {
        self.pace = Some(Box::new(pace));
    }

    /// Tokens in the cache: the position of the next one.
    pub fn position(&self) -> usize {
        self.position
    }

    /// No position is left.
    pub fn is_full(&self) -> bool {
        self.position >= self.context_length
    }

    /// Positions the cache holds.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Keys and values of block `block` of [`KV_BLOCK`] positions, in pieces.
    pub(super) fn block(&self, block: usize) -> impl Iterator<Item = &[u8]> {
        self.cache.block(block)
    }

    /// Puts zeros where the last block that holds a token goes on after position `n`; no token after it may be in use.
    pub(super) fn clear_after(&mut self, n: usize) {
        let end = n.next_multiple_of(KV_BLOCK).min(self.context_length);
        if n < end {
            assert!(self.position <= n, "positions from {n} on are in use");
            self.cache.clear(self.compute, n..end);
        }
    }

    /// Puts the keys and values of `n` positions from `start` on back, whole blocks of them in `blocks`. The session
    /// must hold the text up to `start`.
    pub(super) fn restore(&mut self, start: usize, n: usize, blocks: &[u8]) -> Result<()> {
        if start > self.position || n > self.context_length.saturating_sub(start) {
            let message = format!("{n} tokens from position {start} on, in a context of {}", self.context_length);
            return Err(Error::new(Kind::Resources, message).field("saved session").remedy(Remedy::LongerContext));
        }
        for (i, block) in blocks.chunks_exact(self.cache.block_bytes()).enumerate() {
            self.cache.restore_block(start / KV_BLOCK + i, block);
        }
        self.position = start + n;
        Ok(())
    }

    /// Forgets every token from `position` on.
    pub fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Appends `tokens`, in prefill steps of at most `batch`, and returns the logits after the last, (vocab_size).
    pub fn extend(&mut self, tokens: &[TokenId]) -> Result<&[f32]> {
        self.run(tokens, None)
    }

    /// [`extend`](Self::extend), telling `observer` of every op and showing it what they leave behind.
    pub fn extend_observed(&mut self, tokens: &[TokenId], observer: &mut dyn Observer) -> Result<&[f32]> {
        self.run(tokens, Some(observer))
    }

    fn run(&mut self, tokens: &[TokenId], mut observer: Option<&mut dyn Observer>) -> Result<&[f32]> {
        self.check(tokens)?;
        let mut last = 0;
        for step in tokens.chunks(self.batch) {
            self.step(step, observer.as_mut().map(|observer| -> &mut dyn Observer { *observer }));
            last = step.len() - 1;
        }
        Ok(self.unembed(last..last + 1, observer))
    }

    /// What a residual stream row `x` (dim) says: its logits after the final norm, (vocab_size). Of the last block's output
    /// these are the bits that [`extend`](Self::extend) returns ("logit lens", nostalgebraist 2020).
    pub fn read_out(&mut self, x: &[f32]) -> &[f32] {
        self.scratch.x[..x.len()].copy_from_slice(x);
        self.unembed(0..1, None)
    }

    /// The key of `position` of KV head `head` of block `layer` as the cache holds it, into `out` (head_dim).
    ///
    /// Panics where the cache has no such place.
    pub fn key(&self, layer: usize, head: usize, position: usize, out: &mut [f32]) {
        assert!(position < self.position, "position {position} of {}", self.position);
        self.cache.read_key(layer, head, position, out);
    }

    /// Appends `tokens` and hands the logits after each, (vocab_size), to `each` with its index in `tokens`.
    pub fn extend_each(&mut self, tokens: &[TokenId], each: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        self.check(tokens)?;
        let vocab_size = self.model.config.vocab_size;
        let mut done = 0;
        for step in tokens.chunks(self.batch) {
            self.step(step, None);
            for first in (0..step.len()).step_by(self.logit_rows) {
                let rows = first..(first + self.logit_rows).min(step.len());
                for row in self.unembed(rows, None).chunks_exact(vocab_size) {
                    each(done, row);
                    done += 1;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, tokens: &[TokenId], observer: Option<&mut dyn Observer>) {
        let (model, compute, cache, scratch) = (self.model, self.compute, &mut self.cache, &mut self.scratch);
        match Watchers::of(&mut self.pace, observer) {
            None => forward(model, compute, tokens, self.position, cache, scratch, &mut ()),
            Some(mut all) => forward(model, compute, tokens, self.position, cache, scratch, &mut all),
        }
        self.position += tokens.len();
    }

    /// The logits of `rows` of the last step, (rows, vocab_size).
    fn unembed(&mut self, rows: Range<usize>, observer: Option<&mut dyn Observer>) -> &[f32] {
        let (model, compute, config) = (self.model, self.compute, &self.model.config);
        let Scratch { x, normed, activations, .. } = &mut self.scratch;
        let x = &x[rows.start * config.dim..rows.end * config.dim];
        let normed = &mut normed[..x.len()];
        let logits = &mut self.logits[..rows.len() * config.vocab_size];
        match Watchers::of(&mut self.pace, observer) {
            None => unembed(model, compute, x, normed, activations, logits, &mut ()),
            Some(mut all) => unembed(model, compute, x, normed, activations, logits, &mut all),
        }
        logits
    }

    fn check(&self, tokens: &[TokenId]) -> Result<()> {
        let vocab_size = self.model.config.vocab_size;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab_size) {
            return Err(Error::usage(format!("token {token} is outside the vocabulary of {vocab_size}")));
        }
        if tokens.is_empty() {
            return Err(Error::usage("no tokens").hint("a text starts with at least one"));
        }
        if tokens.len() > self.context_length - self.position {
            let message = format!(
                "{} tokens after position {} exceed the context of {}",
                tokens.len(),
                self.position,
                self.context_length
            );
            return Err(Error::new(Kind::Resources, message).remedy(Remedy::LongerContext));
        }
        Ok(())
    }
}
