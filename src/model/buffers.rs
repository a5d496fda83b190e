//! The buffers of a pass, allocated once.

use super::block::Layer;
use super::config::Config;
use crate::error::Result;
use crate::ops::{Activations, buffer};
use alloc::vec::Vec;

/// Buffers for a pass of up to `batch` tokens.
pub(super) struct Buffers {
    /// Residual stream, (T, dim).
    pub(super) x: Vec<f32>,
    /// Normed input of a branch, or its normed output, (T, dim).
    pub(super) normed: Vec<f32>,
    /// Output of a branch before it is normed, (T, dim); empty where no output is.
    pub(super) output: Vec<f32>,
    /// What the MLP of a block reads that was there before its mixer, (T, dim); empty where none does.
    pub(super) before: Vec<f32>,
    /// What a branch computes between its first and its last matrix, (T, [`Layer::inner_width`]) of the widest. One branch is
    /// computed at a time.
    pub(super) inner: Vec<f32>,
    /// What each block is told of its token once more, (T, n_layers * width).
    pub(super) layer_inputs: Vec<f32>,
    /// Cosines and sines of each rotary table, one after the other, (T, head_dim).
    pub(super) angles: Vec<f32>,
    pub(super) activations: Activations,
}

/// Elements per token of each buffer, in the order of the fields of [`Buffers`].
fn widths(config: &Config) -> [usize; 7] {
    let norms_outputs = |layer: &Layer| layer.mixer_norms.output || layer.mlp_norms.output;
    let normed = config.layer_inputs.is_some() || config.layers.iter().any(norms_outputs);
    let output = if normed { config.dim } else { 0 };
    let before = if config.layers.iter().any(|layer| layer.parallel) { config.dim } else { 0 };
    let angles = config.rotary_tables.iter().map(|freqs| 2 * freqs.len()).sum();
    let layer_inputs = config.all_layer_inputs();
    let own = 2 * config.layer_inputs.unwrap_or(0);
    let inner = config.widest(|layer| layer.inner_width(config.dim)).max(layer_inputs).max(own);
    [config.dim, config.dim, output, before, inner, layer_inputs, angles]
}

/// Columns of the widest weight.
fn max_cols(config: &Config) -> usize {
    config.dim.max(config.widest(Layer::max_cols)).max(config.layer_inputs.unwrap_or(0))
}

impl Buffers {
    pub(super) fn new(config: &Config, batch: usize) -> Result<Self> {
        let [x, normed, output, before, inner, layer_inputs, angles] = widths(config);
        let zeros = |width| buffer(batch, width, 0.0);
        Ok(Buffers {
            x: zeros(x)?,
            normed: zeros(normed)?,
            output: zeros(output)?,
            before: zeros(before)?,
            inner: zeros(inner)?,
            layer_inputs: zeros(layer_inputs)?,
            angles: zeros(angles)?,
            activations: Activations::new(batch, max_cols(config))?,
        })
    }

    /// Bytes of all buffers.
    pub(super) fn bytes(config: &Config, batch: usize) -> u64 {
        let floats: u64 = widths(config).iter().map(|width| *width as u64).sum();
        let bytes = (floats * size_of::<f32>() as u64).saturating_mul(batch as u64);
        bytes.saturating_add(Activations::bytes(batch, max_cols(config)))
    }
}
