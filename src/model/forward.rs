//! The forward pass: tokens become vectors, every block adds to them, the last norm and the unembedding make logits of them.
//!
//! T tokens of some texts go through the network together, each text's tokens at consecutive positions; their rows stand one
//! text after the other. `x` is the residual stream, (T, dim).

use super::buffers::Buffers;
use super::config::Config;
use super::network::Weights;
use super::op::{Observer, Op, Point};
use super::place::Norms;
use super::stage::{Branch, Scratch, Stage};
use super::state::Span;
use crate::compute::Compute;
use crate::ops::{Activations, add, linear, norm, rope_angles, soft_cap};

/// A network: its plan and its weights.
#[derive(Clone, Copy)]
pub(super) struct Network<'n> {
    pub(super) config: &'n Config,
    pub(super) weights: &'n Weights<'n>,
}

/// Runs the tokens of all `spans` through all blocks, each after what its text holds. Returns after how many of them logits
/// are wanted; the first so many rows of `buffers.x` are then their residual stream.
pub(super) fn forward<O: Observer + ?Sized>(
    network: Network<'_>,
    stage: &mut Stage<'_, O>,
    spans: &mut [Span<'_>],
    buffers: &mut Buffers,
) -> usize {
    let Network { config, weights } = network;
    let n_tokens: usize = spans.iter().map(|span| span.tokens.len()).sum();
    let x = &mut buffers.x[..n_tokens * config.dim];
    stage.run(Op::Embedding, |c| embed(network, c, spans, x, &mut buffers.normed));
    stage.see(Point::Embedded, x);
    if !config.rotary_tables.is_empty() {
        stage.run(Op::Rope, |_| angles(config, spans, n_tokens, &mut buffers.angles));
    }
    let mut branch = Branch {
        scratch: Scratch {
            normed: &mut buffers.normed,
            output: &mut buffers.output,
            activations: &mut buffers.activations,
        },
        inner: &mut buffers.inner,
        angles: &buffers.angles,
        rotary_tables: &config.rotary_tables,
    };
    let (before, inputs) = (&mut buffers.before, &mut buffers.layer_inputs);
    let all_inputs = config.all_layer_inputs();
    if let Some(weights) = &weights.layer_inputs {
        let tokens = spans.iter().flat_map(|span| span.tokens.iter().copied());
        weights.compute(stage, tokens, x, &mut branch, inputs);
    }
    let mut n_rows = n_tokens;
    for (i, (layer, block)) in config.layers.iter().zip(&weights.blocks).enumerate() {
        stage.layer = Some(i);
        if layer.parallel {
            before[..x.len()].copy_from_slice(x);
        }
        layer.mix(block, stage, spans, x, &mut branch);
        // Nothing reads the rest of the others any more.
        if i + 1 == config.n_layers() && !stage.observer.sees_all() {
            n_rows = keep_wanted(spans, x, config.dim);
            if layer.parallel {
                keep_wanted(spans, before, config.dim);
            }
            keep_wanted(spans, inputs, all_inputs);
        }
        if n_rows > 0 {
            let x = &mut x[..n_rows * config.dim];
            let before = layer.parallel.then(|| &before[..x.len()]);
            layer.transform(block, stage, before, x, &mut branch);
            layer.finish(block, stage, (i, &inputs[..n_rows * all_inputs]), x, &mut branch);
            stage.see(Point::BlockOutput, x);
        }
    }
    stage.layer = None;
    if stage.observer.sees_all() { keep_wanted(spans, x, config.dim) } else { n_rows }
}

/// Token vectors, plus position vectors where they are learned, normed where they are; `room` (T, dim) is room for as many.
fn embed(network: Network<'_>, compute: &Compute, spans: &[Span<'_>], x: &mut [f32], room: &mut [f32]) {
    let Network { config, weights } = network;
    let row = &mut room[..config.dim];
    let mut rows = x.chunks_exact_mut(config.dim);
    for (position, token) in spans.iter().flat_map(Span::positions) {
        let Some(x) = rows.next() else { break };
        weights.embedding.read_row(token as usize, x);
        if let Some(positions) = &weights.positions {
            positions.read_row(position, row);
            add(compute, x, row);
        }
    }
    if let Some(weights) = &weights.embedding_norm {
        let normed = &mut room[..x.len()];
        norm(compute, x, weights, normed);
        x.copy_from_slice(normed);
    }
}

/// Cosines and sines of every token by every rotary table.
fn angles(config: &Config, spans: &[Span<'_>], n_tokens: usize, mut out: &mut [f32]) {
    for freqs in &config.rotary_tables {
        let (table, rest) = out.split_at_mut(2 * freqs.len() * n_tokens);
        for (row, (position, _)) in table.chunks_exact_mut(2 * freqs.len()).zip(spans.iter().flat_map(Span::positions))
        {
            rope_angles(position, freqs, row);
        }
        out = rest;
    }
}

/// Moves the rows of the tokens after which logits are wanted to the front of `x` (T, dim); returns their number.
fn keep_wanted(spans: &[Span<'_>], x: &mut [f32], dim: usize) -> usize {
    let (mut first, mut n) = (0, 0);
    for span in spans {
        let wanted = span.wants.of(span.tokens.len());
        let rows = first + wanted.start..first + wanted.end;
        if rows.start != n {
            x.copy_within(rows.start * dim..rows.end * dim, n * dim);
        }
        n += wanted.len();
        first += span.tokens.len();
    }
    n
}

/// What the final norm makes of rows `x` (T, dim) of the residual stream after the last block, into `normed` (T, dim).
pub(super) fn last_norm<O: Observer + ?Sized>(
    network: Network<'_>,
    stage: &mut Stage<'_, O>,
    x: &[f32],
    normed: &mut [f32],
) {
    stage.run(Op::FinalNorm, |c| norm(c, x, &network.weights.final_norm, normed));
}

/// The logits (T, vocab_size) of rows `x` (T, dim) of the residual stream after the last block.
pub(super) fn unembed<O: Observer + ?Sized>(
    network: Network<'_>,
    stage: &mut Stage<'_, O>,
    x: &[f32],
    normed: &mut [f32],
    activations: &mut Activations,
    logits: &mut [f32],
) {
    let Weights { final_norm, unembedding, .. } = network.weights;
    let cap = network.config.logit_cap;
    let norms = Norms { input: Some(*final_norm), output: None };
    let input = stage.read([Op::FinalNorm, Op::Unembedding], x, &norms, normed, activations, [unembedding]);
    stage.run(Op::Unembedding, |c| {
        linear(c, [(unembedding, &mut *logits)], &input);
        if let Some(cap) = cap {
            soft_cap(c, cap, logits);
        }
    });
}
