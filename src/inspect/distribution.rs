//! The distribution over all possible next tokens, in f64.

use crate::token::TokenId;

/// A token with its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// The token.
    pub id: TokenId,
    /// Its probability, 0 to 1.
    pub probability: f64,
}

/// A distribution by its most probable tokens and what is known of the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// The most probable tokens, best first, equal ones by id.
    pub top: Vec<Ranked>,
    /// The probability of all others together.
    pub tail: f64,
    /// The expected surprise, in bits.
    pub entropy: f64,
    /// Tokens that can come next: those whose logit is above minus infinity.
    pub n: usize,
}

impl Distribution {
    /// The softmax of `logits / temperature` with its `n_top` best; at temperature 0 the best token is certain.
    pub fn of_logits(logits: &[f32], temperature: f64, n_top: usize) -> Self {
        let all =
            || (0..).zip(logits.iter().map(|logit| *logit as f64)).filter(|(_, logit)| *logit > f64::NEG_INFINITY);
        let best = all().reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((id, best)) = best else { return Self::softmax(Vec::new(), n_top) };
        if temperature > 0.0 {
            // The distance to the best is what is divided: a tiny temperature then cannot overflow the best one.
            return Self::softmax(all().map(|(id, logit)| (id, (logit - best) / temperature)).collect(), n_top);
        }
        Self::softmax(vec![(id, 0.0)], n_top)
    }

    pub(super) fn softmax(mut logits: Vec<(TokenId, f64)>, n_top: usize) -> Self {
        let n = logits.len();
        let best = logits.iter().map(|(_, logit)| *logit).fold(f64::NEG_INFINITY, f64::max);
        let mass: f64 = logits.iter().map(|(_, logit)| (logit - best).exp()).sum();
        let by_rank = |a: &(TokenId, f64), b: &(TokenId, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if n_top < n {
            logits.select_nth_unstable_by(n_top, by_rank);
        }
        let (top, tail) = logits.split_at_mut(n_top.min(n));
        top.sort_unstable_by(by_rank);
        // -ln p = ln mass - (logit - best); a token too improbable for an f64 adds nothing.
        let probability = |logit: f64| (logit - best).exp() / mass;
        let surprise = |logit: f64| mass.ln() - (logit - best);
        let term = |logit: f64| Some(probability(logit)).filter(|p| *p > 0.0).map_or(0.0, |p| p * surprise(logit));
        Distribution {
            entropy: top.iter().chain(tail.iter()).map(|(_, logit)| term(*logit)).sum::<f64>()
                / core::f64::consts::LN_2,
            tail: tail.iter().fold(0.0, |sum, (_, logit)| sum + probability(*logit)),
            top: top.iter().map(|(id, logit)| Ranked { id: *id, probability: probability(*logit) }).collect(),
            n,
        }
    }
}

/// The same logits at many temperatures, from 0 to 2 in steps of 0.2.
#[derive(Debug, Clone, PartialEq)]
pub struct Film(Vec<(f64, Distribution)>);

impl Film {
    /// The temperatures, in tenths.
    const TENTHS: [u8; 11] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20];
    /// Its frames.
    pub const LEN: usize = Self::TENTHS.len();

    /// The distributions of `logits`, each with its `n_top` best.
    pub fn of(logits: &[f32], n_top: usize) -> Self {
        let at = |tenths: u8| f64::from(tenths) / 10.0;
        let frame = |tenths| (at(tenths), Distribution::of_logits(logits, at(tenths), n_top));
        Film(Self::TENTHS.into_iter().map(frame).collect())
    }

    /// Each temperature with its distribution.
    pub fn frames(&self) -> &[(f64, Distribution)] {
        &self.0
    }

    /// The frame at temperature 1, whose tokens are those of all: temperature above 0 changes no rank.
    pub fn plain(&self) -> &Distribution {
        &self.0[Self::LEN / 2].1
    }
}

/// Where token `id` stands: its rank, 1 being the most probable and equal ones going by id, and its probability. `None`
/// where it cannot come.
pub fn standing(logits: &[f32], id: TokenId) -> Option<(usize, f64)> {
    let own = *logits.get(id as usize).filter(|logit| **logit > f32::NEG_INFINITY)?;
    let before = |(other, logit): (TokenId, &f32)| *logit > own || (*logit == own && other < id);
    let rank = 1 + (0..).zip(logits).filter(|entry| before(*entry)).count();
    Some((rank, (-super::nll(logits, id)).exp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distributions() {
        let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 1f32.ln(), 4f32.ln()];
        let d = Distribution::of_logits(&logits, 1.0, 2);
        assert_eq!(d.top.iter().map(|r| r.id).collect::<Vec<_>>(), [4, 1]);
        assert!((d.top[0].probability - 0.5).abs() < 1e-7 && (d.top[1].probability - 0.25).abs() < 1e-7);
        assert!((d.tail - 0.25).abs() < 1e-7 && (d.entropy - 1.75).abs() < 1e-6 && d.n == 4, "{d:?}");
        let cold = Distribution::of_logits(&logits, 0.0, 20);
        assert_eq!((cold.top[0].id, cold.top[0].probability, cold.tail, cold.entropy, cold.n), (4, 1.0, 0.0, 0.0, 1));
        let hot = Distribution::of_logits(&logits, 1e9, 4);
        assert!(hot.top.iter().all(|r| (r.probability - 0.25).abs() < 1e-6) && (hot.entropy - 2.0).abs() < 1e-6);
        assert_eq!(standing(&logits, 0).map(|s| s.0), Some(3));
        assert_eq!(standing(&logits, 3).map(|s| s.0), Some(4));
        assert_eq!((standing(&logits, 2), standing(&logits, 9)), (None, None));
    }

    #[test]
    fn probabilities_add_to_one_at_every_temperature() {
        let logits: Vec<f32> = (0..3000).map(|i| ((i * 7919) % 3001) as f32 / 100.0 - 15.0).collect();
        for temperature in [0.0, 1e-320, 0.01, 0.2, 0.8, 1.0, 2.0, 50.0] {
            let d = Distribution::of_logits(&logits, temperature, 20);
            let sum = d.top.iter().map(|r| r.probability).sum::<f64>() + d.tail;
            assert!((sum - 1.0).abs() < 1e-12, "{temperature}: {sum}");
            assert!(d.top.windows(2).all(|w| w[0].probability >= w[1].probability));
            assert!((0.0..=3000f64.log2() + 1e-9).contains(&d.entropy));
        }
    }
}
