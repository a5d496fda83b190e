//! Texts that are decoded together: one token of each in every pass, so that the weights are read once for all of them.

use super::super::cost::Costs;
use super::super::prompt::tokens;
use crate::compute::Compute;
use crate::error::Result;
use crate::model::{Model, Span, State, StateOptions, Wants, Watch, Workspace};
use crate::ops::KvDtype;
use crate::token::TokenId;
use alloc::sync::Arc;

/// Texts that begin empty, and what they share.
pub(super) struct Texts {
    model: Arc<Model>,
    workspace: Workspace,
    states: Vec<State>,
    /// The tokens of each text, one text after the other.
    tokens: Vec<TokenId>,
    /// Tokens of each text.
    n_tokens: usize,
}

impl Texts {
    /// `n_texts` of them, which may be none, each of `n_tokens`.
    pub(super) fn new(model: &Arc<Model>, n_texts: usize, n_tokens: usize, kv: KvDtype) -> Result<Self> {
        let options = StateOptions { context_length: n_tokens.max(1), kv, slack: 1 };
        Ok(Texts {
            workspace: Workspace::new(model, n_texts.max(1), n_texts.max(1))?,
            states: (0..n_texts).map(|_| model.state(options)).collect::<Result<_>>()?,
            tokens: tokens(0..n_texts * n_tokens, model.config().vocab_size),
            model: Arc::clone(model),
            n_tokens,
        })
    }

    /// Decodes the first `n_texts` from their beginnings on, with the logits after each token.
    pub(super) fn decode(&mut self, compute: &Compute, n_texts: usize) -> Result<()> {
        let Texts { model, workspace, states, tokens, n_tokens } = self;
        states.iter_mut().for_each(|state| {
            state.rewind(0);
        });
        for i in 0..*n_tokens {
            let texts = states.iter_mut().zip(tokens.chunks_exact(*n_tokens)).take(n_texts);
            let mut spans: Vec<Span> =
                texts.map(|(state, tokens)| Span { state, tokens: &tokens[i..=i], wants: Wants::Last }).collect();
            let n_rows = workspace.pass(model, compute, &mut spans, Watch::default())?;
            workspace.logits(model, compute, 0..n_rows, Watch::default());
        }
        Ok(())
    }
}

/// Bytes that `n_texts` read while each decodes `n_tokens`: the weights once a pass, and the keys and values of each.
pub(super) fn bytes(costs: &Costs, kv: KvDtype, n_texts: usize, n_tokens: usize) -> u64 {
    costs.weight_bytes() * n_tokens as u64 + costs.kv_bytes(kv, None, 0..n_tokens) * n_texts as u64
}
