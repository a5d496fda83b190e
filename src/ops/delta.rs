//! The gated delta rule (Yang et al. 2025, "Gated Delta Networks"): heads that remember pairs of keys and values in a matrix, which
//! every token lets fade and corrects.

use super::recurrent::RecurrentCache;
use crate::compute::Compute;
use crate::kernels::math::{exp, exp_f64, ln_f64};

/// Above it, `ln(1 + exp(x))` is x.
const STRAIGHT: f32 = 20.0;

/// Makes the square of the length of each head of `heads` (.., key_dim) that part of one: `x / sqrt((sum(x^2) + 1e-6) * divisor)`.
pub fn unit_length(compute: &Compute, heads: &mut [f32], key_dim: usize, divisor: f32) {
    assert!(key_dim > 0 && heads.len().is_multiple_of(key_dim), "{} elements in heads of {key_dim}", heads.len());
    (compute.kernels.unit_length)(heads, key_dim, divisor);
}

/// How much of its matrix a head keeps, for each of `x` (T, n_heads) in its place: `exp(-exp(rate) * ln(1 + exp(x)))`; `rates`
/// (n_heads).
pub fn decays(x: &mut [f32], rates: &[f32]) {
    for row in x.chunks_exact_mut(rates.len()) {
        for (x, rate) in row.iter_mut().zip(rates) {
            let soft = if *x > STRAIGHT { *x } else { ln_f64(1.0 + exp_f64(f64::from(*x))) as f32 };
            *x = exp(-exp(*rate) * soft);
        }
    }
}

/// What the heads of a layer meet at some tokens.
#[derive(Clone, Copy)]
pub struct DeltaInputs<'a> {
    /// (T, channels): queries and keys of `n_key_heads` heads, then values.
    pub mixed: &'a [f32],
    /// Heads of queries and keys, each shared by `n_heads / n_key_heads` consecutive heads.
    pub n_key_heads: usize,
    /// (T, n_heads).
    pub decays: &'a [f32],
    /// (T, n_heads).
    pub strengths: &'a [f32],
    /// (T, channels): what the convolution met.
    pub inputs: &'a [f32],
}

/// Lets tokens of one text from `position` on change what `cache` remembers, matrices (key_dim, value_dim), one after the other;
/// `out` (T, n_heads, value_dim) is what the heads give at each.
///
/// `S = decay * S; S = S + k (strength * (v - S^T k))^T; out = S^T q` of each head.
pub fn delta_rule(
    compute: &Compute,
    cache: &mut RecurrentCache,
    position: usize,
    given: &DeltaInputs<'_>,
    out: &mut [f32],
) {
    let shape = cache.shape();
    let (n_heads, key_dim, value_dim, channels) = (shape.n_heads, shape.rows, shape.columns, shape.channels);
    assert!(given.mixed.len() == given.inputs.len(), "rows of channels");
    assert!(n_heads.is_multiple_of(given.n_key_heads), "{n_heads} heads share {}", given.n_key_heads);
    assert!(channels == (2 * given.n_key_heads * key_dim) + n_heads * value_dim, "{channels} channels");
    let group = n_heads / given.n_key_heads;
    cache.advance(compute, position, given.inputs, out, |t, head, state| {
        let (keys, values) = given.mixed[t * channels..][..channels].split_at(2 * given.n_key_heads * key_dim);
        let (queries, keys) = keys.split_at(given.n_key_heads * key_dim);
        let key = head / group * key_dim..(head / group + 1) * key_dim;
        let value = &values[head * value_dim..][..value_dim];
        let [decay, strength] = [given.decays, given.strengths].map(|all| all[t * n_heads + head]);
        (compute.kernels.delta)(state, &queries[key.clone()], &keys[key], value, decay, strength);
    });
}
