//! Which experts a token uses, and how much of each.

use crate::kernels::math;

/// How tokens choose among experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// Experts that a token uses.
    pub n_active: usize,
    /// What the products of the router become.
    pub scores: Scores,
    /// The weights of the experts that are used sum to one.
    pub normalized: bool,
    /// What the weights are multiplied by.
    pub scale: f32,
}

/// What the products of a router become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// Their softmax over all experts (Shazeer et al. 2017).
    Softmax,
    /// The logistic function of each (DeepSeek-AI 2024).
    Sigmoid,
}

impl Scores {
    /// All of them, in the order of the values of their field.
    pub const ALL: [Scores; 2] = [Scores::Softmax, Scores::Sigmoid];
}

/// Turns the products `scores` (n_experts) of a token into the weights of its experts, 0 for those that it does not use: the
/// `n_active` of the largest scores, `bias` (n_experts) added where there is one, of equal ones the first.
pub fn route(routing: Routing, bias: Option<&[f32]>, scores: &mut [f32]) {
    match routing.scores {
        Scores::Softmax => {
            let largest =
                scores.iter().fold(f32::NEG_INFINITY, |most, score| if *score > most { *score } else { most });
            let mut sum = 0.0;
            for score in scores.iter_mut() {
                *score = math::exp(*score - largest);
                sum += *score;
            }
            scores.iter_mut().for_each(|score| *score /= sum);
        }
        Scores::Sigmoid => scores.iter_mut().for_each(|score| *score = math::sigmoid(*score)),
    }
    let rank = |i: usize| scores[i] + bias.map_or(0.0, |bias| bias[i]);
    // An expert is used where fewer than `n_active` others go before it.
    let before = |i: usize| {
        let others = (0..scores.len()).filter(|j| rank(*j) > rank(i) || (rank(*j) == rank(i) && *j < i));
        others.take(routing.n_active).count()
    };
    let mut used = [0_u64; MAX_EXPERTS / 64];
    for i in (0..scores.len()).filter(|i| before(*i) < routing.n_active) {
        used[i / 64] |= 1 << (i % 64);
    }
    let is_used = |i: usize| used[i / 64] & (1 << (i % 64)) != 0;
    let mut sum = 0.0;
    for (i, score) in scores.iter_mut().enumerate() {
        *score = if is_used(i) { *score } else { 0.0 };
        sum += *score;
    }
    if routing.normalized {
        let sum = if routing.scores == Scores::Sigmoid { sum + SIGMOID_EPS } else { sum };
        scores.iter_mut().for_each(|score| *score /= sum);
    }
    scores.iter_mut().for_each(|score| *score *= routing.scale);
}

/// The most experts of a layer.
pub const MAX_EXPERTS: usize = 1024;
/// What is added to a sum of logistic functions, so that it is not 0.
const SIGMOID_EPS: f32 = 1e-6;

/// The logistic function.
pub fn sigmoid(x: f32) -> f32 {
    math::sigmoid(x)
}

/// `sum[i] += weight * x[i]`, both (dim).
pub fn add_scaled(sum: &mut [f32], weight: f32, x: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += weight * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Routing = Routing { n_active: 2, scores: Scores::Softmax, normalized: false, scale: 1.0 };

    fn weights(routing: Routing, bias: Option<&[f32]>, scores: &[f32]) -> Vec<f32> {
        let mut out = scores.to_vec();
        route(routing, bias, &mut out);
        out
    }

    #[test]
    fn the_largest_scores_are_used_and_of_equal_ones_the_first() {
        let near = |got: Vec<f32>, want: &[f32]| {
            got.iter().zip(want).for_each(|(g, w)| assert!((g - w).abs() < 1e-6, "{got:?} {want:?}"));
        };
        let p = |x: f32| x.exp() / (1.0 + 2.0 * 1_f32.exp() + 2_f32.exp());
        near(weights(PLAIN, None, &[0.0, 1.0, 2.0, 1.0]), &[0.0, p(1.0), p(2.0), 0.0]);
        let normalized = Routing { normalized: true, scale: 2.0, ..PLAIN };
        let e = 1_f32.exp();
        near(weights(normalized, None, &[0.0, 1.0, 2.0, 1.0]), &[0.0, 2.0 / (1.0 + e), 2.0 * e / (1.0 + e), 0.0]);
        let sigmoid = Routing { scores: Scores::Sigmoid, ..PLAIN };
        near(weights(sigmoid, Some(&[9.0, 0.0, 0.0, 0.0]), &[0.0, 0.0, 30.0, 0.0]), &[0.5, 0.0, 1.0, 0.0]);
        assert_eq!(weights(PLAIN, None, &[3.0; 5])[2..], [0.0; 3]);
    }

    #[test]
    fn no_number_is_no_reason_to_panic() {
        for wild in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            weights(PLAIN, None, &[wild, 1.0, wild]);
        }
    }
}
