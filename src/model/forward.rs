//! The forward pass of each family: T tokens at consecutive positions go through the blocks, leaving keys and values in
//! the cache and the residual stream in the scratch.
//!
//! Shapes: `x` (T, dim), `q` (T, n_heads, head_dim), `k` and `v` (T, n_kv_heads, head_dim), `hidden` (T, hidden_dim).

use super::Model;
use super::config::Family;
use super::observe::{Observer, Op, Point};
use super::scratch::{Rows, Scratch};
use crate::compute::Compute;
use crate::ops::{
    Activations, Input, KvCache, Linear, Norm, add, attention, gelu_tanh, linear, linear_add, linear_swiglu, norm,
    rms_norm_in_place, rope, rope_angles,
};
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
    embed(model, compute, tokens, start, &mut rows);
    observer.see(None, Point::Embedded, rows.x);
    match model.config.family {
        Family::Gpt2 => gpt2(model, compute, start, cache, rows, observer),
        Family::Llama => llama(model, compute, start, cache, rows, observer),
    }
}

/// Token vectors, plus position vectors where they are learned.
fn embed(model: &Model<'_>, compute: &Compute, tokens: &[TokenId], start: usize, s: &mut Rows<'_>) {
    let (dim, weights) = (model.config.dim, &model.weights);
    for (token, x) in tokens.iter().zip(s.x.chunks_exact_mut(dim)) {
        weights.embedding.read_row(*token as usize, x);
    }
    if let Some(positions) = &weights.positions {
        for (t, (x, row)) in s.x.chunks_exact_mut(dim).zip(s.positions.chunks_exact_mut(dim)).enumerate() {
            positions.read_row(start + t, row);
            add(compute, x, row);
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
    let layer = &model.weights.unembedding;
    let input = normed_input(compute, x, &model.weights.final_norm, normed, activations, [layer]);
    observer.op(None, Op::Unembedding);
    linear(compute, [(layer, logits)], &input);
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
    for (layer, b) in model.weights.blocks.iter().enumerate() {
        observer.op(Some(layer), Op::AttentionNorm);
        let input = normed_input(compute, s.x, &b.attn_norm, s.normed, s.activations, [&b.q, &b.k, &b.v]);
        observer.op(Some(layer), Op::Qkv);
        linear(compute, [(&b.q, &mut *s.q), (&b.k, &mut *s.k), (&b.v, &mut *s.v)], &input);
        observer.op(Some(layer), Op::Store);
        cache.store(compute, layer, start, s.k, s.v);
        observer.see(Some(layer), Point::Queries, s.q);
        observer.op(Some(layer), Op::Attention);
        attention(compute, s.q, c.n_heads, &cache.layer(layer), start, None, s.attended);
        observer.op(Some(layer), Op::Output);
        let input = input_of(compute, s.attended, s.activations, [&b.o]);
        linear_add(compute, &b.o, &input, s.x);
        observer.see(Some(layer), Point::Attended, s.x);

        observer.op(Some(layer), Op::MlpNorm);
        let input = normed_input(compute, s.x, &b.mlp_norm, s.normed, s.activations, [&b.up]);
        observer.op(Some(layer), Op::GateUp);
        linear(compute, [(&b.up, &mut *s.hidden)], &input);
        gelu_tanh(compute, s.hidden);
        observer.see(Some(layer), Point::Hidden, s.hidden);
        observer.op(Some(layer), Op::Down);
        let input = input_of(compute, s.hidden, s.activations, [&b.down]);
        linear_add(compute, &b.down, &input, s.x);
        observer.see(Some(layer), Point::BlockOutput, s.x);
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
    for (layer, b) in model.weights.blocks.iter().enumerate() {
        observer.op(Some(layer), Op::AttentionNorm);
        let input = normed_input(compute, s.x, &b.attn_norm, s.normed, s.activations, [&b.q, &b.k, &b.v]);
        observer.op(Some(layer), Op::Qkv);
        linear(compute, [(&b.q, &mut *s.q), (&b.k, &mut *s.k), (&b.v, &mut *s.v)], &input);
        observer.op(Some(layer), Op::Rope);
        if let Some((q_norm, k_norm)) = b.qk_norm {
            rms_norm_in_place(compute, s.q, q_norm, c.norm_eps);
            rms_norm_in_place(compute, s.k, k_norm, c.norm_eps);
        }
        rope(compute, s.q, s.angles, c.n_heads, c.head_dim);
        rope(compute, s.k, s.angles, c.n_kv_heads, c.head_dim);
        observer.op(Some(layer), Op::Store);
        cache.store(compute, layer, start, s.k, s.v);
        observer.see(Some(layer), Point::Queries, s.q);
        observer.op(Some(layer), Op::Attention);
        attention(compute, s.q, c.n_heads, &cache.layer(layer), start, c.sliding_window, s.attended);
        observer.op(Some(layer), Op::Output);
        let input = input_of(compute, s.attended, s.activations, [&b.o]);
        linear_add(compute, &b.o, &input, s.x);
        observer.see(Some(layer), Point::Attended, s.x);

        if let Some(gate) = &b.gate {
            observer.op(Some(layer), Op::MlpNorm);
            let input = normed_input(compute, s.x, &b.mlp_norm, s.normed, s.activations, [gate, &b.up]);
            observer.op(Some(layer), Op::GateUp);
            linear_swiglu(compute, gate, &b.up, &input, s.hidden);
        }
        observer.see(Some(layer), Point::Hidden, s.hidden);
        observer.op(Some(layer), Op::Down);
        let input = input_of(compute, s.hidden, s.activations, [&b.down]);
        linear_add(compute, &b.down, &input, s.x);
        observer.see(Some(layer), Point::BlockOutput, s.x);
    }
}

/// The norm of `x` (T, dim), written to `normed`, as the input of `layers`.
fn normed_input<'s, const N: usize>(
    compute: &Compute,
    x: &[f32],
    weights: &Norm<'_>,
    normed: &'s mut [f32],
    activations: &'s mut Activations,
    layers: [&Linear<'_>; N],
) -> Input<'s> {
    norm(compute, x, weights, normed);
    input_of(compute, normed, activations, layers)
}

/// `x` (T, cols) as the input of `layers`: quantized, once, where any of them wants it.
fn input_of<'s, const N: usize>(
    compute: &Compute,
    x: &'s [f32],
    activations: &'s mut Activations,
    layers: [&Linear<'_>; N],
) -> Input<'s> {
    activations.load(compute, x, layers[0].weight.cols(), layers.map(Linear::inputs))
}
