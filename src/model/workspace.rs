//! The buffers of a pass, which many texts share, and the pass itself: some tokens of some texts go through the network
//! together.

use super::buffers::Buffers;
use super::config::Config;
use super::forward::{forward, last_norm, unembed};
use super::language_model::Model;
use super::op::{Observer, Pace};
use super::stage::Stage;
use super::state::{Span, State};
use crate::compute::Compute;
use crate::error::{Error, Kind, Remedy, Result};
use crate::ops::buffer;
use crate::token::TokenId;
use alloc::vec::Vec;
use core::ops::Range;

/// Who watches a pass, and who sets its pace; nobody by default.
#[derive(Default)]
pub struct Watch<'w> {
    /// Lets ops wait.
    pub pace: Option<&'w mut dyn Pace>,
    /// Sees what ops leave behind.
    pub observer: Option<&'w mut dyn Observer>,
}

/// The buffers of a pass, and logits, all of it allocated once. Which texts a pass computes, and how many, changes no bit of
/// any of them.
pub struct Workspace {
    buffers: Buffers,
    batch: usize,
    /// (logit_rows, vocab_size).
    logits: Vec<f32>,
    logit_rows: usize,
    /// Tokens of the last pass after which logits can be asked for: rows of the residual stream.
    n_wanted: usize,
}

impl Workspace {
    /// Room for passes of up to `batch` tokens, of which the logits after `logit_rows` can be computed at once.
    pub fn new(model: &Model, batch: usize, logit_rows: usize) -> Result<Self> {
        if batch == 0 || logit_rows == 0 {
            return Err(Error::usage("batch and logit rows are at least 1"));
        }
        let config = model.config();
        Ok(Workspace {
            buffers: Buffers::new(config, batch)?,
            batch,
            logits: buffer(logit_rows, config.vocab_size, 0.0)?,
            logit_rows,
            n_wanted: 0,
        })
    }

    /// Bytes of a workspace of `config`'s network.
    pub fn bytes(config: &Config, batch: usize, logit_rows: usize) -> u64 {
        let row = config.vocab_size as u64 * size_of::<f32>() as u64;
        Buffers::bytes(config, batch).saturating_add(row.saturating_mul(logit_rows as u64))
    }

    /// The most tokens of a pass.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The most rows of logits that are computed at once.
    pub fn logit_rows(&self) -> usize {
        self.logit_rows
    }

