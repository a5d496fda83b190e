//! What a pass through the network runs on: ops one after the other, each announced before it begins, and the buffers of a
//! branch.

use super::op::{Observer, Op, Pace, Point};
use super::place::Norms;
use crate::compute::Compute;
use crate::ops::{Activations, Input, Linear, add, linear, linear_add, norm};
use alloc::vec::Vec;

/// Runs ops, each when it may begin, and tells who watches.
pub(super) struct Stage<'s, O: ?Sized> {
    pub(super) compute: &'s Compute,
    pub(super) pace: Option<&'s mut dyn Pace>,
    pub(super) observer: &'s mut O,
    /// The block that the pass is in; `None` outside of the blocks.
    pub(super) layer: Option<usize>,
}

/// The buffers of a branch, of T tokens or more; each op cuts off what it needs.
pub(super) struct Branch<'b> {
    pub(super) scratch: Scratch<'b>,
    /// What the branch computes between its first and its last matrix.
    pub(super) inner: &'b mut [f32],
    /// Cosines and sines by each of `rotary_tables`, one after the other, each (T, 2 * its frequencies).
    pub(super) angles: &'b [f32],
    pub(super) rotary_tables: &'b [Vec<f32>],
}

/// The buffers that the first and the last matrix of a branch need.
pub(super) struct Scratch<'b> {
    /// Normed input, or normed output, (T, dim).
    pub(super) normed: &'b mut [f32],
    /// Output before it is normed, (T, dim); empty where no output is.
    pub(super) output: &'b mut [f32],
    /// Quantized inputs.
    pub(super) activations: &'b mut Activations,
}

impl<'b> Branch<'b> {
    /// Cosines and sines of `n_tokens` tokens, all there are, by a rotary table: (n_tokens, 2 * its frequencies).
    pub(super) fn angles_of(&self, table: usize, n_tokens: usize) -> &'b [f32] {
        let before: usize = self.rotary_tables[..table].iter().map(|freqs| 2 * freqs.len()).sum();
        &self.angles[before * n_tokens..][..2 * self.rotary_tables[table].len() * n_tokens]
    }
}

impl<O: Observer + ?Sized> Stage<'_, O> {
    /// Runs `op` when it may begin.
    pub(super) fn run<R>(&mut self, op: Op, body: impl FnOnce(&Compute) -> R) -> R {
        if let Some(pace) = &mut self.pace {
            pace.wait(self.layer, op);
        }
        self.observer.op(self.layer, op);
        body(self.compute)
    }

    /// Shows what stands at `point`.
    pub(super) fn see(&mut self, point: Point, values: &[f32]) {
        self.observer.see(self.layer, point, values);
    }

    /// What `layers` read of `x` (T, dim): its norm, written to `normed`, where there is one. The ops are those of the norm and
    /// of the matrices.
    pub(super) fn read<'s, const N: usize>(
        &mut self,
        [norm_op, op]: [Op; 2],
        x: &'s [f32],
        norms: &Norms<'_>,
        normed: &'s mut [f32],
        activations: &'s mut Activations,
        layers: [&Linear<'_>; N],
    ) -> Input<'s> {
        let input = match &norms.input {
            None => input_of(self.compute, x, activations, layers),
            Some(weights) => self.run(norm_op, |c| {
                let normed = &mut normed[..x.len()];
                norm(c, x, weights, normed);
                input_of(c, normed, activations, layers)
            }),
        };
        self.see(Point::Input(op), input.floats());
        input
    }

    /// What `layers`, matrices of `op`, read of the normed input (T, dim) that [`read`](Self::read) has left in its `normed`.
    pub(super) fn read_again<'s, const N: usize>(
        &mut self,
        op: Op,
        normed: &'s [f32],
        activations: &'s mut Activations,
        layers: [&Linear<'_>; N],
    ) -> Input<'s> {
        self.see(Point::Input(op), normed);
        input_of(self.compute, normed, activations, layers)
    }

    /// Adds what the last matrix of a branch makes of `from` (T, cols), or the norm of it where there is one, to `x` (T, dim).
    /// The ops are those of the matrix and of the norm.
    pub(super) fn add(
        &mut self,
        [op, norm_op]: [Op; 2],
        layer: &Linear<'_>,
        norms: &Norms<'_>,
        from: &[f32],
        x: &mut [f32],
        scratch: &mut Scratch<'_>,
    ) {
        let Scratch { normed, output, activations } = scratch;
        self.see(Point::Input(op), from);
        match &norms.output {
            None => self.run(op, |c| linear_add(c, layer, &input_of(c, from, activations, [layer]), x)),
            Some(weights) => {
                let (normed, output) = (&mut normed[..x.len()], &mut output[..x.len()]);
                self.run(op, |c| linear(c, [(layer, &mut *output)], &input_of(c, from, activations, [layer])));
                self.run(norm_op, |c| {
                    norm(c, output, weights, normed);
                    add(c, x, normed);
                });
            }
        }
    }
}

/// `x` (T, cols) as the input of `layers`: quantized, once, where any of them wants it.
pub(super) fn input_of<'s, const N: usize>(
    compute: &Compute,
    x: &'s [f32],
    activations: &'s mut Activations,
    layers: [&Linear<'_>; N],
) -> Input<'s> {
    activations.load(compute, x, layers[0].weight.cols(), layers.map(Linear::inputs))
}
