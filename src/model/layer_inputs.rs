//! What each block is told of its token once more (Gemma 3n and Gemma 4, "per-layer embeddings"): a vector for each block, made of a
//! row of a table and of what enters the first block. After its MLP a block adds what it makes of its vector, through a gate that it
//! computes of the residual stream. Of the table, which is as long as the vocabulary, a token reads a row: it takes room in the file,
//! not in memory.

use super::op::{Observer, Op, Point};
use super::place::{Norms, Place};
use super::spec::{Part, Table};
use super::stage::{Branch, Stage, input_of};
use crate::error::Result;
use crate::ops::{Activation, Linear, Norm, add, gated, linear, rms_norm_in_place};
use crate::quant::Matrix;
use crate::token::TokenId;

/// What makes the vectors of all blocks.
pub(super) struct LayerInputs<'a> {
    /// (vocab_size, n_layers * width).
    table: Matrix<'a>,
    /// (n_layers * width, dim).
    projection: Linear<'a>,
    /// (width).
    norm: Norm<'a>,
}

/// What a block makes of its vector.
pub(super) struct LayerInputWeights<'a> {
    /// (width, dim).
    gate: Linear<'a>,
    /// (dim, width).
    output: Linear<'a>,
    norms: Norms<'a>,
}

/// Adds the tensors outside of the blocks to `table`, if there are any, of a network of so many tokens and layers.
pub(super) fn tensors_outside(table: &mut Table, vocab_size: usize, n_layers: usize) {
    let Some(width) = table.layer_inputs else { return };
    let all = n_layers * width;
    table.linear(Part::LayerEmbedding, vocab_size, all, false);
    table.linear(Part::LayerProjection, all, table.dim, false);
    table.vector(Part::LayerInputNorm, width);
}

/// Adds the tensors of a block to `table`, if there are any.
pub(super) fn tensors(table: &mut Table) {
    let Some(width) = table.layer_inputs else { return };
    table.linear(Part::LayerGate, width, table.dim, false);
    table.linear(Part::LayerOutput, table.dim, width, false);
    table.norm(Part::LayerOutputNorm);
}

impl<'a> LayerInputs<'a> {
    pub(super) fn open(outside: &Place<'_, 'a>) -> Result<Self> {
        Ok(LayerInputs {
            table: outside.matrix(Part::LayerEmbedding)?,
            projection: outside.linear(Part::LayerProjection)?,
            norm: outside.norm(Part::LayerInputNorm)?,
        })
    }

    /// `out = norm(projection(x)) + row of the table`, (T, n_layers, width), of the rows `x` (T, dim) that enter the first block; the
    /// norm is over each vector.
    pub(super) fn compute<O: Observer + ?Sized>(
        &self,
        stage: &mut Stage<'_, O>,
        tokens: impl Iterator<Item = TokenId>,
        x: &[f32],
        b: &mut Branch<'_>,
        out: &mut [f32],
    ) {
        let all = self.projection.weight.rows();
        stage.see(Point::Input(Op::LayerInputs), x);
        stage.run(Op::LayerInputs, |c| {
            let out = &mut out[..x.len() / self.projection.weight.cols() * all];
            linear(c, [(&self.projection, &mut *out)], &input_of(c, x, b.scratch.activations, [&self.projection]));
            rms_norm_in_place(c, out, self.norm.weight, self.norm.eps);
            let row = &mut b.inner[..all];
            for (out, token) in out.chunks_exact_mut(all).zip(tokens) {
                self.table.read_row(token as usize, row);
                add(c, out, row);
            }
        });
    }
}

impl<'a> LayerInputWeights<'a> {
    /// Those of the block at `place`; `None` where it has none.
    pub(super) fn open(place: &Place<'_, 'a>) -> Result<Option<Self>> {
        if !place.has(Part::LayerGate) {
            return Ok(None);
        }
        let norms = Norms { input: None, output: Some(place.norm(Part::LayerOutputNorm)?) };
        Ok(Some(LayerInputWeights {
            gate: place.linear(Part::LayerGate)?,
            output: place.linear(Part::LayerOutput)?,
            norms,
        }))
    }

    /// `x += norm(output(activation(gate(x)) * own))` for each row of `x` (T, dim), `own` being the part of block `layer` in
    /// `inputs` (T, n_layers, width).
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        stage: &mut Stage<'_, O>,
        activation: Activation,
        (layer, inputs): (usize, &[f32]),
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        let (width, dim) = (self.gate.weight.rows(), self.gate.weight.cols());
        let n_tokens = x.len() / dim;
        let (gate, rest) = b.inner.split_at_mut(n_tokens * width);
        let own = &mut rest[..n_tokens * width];
        stage.see(Point::Input(Op::LayerGate), x);
        stage.run(Op::LayerGate, |c| {
            let each = inputs.chunks_exact(inputs.len() / n_tokens).zip(own.chunks_exact_mut(width));
            each.for_each(|(all, own)| own.copy_from_slice(&all[layer * width..(layer + 1) * width]));
            linear(c, [(&self.gate, &mut *gate)], &input_of(c, x, b.scratch.activations, [&self.gate]));
            gated(c, activation, gate, own);
        });
        stage.add([Op::LayerOutput, Op::LayerOutputNorm], &self.output, &self.norms, gate, x, &mut b.scratch);
    }
}