    /// Computes the tokens of all `spans` in one pass; their states then hold them. Returns after how many of them logits can
    /// be asked for: those that the spans want, one span after the other.
    ///
    /// Fails, before anything is computed, where a token is not in the vocabulary, a span is empty or has no room left in its
    /// text, or there are more tokens than the workspace or a state takes in one pass.
    pub fn pass(
        &mut self,
        model: &Model,
        compute: &Compute,
        spans: &mut [Span<'_>],
        watch: Watch<'_>,
    ) -> Result<usize> {
        self.check(model, spans)?;
        let (network, buffers) = (model.network(), &mut self.buffers);
        let pace = watch.pace.map(|pace| -> &mut dyn Pace { pace });
        self.n_wanted = match watch.observer {
            None => forward(network, &mut Stage { compute, pace, observer: &mut (), layer: None }, spans, buffers),
            Some(observer) => forward(network, &mut Stage { compute, pace, observer, layer: None }, spans, buffers),
        };
        for Span { state, tokens, .. } in spans {
            state.computed(tokens);
        }
        Ok(self.n_wanted)
    }

    /// The logits after some of the wanted tokens of the last pass, (rows, vocab_size): at most as many as there is room for.
    pub fn logits(&mut self, model: &Model, compute: &Compute, rows: Range<usize>, watch: Watch<'_>) -> &mut [f32] {
        assert!(rows.end <= self.n_wanted, "rows {rows:?} of {}", self.n_wanted);
        assert!(rows.len() <= self.logit_rows, "{} rows at once, of {}", rows.len(), self.logit_rows);
        let (dim, vocab_size) = (model.config().dim, model.config().vocab_size);
        let Buffers { x, normed, activations, .. } = &mut self.buffers;
        let x = &x[rows.start * dim..rows.end * dim];
        let normed = &mut normed[..x.len()];
        let logits = &mut self.logits[..rows.len() * vocab_size];
        let network = model.network();
        let pace = watch.pace.map(|pace| -> &mut dyn Pace { pace });
        match watch.observer {
            None => {
                let mut stage = Stage { compute, pace, observer: &mut (), layer: None };
                unembed(network, &mut stage, x, normed, activations, logits);
            }
            Some(observer) => {
                let mut stage = Stage { compute, pace, observer, layer: None };
                unembed(network, &mut stage, x, normed, activations, logits);
            }
        }
        logits
    }

    /// The `row`-th of the logits that were computed last, (vocab_size).
    pub(super) fn row(&self, row: usize) -> &[f32] {
        let vocab_size = self.logits.len() / self.logit_rows;
        &self.logits[row * vocab_size..(row + 1) * vocab_size]
    }

    /// The last hidden states of some of the wanted tokens of the last pass, (rows, dim): what the final norm makes of the residual
    /// stream, and the unembedding reads. Logits can be asked for as well, before or after.
    pub fn hidden(&mut self, model: &Model, compute: &Compute, rows: Range<usize>) -> &[f32] {
        assert!(rows.end <= self.n_wanted, "rows {rows:?} of {}", self.n_wanted);
        let dim = model.config().dim;
        let Buffers { x, normed, .. } = &mut self.buffers;
        let x = &x[rows.start * dim..rows.end * dim];
        let normed = &mut normed[..x.len()];
        last_norm(model.network(), &mut Stage { compute, pace: None, observer: &mut (), layer: None }, x, normed);
        normed
    }

    /// What a residual stream row `x` (dim) says: its logits after the final norm, (vocab_size). Of the last block's output
    /// these are the bits of the logits after its token ("logit lens", nostalgebraist 2020).
    pub fn read_out(&mut self, model: &Model, compute: &Compute, x: &[f32]) -> &mut [f32] {
        self.buffers.x[..x.len()].copy_from_slice(x);
        self.n_wanted = 1;
        self.logits(model, compute, 0..1, Watch::default())
    }

    fn check(&self, model: &Model, spans: &[Span<'_>]) -> Result<()> {
        let mut n_tokens = 0;
        for Span { state, tokens, .. } in spans {
            check_tokens(model, state, tokens)?;
            if tokens.len() > state.max_span() {
                let message = format!("{} tokens of a text in a pass, at most {}", tokens.len(), state.max_span());
                return Err(Error::usage(message));
            }
            n_tokens += tokens.len();
        }
        if n_tokens > self.batch {
            return Err(Error::usage(format!("{n_tokens} tokens in a pass, at most {}", self.batch)));
        }
        Ok(())
    }
}

/// Refuses no tokens, tokens that are not in the vocabulary, and more than `state` has room for.
pub(super) fn check_tokens(model: &Model, state: &State, tokens: &[TokenId]) -> Result<()> {
    let vocab_size = model.config().vocab_size;
    if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab_size) {
        return Err(Error::usage(format!("token {token} is outside the vocabulary of {vocab_size}")));
    }
    if tokens.is_empty() {
        return Err(Error::usage("no tokens").hint("a text starts with at least one"));
    }
    let (position, context_length) = (state.position(), state.context_length());
    if tokens.len() > context_length - position {
        let message =
            format!("{} tokens after position {position} exceed the context of {context_length}", tokens.len());
        return Err(Error::new(Kind::Resources, message).remedy(Remedy::LongerContext));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_that_no_memory_holds_is_an_error() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Model::open(bytes).expect("the story model");
        for (batch, logit_rows) in [(usize::MAX, 1), (usize::MAX >> 12, 1), (1, usize::MAX), (1, usize::MAX >> 12)] {
            let error = Workspace::new(&model, batch, logit_rows).err().expect("too large").to_string();
            assert!(error.contains("no memory for "), "{error}");
            assert!(Workspace::bytes(model.config(), batch, logit_rows) > 1 << 32);
        }
    }
}
