//! Texts that come and go: each joins and leaves between two passes, a long prompt is computed in slices between the tokens of
//! the others, and a text goes on from the state that holds most of it. No text's bits depend on the others.

use super::kept::Kept;
use super::together::{Ready, choose};
use super::{Piece, StopReason, ToKeep, Writer};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::model::saved::{Key, Settings};
use crate::model::{Model, Span, State, StateOptions, Wants, Watch, Workspace};
use crate::ops::KvDtype;
use crate::sampler::Watcher;
use crate::token::TokenId;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How much is written at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// Texts under way at a time.
    pub n_texts: usize,
    /// Tokens that the context of each holds.
    pub context_length: usize,
    /// Type of cached keys and values.
    pub kv: KvDtype,
    /// Tokens of prompts in a pass, at most, beside one of each text: what a text waits for between two of its tokens. Changes
    /// speed and memory, never a bit.
    pub slice: usize,
}

impl ScheduleOptions {
    /// Tokens of a pass, at most.
    pub fn batch(&self) -> usize {
        self.slice + self.n_texts
    }

    /// The state of a text.
    fn state(&self) -> StateOptions {
        StateOptions { context_length: self.context_length, kv: self.kv, slack: self.batch() }
    }
}

/// What somebody wants of a text, who sees how its tokens are chosen.
pub trait Job: Watcher + Send {
    /// Whether anybody still waits for it; asked before each pass.
    fn is_wanted(&self) -> bool;

    /// Its tokens are computed from now on; the first `n_held` of them were held already.
    fn begun(&mut self, n_held: usize);

    /// It goes on.
    fn piece(&mut self, piece: Piece<'_>);

    /// It has ended, or no token of it could be chosen.
    fn ended(&mut self, end: Result<Ended>);
}

/// A beginning of fewer tokens is computed rather than copied.
const LEAST_COPIED: usize = 32;

/// How a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: StopReason,
    /// Tokens written.
    pub n_generated: usize,
    /// It ended before it was what its constraint allows.
    pub is_cut_short: bool,
}

/// What a pass computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Tokens of texts of which nothing is written yet.
    pub n_prompt: usize,
    /// The other tokens.
    pub n_written: usize,
}

/// A text under way.
pub struct Running<J> {
    state: State,
    kept: Kept,
    writer: Writer,
    job: J,
}

/// A state of no text under way.
struct Free {
    state: State,
    /// How far the text is kept that has ended in it.
    kept: Kept,
}

impl<J> Running<J> {
    /// Its state, without it.
    fn freed(self) -> Free {
        Free { state: self.state, kept: self.kept }
    }

    /// Who wants it.
    pub fn job(&self) -> &J {
        &self.job
    }

    /// Tokens that are computed.
    pub fn position(&self) -> usize {
        self.state.position()
    }

    /// Its writer.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }
}

/// Writes the texts of jobs.
pub struct Scheduler<J> {
    model: Arc<Model>,
    compute: Arc<Compute>,
    workspace: Workspace,
    /// States of no text under way, the one that was used last at the end. They hold texts that have ended.
    free: Vec<Free>,
    options: ScheduleOptions,
    /// States: free, lent or of texts.
    n_states: usize,
    texts: Vec<Running<J>>,
}

impl<J: Job> Scheduler<J> {
    /// Allocates states, buffers and logits.
    pub fn new(model: &Arc<Model>, compute: &Arc<Compute>, options: ScheduleOptions) -> Result<Self> {
        let n_texts = options.n_texts;
        let state = || Ok(Free { state: model.state(options.state())?, kept: Kept::default() });
        Ok(Scheduler {
            workspace: Workspace::new(model, options.batch(), n_texts.max(1))?,
            free: (0..n_texts).map(|_| state()).collect::<Result<_>>()?,
            options,
            n_states: n_texts,
            texts: Vec::with_capacity(n_texts),
            model: Arc::clone(model),
            compute: Arc::clone(compute),
        })
    }

    /// Whether another text can begin.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Gives back the memory of states of no text under way, with the beginnings that they hold, but for one where no text is
    /// under way at all; fewer texts are written at a time then. How many states were given back.
    pub fn shrink(&mut self) -> usize {
        let n_kept = usize::from(self.texts.is_empty()).min(self.free.len());
        let n_given = self.free.len() - n_kept;
        self.free.drain(..n_given);
        self.n_states -= n_given;
        n_given
    }

