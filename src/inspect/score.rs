//! How well logits predict a text, and how far two models' predictions are apart. Sums in f64, in the order of the tokens, and
//! exponentials and logarithms of our own: the same bits on every machine.

use crate::ops::math::{exp_f64, ln_f64};
use crate::token::TokenId;

/// `ln` of the softmax's denominator: `logits[i] - log_mass` is the log-probability of i.
pub(super) fn log_mass(logits: &[f32]) -> f64 {
    log_masses(logits, &[]).0
}

/// `ln` of the softmax's denominator, and of its part without the tokens `without`, which ascend; that of none is minus infinity.
pub(super) fn log_masses(logits: &[f32], without: &[TokenId]) -> (f64, f64) {
    let best = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let (mut all, mut rest, mut next) = (0.0, 0.0, without.iter().peekable());
    for (id, logit) in logits.iter().enumerate() {
        let mass = exp_f64(f64::from(*logit) - best);
        all += mass;
        if next.next_if(|without| **without as usize == id).is_none() {
            rest += mass;
        }
    }
    (best + ln_f64(all), best + ln_f64(rest))
}

/// The perplexity of negative log-likelihoods; NaN of none.
pub fn perplexity(nll: &[f64]) -> f64 {
    exp_f64(nll.iter().sum::<f64>() / nll.len() as f64)
}

/// The negative log-likelihood of `target` in nats; NaN where it is not a token of these logits.
pub fn nll(logits: &[f32], target: TokenId) -> f64 {
    logits.get(target as usize).map_or(f64::NAN, |l| log_mass(logits) - *l as f64)
}

/// How far one prediction is from the reference's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Kullback-Leibler divergence of the reference from the other, in nats: sum of p ln(p / q).
    pub kl: f64,
    /// Both hold the same token for the most probable.
    pub same_top: bool,
}

/// Compares `logits` with those of the `reference`.
pub fn agreement(reference: &[f32], logits: &[f32]) -> Agreement {
    let (p_mass, q_mass) = (log_mass(reference), log_mass(logits));
    let term = |(p, q): (&f32, &f32)| {
        let ln_p = *p as f64 - p_mass;
        let weight = exp_f64(ln_p);
        if weight > 0.0 { weight * (ln_p - (*q as f64 - q_mass)) } else { 0.0 }
    };
    // Rounding can leave a divergence of equal logits just below zero.
    let kl = reference.iter().zip(logits).map(term).sum::<f64>().max(0.0);
    Agreement { kl, same_top: top(reference) == top(logits) }
}

/// The token of the largest logit, the first of equals.
pub(super) fn top(logits: &[f32]) -> usize {
    let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).fold(0, better)
}

/// Mean, median, 99th percentile and maximum of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// The standard error of the mean.
    pub error: f64,
    /// The 50th percentile.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// The summary of `values`, which it sorts; `None` of nothing. Percentiles between two values are interpolated.
    pub fn of(values: &mut [f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        values.sort_by(f64::total_cmp);
        let max = *values.last()?;
        let percentile = |share: f64| {
            let at = share * (n - 1.0);
            let (low, high) = (values[at as usize], values[(at as usize + 1).min(values.len() - 1)]);
            low + (high - low) * at.fract()
        };
        Some(Summary { mean, error: (variance / n).sqrt(), median: percentile(0.5), p99: percentile(0.99), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihoods_are_those_of_the_softmax() {
        let logits = [0.0, 2f32.ln(), 3f32.ln(), f32::NEG_INFINITY];
        assert!((nll(&logits, 0) - 6f64.ln()).abs() < 1e-6);
        assert!((nll(&logits, 2) - 2f64.ln()).abs() < 1e-6);
        assert_eq!(nll(&logits, 3), f64::INFINITY);
        assert!(nll(&logits, 4).is_nan());
        assert!((nll(&[1e4, 1e4], 0) - 2f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn divergence_is_zero_of_equal_and_right_of_known_ones() {
        let p = [0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()];
        let q = [0.25f32.ln() + 1.0, 0.5f32.ln() + 1.0, 0.25f32.ln() + 1.0];
        assert_eq!(agreement(&p, &p), Agreement { kl: 0.0, same_top: true });
        let got = agreement(&p, &q);
        assert!((got.kl - 0.25 * 2f64.ln()).abs() < 1e-6 && !got.same_top, "{got:?}");
        assert_eq!(agreement(&[0.0, f32::NEG_INFINITY], &[0.0, f32::NEG_INFINITY]).kl, 0.0);
    }

    #[test]
    fn summaries_of_small_sets() {
        assert_eq!(Summary::of(&mut []), None);
        let one = Summary::of(&mut [3.0]).expect("a value");
        assert_eq!((one.mean, one.error, one.median, one.p99, one.max), (3.0, 0.0, 3.0, 3.0, 3.0));
        let mut values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let many = Summary::of(&mut values).expect("values");
        assert_eq!((many.mean, many.median, many.p99, many.max), (50.0, 50.0, 99.0, 100.0));
        assert_eq!(Summary::of(&mut [1.0, 2.0]).expect("values").median, 1.5);
    }
}
