//! The tokens that may come next, and the filters that thin them out: one method a filter.

use crate::token::TokenId;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// A token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: TokenId,
    /// Its logit as far as the chain has come: biased, penalized, divided by the temperature, or another one by adaptive-p.
    pub logit: f32,
    /// Its probability, up to the common factor [`Candidates::mass`]: the exponential of the logit's distance to
    /// the best; 0 before the candidates are weighed.
    pub weight: f32,
}

/// The tokens that may come next. Every filter leaves them in one of two orders, by id (as the chain starts) or best
/// first with equal ones by id, and sums run in that order: they do not depend on how a selection moves elements.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    pub(super) items: Vec<Candidate>,
    pub(super) mass: f64,
    /// Weights are those of the logits.
    pub(super) is_weighed: bool,
}

/// Best first; equal ones by id.
pub(super) fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Calls `visit` on elements of `items` in the order of `compare` until it returns false; returns how many were
/// visited. Sorts no more than it needs to, in chunks that grow.
fn visit_in_order<T>(
    items: &mut [T],
    compare: impl Fn(&T, &T) -> Ordering,
    mut visit: impl FnMut(&T) -> bool,
) -> usize {
    const FIRST: usize = 128;
    let (mut start, mut size) = (0, FIRST);
    while start < items.len() {
        let tail = &mut items[start..];
        let n = size.min(tail.len());
        if n < tail.len() {
            tail.select_nth_unstable_by(n - 1, &compare);
        }
        tail[..n].sort_unstable_by(&compare);
        if let Some(last) = tail[..n].iter().position(|item| !visit(item)) {
            return start + last + 1;
        }
        start += n;
        size *= 4;
    }
    items.len()
}

/// The largest logit of `items`; lanes side by side need not wait for each other.
fn best_of(items: &[Candidate]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let (chunks, rest) = items.as_chunks::<8>();
    for chunk in chunks {
        for (lane, c) in lanes.iter_mut().zip(chunk) {
            *lane = if c.logit > *lane { c.logit } else { *lane };
        }
    }
    rest.iter().map(|c| c.logit).chain(lanes).fold(f32::NEG_INFINITY, f32::max)
}

impl Candidates {
    /// Room for `vocab_size` candidates.
    pub(super) fn with_capacity(vocab_size: usize) -> Self {
        Candidates { items: Vec::with_capacity(vocab_size), ..Candidates::default() }
    }

    /// Starts over with every token whose logit is above minus infinity, in id order.
    pub(super) fn start(&mut self, logits: &[f32]) {
        self.items.clear();
        self.items.extend(logits.iter().zip(0..).map(|(&logit, id)| Candidate { id, logit, weight: 0.0 }));
        if logits.contains(&f32::NEG_INFINITY) {
            self.items.retain(|c| c.logit > f32::NEG_INFINITY);
        }
        (self.mass, self.is_weighed) = (0.0, false);
    }

    /// Starts over with one token, which is certain.
    pub(super) fn only(&mut self, candidate: Candidate) {
        self.items.clear();
        self.items.push(candidate);
        self.is_weighed = true;
        self.sum();
    }

    /// The candidates that are left.
    pub fn items(&self) -> &[Candidate] {
        &self.items
    }

    /// The sum of the weights that are left; `weight / mass` is a probability.
    pub fn mass(&self) -> f64 {
        self.mass
    }

    /// Keeps the `k` best; 0 keeps all.
    pub(super) fn top_k(&mut self, k: usize) {
        if k == 0 || k >= self.items.len() {
            return;
        }
        let bound = self.reached_by(k);
        self.items.retain(|c| c.logit >= bound);
        if k < self.items.len() {
            self.items.select_nth_unstable_by(k - 1, by_rank);
            self.items.truncate(k);
        }
        self.rank();
        self.sum();
    }