    /// Allocates one of the states that were given back; false where there are as many as at first.
    ///
    /// Fails where there is no memory for it.
    pub fn grow(&mut self) -> Result<bool> {
        if self.n_states >= self.options.n_texts {
            return Ok(false);
        }
        let state = self.model.state(self.options.state())?;
        self.free.insert(0, Free { state, kept: Kept::default() });
        self.n_states += 1;
        Ok(true)
    }

    /// Whether no text is under way.
    pub fn is_idle(&self) -> bool {
        self.texts.is_empty()
    }

    /// The texts under way, in the order in which they began.
    pub fn texts(&self) -> &[Running<J>] {
        &self.texts
    }

    /// Begins a text, of which nothing is written yet; its context is no longer than that of the options. Where there is no room
    /// it ends with an error.
    pub fn begin(&mut self, mut writer: Writer, mut job: J) {
        match self.lend(&mut writer) {
            Some(state) => self.begin_in(state, writer, job),
            None => job.ended(Err(Error::usage("as many texts as there is room for are under way"))),
        }
    }

    /// The state that the text of `writer` is to go on from, which holds what of it is held here; `None` where there is no room. Whoever
    /// takes it may have it hold more of the text, and gives it back with [`begin_in`](Self::begin_in).
    pub fn lend(&mut self, writer: &mut Writer) -> Option<State> {
        self.nearest(writer.wants().unwrap_or_default())
    }

    /// Begins a text as [`begin`](Self::begin) does, in the state that was lent for it.
    pub fn begin_in(&mut self, mut state: State, mut writer: Writer, mut job: J) {
        let n_held = writer.wants().map_or(0, |text| state.hold(text));
        job.begun(n_held);
        self.texts.push(Running { state, kept: Kept::default(), writer, job });
    }

    /// What is to be kept next of the texts under way and of those that have ended, where the keys of what is there are `known`;
    /// `None` where nothing is, by now.
    pub fn to_keep(&mut self, settings: &Settings, is_known: &mut dyn FnMut(&Key) -> bool) -> Option<ToKeep> {
        let by = (&*self.compute, settings);
        // Those that have ended first: their states may be taken for other texts.
        let ended = self.free.iter_mut().map(|free| (&mut free.state, &mut free.kept, true));
        let running = self.texts.iter_mut().map(|text| (&mut text.state, &mut text.kept, false));
        ended.chain(running).find_map(|(state, kept, has_ended)| kept.next(state, by, has_ended, is_known))
    }

    /// Advances all texts by one pass. Texts that nobody wants, and those that end, leave.
    ///
    /// Those that want the fewest tokens come first, and each gets at most its share of what is left of the pass: so a text that
    /// only goes on is never behind a long prompt, and prompts share the rest.
    ///
    /// Fails where the pass does; then every text has ended with that error.
    pub fn step(&mut self) -> Result<Passed> {
        self.drop_unwanted();
        match self.pass() {
            Ok(passed) => Ok(passed),
            Err(error) => {
                for mut text in self.texts.drain(..) {
                    text.job.ended(Err(error.clone()));
                    self.free.push(text.freed());
                }
                Err(error)
            }
        }
    }

    fn drop_unwanted(&mut self) {
        for i in (0..self.texts.len()).rev() {
            if !self.texts[i].job.is_wanted() {
                self.free.push(self.texts.remove(i).freed());
            }
        }
    }

    fn pass(&mut self) -> Result<Passed> {
        let Scheduler { model, compute, workspace, texts, .. } = self;
        let shares = shares(texts, workspace.batch());
        let mut passed = Passed::default();
        let (mut spans, mut complete) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
        for (Running { state, writer, .. }, share) in texts.iter_mut().zip(shares) {
            let is_new = writer.n_generated() == 0;
            let left = writer.wants().map_or(&[][..], |text| &text[state.position()..]);
            complete.push(share > 0 && share == left.len());
            if share == 0 {
                continue;
            }
            *if is_new { &mut passed.n_prompt } else { &mut passed.n_written } += share;
            let wants = if share == left.len() { Wants::Last } else { Wants::Nothing };
            spans.push(Span { state, tokens: &left[..share], wants });
        }
        let n_rows = if spans.is_empty() { 0 } else { workspace.pass(model, compute, &mut spans, Watch::default())? };
        drop(spans);
        let vocab_size = model.config().vocab_size;
        let logits = match n_rows {
            0 => &mut [],
            n => workspace.logits(model, compute, 0..n, Watch::default()),
        };
        let is_ready = texts.iter_mut().zip(&complete).filter(|(_, complete)| **complete);
        let mut ready: Vec<Ready<J>> = is_ready
            .zip(logits.chunks_exact(vocab_size))
            .map(|((text, _), logits)| Ready {
                writer: &mut text.writer,
                watcher: &mut text.job,
                logits,
                taken: Ok(()),
            })
            .collect();
        choose(compute, &mut ready);
        let mut taken = ready.into_iter().map(|ready| ready.taken).collect::<Vec<_>>().into_iter();
        let mut ended = Vec::new();
        for (i, (text, is_complete)) in texts.iter_mut().zip(complete).enumerate() {
            let taken = is_complete.then(|| taken.next()).flatten().unwrap_or(Ok(()));
            if !text.goes_on(taken) {
                ended.push(i);
            }
        }
        for i in ended.into_iter().rev() {
            self.free.push(self.texts.remove(i).freed());
        }
        Ok(passed)
    }

