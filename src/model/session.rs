//! A session: one text in progress with a workspace of its own, all allocated once.

use super::config::Config;
use super::language_model::Model;
use super::op::{Observer, Pace};
use super::state::{Span, State, StateOptions, Wants};
use super::workspace::{Watch, Workspace, check_tokens};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::ops::KvDtype;
use crate::token::TokenId;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;

/// How a session is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Positions of the text; at most the model's own `context_length` for learned positions.
    pub context_length: usize,
    /// Type of cached keys and values.
    pub kv: KvDtype,
    /// Tokens of a pass, at most; changes speed and memory, never a bit of the result.
    pub batch: usize,
    /// Rows of logits computed at once by [`Session::extend_each`]; changes speed and memory, never a bit.
    pub logit_rows: usize,
    /// Layers with a window hold all positions, so that they can be looked at, and not only those the window needs.
    pub hold_all: bool,
}

/// Bytes that a session allocates, all of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionBytes {
    /// What the layers remember of the text.
    pub kv: u64,
    /// Buffers of a pass, and logits.
    pub scratch: u64,
}

impl SessionOptions {
    /// What a session of `config`'s network with these options allocates.
    pub fn bytes(&self, config: &Config) -> SessionBytes {
        let (batch, logit_rows) = self.sizes();
        SessionBytes { kv: config.state_bytes(self.state()), scratch: Workspace::bytes(config, batch, logit_rows) }
    }

    /// Batch and logit rows as they can be used: not more tokens than there are positions.
    fn sizes(&self) -> (usize, usize) {
        let batch = self.batch.min(self.context_length);
        (batch, self.logit_rows.min(batch))
    }

    /// What the state of the text has room for.
    fn state(&self) -> StateOptions {
        let slack = if self.hold_all { self.context_length } else { self.sizes().0 };
        StateOptions { context_length: self.context_length, kv: self.kv, slack }
    }
}

impl Default for SessionOptions {
    /// 2048 positions, f16 cache, 192 tokens a pass.
    fn default() -> Self {
        SessionOptions { context_length: 2048, kv: KvDtype::F16, batch: 192, logit_rows: 1, hold_all: false }
    }
}

/// One text in progress.
pub struct Session {
    model: Arc<Model>,
    compute: Arc<Compute>,
    state: State,
    workspace: Workspace,
    pace: Option<Box<dyn Pace + Send>>,
    /// Positions after whose tokens the logits are at hand, which [`Session::extend_ahead`] computed last.
    ahead: Range<usize>,
}

impl Session {
    /// Allocates everything the session will ever use.
    pub fn new(model: &Arc<Model>, compute: &Arc<Compute>, options: SessionOptions) -> Result<Self> {
        let (batch, logit_rows) = options.sizes();
        if logit_rows == 0 {
            return Err(Error::usage("context length, batch and logit rows are at least 1"));
        }
        Ok(Session {
            state: model.state(options.state())?,
            workspace: Workspace::new(model, batch, logit_rows)?,
            model: Arc::clone(model),
            compute: Arc::clone(compute),
            pace: None,
            ahead: 0..0,
        })
    }

