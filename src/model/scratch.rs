//! The buffers of a forward pass, allocated once per session.

use super::config::{Config, Family};
use crate::error::{Error, Kind, Remedy, Result};
use crate::ops::linear::Activations;
use alloc::vec::Vec;

/// Buffers for up to `batch` tokens.
pub(super) struct Scratch {
    pub(super) x: Vec<f32>,
    pub(super) normed: Vec<f32>,
    positions: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    hidden: Vec<f32>,
    angles: Vec<f32>,
    pub(super) activations: Activations,
}

/// The buffers of a batch of T tokens, each cut to its first T rows.
pub(super) struct Rows<'s> {
    /// Residual stream, (T, dim).
    pub(super) x: &'s mut [f32],
    /// Normed input of a branch, (T, dim).
    pub(super) normed: &'s mut [f32],
    /// Learned position vectors, (T, dim); empty for a family without.
    pub(super) positions: &'s mut [f32],
    /// (T, n_heads, head_dim).
    pub(super) q: &'s mut [f32],
    /// (T, n_kv_heads, head_dim).
    pub(super) k: &'s mut [f32],
    /// (T, n_kv_heads, head_dim).
    pub(super) v: &'s mut [f32],
    /// Output of the heads, (T, n_heads, head_dim).
    pub(super) attended: &'s mut [f32],
    /// (T, hidden_dim).
    pub(super) hidden: &'s mut [f32],
    /// Rotary cosines and sines, (T, head_dim).
    pub(super) angles: &'s mut [f32],
    pub(super) activations: &'s mut Activations,
}

/// Elements per token of each buffer, in the order of [`Scratch`]'s fields.
fn widths(config: &Config) -> [usize; 9] {
    let (q, kv) = (config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim);
    let rotary = config.family == Family::Llama;
    let (positions, angles) = if rotary { (0, config.head_dim) } else { (config.dim, 0) };
    [config.dim, config.dim, positions, q, kv, kv, q, config.hidden_dim, angles]
}

/// Columns of the widest weight.
fn max_cols(config: &Config) -> usize {
    config.dim.max(config.hidden_dim).max(config.n_heads * config.head_dim)
}

impl Scratch {
    pub(super) fn new(config: &Config, batch: usize) -> Result<Self> {
        let mut buffers = Vec::with_capacity(9);
        for width in widths(config) {
            buffers.push(zeros(width * batch)?);
        }
        let Ok([x, normed, positions, q, k, v, attended, hidden, angles]) = <[Vec<f32>; 9]>::try_from(buffers) else {
            return Err(Error::new(Kind::Resources, "scratch buffers"));
        };
        let activations = Activations::new(batch, max_cols(config));
        Ok(Scratch { x, normed, positions, q, k, v, attended, hidden, angles, activations })
    }

    /// Bytes of all buffers for up to `batch` tokens.
    pub(super) fn bytes(config: &Config, batch: usize) -> u64 {
        let floats: u64 = widths(config).iter().map(|width| *width as u64).sum();
        floats * batch as u64 * size_of::<f32>() as u64 + Activations::bytes(batch, max_cols(config))
    }

    /// The first `n` rows of each buffer.
    pub(super) fn rows(&mut self, config: &Config, n: usize) -> Rows<'_> {
        let [x, normed, positions, q, k, v, attended, hidden, angles] = widths(config).map(|width| width * n);
        Rows {
            x: &mut self.x[..x],
            normed: &mut self.normed[..normed],
            positions: &mut self.positions[..positions],
            q: &mut self.q[..q],
            k: &mut self.k[..k],
            v: &mut self.v[..v],
            attended: &mut self.attended[..attended],
            hidden: &mut self.hidden[..hidden],
            angles: &mut self.angles[..angles],
            activations: &mut self.activations,
        }
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
