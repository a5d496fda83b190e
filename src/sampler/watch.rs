//! Watching a sampler chain: what each stage leaves over. The default, `()`, watches nothing and costs nothing.

use super::{Candidates, SamplerOptions};
use crate::token::TokenId;

/// Shown what every stage of a chain leaves over.
pub trait Watcher {
    /// The logits of all tokens (vocab_size) after `stage`, one of the first three.
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

    /// `token` was drawn at `uniform`, a number in [0, 1) that walks down the candidates from the best; 0 where the
    /// temperature is 0.
    #[inline(always)]
    fn drawn(&mut self, uniform: f64, token: TokenId) {
        let _ = (uniform, token);
    }
}

impl Watcher for () {}

/// The stages of a chain, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// As the model gave them.
    Logits,
    /// After a mask; there is no such stage where none is given.
    Constraint,
    /// After bias and penalties.
    Penalties,
    /// After the temperature; of temperature 0 the one best token is left.
    Temperature,
    /// After top-k.
    TopK,
    /// After typical sampling.
    Typical,
    /// After top-p.
    TopP,
    /// After min-p.
    MinP,
}

impl Stage {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Logits => "logits",
            Stage::Constraint => "constraint",
            Stage::Penalties => "penalties",
            Stage::Temperature => "temperature",
            Stage::TopK => "top-k",
            Stage::Typical => "typical",
            Stage::TopP => "top-p",
            Stage::MinP => "min-p",
        }
    }

    /// Whether the stage does anything under `options`, where it comes.
    pub fn is_on(self, options: &SamplerOptions) -> bool {
        let draws = options.temperature > 0.0;
        match self {
            Stage::Logits | Stage::Constraint => true,
            Stage::Penalties => options.penalizes() || !options.logit_bias.is_empty(),
            Stage::Temperature => options.temperature != 1.0,
            Stage::TopK => draws && options.top_k > 0,
            Stage::Typical => draws && options.typical_p < 1.0,
            Stage::TopP => draws && options.top_p < 1.0,
            Stage::MinP => draws && options.min_p > 0.0,
        }
    }
}
