//! The buffers of a pass, allocated once.

use super::block::Layer;
use super::config::Config;
use crate::error::{Error, Kind, Remedy, Result};
use crate::ops::Activations;
use alloc::vec::Vec;

/// Buffers for a pass of up to `batch` tokens.
pub(super) struct Buffers {
    /// Residual stream, (T, dim).
    pub(super) x: Vec<f32>,
    /// Normed input of a branch, or its normed output, (T, dim).
    pub(super) normed: Vec<f32>,
    /// Output of a branch before it is normed, (T, dim); empty where no output is.
    pub(super) output: Vec<f32>,
    /// What a branch computes between its first and its last matrix, (T, [`Layer::inner_width`]) of the widest. One branch is
    /// computed at a time.
    pub(super) inner: Vec<f32>,
    /// Cosines and sines of each rotary table, one after the other, (T, head_dim).
    pub(super) angles: Vec<f32>,
    pub(super) activations: Activations,
}

/// Elements per token of each buffer, in the order of the fields of [`Buffers`].
fn widths(config: &Config) -> [usize; 5] {
    let norms_outputs = |layer: &Layer| layer.mixer_norms.output || layer.mlp_norms.output;
    let output = if config.layers.iter().any(norms_outputs) { config.dim } else { 0 };
    let angles = config.rotary_tables.iter().map(|freqs| 2 * freqs.len()).sum();
    [config.dim, config.dim, output, config.widest(Layer::inner_width), angles]
}

/// Columns of the widest weight.
fn max_cols(config: &Config) -> usize {
    config.dim.max(config.widest(Layer::max_cols))
}

impl Buffers {
    pub(super) fn new(config: &Config, batch: usize) -> Result<Self> {
        let [x, normed, output, inner, angles] = widths(config).map(|width| zeros(width * batch));
        let activations = Activations::new(batch, max_cols(config));
        Ok(Buffers { x: x?, normed: normed?, output: output?, inner: inner?, angles: angles?, activations })
    }

    /// Bytes of all buffers.
    pub(super) fn bytes(config: &Config, batch: usize) -> u64 {
        let floats: u64 = widths(config).iter().map(|width| *width as u64).sum();
        floats * batch as u64 * size_of::<f32>() as u64 + Activations::bytes(batch, max_cols(config))
    }
}

/// `n` zeros, or an error where there is no memory for them.
pub(super) fn zeros(n: usize) -> Result<Vec<f32>> {
    let mut buffer = Vec::new();
    if buffer.try_reserve_exact(n).is_err() {
        let message = format!("no memory for {} MiB", (n * size_of::<f32>()) >> 20);
        return Err(Error::new(Kind::Resources, message).remedy(Remedy::ShorterContext));
    }
    buffer.resize(n, 0.0);
    Ok(buffer)
}
