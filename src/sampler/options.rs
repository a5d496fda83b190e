//! The options of a sampler, and what they may be.

use super::{AdaptiveP, Dry, DynamicTemperature, Mirostat, Stage, Xtc};
use crate::error::{Error, Result};
use crate::token::TokenId;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The most tokens that the penalties look back over.
pub const MAX_REPEAT_LAST_N: usize = 1 << 20;

/// How a token is chosen. The default is plain sampling at temperature 1: every filter is off.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 takes the largest. `0..=1e9`.
    pub temperature: f32,
    /// Keep the k largest; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens whose probability reaches this. `0..=1`; 1 keeps all, 0 the best.
    pub top_p: f32,
    /// Keep the tokens that are at least this share as probable as the best. `0..=1`; 0 keeps all.
    pub min_p: f32,
    /// Keep the tokens whose surprise is nearest to the expected one, up to this probability (Meister et al.
    /// 2022). `0..=1`; 1 keeps all.
    pub typical_p: f32,
    /// Divides the positive and multiplies the negative logits of recent tokens (Keskar et al. 2019). `1e-3..=1e3`;
    /// 1 changes nothing.
    pub repeat_penalty: f32,
    /// The penalties look at this many last tokens; 0 switches them off.
    pub repeat_last_n: usize,
    /// Subtracted from the logit of every recent token. `-1e3..=1e3`.
    pub presence_penalty: f32,
    /// Subtracted from the logit of a recent token, once for each time it occurs. `-1e3..=1e3`.
    pub frequency_penalty: f32,
    /// Added to the logit of a token; minus infinity bans it.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Penalizes tokens that go on with a repeated sequence.
    pub dry: Dry,
    /// Keep the tokens whose logit is at most this many standard deviations below the largest. `-1..=1e3`; 0 or less keeps all.
    pub top_n_sigma: f32,
    /// Lets the temperature follow the entropy.
    pub dynamic: DynamicTemperature,
    /// Excludes top choices now and then.
    pub xtc: Xtc,
    /// Keeps the surprise of the text near a target. The other filters are better off then: it is theirs to undo.
    pub mirostat: Option<Mirostat>,
    /// Prefers tokens of a given probability.
    pub adaptive_p: Option<AdaptiveP>,
    /// The stages in their order, those of [`Stage::ORDER`]; one that is missing is left out. Penalties and DRY come first.
    pub order: Vec<Stage>,
    /// Seed of the draw.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        SamplerOptions {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            dry: Dry::default(),
            top_n_sigma: 0.0,
            dynamic: DynamicTemperature::default(),
            xtc: Xtc::default(),
            mirostat: None,
            adaptive_p: None,
            order: Stage::ORDER.to_vec(),
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// These options, or an error that names the first one out of its range.
    pub fn checked(mut self, vocab_size: usize) -> Result<Self> {
        let Mirostat { tau, eta } = self.mirostat.unwrap_or_default();
        let AdaptiveP { target, decay } = self.adaptive_p.unwrap_or(AdaptiveP { target: 0.0, decay: 0.0 });
        let ranges = [
            ("temperature", self.temperature, 0.0, 1e9),
            ("top-p", self.top_p, 0.0, 1.0),
            ("min-p", self.min_p, 0.0, 1.0),
            ("typical", self.typical_p, 0.0, 1.0),
            ("repeat-penalty", self.repeat_penalty, 1e-3, 1e3),
            ("presence-penalty", self.presence_penalty, -1e3, 1e3),
            ("frequency-penalty", self.frequency_penalty, -1e3, 1e3),
            ("dry-multiplier", self.dry.multiplier, 0.0, 1e3),
            ("dry-base", self.dry.base, 1.0, 1e3),
            ("top-n-sigma", self.top_n_sigma, -1.0, 1e3),
            ("dynatemp-range", self.dynamic.range, 0.0, 1e9),
            ("dynatemp-exp", self.dynamic.exponent, 0.0, 100.0),
            ("xtc-probability", self.xtc.probability, 0.0, 1.0),
            ("xtc-threshold", self.xtc.threshold, 0.0, 1.0),
            ("mirostat-ent", tau, 0.0, 100.0),
            ("mirostat-lr", eta, 0.0, 10.0),
            ("adaptive-target", target, 0.0, 1.0),
            ("adaptive-decay", decay, 0.0, 0.99),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(Error::usage(format!("{value} is outside {low}..={high}")).field(name));
            }
        }
        if self.repeat_last_n > MAX_REPEAT_LAST_N {
            let message = format!("{} is outside 0..={MAX_REPEAT_LAST_N}", self.repeat_last_n);
            return Err(Error::usage(message).field("repeat-last-n"));
        }
        for (id, bias) in &self.logit_bias {
            if *id as usize >= vocab_size {
                let message = format!("token {id} is outside 0..={}", vocab_size.saturating_sub(1));
                return Err(Error::usage(message).field("logit-bias"));
            }
            if bias.is_nan() || *bias == f32::INFINITY {
                let message = format!("{bias} for token {id} is neither finite nor minus infinity");
                return Err(Error::usage(message).field("logit-bias"));
            }
        }
        if self.dry.allowed_length == 0 {
            return Err(Error::usage("0 is below 1").field("dry-allowed-length"));
        }
        self.check_order()?;
        self.check_breakers(vocab_size)?;
        Ok(self)
    }

    /// The stages after the model's logits, in their order. Bias is told with the penalties, and before all else where those are left
    /// out.
    pub fn stages(&self) -> impl Iterator<Item = Stage> {
        let bias = (!self.order.contains(&Stage::Penalties)).then_some(Stage::Penalties);
        bias.into_iter().chain(self.order.iter().copied()).chain([Stage::Mirostat, Stage::AdaptiveP])
    }

    fn check_order(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::usage(message).field("samplers"));
        for (i, stage) in self.order.iter().enumerate() {
            let name = stage.name();
            if !Stage::ORDER.contains(stage) {
                return wrong(format!("{name} has no place of its own"));
            }
            if self.order[..i].contains(stage) {
                return wrong(format!("{name} is named twice"));
            }
            if stage.is_of_logits() && self.order[..i].iter().any(|before| !before.is_of_logits()) {
                return wrong(format!(
                    "{name} changes the logits of all tokens, and comes before what chooses among them"
                ));
            }
        }
        Ok(())
    }

    /// Puts the breakers of DRY in order; refuses those that are none.
    fn check_breakers(&mut self, vocab_size: usize) -> Result<()> {
        let breakers = &mut self.dry.breakers;
        if let Some(token) = breakers.iter().flatten().find(|token| **token as usize >= vocab_size) {
            let message = format!("token {token} is outside 0..={}", vocab_size.saturating_sub(1));
            return Err(Error::usage(message).field("dry-sequence-breaker"));
        }
        breakers.retain(|breaker| !breaker.is_empty());
        breakers.sort_unstable();
        breakers.dedup();
        Ok(())
    }

    /// DRY changes logits.
    pub(super) fn is_dry(&self) -> bool {
        Stage::Dry.is_on(self)
    }

    /// Some penalty changes the logits of recent tokens.
    pub(super) fn penalizes(&self) -> bool {
        let active = self.repeat_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0;
        active && self.repeat_last_n > 0 && self.order.contains(&Stage::Penalties)
    }
}

