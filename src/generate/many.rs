//! Many texts, some of them at a time: where one ends, the next begins in its place. No text's bits depend on the others.

use super::together::advance_each;
use super::{StopReason, Together, Writer};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::model::{Model, State, StateOptions, Workspace};
use crate::ops::KvDtype;
use crate::sampler::Watcher;
use crate::token::TokenId;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How many texts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManyOptions {
    /// Texts under way at a time.
    pub n_texts: usize,
    /// Tokens that the context of each holds.
    pub context_length: usize,
    /// Type of cached keys and values.
    pub kv: KvDtype,
    /// Tokens of a pass, at most; changes speed and memory, never a bit.
    pub batch: usize,
}

/// A text that was written to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The text.
    pub text: String,
    /// Why it ended.
    pub reason: StopReason,
    /// Tokens written.
    pub n_generated: usize,
}

/// Sees how the tokens of a text are chosen, and which of them it has.
pub trait Listener: Watcher {
    /// `token` came, chosen last or forced, and the text has `n` tokens: one more than before, or fewer, where it went back before a
    /// banned string.
    fn has(&mut self, n: usize, token: TokenId);
}

impl Listener for () {
    fn has(&mut self, _n: usize, _token: TokenId) {}
}

/// Writes texts that others name one after the other.
pub struct Many {
    model: Arc<Model>,
    compute: Arc<Compute>,
    workspace: Workspace,
    /// States of no text under way. They hold texts that have ended, whose beginnings the next may have in common.
    free: Vec<State>,
}

/// What of a text is no part of the pass.
struct Job<J> {
    name: J,
    text: String,
    error: Option<Error>,
}

impl Many {
    /// Allocates states, buffers and logits.
    pub fn new(model: &Arc<Model>, compute: &Arc<Compute>, options: ManyOptions) -> Result<Self> {
        let ManyOptions { n_texts, context_length, kv, batch } = options;
        let state = || model.state(StateOptions { context_length, kv, slack: batch });
        Ok(Many {
            workspace: Workspace::new(model, batch, n_texts.min(batch))?,
            free: (0..n_texts).map(|_| state()).collect::<Result<_>>()?,
            model: Arc::clone(model),
            compute: Arc::clone(compute),
        })
    }

