//! Mirostat 2 (Basu et al. 2021): keeps the surprise of the text near a target. The most surprising tokens go, and how surprising they
//! may be follows the surprise of each token that was taken.

use super::Candidates;
use crate::ops::math::{exp_f64, ln_f64};
use crate::token::TokenId;
use core::f64::consts::LN_2;

/// The target of mirostat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mirostat {
    /// The surprise to keep near, in bits. `0..=100`.
    pub tau: f32,
    /// How fast the bound follows. `0..=10`.
    pub eta: f32,
}

impl Default for Mirostat {
    fn default() -> Self {
        Mirostat { tau: 5.0, eta: 0.1 }
    }
}

/// What is remembered from token to token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bound {
    of: Mirostat,
    /// The most surprise of a candidate, in bits.
    mu: f64,
    /// The token that was drawn last, with its surprise.
    drawn: Option<(TokenId, f64)>,
}

impl Bound {
    pub(super) fn new(of: Mirostat) -> Self {
        Bound { of, mu: 2.0 * f64::from(of.tau), drawn: None }
    }

    /// `token` was drawn from `candidates`.
    pub(super) fn drew(&mut self, token: TokenId, candidates: &Candidates) {
        let weight = candidates.items.iter().find(|c| c.id == token).map(|c| f64::from(c.weight));
        self.drawn = weight.map(|weight| (token, -ln_f64(weight / candidates.mass) / LN_2));
    }

    /// `token` became part of the text. What was not drawn changes nothing.
    pub(super) fn accept(&mut self, token: TokenId) {
        if let Some((_, surprise)) = self.drawn.take().filter(|(drawn, _)| *drawn == token) {
            self.mu -= f64::from(self.of.eta) * (surprise - f64::from(self.of.tau));
        }
    }

    /// Keeps the candidates that surprise by `mu` bits at most, and the best.
    pub(super) fn cut(&self, candidates: &mut Candidates) {
        candidates.weigh();
        let bound = candidates.mass * exp_f64(-self.mu * LN_2);
        let best = candidates.items.iter().map(|c| c.weight).fold(0.0, f32::max);
        if f64::from(best) < bound {
            return candidates.top_k(1);
        }
        candidates.items.retain(|c| f64::from(c.weight) >= bound);
        candidates.sum();
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates::tests::{for_random_logits, kept, softmax, weighed};
    use super::*;

    #[test]
    fn candidates_that_surprise_too_much_go_and_one_always_stays() {
        for_random_logits(|logits, share| {
            let bound = Bound { mu: f64::from(share) * 8.0 - 0.5, ..Bound::new(Mirostat::default()) };
            let mut candidates = weighed(logits);
            bound.cut(&mut candidates);
            let naive = softmax(logits);
            let within = naive.iter().filter(|(_, p)| -p.log2() <= bound.mu);
            let mut ids: Vec<TokenId> = within.map(|(id, _)| *id).collect();
            if ids.is_empty() {
                ids.push(naive[0].0);
            }
            ids.sort_unstable();
            assert_eq!(kept(&candidates), ids);
        });
    }

    #[test]
    fn the_bound_follows_what_was_taken_and_nothing_else() {
        let mut bound = Bound::new(Mirostat { tau: 3.0, eta: 0.5 });
        assert_eq!(bound.mu, 6.0);
        let candidates = weighed(&[0.0, 0.0, 0.0, 0.0]);
        bound.accept(2);
        bound.drew(2, &candidates);
        bound.accept(1);
        assert_eq!(bound.mu, 6.0, "another token than the one drawn, or none");
        bound.drew(2, &candidates);
        bound.accept(2);
        assert!((bound.mu - 6.5).abs() < 1e-12, "two bits are one less than three");
        bound.accept(2);
        assert!((bound.mu - 6.5).abs() < 1e-12);
    }
}
