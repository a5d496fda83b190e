//! Top-n-sigma (Tang et al. 2024, "Top-nσ: Not All Logits Are You Need"): tokens whose logit is near the largest, measured by how far
//! logits are spread. A temperature changes both alike, so what is kept does not depend on it.

use super::Candidates;

impl Candidates {
    /// Keeps the candidates whose logit is at most `n` standard deviations of all their logits below the largest; 0 or less
    /// keeps all.
    pub(super) fn top_n_sigma(&mut self, n: f32) {
        if n <= 0.0 || self.items.len() < 2 {
            return;
        }
        let count = self.items.len() as f64;
        let mean = self.items.iter().map(|c| f64::from(c.logit)).sum::<f64>() / count;
        let square = |x: f64| x * x;
        let variance = self.items.iter().map(|c| square(f64::from(c.logit) - mean)).sum::<f64>() / count;
        let (best, bound) = (f64::from(self.best()), square(f64::from(n)) * variance);
        self.items.retain(|c| square(best - f64::from(c.logit)) <= bound);
        self.sum();
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates::tests::{for_random_logits, kept, started};

    #[test]
    fn what_is_kept_is_near_the_largest_logit() {
        for_random_logits(|logits, share| {
            let n = share * 3.0;
            let mut candidates = started(logits);
            candidates.top_n_sigma(n);
            let finite: Vec<f64> = logits.iter().filter(|l| l.is_finite()).map(|l| f64::from(*l)).collect();
            let mean = finite.iter().sum::<f64>() / finite.len() as f64;
            let sigma = (finite.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / finite.len() as f64).sqrt();
            let best = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let near = |l: &f32| f64::from(*l) >= best - f64::from(n) * sigma - 1e-9;
            let naive: Vec<u32> =
                logits.iter().zip(0..).filter(|(l, _)| l.is_finite() && near(l)).map(|(_, i)| i).collect();
            assert_eq!(kept(&candidates), naive);
        });
        for off in [0.0, -1.0] {
            let mut candidates = started(&[0.0, 100.0]);
            candidates.top_n_sigma(off);
            assert_eq!(kept(&candidates), [0, 1]);
        }
    }
}