    /// The free state to go on from: that which has most in common with `wanted`, among those of whose text most is
    /// common, so that a long text is not given up for a beginning that many share; else the one not used for the longest time.
    /// Where another state, free or of a text under way, holds much more of it, it takes that over.
    fn nearest(&mut self, wanted: &[TokenId]) -> Option<State> {
        let common = |state: &State| common(state.tokens(), wanted);
        let goes_on = |i: &usize| 2 * common(&self.free[*i].state) >= self.free[*i].state.position();
        let best = (0..self.free.len()).filter(goes_on).max_by_key(|i| common(&self.free[*i].state));
        if self.free.is_empty() {
            return None;
        }
        let mut state = self.free.remove(best.unwrap_or(0)).state;
        let free = self.free.iter().map(|free| &free.state);
        let others = free.chain(self.texts.iter().map(|text| &text.state));
        let least = common(&state) + LEAST_COPIED;
        if let Some(other) = others.max_by_key(|other| common(other)).filter(|other| common(other) >= least) {
            state.copy_beginning(other, common(other).min(wanted.len() - 1));
        }
        Some(state)
    }

    /// Whether a text under way is about to compute a beginning of the text of `writer` that no state holds yet. Then it takes less to
    /// begin that text later, and to take the beginning over.
    pub fn is_under_way(&self, writer: &mut Writer) -> bool {
        let wanted = writer.wants().unwrap_or_default();
        let common = |tokens: &[TokenId]| tokens.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        let free = self.free.iter().map(|free| &free.state);
        let states = free.chain(self.texts.iter().map(|text| &text.state));
        let held = states.map(|state| common(state.tokens())).max().unwrap_or(0);
        self.texts.iter().any(|text| common(text.writer.tokens()) >= held + LEAST_COPIED)
    }

    /// The longest beginning of `tokens` that a free state holds.
    pub fn held(&self, tokens: &[TokenId]) -> usize {
        self.free.iter().map(|free| common(free.state.tokens(), tokens)).max().unwrap_or(0)
    }
}

/// Tokens that both begin with.
fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl<J: Job> Running<J> {
    /// Gives its pieces after its logits were `taken`; false where it has ended.
    fn goes_on(&mut self, taken: Result<()>) -> bool {
        if let Err(error) = taken {
            self.job.ended(Err(error));
            return false;
        }
        while let Some(piece) = self.writer.piece() {
            self.job.piece(piece);
        }
        let Some(reason) = self.writer.stop_reason() else { return true };
        let n_generated = self.writer.n_generated();
        self.job.ended(Ok(Ended { reason, n_generated, is_cut_short: self.writer.is_cut_short() }));
        false
    }
}

/// How many tokens of each text are computed in a pass of `room`.
fn shares<J>(texts: &mut [Running<J>], mut room: usize) -> Vec<usize> {
    let mut left: Vec<(usize, usize)> = Vec::with_capacity(texts.len());
    for (i, Running { state, writer, .. }) in texts.iter_mut().enumerate() {
        let n = writer.wants().map_or(0, |text| text.len() - state.hold(text));
        left.push((n.min(state.max_span()), i));
    }
    left.sort_unstable();
    let mut shares = vec![0; texts.len()];
    for (served, (n, i)) in left.iter().enumerate() {
        shares[*i] = (*n).min(room.div_ceil(left.len() - served));
        room -= shares[*i];
    }
    shares
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
