//! Watching a sampler chain: what each stage leaves over. The default, `()`, watches nothing and costs nothing.

use super::{Candidates, Stage};
use crate::token::TokenId;

/// Shown what every stage of a chain leaves over.
pub trait Watcher {
    /// The logits of all tokens (vocab_size) after `stage`, one of those before the candidates.
    #[inline(always)]
    fn logits(&mut self, stage: Stage, logits: &[f32]) {
        let _ = (stage, logits);
    }

    /// The candidates after `stage`, in no particular order. A candidate's probability is the softmax of its logit over
    /// those of all candidates.
    #[inline(always)]
    fn candidates(&mut self, stage: Stage, candidates: &Candidates) {
        let _ = (stage, candidates);
    }

    /// The candidates that the draw chooses from, weighed.
    #[inline(always)]
    fn left(&mut self, candidates: &Candidates) {
        let _ = candidates;
    }

    /// `token` was drawn at `uniform`, a number in [0, 1) that walks down the candidates from the best; 0 where the
    /// temperature is 0.
    #[inline(always)]
    fn drawn(&mut self, uniform: f64, token: TokenId) {
        let _ = (uniform, token);
    }
}

impl Watcher for () {}
