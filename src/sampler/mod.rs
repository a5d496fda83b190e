//! From logits to the next token: an ordered chain of filters and a seeded draw.
//!
//! 0. a mask, where one is given: tokens that may not come have the logit minus infinity
//! 1. tokens that are struck out for this one choice, 2. logit bias: added to the logits it names
//! 3. penalties of repetition, frequency and presence, on the tokens among the last `repeat_last_n`; 4. DRY, on tokens that go on with a
//!    repeated sequence
//! 5. temperature 0: the token of the largest logit, the lowest id among equal ones; the chain ends here
//! 6. top-n-sigma, 7. temperature: the logits' distances to the largest are divided by it
//! 8. top-k, 9. typical, 10. top-p, 11. min-p, 12. XTC: each sees what the one before it left over, with probabilities that
//!    add to 1 again
//! 13. mirostat, 14. adaptive-p, where they are asked for
//! 15. draw: a uniform number walks down the candidates, best first, equal ones by id
//!
//! [`SamplerOptions::order`] is the order of 3, 4 and 6 to 12. docs/samplers.md has every formula.
//!
//! The same logits, options and seed give the same token on every machine: exponential and logarithm are the library's own,
//! sums have one order, and the random numbers are integers.

mod adaptive;
mod candidates;
mod dry;
mod history;
mod mask;
mod mirostat;
mod options;
mod rng;
mod stage;
mod temperature;
mod top_n_sigma;
mod watch;
mod xtc;

pub use adaptive::AdaptiveP;
pub use candidates::{Candidate, Candidates};
pub use dry::Dry;
pub use mask::Mask;
pub use mirostat::Mirostat;
pub use options::{MAX_REPEAT_LAST_N, SamplerOptions};
pub use rng::Rng;
pub use stage::Stage;
pub use temperature::DynamicTemperature;
pub use watch::Watcher;
pub use xtc::Xtc;

use crate::error::{Error, Result};
use crate::ops::math::exp;
use crate::token::TokenId;
use alloc::vec::Vec;
use history::History;

/// A chain of filters with its memory: random state, recent tokens and room for the candidates. Allocates nothing
/// after [`Sampler::new`] but once, for the first mask or token struck out, and for DRY, which does not look back over texts longer
/// than [`Sampler::hold`] says.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    rng: Rng,
    memory: Memory,
    /// Tokens that the next draw leaves out.
    struck: Vec<TokenId>,
    candidates: Candidates,
    /// Logits after a mask; none before the first.
    masked: Vec<f32>,
    adjusted: Vec<f32>,
}

/// What a chain remembers of the text.
#[derive(Debug, Clone)]
struct Memory {
    history: History,
    repeats: dry::Repeats,
    bound: Option<mirostat::Bound>,
    average: Option<adaptive::Average>,
}

impl Sampler {
    /// A sampler for `vocab_size` logits; an error where an option is out of its range.
    pub fn new(options: SamplerOptions, vocab_size: usize) -> Result<Self> {
        let options = options.checked(vocab_size)?;
        let adjusts = options.penalizes() || options.is_dry() || !options.logit_bias.is_empty();
        let draws = options.temperature > 0.0;
        Ok(Sampler {
            rng: Rng::new(options.seed),
            memory: Memory {
                history: History::new(if options.penalizes() { options.repeat_last_n } else { 0 }, vocab_size),
                repeats: dry::Repeats::new(if options.is_dry() { options.dry.last_n } else { 0 }, vocab_size),
                bound: options.mirostat.filter(|_| draws).map(mirostat::Bound::new),
                average: options.adaptive_p.filter(|_| draws).map(|of| adaptive::Average::new(of, vocab_size)),
            },
            struck: Vec::new(),
            candidates: Candidates::with_capacity(if draws { vocab_size } else { 1 }),
            masked: Vec::new(),
            adjusted: vec![0.0; if adjusts { vocab_size } else { 0 }],
            options,
        })
    }

    /// The options.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Makes room for texts of up to `n` tokens. DRY looks back no further.
    pub fn hold(&mut self, n: usize) {
        self.memory.repeats.hold(n);
    }

    /// Makes `token` part of the text that the penalties look back on; tokens of a prompt may be added too. Mirostat and adaptive-p
    /// learn from it where it is the one that was drawn last.
    pub fn accept(&mut self, token: TokenId) {
        let Memory { history, repeats, bound, average } = &mut self.memory;
        history.push(token);
        repeats.push(token);
        bound.iter_mut().for_each(|bound| bound.accept(token));
        average.iter_mut().for_each(|average| average.accept(token));
    }

    /// The penalties look back on `text` alone from now on; the random state goes on, and what mirostat and adaptive-p have learnt.
    pub fn look_back_on(&mut self, text: &[TokenId]) {
        let Memory { history, repeats, .. } = &mut self.memory;
        history.clear();
        repeats.clear();
        for token in text {
            history.push(*token);
            repeats.push(*token);
        }
    }

    /// The next draw, and no later one, leaves out `tokens`.
    pub fn strike(&mut self, tokens: impl IntoIterator<Item = TokenId>) {
        self.struck.extend(tokens);
    }

