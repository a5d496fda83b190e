//! From logits to the next token: an ordered chain of filters and a seeded draw.
//!
//! The order is fixed:
//!
//! 0. a mask, where one is given: tokens that may not come have the logit minus infinity
//! 1. logit bias: added to the logits it names
//! 2. repetition penalty, 3. frequency penalty, 4. presence penalty: on the tokens among the last `repeat_last_n`
//! 5. temperature 0: the token of the largest logit, the lowest id among equal ones; the chain ends here
//! 6. temperature: the logits' distances to the largest are divided by it
//! 7. top-k, 8. typical, 9. top-p, 10. min-p: each sees what the one before it left over, with probabilities that
//!    add to 1 again
//! 11. draw: a uniform number walks down the candidates, best first, equal ones by id
//!
//! The same logits, options and seed give the same token on every machine: the exponential is the library's own,
//! sums have one order, and the random numbers are integers.

mod candidates;
mod history;
mod mask;
mod options;
mod rng;
mod watch;

pub use candidates::{Candidate, Candidates};
pub use mask::Mask;
pub use options::{MAX_REPEAT_LAST_N, SamplerOptions};
pub use rng::Rng;
pub use watch::{Stage, Watcher};

use crate::error::{Error, Result};
use crate::ops::math::exp;
use crate::token::TokenId;
use alloc::vec::Vec;
use history::History;

/// A chain of filters with its memory: random state, recent tokens and room for the candidates. Allocates nothing
/// after [`Sampler::new`] but once, for the first mask.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    rng: Rng,
    history: History,
    candidates: Candidates,
    /// Logits after a mask; none before the first.
    masked: Vec<f32>,
    adjusted: Vec<f32>,
}

impl Sampler {
    /// A sampler for `vocab_size` logits; an error where an option is out of its range.
    pub fn new(options: SamplerOptions, vocab_size: usize) -> Result<Self> {
        let options = options.checked(vocab_size)?;
        let adjusts = options.penalizes() || !options.logit_bias.is_empty();
        Ok(Sampler {
            rng: Rng::new(options.seed),
            history: History::new(if options.penalizes() { options.repeat_last_n } else { 0 }, vocab_size),
            candidates: Candidates::with_capacity(if options.temperature > 0.0 { vocab_size } else { 1 }),
            masked: Vec::new(),
            adjusted: vec![0.0; if adjusts { vocab_size } else { 0 }],
            options,
        })
    }

    /// The options.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Makes `token` part of the text that the penalties look back on; tokens of a prompt may be added too.
    pub fn accept(&mut self, token: TokenId) {
        self.history.push(token);
    }

    /// The penalties look back on `text` alone from now on; the random state goes on.
    pub fn look_back_on(&mut self, text: &[TokenId]) {
        self.history.clear();
        text.iter().for_each(|token| self.history.push(*token));
    }

    /// Starts over: the seed anew, no recent tokens.
    pub fn reset(&mut self) {
        self.rng = Rng::new(self.options.seed);
        self.history.clear();
    }

    /// Draws the next token. The caller passes the choice to [`Sampler::accept`] if it keeps it.
    ///
    /// Fails where a logit is NaN or no finite one is the largest; logits of minus infinity are never drawn.
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId> {
        self.sample_watched(logits, &mut ())
    }

    /// [`sample`](Self::sample), showing `watcher` every stage of the chain.
    pub fn sample_watched(&mut self, logits: &[f32], watcher: &mut impl Watcher) -> Result<TokenId> {
        self.sample_among(logits, None, watcher)
    }

    /// [`sample_watched`](Self::sample_watched) among the tokens of a `mask`, if there is one.
    pub fn sample_among(&mut self, logits: &[f32], mask: Option<&Mask>, watcher: &mut impl Watcher) -> Result<TokenId> {
        self.filter_among(logits, mask, watcher)?;
        let uniform = if self.options.temperature > 0.0 { self.rng.uniform() } else { 0.0 };
        let drawn = self.candidates.draw(uniform);
        let token = drawn.ok_or_else(|| Error::data("no token is left to draw").field("logits"))?;
        watcher.drawn(uniform, token);
        Ok(token)
    }

    /// What the next draw chooses from: steps 1 to 10 without the draw. The state does not change.
    pub fn filter(&mut self, logits: &[f32]) -> Result<&Candidates> {
        self.filter_watched(logits, &mut ())
    }

    /// [`filter`](Self::filter), showing `watcher` every stage of the chain.
    pub fn filter_watched(&mut self, logits: &[f32], watcher: &mut impl Watcher) -> Result<&Candidates> {
        self.filter_among(logits, None, watcher)
    }

    /// [`filter_watched`](Self::filter_watched) among the tokens of a `mask`, if there is one.
    pub fn filter_among(
        &mut self,
        logits: &[f32],
        mask: Option<&Mask>,
        watcher: &mut impl Watcher,
    ) -> Result<&Candidates> {
        watcher.logits(Stage::Logits, logits);
        let logits = match mask {
            Some(mask) => {
                self.masked.clear();
                self.masked.extend_from_slice(logits);
                mask.strike(&mut self.masked);
                watcher.logits(Stage::Constraint, &self.masked);
                &self.masked
            }
            None => logits,
        };
        let adjusted = adjust(&mut self.adjusted, logits, &self.history, &self.options);
        watcher.logits(Stage::Penalties, adjusted);
        let (id, logit) = best(adjusted)?;
        let (options, candidates) = (&self.options, &mut self.candidates);
        if options.temperature == 0.0 {
            candidates.only(Candidate { id, logit, weight: 1.0 });
            watcher.candidates(Stage::Temperature, candidates);
            return Ok(candidates);
        }
        candidates.start(adjusted);
        candidates.temperature(options.temperature);
        watcher.candidates(Stage::Temperature, candidates);
        candidates.top_k(options.top_k);
        watcher.candidates(Stage::TopK, candidates);
        candidates.weigh();
        candidates.typical(options.typical_p);
        watcher.candidates(Stage::Typical, candidates);
        candidates.top_p(options.top_p);
        watcher.candidates(Stage::TopP, candidates);
        candidates.min_p(options.min_p);
        watcher.candidates(Stage::MinP, candidates);
        Ok(candidates)
    }
}

/// The logits after bias and penalties; the given ones where there are none.
fn adjust<'l>(scratch: &'l mut [f32], logits: &'l [f32], history: &History, options: &SamplerOptions) -> &'l [f32] {
    if scratch.len() != logits.len() {
        return logits;
    }
    scratch.copy_from_slice(logits);
    for (id, bias) in &options.logit_bias {
        scratch[*id as usize] += bias;
    }
    history.penalize(scratch, options);
    scratch
}

/// The largest logit and its id, the lowest among equal ones; an error where one is NaN or the largest not finite.
fn best(logits: &[f32]) -> Result<(TokenId, f32)> {
    let mut best = f32::NEG_INFINITY;
    let mut nan = false;
    for &logit in logits {
        nan |= logit.is_nan();
        best = if logit > best { logit } else { best };
    }
    if nan {
        let id = logits.iter().position(|l| l.is_nan()).unwrap_or_default();
        return Err(Error::data(format!("the logit of token {id} is NaN")).field("logits"));
    }
    if !best.is_finite() {
        return Err(Error::data(format!("the largest of {} logits is {best}", logits.len())).field("logits"));
    }
    let id = logits.iter().position(|l| *l == best).unwrap_or_default();
    Ok((id as TokenId, best))
}

#[cfg(test)]
mod tests;
