//! The forward pass of each family: T tokens at consecutive positions go through the blocks, leaving keys and values in
//! the cache and the residual stream in the scratch.
//!
//! Shapes: `x` (T, dim), `q` (T, n_heads, head_dim), `k` and `v` (T, n_kv_heads, head_dim), `hidden` (T, hidden_dim).

use super::Model;
use super::config::Family;
use super::observe::{Observer, Op};
use super::scratch::{Rows, Scratch};
use super::weights::{Linear, Norm};
use crate::compute::Compute;
use crate::ops::activation::{add, gelu_tanh, swiglu};
use crate::ops::attention::{KvCache, attention};
use crate::ops::linear::{Activations, linear};
use crate::ops::norm::{layer_norm, rms_norm, rms_norm_in_place};
use crate::ops::rope::{rope, rope_angles};
use crate::quant::Dtype;
use crate::token::TokenId;

/// Runs `tokens` at positions `start..` through all blocks; `scratch.x` then holds the residual stream, (T, dim).
pub(super) fn forward(
    model: &Model<'_>,
    compute: &Compute,
    tokens: &[TokenId],
    start: usize,
    cache: &mut KvCache,
    scratch: &mut Scratch,
    observer: &mut impl Observer,
) {
    let mut rows = scratch.rows(&model.config, tokens.len());
    observer.op(None, Op::Embedding);
    embed(model, tokens, start, &mut rows);
    match model.config.family {
        Family::Gpt2 => gpt2(model, compute, start, cache, rows, observer),
        Family::Llama => llama(model, compute, start, cache, rows, observer),
    }
}

/// Token vectors, plus position vectors where they are learned.
fn embed(model: &Model<'_>, tokens: &[TokenId], start: usize, s: &mut Rows<'_>) {
    let (dim, weights) = (model.config.dim, &model.weights);
    for (token, x) in tokens.iter().zip(s.x.chunks_exact_mut(dim)) {
        weights.embedding.read_row(*token as usize, x);
    }
    if let Some(positions) = &weights.positions {
        for (t, (x, row)) in s.x.chunks_exact_mut(dim).zip(s.branch.chunks_exact_mut(dim)).enumerate() {
            positions.read_row(start + t, row);
            add(x, row);
        }
    }
}

/// Logits of residual stream rows: final norm, then the unembedding. `x` (T, dim), `logits` (T, vocab_size).
pub(super) fn unembed(
    model: &Model<'_>,
    compute: &Compute,
    x: &[f32],
    normed: &mut [f32],
    activations: &mut Activations,
    logits: &mut [f32],
    observer: &mut impl Observer,
) {
    observer.op(None, Op::FinalNorm);
    normalize(model, x, &model.weights.final_norm, normed);
    observer.op(None, Op::Unembedding);
    let w = &model.weights.unembedding;
    let input = activations.load(compute, normed, model.config.dim, w.dtype() == Dtype::Int8);
    linear(compute, w, None, &input, logits);
}

/// Pre-norm blocks of Radford et al. 2019: attention with biases, then an MLP with GELU.
fn gpt2(
    model: &Model<'_>,
    compute: &Compute,
    start: usize,
    cache: &mut KvCache,
    s: Rows<'_>,
    observer: &mut impl Observer,
) {
    let c = &model.config;
    for (layer, block) in model.weights.blocks.iter().enumerate() {
        observer.op(Some(layer), Op::AttentionNorm);
        normalize(model, s.x, &block.attn_norm, s.normed);
        observer.op(Some(layer), Op::Qkv);
        project(compute, s.normed, c.dim, s.activations, [(&block.q, s.q), (&block.k, s.k), (&block.v, s.v)]);
        observer.op(Some(layer), Op::Store);
        cache.store(layer, start, s.k, s.v);
        observer.op(Some(layer), Op::Attention);
        attention(compute, s.q, c.n_heads, &cache.layer(layer), start, None, s.attended);
        observer.op(Some(layer), Op::Output);
        project(compute, s.attended, c.n_heads * c.head_dim, s.activations, [(&block.o, s.branch)]);
        add(s.x, s.branch);

        observer.op(Some(layer), Op::MlpNorm);
        normalize(model, s.x, &block.mlp_norm, s.normed);
        observer.op(Some(layer), Op::GateUp);
        project(compute, s.normed, c.dim, s.activations, [(&block.up, s.hidden)]);
        gelu_tanh(s.hidden);
        observer.op(Some(layer), Op::Down);
        project(compute, s.hidden, c.hidden_dim, s.activations, [(&block.down, s.branch)]);
        add(s.x, s.branch);
    }
}

