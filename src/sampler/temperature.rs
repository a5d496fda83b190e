//! Temperature, and one that moves with the uncertainty of each token.

use super::Candidates;
use crate::ops::math::{exp_f64, ln_f64};

/// A temperature that follows the entropy of the candidates, as llama.cpp has it ("dynatemp").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DynamicTemperature {
    /// The temperature moves this far to both sides of [`SamplerOptions::temperature`](super::SamplerOptions::temperature), not
    /// below 0. `0..=1e9`; 0 is off.
    pub range: f32,
    /// The power of the share of the largest entropy by which it moves. `0..=100`.
    pub exponent: f32,
}

impl Default for DynamicTemperature {
    fn default() -> Self {
        DynamicTemperature { range: 0.0, exponent: 1.0 }
    }
}

impl Candidates {
    /// Divides the logits by `t`, which is above 0, or by what `dynamic` makes of it.
    pub(super) fn temperature(&mut self, t: f32, dynamic: DynamicTemperature) {
        if dynamic.range <= 0.0 {
            return self.divide(t);
        }
        match self.dynamic_temperature(t, dynamic) {
            Some(t) if t > 0.0 => self.divide(t),
            Some(_) => self.top_k(1),
            None => {}
        }
    }

    /// Where there are several candidates: `low + (high - low) * (entropy / ln n)^exponent`, low and high being the ends of the range.
    fn dynamic_temperature(
        &mut self,
        t: f32,
        DynamicTemperature { range, exponent }: DynamicTemperature,
    ) -> Option<f32> {
        self.weigh();
        if self.items.len() < 2 {
            return None;
        }
        let best = self.best();
        // -sum of p ln p, where ln p = logit - best - ln(mass).
        let sum: f64 = self.items.iter().map(|c| f64::from(c.weight) * (f64::from(c.logit) - f64::from(best))).sum();
        let entropy = ln_f64(self.mass) - sum / self.mass;
        let share = (entropy / ln_f64(self.items.len() as f64)).clamp(0.0, 1.0);
        let power = match share {
            _ if exponent == 0.0 => 1.0,
            0.0 => 0.0,
            share => exp_f64(f64::from(exponent) * ln_f64(share)),
        };
        let (low, high) = (f64::from((t - range).max(0.0)), f64::from(t) + f64::from(range));
        Some((low + (high - low) * power) as f32)
    }

    fn divide(&mut self, t: f32) {
        let best = self.best();
        // The distance to the best is what is divided: a tiny temperature then cannot overflow the best one.
        self.items.iter_mut().for_each(|c| c.logit = (c.logit - best) / t);
        self.is_weighed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates::tests::{for_random_logits, softmax, started};
    use super::*;

    #[test]
    fn a_dynamic_temperature_is_low_where_the_model_is_sure_and_high_where_it_is_not() {
        for_random_logits(|logits, share| {
            let dynamic = DynamicTemperature { range: 0.5, exponent: 0.5 + share };
            let mut candidates = started(logits);
            let got = candidates.dynamic_temperature(0.8, dynamic);
            let naive = softmax(logits);
            if naive.len() < 2 {
                return assert_eq!(got, None);
            }
            let entropy: f64 = naive.iter().map(|(_, p)| -p * p.ln()).sum();
            let want = 0.3 + (entropy / (naive.len() as f64).ln()).powf(f64::from(dynamic.exponent));
            assert!((f64::from(got.expect("several")) - want).abs() < 1e-4, "{got:?} {want}");
        });
    }

    #[test]
    fn the_range_ends_at_zero_and_one_candidate_stays_as_it_is() {
        let mut sure = started(&[0.0, 100.0, 0.0]);
        sure.temperature(0.5, DynamicTemperature { range: 0.5, exponent: 1.0 });
        sure.weigh();
        assert_eq!(sure.items().iter().map(|c| c.id).collect::<Vec<_>>(), [1]);
        let mut even = started(&[1.0, 1.0]);
        assert_eq!(even.dynamic_temperature(0.5, DynamicTemperature { range: 2.0, exponent: 1.0 }), Some(2.5));
        let mut one = started(&[3.0]);
        one.temperature(0.5, DynamicTemperature { range: 0.5, exponent: 1.0 });
        assert_eq!(one.items()[0].logit, 3.0);
    }
}
