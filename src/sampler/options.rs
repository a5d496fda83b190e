//! The options of a sampler, and what they may be.

use crate::error::{Error, Result};
use crate::token::TokenId;
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
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// These options, or an error that names the first one out of its range.
    pub fn checked(self, vocab_size: usize) -> Result<Self> {
        let ranges = [
            ("temperature", self.temperature, 0.0, 1e9),
            ("top-p", self.top_p, 0.0, 1.0),
            ("min-p", self.min_p, 0.0, 1.0),
            ("typical", self.typical_p, 0.0, 1.0),
            ("repeat-penalty", self.repeat_penalty, 1e-3, 1e3),
            ("presence-penalty", self.presence_penalty, -1e3, 1e3),
            ("frequency-penalty", self.frequency_penalty, -1e3, 1e3),
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
        Ok(self)
    }

    /// Some penalty changes the logits of recent tokens.
    pub(super) fn penalizes(&self) -> bool {
        let active = self.repeat_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0;
        active && self.repeat_last_n > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut SamplerOptions);

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let cases: [(&str, Change); 14] = [
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