impl Stage {
    /// Whether the stage does anything under `options`.
    pub fn is_on(self, options: &SamplerOptions) -> bool {
        let o = options;
        let is_greedy = o.temperature == 0.0;
        let is_there = o.order.contains(&self) && (self.is_of_logits() || !is_greedy);
        match self {
            // The last two are told of only where there is a mask, and where something is struck out.
            Stage::Logits | Stage::Constraint | Stage::Banned => true,
            // Bias is no stage of its own.
            Stage::Penalties => o.penalizes() || !o.logit_bias.is_empty(),
            Stage::Dry => is_there && o.dry.multiplier > 0.0,
            Stage::TopNSigma => is_there && o.top_n_sigma > 0.0,
            Stage::Temperature => is_greedy || is_there && (o.temperature != 1.0 || o.dynamic.range > 0.0),
            Stage::TopK => is_there && o.top_k > 0,
            Stage::Typical => is_there && o.typical_p < 1.0,
            Stage::TopP => is_there && o.top_p < 1.0,
            Stage::MinP => is_there && o.min_p > 0.0,
            Stage::Xtc => is_there && o.xtc.is_on(),
            Stage::Mirostat => !is_greedy && o.mirostat.is_some(),
            Stage::AdaptiveP => !is_greedy && o.adaptive_p.is_some(),
        }
    }

