//! State spaces, in which every token lets what is remembered fade, and adds to it: of heads (Dao and Gu 2024, "Transformers are SSMs",
//! Mamba 2), and of single channels (Gu and Dao 2023, Mamba).

use super::recurrent::RecurrentCache;
use crate::compute::Compute;
use crate::kernels::math::exp;
use crate::quant::{Dtype, Matrix, PANEL_ROWS};

/// What the heads of a layer meet at some tokens.
#[derive(Clone, Copy)]
pub struct ScanInputs<'a> {
    /// (T, channels): x of all heads, then b and then c of all groups.
    pub mixed: &'a [f32],
    /// Groups of b and c, each shared by `n_heads / n_groups` consecutive heads.
    pub n_groups: usize,
    /// (T, n_heads): how far a token goes.
    pub steps: &'a [f32],
    /// (n_heads), below 0.
    pub rates: &'a [f32],
    /// (n_heads): how much of x a head gives.
    pub skips: &'a [f32],
    /// (T, channels): what the convolution met.
    pub inputs: &'a [f32],
}

/// Lets tokens of one text from `position` on change what `cache` remembers, matrices (state_dim, head_dim), one after the other;
/// `out` (T, n_heads, head_dim) is what the heads give at each.
///
/// `S = exp(step * rate) * S + b (step * x)^T; out = S^T c + skip * x` of each head.
pub fn scan(compute: &Compute, cache: &mut RecurrentCache, position: usize, given: &ScanInputs<'_>, out: &mut [f32]) {
    let shape = cache.shape();
    let (n_heads, state_dim, head_dim, channels) = (shape.n_heads, shape.rows, shape.columns, shape.channels);
    assert!(given.mixed.len() == given.inputs.len(), "rows of channels");
    assert!(n_heads.is_multiple_of(given.n_groups), "{n_heads} heads share {}", given.n_groups);
    assert!(channels == n_heads * head_dim + 2 * given.n_groups * state_dim, "{channels} channels");
    assert!(given.rates.len() == n_heads && given.skips.len() == n_heads, "numbers of {n_heads} heads");
    let per_group = n_heads / given.n_groups;
    cache.advance(compute, position, given.inputs, out, |t, head, state| {
        let (xs, rest) = given.mixed[t * channels..][..channels].split_at(n_heads * head_dim);
        let (bs, cs) = rest.split_at(given.n_groups * state_dim);
        let group = head / per_group * state_dim..(head / per_group + 1) * state_dim;
        let x = &xs[head * head_dim..][..head_dim];
        let step = given.steps[t * n_heads + head];
        (compute.kernels.scan)(state, &cs[group.clone()], &bs[group], x, exp(step * given.rates[head]), step);
        let given_last = &mut state[state_dim * head_dim..];
        given_last.iter_mut().zip(x).for_each(|(y, x)| *y += given.skips[head] * x);
    });
}

/// What the channels of a layer meet at some tokens.
#[derive(Clone, Copy)]
pub struct SelectiveInputs<'a> {
    /// (T, channels): x.
    pub mixed: &'a [f32],
    /// (T, 2 * state_dim): b, then c.
    pub selected: &'a [f32],
    /// (T, channels): how far a token goes.
    pub steps: &'a [f32],
    /// (channels, state_dim), of f32, below 0.
    pub rates: Matrix<'a>,
    /// (channels): how much of x a channel gives.
    pub skips: &'a [f32],
    /// (T, channels): what the convolution met.
    pub inputs: &'a [f32],
}

/// As [`scan`], of single channels: `cache` remembers matrices (state_dim, 16), each of 16 channels; `out` (T, channels).
///
/// `S[i] = exp(step * rate[i]) * S[i] + b[i] * (step * x); out = sum of S[i] * c[i] + skip * x` of each channel.
pub fn selective_scan(
    compute: &Compute,
    cache: &mut RecurrentCache,
    position: usize,
    given: &SelectiveInputs<'_>,
    out: &mut [f32],
) {
    let (shape, rates) = (cache.shape(), given.rates);
    let (channels, state_dim) = (rates.rows(), rates.cols());
    assert!(rates.dtype() == Dtype::F32, "rates are f32");
    assert!((shape.channels, shape.rows, shape.columns) == (channels, state_dim, PANEL_ROWS), "a state of {shape:?}");
    assert!(given.mixed.len() == given.inputs.len() && given.steps.len() == given.inputs.len(), "rows of channels");
    assert!(given.selected.len() * channels == 2 * state_dim * given.inputs.len(), "rows of b and c");
    let panels: &[f32] = bytemuck::cast_slice(rates.data());
    cache.advance(compute, position, given.inputs, out, |t, panel, state| {
        let (b, c) = given.selected[t * 2 * state_dim..][..2 * state_dim].split_at(state_dim);
        let lanes = panel * PANEL_ROWS..((panel + 1) * PANEL_ROWS).min(channels);
        let [x, steps] = [given.mixed, given.steps].map(|all| &all[t * channels..][lanes.clone()]);
        let rates = &panels[panel * PANEL_ROWS * state_dim..][..PANEL_ROWS * state_dim];
        (compute.kernels.selective_scan)(state, rates, c, b, x, steps);
        let given_last = state[state_dim * PANEL_ROWS..].iter_mut();
        given_last.zip(x).zip(&given.skips[lanes]).for_each(|((y, x), skip)| *y += skip * x);
    });
}
