//! Adaptive-p (llama.cpp pull request 17927): prefers tokens of a given probability. The target moves against the probabilities of the
//! tokens taken so far, so that their mean comes near what was asked for.

use super::Candidates;
use crate::token::TokenId;
use alloc::vec::Vec;

/// The logit of a token whose probability is the target.
const PEAK: f64 = 5.0;
/// How fast logits fall.
const SHARPNESS: f64 = 10.0;
/// The distance of probabilities by which distances are measured.
const WIDTH: f64 = 0.3;

/// The target of adaptive-p.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveP {
    /// The mean probability that tokens shall have. `0..=1`.
    pub target: f32,
    /// What counts of a token at the next one. `0..=0.99`.
    pub decay: f32,
}

/// What is remembered from token to token.
#[derive(Debug, Clone)]
pub(super) struct Average {
    of: AdaptiveP,
    /// Probabilities of the tokens taken, each times the decay to the power of how long ago that was.
    sum: f64,
    /// The same of ones.
    total: f64,
    /// What the candidates had before their logits were changed.
    before: Vec<(TokenId, f64)>,
    /// The token that was drawn last, with its probability.
    drawn: Option<(TokenId, f64)>,
}

impl Average {
    /// As if tokens of the target's probability had always been taken; with room for `vocab_size` candidates.
    pub(super) fn new(of: AdaptiveP, vocab_size: usize) -> Self {
        let total = 1.0 / (1.0 - f64::from(of.decay));
        Average { of, sum: f64::from(of.target) * total, total, before: Vec::with_capacity(vocab_size), drawn: None }
    }

    /// Starts over.
    pub(super) fn reset(&mut self) {
        let Average { sum, total, .. } = Average::new(self.of, 0);
        (self.sum, self.total, self.drawn) = (sum, total, None);
    }

    /// The probability that is preferred now.
    fn target(&self) -> f64 {
        (2.0 * f64::from(self.of.target) - self.sum / self.total).clamp(0.0, 1.0)
    }

    /// Gives each candidate a logit by how far its probability is from the target.
    pub(super) fn prefer(&mut self, candidates: &mut Candidates) {
        candidates.weigh();
        let (target, mass) = (self.target(), candidates.mass);
        self.before.clear();
        for c in &mut candidates.items {
            let probability = f64::from(c.weight) / mass;
            let distance = (probability - target).abs() / WIDTH;
            self.before.push((c.id, probability));
            c.logit = (PEAK - SHARPNESS * (distance * distance) / (1.0 + distance)) as f32;
        }
        candidates.is_weighed = false;
        candidates.weigh();
    }

    /// `token` was drawn.
    pub(super) fn drew(&mut self, token: TokenId) {
        self.drawn = self.before.iter().find(|(id, _)| *id == token).copied();
    }

    /// `token` became part of the text. What was not drawn changes nothing.
    pub(super) fn accept(&mut self, token: TokenId) {
        if let Some((_, probability)) = self.drawn.take().filter(|(drawn, _)| *drawn == token) {
            let decay = f64::from(self.of.decay);
            self.sum = probability + decay * self.sum;
            self.total = 1.0 + decay * self.total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates::tests::{for_random_logits, softmax, weighed};
    use super::*;

    #[test]
    fn logits_say_how_near_a_probability_is_to_the_target() {
        for_random_logits(|logits, target| {
            let mut average = Average::new(AdaptiveP { target, decay: 0.9 }, logits.len());
            let mut candidates = weighed(logits);
            average.prefer(&mut candidates);
            for (id, p) in softmax(logits) {
                let d = (p - f64::from(target)).abs() / 0.3;
                let got = candidates.items().iter().find(|c| c.id == id).expect("none goes").logit;
                assert!((f64::from(got) - (5.0 - 10.0 * d * d / (1.0 + d))).abs() < 1e-4, "{got}");
            }
        });
    }

    #[test]
    fn the_target_moves_against_what_was_taken() {
        let mut average = Average::new(AdaptiveP { target: 0.5, decay: 0.5 }, 4);
        assert!((average.target() - 0.5).abs() < 1e-12, "at first it is what was asked for");
        let mut candidates = weighed(&[9.0, 0.0]);
        average.prefer(&mut candidates);
        average.drew(0);
        average.accept(1);
        assert!((average.target() - 0.5).abs() < 1e-12, "another token than the one drawn");
        average.prefer(&mut candidates);
        let mut candidates = weighed(&[50.0, 0.0]);
        average.prefer(&mut candidates);
        average.drew(0);
        average.accept(0);
        // A token of probability 1 after those of 0.5: their mean is 0.75.
        assert!((average.target() - 0.25).abs() < 1e-12, "{}", average.target());
        average.reset();
        assert!((average.target() - 0.5).abs() < 1e-12);
    }
}