    /// A logit that at least `k` candidates reach, and where `k` is small few more: the k-th of those that are the largest of a run of
    /// candidates. It takes one look at each, where a selection moves most of them.
    fn reached_by(&self, k: usize) -> f32 {
        const RUNS: usize = 512;
        let mut largest = [f32::NEG_INFINITY; RUNS];
        if k > RUNS {
            return f32::NEG_INFINITY;
        }
        for (largest, run) in largest.iter_mut().zip(self.items.chunks(self.items.len().div_ceil(RUNS))) {
            *largest = best_of(run);
        }
        *largest.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    }

    /// Softmax, without the division: weights from logits, where they are not those already. Candidates whose weight is too small
    /// for an f32 go.
    pub(super) fn weigh(&mut self) {
        if core::mem::replace(&mut self.is_weighed, true) {
            return;
        }
        let best = self.best();
        self.items.iter_mut().for_each(|c| c.weight = super::exp(c.logit - best));
        self.items.retain(|c| c.weight > 0.0);
        self.sum();
    }

    /// Keeps the candidates whose surprise `-ln p` is nearest to its expectation, the entropy, until their
    /// probability reaches `p`; 1 keeps all.
    pub(super) fn typical(&mut self, p: f32) {
        if p >= 1.0 {
            return;
        }
        self.weigh();
        // -ln p_i - H = sum_j p_j logit_j - logit_i: the logarithm of the mass cancels.
        let expected = self.items.iter().map(|c| c.weight as f64 * c.logit as f64).sum::<f64>() / self.mass;
        let shift = |c: &Candidate| (expected - c.logit as f64).abs();
        let (goal, mut reached) = (p as f64 * self.mass, 0.0);
        let kept = visit_in_order(
            &mut self.items,
            |a, b| shift(a).total_cmp(&shift(b)).then_with(|| by_rank(a, b)),
            |c| {
                reached += c.weight as f64;
                reached < goal
            },
        );
        self.items.truncate(kept);
        self.rank();
        self.sum();
    }

    /// Keeps the best candidates until their probability reaches `p`; 1 keeps all, 0 the best.
    pub(super) fn top_p(&mut self, p: f32) {
        if p >= 1.0 {
            return;
        }
        self.weigh();
        let (goal, mut reached) = (p as f64 * self.mass, 0.0);
        // All that are below this share of what may go could go together: only the others need an order.
        let light = (1.0 - p as f64) * self.mass / self.items.len() as f64 * 0.999;
        self.items.retain(|c| c.weight as f64 >= light);
        let kept = visit_in_order(&mut self.items, by_rank, |c| {
            reached += c.weight as f64;
            reached < goal
        });
        self.items.truncate(kept);
        self.sum();
    }

    /// Keeps the candidates that are at least `p` times as probable as the best; 0 keeps all.
    pub(super) fn min_p(&mut self, p: f32) {
        if p <= 0.0 {
            return;
        }
        self.weigh();
        let best = self.items.iter().map(|c| c.weight).fold(0.0, f32::max);
        self.items.retain(|c| c.weight >= p * best);
        self.sum();
    }

    /// The candidate at `uniform`, a number in [0, 1), of the probability, walking from the best downwards.
    pub(super) fn draw(&mut self, uniform: f64) -> Option<TokenId> {
        let (goal, mut reached) = (uniform * self.mass, 0.0);
        let visited = visit_in_order(&mut self.items, by_rank, |c| {
            reached += c.weight as f64;
            reached <= goal
        });
        // Rounding may leave the goal out of reach: then it is the last one.
        self.items.get(visited.checked_sub(1)?).map(|c| c.id)
    }

    /// The largest logit.
    pub(super) fn best(&self) -> f32 {
        best_of(&self.items)
    }

    fn rank(&mut self) {
        self.items.sort_unstable_by(by_rank);
    }

    pub(super) fn sum(&mut self) {
        self.mass = self.items.iter().map(|c| c.weight as f64).sum();
    }
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
pub(super) mod tests;
