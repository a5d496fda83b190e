//! Each filter against a naive twin in f64 over random logits.

use super::super::{DynamicTemperature, Rng};
use super::*;

/// Logits with ties, gaps and minus infinities.
fn random_logits(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n)
        .map(|_| match rng.next_u64() % 10 {
            0 => f32::NEG_INFINITY,
            1 => 1.5,
            _ => (rng.uniform() * 12.0 - 6.0) as f32,
        })
        .collect()
}

/// Candidates of these logits, not weighed.
pub(in crate::sampler) fn started(logits: &[f32]) -> Candidates {
    let mut candidates = Candidates::with_capacity(logits.len());
    candidates.start(logits);
    candidates
}

pub(in crate::sampler) fn weighed(logits: &[f32]) -> Candidates {
    let mut candidates = started(logits);
    candidates.weigh();
    candidates
}

pub(in crate::sampler) fn kept(candidates: &Candidates) -> Vec<TokenId> {
    let mut ids: Vec<TokenId> = candidates.items().iter().map(|c| c.id).collect();
    ids.sort_unstable();
    ids
}

/// (id, probability) of the finite logits, best first, ties by id.
pub(in crate::sampler) fn softmax(logits: &[f32]) -> Vec<(TokenId, f64)> {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let mut all: Vec<(TokenId, f64)> = logits.iter().zip(0..).map(|(l, id)| (id, (*l as f64 - best).exp())).collect();
    all.retain(|(_, w)| *w > 0.0);
    let mass: f64 = all.iter().map(|(_, w)| w).sum();
    all.iter_mut().for_each(|(_, w)| *w /= mass);
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

fn until(ordered: &[(TokenId, f64)], p: f64) -> Vec<TokenId> {
    let mut reached = 0.0;
    let mut ids = Vec::new();
    for (id, share) in ordered {
        ids.push(*id);
        reached += share;
        if reached >= p {
            break;
        }
    }
    ids.sort_unstable();
    ids
}

pub(in crate::sampler) fn for_random_logits(mut check: impl FnMut(&[f32], f32)) {
    let mut rng = Rng::new(11);
    for case in 0..300 {
        let n = [1, 2, 17, 64, 65, 700, 5000][case % 7];
        let mut logits = random_logits(&mut rng, n);
        logits[case % n] = 2.0;
        check(&logits, rng.uniform() as f32);
    }
}

#[test]
fn weights_are_a_softmax() {
    for_random_logits(|logits, _| {
        let candidates = weighed(logits);
        let naive = softmax(logits);
        assert_eq!(candidates.items().len(), naive.len());
        for (id, share) in naive {
            let c = candidates.items().iter().find(|c| c.id == id).expect("the same ids");
            assert!((c.weight as f64 / candidates.mass() - share).abs() < 1e-6);
        }
    });
}

#[test]
fn top_k_keeps_the_k_best() {
    for_random_logits(|logits, share| {
        let k = 1 + (share * logits.len() as f32) as usize;
        let mut candidates = Candidates::default();
        candidates.start(logits);
        candidates.top_k(k);
        let mut naive: Vec<TokenId> = softmax(logits).iter().take(k).map(|(id, _)| *id).collect();
        naive.sort_unstable();
        assert_eq!(kept(&candidates), naive);
    });
}

#[test]
fn top_p_keeps_the_smallest_set_of_that_probability() {
    for_random_logits(|logits, p| {
        let mut candidates = weighed(logits);
        candidates.top_p(p);
        assert_eq!(kept(&candidates), until(&softmax(logits), p as f64));
    });
    let mut candidates = weighed(&[0.0, 1.0, 0.5]);
    candidates.top_p(0.0);
    assert_eq!(kept(&candidates), [1]);
}

#[test]
fn min_p_keeps_a_share_of_the_best() {
    for_random_logits(|logits, p| {
        let mut candidates = weighed(logits);
        candidates.min_p(p);
        let naive = softmax(logits);
        let mut ids: Vec<TokenId> =
            naive.iter().filter(|(_, share)| *share >= p as f64 * naive[0].1).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        assert_eq!(kept(&candidates), ids);
    });
    let mut candidates = weighed(&[1.0, 3.0, 3.0]);
    candidates.min_p(1.0);
    assert_eq!(kept(&candidates), [1, 2]);
}

#[test]
fn typical_keeps_the_least_surprising_surprises() {
    for_random_logits(|logits, p| {
        let mut candidates = weighed(logits);
        candidates.typical(p);
        let mut naive = softmax(logits);
        let entropy: f64 = naive.iter().map(|(_, share)| -share * share.ln()).sum();
        // Near ties of the deviation may fall either way; the f32 rounding of a weight is far below this grid.
        let deviation = |share: f64| ((-share.ln() - entropy).abs() * 1e4).round();
        naive.sort_by(|a, b| deviation(a.1).total_cmp(&deviation(b.1)).then(b.1.total_cmp(&a.1)).then(a.0.cmp(&b.0)));
        let expected = until(&naive, p as f64);
        let got = kept(&candidates);
        assert!(got.len().abs_diff(expected.len()) <= 1, "{got:?} {expected:?}");
        assert!(got.iter().filter(|id| !expected.contains(id)).count() <= 1, "{got:?} {expected:?}");
    });
}

#[test]
fn typical_drops_the_obvious_where_the_expected_surprise_is_high() {
    // One token of probability 0.3, a hundred of 0.007: the entropy is nearer to the surprise of the many.
    let mut logits = vec![0.0; 100];
    logits.push((0.3f32 / 0.007).ln());
    let mut candidates = weighed(&logits);
    candidates.typical(0.5);
    assert!(!kept(&candidates).contains(&100));
}

#[test]
fn a_small_temperature_leaves_the_best_and_a_large_one_evens_out() {
    let logits = [1.0, 3.0, -3e38, 2.999];
    let mut candidates = Candidates::default();
    candidates.start(&logits);
    candidates.temperature(1e-9, DynamicTemperature::default());
    candidates.weigh();
    assert_eq!(kept(&candidates), [1]);
    candidates.start(&[1.0, 3.0, 2.0]);
    candidates.temperature(1e9, DynamicTemperature::default());
    candidates.weigh();
    assert!(candidates.items().iter().all(|c| (c.weight as f64 / candidates.mass() - 1.0 / 3.0).abs() < 1e-6));
}

#[test]
fn the_draw_walks_down_from_the_best() {
    for_random_logits(|logits, uniform| {
        let mut reached = 0.0;
        let naive = softmax(logits);
        let near = naive.iter().any(|(_, share)| {
            reached += share;
            (reached - uniform as f64).abs() < 1e-6
        });
        let expected =
            *until(&naive, uniform as f64).iter().max_by_key(|id| naive.iter().position(|n| n.0 == **id)).expect("one");
        let got = weighed(logits).draw(uniform as f64);
        assert!(near || got == Some(expected), "{got:?} {expected}");
    });
    let mut candidates = weighed(&[0.0; 1000]);
    assert_eq!(candidates.draw(0.0), Some(0));
    assert_eq!(weighed(&[0.0; 1000]).draw(1.0 - f64::EPSILON / 2.0), Some(999));
    assert_eq!(Candidates::default().draw(0.5), None);
}

#[test]
fn top_p_of_a_flat_or_steep_or_large_set_equals_a_full_sort() {
    let mut rng = Rng::new(3);
    for n in [129, 640, 5000] {
        for steep in [0.0, 0.001, 0.1, 3.0] {
            let logits: Vec<f32> = (0..n).map(|i| -(((i * 7919) % n) as f32) * steep).collect();
            for p in [0.0, 0.1, 0.5, 0.95, 0.999, rng.uniform() as f32] {
                let mut candidates = weighed(&logits);
                let mut sorted = candidates.items().to_vec();
                sorted.sort_by(by_rank);
                let mut reached = 0.0;
                let goal = p as f64 * candidates.mass();
                let first = sorted.iter().position(|c| {
                    reached += c.weight as f64;
                    reached >= goal
                });
                candidates.top_p(p);
                assert_eq!(candidates.items(), &sorted[..=first.expect("reached")], "{n} {steep} {p}");
            }
        }
    }
}