    /// Starts over: the seed anew, no recent tokens, nothing learnt.
    pub fn reset(&mut self) {
        let Memory { bound, average, .. } = &mut self.memory;
        *bound = bound.and(self.options.mirostat).map(mirostat::Bound::new);
        average.iter_mut().for_each(adaptive::Average::reset);
        self.rng = Rng::new(self.options.seed);
        self.struck.clear();
        self.look_back_on(&[]);
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
        let mut rng = self.rng.clone();
        let narrowed = self.narrow(logits, mask, &mut rng, watcher);
        self.struck.clear();
        narrowed?;
        let uniform = if self.options.temperature > 0.0 { rng.uniform() } else { 0.0 };
        self.rng = rng;
        let drawn = self.candidates.draw(uniform);
        let token = drawn.ok_or_else(|| Error::data("no token is left to draw").field("logits"))?;
        self.memory.bound.iter_mut().for_each(|bound| bound.drew(token, &self.candidates));
        self.memory.average.iter_mut().for_each(|average| average.drew(token));
        watcher.drawn(uniform, token);
        Ok(token)
    }

    /// What the next draw chooses from: the chain without the draw. The state does not change.
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
        let mut rng = self.rng.clone();
        self.narrow(logits, mask, &mut rng, watcher)?;
        Ok(&self.candidates)
    }

    /// Leaves in `candidates` what a draw chooses from; XTC takes its random number from `rng`.
    fn narrow(&mut self, logits: &[f32], mask: Option<&Mask>, rng: &mut Rng, watcher: &mut impl Watcher) -> Result<()> {
        let Sampler { options, memory, struck, candidates, masked, adjusted, .. } = self;
        watcher.logits(Stage::Logits, logits);
        let logits = match mask {
            Some(mask) => {
                masked.clear();
                masked.extend_from_slice(logits);
                mask.strike(masked);
                watcher.logits(Stage::Constraint, masked);
                masked
            }
            None => logits,
        };
        if !struck.is_empty() {
            adjusted.resize(logits.len(), 0.0);
        }
        let adjusted = adjust(adjusted, logits, memory, struck, options, watcher);
        let (id, logit) = best(adjusted)?;
        if options.temperature == 0.0 {
            candidates.only(Candidate { id, logit, weight: 1.0 });
            watcher.candidates(Stage::Temperature, candidates);
            watcher.left(candidates);
            return Ok(());
        }
        candidates.start(adjusted);
        for stage in options.order.iter().filter(|stage| !stage.is_of_logits()) {
            match stage {
                Stage::TopNSigma => candidates.top_n_sigma(options.top_n_sigma),
                Stage::Temperature => candidates.temperature(options.temperature, options.dynamic),
                Stage::TopK => candidates.top_k(options.top_k),
                Stage::Typical => candidates.typical(options.typical_p),
                Stage::TopP => candidates.top_p(options.top_p),
                Stage::MinP => candidates.min_p(options.min_p),
                Stage::Xtc => candidates.xtc(options.xtc, rng),
                _ => {}
            }
            watcher.candidates(*stage, candidates);
        }
        if let Some(bound) = &memory.bound {
            bound.cut(candidates);
            watcher.candidates(Stage::Mirostat, candidates);
        }
        if let Some(average) = &mut memory.average {
            average.prefer(candidates);
            watcher.candidates(Stage::AdaptiveP, candidates);
        }
        candidates.weigh();
        watcher.left(candidates);
        Ok(())
    }
}

/// The logits without what is struck out, after bias and penalties; the given ones where there are none of these.
fn adjust<'l>(
    scratch: &'l mut [f32],
    logits: &'l [f32],
    memory: &mut Memory,
    struck: &[TokenId],
    options: &SamplerOptions,
    watcher: &mut impl Watcher,
) -> &'l [f32] {
    if scratch.len() != logits.len() {
        return logits;
    }
    scratch.copy_from_slice(logits);
    if !struck.is_empty() {
        struck.iter().for_each(|token| scratch[*token as usize] = f32::NEG_INFINITY);
        watcher.logits(Stage::Banned, scratch);
    }
    for (id, bias) in &options.logit_bias {
        scratch[*id as usize] += bias;
    }
    if !options.order.contains(&Stage::Penalties) {
        watcher.logits(Stage::Penalties, scratch);
    }
    for stage in options.order.iter().filter(|stage| stage.is_of_logits()) {
        match stage {
            Stage::Dry if options.is_dry() => memory.repeats.penalize(scratch, &options.dry),
            Stage::Dry => {}
            _ => memory.history.penalize(scratch, options),
        }
        watcher.logits(*stage, scratch);
    }
    scratch
}

/// The largest logit and its id, the lowest among equal ones; an error where one is NaN or the largest not finite.
fn best(logits: &[f32]) -> Result<(TokenId, f32)> {
    const LANES: usize = 16;
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut nan = [false; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for ((best, nan), logit) in best.iter_mut().zip(&mut nan).zip(chunk) {
            *nan |= logit.is_nan();
            *best = if logit > best { *logit } else { *best };
        }
    }
    let best = best.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max);
    if nan.contains(&true) || rest.iter().any(|logit| logit.is_nan()) {
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