    /// What `options` set it to, in words; empty where there is no number for it.
    pub fn setting(self, options: &SamplerOptions) -> String {
        let o = options;
        match self {
            Stage::Logits | Stage::Constraint | Stage::Banned | Stage::Penalties => String::new(),
            Stage::Dry => o.dry.multiplier.to_string(),
            Stage::TopNSigma => o.top_n_sigma.to_string(),
            Stage::Temperature if o.temperature > 0.0 && o.dynamic.range > 0.0 => {
                format!("{} ± {}", o.temperature, o.dynamic.range)
            }
            Stage::Temperature => o.temperature.to_string(),
            Stage::TopK => o.top_k.to_string(),
            Stage::Typical => o.typical_p.to_string(),
            Stage::TopP => o.top_p.to_string(),
            Stage::MinP => o.min_p.to_string(),
            Stage::Xtc => format!("{} at {}", o.xtc.threshold, o.xtc.probability),
            Stage::Mirostat => o.mirostat.map_or_else(String::new, |m| format!("{} by {}", m.tau, m.eta)),
            Stage::AdaptiveP => o.adaptive_p.map_or_else(String::new, |a| a.target.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut SamplerOptions);

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let cases: [(&str, Change); 30] = [
            ("temperature", |o| o.temperature = f32::NAN),
            ("temperature", |o| o.temperature = -1.0),
            ("temperature", |o| o.temperature = f32::INFINITY),
            ("top-p", |o| o.top_p = f32::NAN),
            ("top-p", |o| o.top_p = 1.5),
            ("min-p", |o| o.min_p = -0.1),
            ("typical", |o| o.typical_p = 2.0),
            ("repeat-penalty", |o| o.repeat_penalty = 0.0),
            ("presence-penalty", |o| o.presence_penalty = f32::NEG_INFINITY),
            ("frequency-penalty", |o| o.frequency_penalty = f32::NAN),
            ("repeat-last-n", |o| o.repeat_last_n = usize::MAX),
            ("logit-bias", |o| o.logit_bias = vec![(10, 1.0)]),
            ("logit-bias", |o| o.logit_bias = vec![(0, f32::NAN)]),
            ("logit-bias", |o| o.logit_bias = vec![(0, f32::INFINITY)]),
            ("dry-multiplier", |o| o.dry.multiplier = f32::NAN),
            ("dry-base", |o| o.dry.base = 0.99),
            ("dry-allowed-length", |o| o.dry.allowed_length = 0),
            ("dry-sequence-breaker", |o| o.dry.breakers = vec![vec![1, 10]]),
            ("top-n-sigma", |o| o.top_n_sigma = f32::INFINITY),
            ("dynatemp-range", |o| o.dynamic.range = -1.0),
            ("dynatemp-exp", |o| o.dynamic.exponent = f32::NAN),
            ("xtc-probability", |o| o.xtc.probability = 1.1),
            ("xtc-threshold", |o| o.xtc.threshold = -0.1),
            ("mirostat-ent", |o| o.mirostat = Some(Mirostat { tau: -1.0, eta: 0.1 })),
            ("mirostat-lr", |o| o.mirostat = Some(Mirostat { tau: 5.0, eta: f32::NAN })),
            ("adaptive-target", |o| o.adaptive_p = Some(AdaptiveP { target: 1.5, decay: 0.9 })),
            ("adaptive-decay", |o| o.adaptive_p = Some(AdaptiveP { target: 0.5, decay: 1.0 })),
            ("samplers", |o| o.order.push(Stage::TopK)),
            ("samplers", |o| o.order = vec![Stage::TopK, Stage::Dry]),
            ("samplers", |o| o.order = vec![Stage::Mirostat]),
        ];
        for (name, change) in cases {
            let mut options = SamplerOptions::default();
            change(&mut options);
            let error = options.checked(10).expect_err(name);
            assert_eq!(error.kind(), crate::error::Kind::Usage);
            assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
        }
    }

    #[test]
    fn the_ends_of_the_ranges_are_accepted() {
        let cases: [Change; 8] = [
            |o| o.temperature = 0.0,
            |o| o.temperature = 1e-9,
            |o| o.temperature = 1e9,
            |o| o.top_p = 0.0,
            |o| o.min_p = 1.0,
            |o| o.top_k = usize::MAX,
            |o| o.seed = u64::MAX,
            |o| o.logit_bias = vec![(9, f32::NEG_INFINITY)],
        ];
        for change in cases {
            let mut options = SamplerOptions::default();
            change(&mut options);
            options.checked(10).expect("in range");
        }
    }
}