/// Pre-norm blocks of Touvron et al. 2023: rotary grouped-query attention, then an MLP with SwiGLU.
fn llama(
    model: &Model<'_>,
    compute: &Compute,
    start: usize,
    cache: &mut KvCache,
    s: Rows<'_>,
    observer: &mut impl Observer,
) {
    let c = &model.config;
    observer.op(None, Op::Rope);
    for (t, angles) in s.angles.chunks_exact_mut(c.head_dim).enumerate() {
        rope_angles(start + t, &c.rope_freqs, angles);
    }
    for (layer, block) in model.weights.blocks.iter().enumerate() {
        observer.op(Some(layer), Op::AttentionNorm);
        normalize(model, s.x, &block.attn_norm, s.normed);
        observer.op(Some(layer), Op::Qkv);
        project(compute, s.normed, c.dim, s.activations, [(&block.q, s.q), (&block.k, s.k), (&block.v, s.v)]);
        observer.op(Some(layer), Op::Rope);
        if let Some((q_norm, k_norm)) = block.qk_norm {
            rms_norm_in_place(s.q, q_norm, c.norm_eps);
            rms_norm_in_place(s.k, k_norm, c.norm_eps);
        }
        rope(s.q, s.angles, c.n_heads, c.head_dim);
        rope(s.k, s.angles, c.n_kv_heads, c.head_dim);
        observer.op(Some(layer), Op::Store);
        cache.store(layer, start, s.k, s.v);
        observer.op(Some(layer), Op::Attention);
        attention(compute, s.q, c.n_heads, &cache.layer(layer), start, c.sliding_window, s.attended);
        observer.op(Some(layer), Op::Output);
        project(compute, s.attended, c.n_heads * c.head_dim, s.activations, [(&block.o, s.branch)]);
        add(s.x, s.branch);

        observer.op(Some(layer), Op::MlpNorm);
        normalize(model, s.x, &block.mlp_norm, s.normed);
        observer.op(Some(layer), Op::GateUp);
        if let Some(gate) = &block.gate {
            project(compute, s.normed, c.dim, s.activations, [(gate, s.gate), (&block.up, s.hidden)]);
        }
        swiglu(s.gate, s.hidden);
        observer.op(Some(layer), Op::Down);
        project(compute, s.gate, c.hidden_dim, s.activations, [(&block.down, s.branch)]);
        add(s.x, s.branch);
    }
}

/// LayerNorm where the norm has a bias, else RMSNorm.
fn normalize(model: &Model<'_>, x: &[f32], norm: &Norm<'_>, y: &mut [f32]) {
    match norm.bias {
        Some(bias) => layer_norm(x, norm.weight, Some(bias), model.config.norm_eps, y),
        None => rms_norm(x, norm.weight, model.config.norm_eps, y),
    }
}

/// Several linear layers of one input `x` (T, cols), which is quantized at most once.
fn project<const N: usize>(
    compute: &Compute,
    x: &[f32],
    cols: usize,
    activations: &mut Activations,
    layers: [(&Linear<'_>, &mut [f32]); N],
) {
    let int8 = layers.iter().any(|(layer, _)| layer.weight.dtype() == Dtype::Int8);
    let input = activations.load(compute, x, cols, int8);
    for (layer, y) in layers {
        linear(compute, &layer.weight, layer.bias, &input, y);
    }
}
