//! XTC, "exclude top choices" (Weidmann 2024, text-generation-webui pull request 6335): now and then the most probable tokens go,
//! all but the least probable of those that are probable enough.

use super::candidates::by_rank;
use super::{Candidates, Rng};

/// How top choices are excluded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Xtc {
    /// How often it is done, a number drawn for each token. `0..=1`; 0 is off.
    pub probability: f32,
    /// Tokens at least this probable are top choices. `0..=1`; above 0.5 there is no second one, and it is off.
    pub threshold: f32,
}

impl Default for Xtc {
    fn default() -> Self {
        Xtc { probability: 0.0, threshold: 0.1 }
    }
}

impl Xtc {
    pub(super) fn is_on(self) -> bool {
        self.probability > 0.0 && self.threshold <= 0.5
    }
}

impl Candidates {
    /// Removes the top choices but the least probable of them, if a number that is drawn says so.
    pub(super) fn xtc(&mut self, xtc: Xtc, rng: &mut Rng) {
        if !xtc.is_on() || rng.uniform() >= f64::from(xtc.probability) {
            return;
        }
        self.weigh();
        let bound = f64::from(xtc.threshold) * self.mass;
        let is_top = |weight: f32| f64::from(weight) >= bound;
        let tops = self.items.iter().filter(|c| is_top(c.weight));
        let Some(least) = tops.max_by(|a, b| by_rank(a, b)).map(|c| c.id) else { return };
        self.items.retain(|c| c.id == least || !is_top(c.weight));
        self.sum();
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates::tests::{for_random_logits, kept, softmax, weighed};
    use super::*;

    #[test]
    fn of_the_top_choices_the_least_probable_stays() {
        for_random_logits(|logits, share| {
            let threshold = share * 0.2;
            let mut candidates = weighed(logits);
            candidates.xtc(Xtc { probability: 1.0, threshold }, &mut Rng::new(1));
            let naive = softmax(logits);
            let n_top = naive.iter().filter(|(_, p)| *p >= f64::from(threshold)).count();
            let mut ids: Vec<u32> = naive[n_top.max(1) - 1..].iter().map(|(id, _)| *id).collect();
            ids.sort_unstable();
            assert_eq!(kept(&candidates), ids);
        });
    }

    #[test]
    fn it_is_done_as_often_as_asked_and_draws_no_number_where_it_is_off() {
        let mut rng = Rng::new(5);
        let done = (0..10_000).filter(|_| {
            let mut candidates = weighed(&[2.0, 2.0, 0.0]);
            candidates.xtc(Xtc { probability: 0.3, threshold: 0.1 }, &mut rng);
            kept(&candidates) == [1, 2]
        });
        assert!((2_800..3_200).contains(&done.count()));
        for off in [Xtc::default(), Xtc { probability: 1.0, threshold: 0.51 }] {
            let (mut rng, mut candidates) = (Rng::new(3), weighed(&[2.0, 2.0, 0.0]));
            candidates.xtc(off, &mut rng);
            assert_eq!((kept(&candidates), rng.next_u64()), (vec![0, 1, 2], Rng::new(3).next_u64()));
        }
    }
}
