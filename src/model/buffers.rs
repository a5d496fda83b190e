//! The buffers of a pass, allocated once.

use super::block::Layer;
use super::config::Config;
use super::stage::MixerWidths;
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
    pub(super) branch: Vec<f32>,
    /// (T, n_heads, head_dim).
    pub(super) q: Vec<f32>,
    /// (T, n_kv_heads, head_dim).
    pub(super) k: Vec<f32>,
    /// (T, n_kv_heads, head_dim).
    pub(super) v: Vec<f32>,
    /// Output of the heads, (T, n_heads, head_dim).
    pub(super) attended: Vec<f32>,
    /// (T, hidden_dim).
    pub(super) hidden: Vec<f32>,
    /// Cosines and sines of each rotary table, one after the other, (T, head_dim).
    pub(super) angles: Vec<f32>,
    pub(super) activations: Activations,
}

/// Elements per token of each buffer, in the order of the fields of [`Buffers`].
fn widths(config: &Config) -> [usize; 9] {
    let mixer = |of: fn(MixerWidths) -> usize| config.widest(|layer| of(layer.mixer_widths()));
    let (q, kv, attended) = (mixer(|widths| widths.q), mixer(|widths| widths.kv), mixer(|widths| widths.attended));
    let norms_outputs = |layer: &Layer| layer.mixer_norms.output || layer.mlp_norms.output;
    let branch = if config.layers.iter().any(norms_outputs) { config.dim } else { 0 };
    let angles = config.rotary_tables.iter().map(|freqs| 2 * freqs.len()).sum();
    [config.dim, config.dim, branch, q, kv, kv, attended, config.hidden_dim(), angles]
}

/// Columns of the widest weight.
fn max_cols(config: &Config) -> usize {
    config.dim.max(config.hidden_dim()).max(config.widest(|layer| layer.mixer_widths().attended))
}

impl Buffers {
    pub(super) fn new(config: &Config, batch: usize) -> Result<Self> {
        let mut buffers = Vec::with_capacity(9);
        for width in widths(config) {
            buffers.push(zeros(width * batch)?);
        }
        let Ok([x, normed, branch, q, k, v, attended, hidden, angles]) = <[Vec<f32>; 9]>::try_from(buffers) else {
            return Err(Error::new(Kind::Resources, "scratch buffers"));
        };
        let activations = Activations::new(batch, max_cols(config));
        Ok(Buffers { x, normed, branch, q, k, v, attended, hidden, angles, activations })
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