    /// Writes the texts of `next`, each with a name and a listener, to their ends, until there is no other; hands each to `done` with
    /// these, in the order in which they end. The contexts of the writers are those of the options. `go_on` is asked before each pass;
    /// false where it said no, and texts under way are given up.
    ///
    /// Fails where `done` does, or a pass; a text of whose logits no token can be chosen fails alone.
    pub fn write<J, L: Listener + Send>(
        &mut self,
        next: &mut dyn FnMut() -> Option<(J, Writer, L)>,
        done: &mut dyn FnMut(J, L, Result<Finished>) -> Result<()>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool> {
        let (mut texts, mut listeners, mut jobs): (Vec<Together>, Vec<L>, Vec<Job<J>>) = Default::default();
        loop {
            while !self.free.is_empty() {
                let Some((name, mut writer, listener)) = next() else { break };
                let state = self.nearest(&mut writer);
                texts.push(Together { state, writer });
                listeners.push(listener);
                jobs.push(Job { name, text: String::new(), error: None });
            }
            if texts.is_empty() {
                return Ok(true);
            }
            if !go_on() {
                self.free.extend(texts.into_iter().map(|text| text.state));
                return Ok(false);
            }
            let Many { model, compute, workspace, .. } = self;
            for (i, error) in advance_each(model, compute, workspace, &mut texts, &mut listeners)?.1 {
                jobs[i].error = Some(error);
            }
            for i in (0..texts.len()).rev() {
                let (Together { writer, .. }, listener, job) = (&mut texts[i], &mut listeners[i], &mut jobs[i]);
                while let Some(piece) = writer.piece() {
                    job.text.push_str(piece.text);
                    if let Some(token) = piece.token {
                        listener.has(writer.n_generated(), token);
                    }
                }
                if writer.stop_reason().is_none() && job.error.is_none() {
                    continue;
                }
                let Together { state, writer } = texts.remove(i);
                let (listener, Job { name, text, error }) = (listeners.remove(i), jobs.remove(i));
                self.free.push(state);
                let reason = writer.stop_reason().unwrap_or(StopReason::Interrupted);
                let finished = Finished { text, reason, n_generated: writer.n_generated() };
                done(name, listener, error.map_or(Ok(finished), Err))?;
            }
        }
    }

    /// The free state that has most in common with what `writer` wants.
    fn nearest(&mut self, writer: &mut Writer) -> State {
        let wanted = writer.wants().unwrap_or_default();
        let common = |state: &State| state.tokens().iter().zip(wanted).take_while(|(a, b)| a == b).count();
        let best = (0..self.free.len()).max_by_key(|i| common(&self.free[*i])).unwrap_or(0);
        self.free.swap_remove(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::StopRules;
    use crate::kernels;
    use crate::sampler::{Sampler, SamplerOptions};

    fn writer(model: &Arc<Model>, i: usize, context_length: usize) -> Writer {
        let prompt: Vec<TokenId> = (0..1 + i * 7 % 40).map(|k| ((k * 37 + i / 3 * 5) % 900) as TokenId).collect();
        let options = SamplerOptions { seed: i as u64, top_k: 20, ..SamplerOptions::default() };
        let sampler = Sampler::new(options, model.config().vocab_size).expect("options");
        let rules = StopRules { n_tokens: Some(i * 5 % 23), ..StopRules::default() };
        Writer::new(model, &prompt, context_length, sampler, rules).expect("a prompt")
    }

    #[test]
    fn every_text_is_what_it_is_alone() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Arc::new(Model::open(bytes).expect("the story model"));
        let compute = Arc::new(Compute::new(kernels::detect(), 2).expect("threads"));
        let run = |n_texts, batch| {
            let options = ManyOptions { n_texts, context_length: 64, kv: KvDtype::F16, batch };
            let mut many = Many::new(&model, &compute, options).expect("memory");
            let mut written = vec![None; 30];
            let mut names = 0..30;
            let mut next = || names.next().map(|i| (i, writer(&model, i, 64), ()));
            let mut done = |i: usize, (), text: Result<Finished>| {
                assert!(written[i].replace(text.expect("a text")).is_none(), "once");
                Ok(())
            };
            assert_eq!(many.write(&mut next, &mut done, &mut || true), Ok(true));
            assert_eq!(many.free.len(), n_texts);
            written
        };
        let alone = run(1, 64);
        assert!(alone.iter().flatten().any(|text| !text.text.is_empty()));
        for (n_texts, batch) in [(4, 64), (9, 10), (9, 3), (40, 200)] {
            assert!(run(n_texts, batch) == alone, "{n_texts} {batch}");
        }
    }

    #[test]
    fn a_text_that_cannot_go_on_fails_alone_and_all_end_when_asked() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Arc::new(Model::open(bytes).expect("the story model"));
        let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
        let options = ManyOptions { n_texts: 3, context_length: 64, kv: KvDtype::F16, batch: 16 };
        let mut many = Many::new(&model, &compute, options).expect("memory");
        let banned = (0..1024).map(|id| (id, f32::NEG_INFINITY)).collect();
        let impossible = SamplerOptions { logit_bias: banned, ..SamplerOptions::default() };
        let sampler = Sampler::new(impossible, 1024).expect("options");
        let mut impossible = Some(Writer::new(&model, &[5], 64, sampler, StopRules::default()).expect("a prompt"));
        let mut names = 1..4;
        let mut next = || match impossible.take() {
            Some(writer) => Some((0, writer, ())),
            None => names.next().map(|i| (i, writer(&model, i, 64), ())),
        };
        let mut ended = Vec::new();
        let mut done = |i, (), text: Result<Finished>| {
            ended.push((i, text.is_ok()));
            Ok(())
        };
        assert_eq!(many.write(&mut next, &mut done, &mut || true), Ok(true));
        ended.sort();
        assert_eq!(ended, [(0, false), (1, true), (2, true), (3, true)]);
        let mut names = 5..9;
        let mut passes = 0;
        let mut go_on = || {
            passes += 1;
            passes < 4
        };
        let mut next = || names.next().map(|i| (i, writer(&model, i, 64), ()));
        assert_eq!(many.write(&mut next, &mut |_, (), _| Ok(()), &mut go_on), Ok(false));
        assert_eq!(many.free.len(), 3);
    }
}