    /// Has `pace` let every op wait from now on.
    pub fn pace(&mut self, pace: impl Pace + Send + 'static) {
        self.pace = Some(Box::new(pace));
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What computes.
    pub fn compute(&self) -> &Arc<Compute> {
        &self.compute
    }

    /// The state of the text.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state of the text, to save it or to put it back. Logits that were computed ahead are given up.
    pub fn state_mut(&mut self) -> &mut State {
        self.ahead = 0..0;
        &mut self.state
    }

    /// Tokens held: the position of the next one.
    pub fn position(&self) -> usize {
        self.state.position()
    }

    /// No position is left.
    pub fn is_full(&self) -> bool {
        self.state.is_full()
    }

    /// Positions there is room for.
    pub fn context_length(&self) -> usize {
        self.state.context_length()
    }

    /// Forgets every token from `position` on; see [`State::rewind`].
    pub fn rewind(&mut self, position: usize) -> usize {
        self.state.rewind(position)
    }

    /// Appends `tokens`, in as many passes as they need, and returns the logits after the last, (vocab_size).
    pub fn extend(&mut self, tokens: &[TokenId]) -> Result<&[f32]> {
        self.run(tokens, None)
    }

    /// [`extend`](Self::extend), telling `observer` of every op and showing it what they leave behind.
    pub fn extend_observed(&mut self, tokens: &[TokenId], observer: &mut dyn Observer) -> Result<&[f32]> {
        self.run(tokens, Some(observer))
    }

    /// Appends `tokens` to a text whose logits nobody needs yet.
    pub fn append(&mut self, tokens: &[TokenId]) -> Result<()> {
        self.room(tokens)?;
        let step = self.most_in_a_pass();
        tokens.chunks(step).try_for_each(|tokens| self.pass(tokens, Wants::Nothing, None))
    }

    /// Appends `tokens`, and computes the logits after the last `n` of them at once; [`Session::logits_after`] gives them.
    ///
    /// Fails as [`Session::extend`] does, and where these are more than the session has logit rows, or than tokens go through the
    /// network in one pass.
    pub fn extend_ahead(&mut self, tokens: &[TokenId], n: usize) -> Result<()> {
        self.room(tokens)?;
        let most = self.most_ahead();
        if n == 0 || n > tokens.len().min(most) {
            let message = format!("logits after the last {n} of {} tokens, at most {most} at once", tokens.len());
            return Err(Error::usage(message));
        }
        let n_before = if tokens.len() > self.most_in_a_pass() { tokens.len() - n } else { 0 };
        if n_before > 0 {
            self.append(&tokens[..n_before])?;
        }
        let last = &tokens[n_before..];
        self.pass(last, Wants::Each, None)?;
        self.logits(last.len() - n..last.len(), None);
        self.ahead = self.position() - n..self.position();
        Ok(())
    }

    /// The most tokens after which [`Session::extend_ahead`] computes the logits at once.
    pub fn most_ahead(&self) -> usize {
        self.workspace.logit_rows().min(self.most_in_a_pass())
    }

    /// The logits after `text`, (vocab_size), if they were computed ahead and nothing was computed or changed since.
    pub fn logits_after(&self, text: &[TokenId]) -> Option<&[f32]> {
        let row = text.len().checked_sub(self.ahead.start + 1).filter(|row| *row < self.ahead.len())?;
        self.state.tokens().starts_with(text).then(|| self.workspace.row(row))
    }

    fn run(&mut self, tokens: &[TokenId], mut observer: Option<&mut dyn Observer>) -> Result<&[f32]> {
        self.room(tokens)?;
        let step = self.most_in_a_pass();
        let n_steps = tokens.len().div_ceil(step);
        for (i, tokens) in tokens.chunks(step).enumerate() {
            let wants = if i + 1 == n_steps { Wants::Last } else { Wants::Nothing };
            self.pass(tokens, wants, still(&mut observer))?;
        }
        Ok(self.logits(0..1, observer))
    }

    /// What a residual stream row `x` (dim) says; see [`Workspace::read_out`].
    pub fn read_out(&mut self, x: &[f32]) -> &[f32] {
        self.ahead = 0..0;
        self.workspace.read_out(&self.model, &self.compute, x)
    }

    /// The key of `position` of KV head `head` of block `layer`; see [`State::key`].
    pub fn key(&self, layer: usize, head: usize, position: usize, out: &mut [f32]) {
        self.state.key(layer, head, position, out);
    }

    /// Appends `tokens` and hands the logits after each, (vocab_size), to `each` with its index in `tokens`.
    pub fn extend_each(&mut self, tokens: &[TokenId], each: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        self.run_each(tokens, None, each)
    }

    /// Appends `tokens` and shows `observer` all that is computed of each of them, the logits after it included.
    pub fn observe(&mut self, tokens: &[TokenId], observer: &mut dyn Observer) -> Result<()> {
        self.run_each(tokens, Some(observer), &mut |_, _| {})
    }

    fn run_each(
        &mut self,
        tokens: &[TokenId],
        mut observer: Option<&mut dyn Observer>,
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.room(tokens)?;
        let (step, vocab_size, logit_rows) =
            (self.most_in_a_pass(), self.model.config().vocab_size, self.workspace.logit_rows());
        let mut done = 0;
        for tokens in tokens.chunks(step) {
            self.pass(tokens, Wants::Each, still(&mut observer))?;
            for first in (0..tokens.len()).step_by(logit_rows) {
                let rows = first..(first + logit_rows).min(tokens.len());
                for row in self.logits(rows, still(&mut observer)).chunks_exact(vocab_size) {
                    each(done, row);
                    done += 1;
                }
            }
        }
        Ok(())
    }

    /// Tokens that go through the network in one pass, at most.
    pub fn most_in_a_pass(&self) -> usize {
        self.workspace.batch().min(self.state.max_span())
    }

    /// Refuses what has no room in the text before any of it is computed.
    fn room(&self, tokens: &[TokenId]) -> Result<()> {
        check_tokens(&self.model, &self.state, tokens)
    }

    fn pass(&mut self, tokens: &[TokenId], wants: Wants, observer: Option<&mut dyn Observer>) -> Result<()> {
        let Session { model, compute, state, workspace, pace, ahead } = self;
        *ahead = 0..0;
        let mut spans = [Span { state, tokens, wants }];
        workspace.pass(model, compute, &mut spans, watch(pace, observer)).map(|_| ())
    }

    fn logits(&mut self, rows: Range<usize>, observer: Option<&mut dyn Observer>) -> &[f32] {
        let Session { model, compute, workspace, pace, .. } = self;
        workspace.logits(model, compute, rows, watch(pace, observer))
    }
}

/// Who watches, if anybody, for one more op.
fn still<'o>(observer: &'o mut Option<&mut dyn Observer>) -> Option<&'o mut dyn Observer> {
    observer.as_mut().map(|observer| -> &mut dyn Observer { *observer })
}

fn watch<'w>(pace: &'w mut Option<Box<dyn Pace + Send>>, observer: Option<&'w mut (dyn Observer + '_)>) -> Watch<'w> {
    Watch {
        pace: pace.as_mut().map(|pace| -> &mut dyn Pace { pace.as_mut() }),
        observer: observer.map(|observer| -> &mut dyn Observer { observer }),
    }
}
