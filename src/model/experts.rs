//! A mixture of experts: MLPs of which each token uses a few (Shazeer et al. 2017), and maybe one that every token uses.

use super::fields::{FieldWriter, Fields, in_limit, place_of};
use super::op::{Observer, Op, Point};
use super::place::{Norms, Place};
use super::spec::{BranchNorms, Expert, Part, Table};
use super::stage::{Branch, Stage, input_of};
use crate::error::{Error, Result};
use crate::ops::{
    Activation, Linear, MAX_EXPERTS, Routing, Scores, add, add_scaled, linear, linear_gated, norm, route, sigmoid,
};
use alloc::vec::Vec;

/// What an MLP of experts has beside the row of one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Their number.
    pub n_experts: usize,
    /// How a token chooses among them.
    pub routing: Routing,
    /// The choice, not the weights, goes by scores to which a learned number for each expert was added (Wang et al. 2024).
    pub bias: bool,
    /// One that every token uses.
    pub shared: Option<SharedExpert>,
}

/// An expert that every token uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedExpert {
    /// Width of its inner layer.
    pub hidden_dim: usize,
    /// What it gives is multiplied by the sigmoid of a product of the input.
    pub gate: bool,
}

/// Tags of the fields of a layer that describe experts.
mod tag {
    pub(super) const N_EXPERTS: u16 = 259;
    pub(super) const N_ACTIVE: u16 = 260;
    pub(super) const SCORES: u16 = 261;
    pub(super) const NORMALIZED: u16 = 262;
    pub(super) const SCALE: u16 = 263;
    pub(super) const BIAS: u16 = 264;
    pub(super) const SHARED: u16 = 265;
    pub(super) const SHARED_GATE: u16 = 266;
}

/// The weights of a mixture.
pub(super) struct ExpertsWeights<'a> {
    norms: Norms<'a>,
    /// (n_experts, dim).
    router: Linear<'a>,
    /// (n_experts).
    bias: Option<&'a [f32]>,
    experts: Vec<ExpertWeights<'a>>,
    shared: Option<ExpertWeights<'a>>,
    /// (1, dim).
    shared_gate: Option<Linear<'a>>,
}

/// The weights of one MLP.
struct ExpertWeights<'a> {
    gate: Linear<'a>,
    up: Linear<'a>,
    down: Linear<'a>,
}

impl Experts {
    /// Elements of a token: its scores, its input and output among those of an expert, and the sum of the outputs, with the inner
    /// layer of the wider MLP.
    pub(super) fn inner_width(&self, hidden_dim: usize, dim: usize) -> usize {
        self.n_experts + 3 * dim + self.hidden_dim(hidden_dim) + 1
    }

    /// The inner width of the wider MLP, that of each expert being `hidden_dim`.
    pub(super) fn hidden_dim(&self, hidden_dim: usize) -> usize {
        hidden_dim.max(self.shared.map_or(0, |shared| shared.hidden_dim))
    }

    pub(super) fn check(&self) -> Result<()> {
        in_limit("n_experts", self.n_experts, MAX_EXPERTS)?;
        in_limit("n_active", self.routing.n_active, self.n_experts)?;
        if let Some(shared) = self.shared {
            in_limit("shared_hidden_dim", shared.hidden_dim, 1 << 20)?;
        }
        Ok(())
    }

    pub(super) fn encode(&self, fields: &mut FieldWriter) {
        let Routing { n_active, scores, normalized, scale } = self.routing;
        fields.number(tag::N_EXPERTS, self.n_experts);
        fields.number(tag::N_ACTIVE, n_active);
        fields.number(tag::SCORES, place_of(&Scores::ALL, scores));
        fields.flag(tag::NORMALIZED, normalized);
        fields.optional_float(tag::SCALE, Some(scale).filter(|scale| *scale != 1.0));
        fields.flag(tag::BIAS, self.bias);
        fields.optional(tag::SHARED, self.shared.map(|shared| shared.hidden_dim));
        fields.flag(tag::SHARED_GATE, self.shared.is_some_and(|shared| shared.gate));
    }

    /// The experts of a layer that has some.
    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Option<Self>> {
        let Some(n_experts) = fields.optional(tag::N_EXPERTS, "n_experts")? else { return Ok(None) };
        let routing = Routing {
            n_active: fields.number(tag::N_ACTIVE, "n_active")?,
            scores: fields.value(tag::SCORES, "scores of experts", |value| Scores::ALL.get(value).copied())?,
            normalized: fields.flag(tag::NORMALIZED, "normalized")?,
            scale: fields.optional_float(tag::SCALE, "scale of experts")?.unwrap_or(1.0),
        };
        let bias = fields.flag(tag::BIAS, "bias of experts")?;
        let gate = fields.flag(tag::SHARED_GATE, "shared_gate")?;
        let hidden_dim = fields.optional(tag::SHARED, "shared_hidden_dim")?;
        if gate && hidden_dim.is_none() {
            return Err(Error::data("there is no shared expert").field("shared_gate"));
        }
        let shared = hidden_dim.map(|hidden_dim| SharedExpert { hidden_dim, gate });
        Ok(Some(Experts { n_experts, routing, bias, shared }))
    }

    /// Adds the tensors of the branch to `table`, in order of use; each expert is of the inner width `hidden_dim`.
    pub(super) fn tensors(&self, hidden_dim: usize, table: &mut Table, norms: BranchNorms) {
        if norms.input {
            table.norm(Part::MlpNorm);
        }
        table.linear(Part::Router, self.n_experts, table.dim, false);
        if self.bias {
            table.vector(Part::RouterBias, self.n_experts);
        }
        for number in 0..self.n_experts {
            table.expert = Some(Expert { number, n_active: self.routing.n_active, n_experts: self.n_experts });
            table.linear(Part::Gate, hidden_dim, table.dim, false);
            table.linear(Part::Up, hidden_dim, table.dim, false);
            table.linear(Part::Down, table.dim, hidden_dim, false);
        }
        table.expert = None;
        if let Some(SharedExpert { hidden_dim, gate }) = self.shared {
            table.linear(Part::SharedGate, hidden_dim, table.dim, false);
            table.linear(Part::SharedUp, hidden_dim, table.dim, false);
            table.linear(Part::SharedDown, table.dim, hidden_dim, false);
            if gate {
                table.linear(Part::SharedRouter, 1, table.dim, false);
            }
        }
        if norms.output {
            table.norm(Part::DownNorm);
        }
    }

    /// The weights of the branch at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<ExpertsWeights<'a>> {
        let weights = |place: &Place<'_, 'a>, [gate, up, down]: [Part; 3]| {
            Ok(ExpertWeights { gate: place.linear(gate)?, up: place.linear(up)?, down: place.linear(down)? })
        };
        let expert = |number| weights(&place.of_expert(number), [Part::Gate, Part::Up, Part::Down]);
        let shared = |_| weights(place, [Part::SharedGate, Part::SharedUp, Part::SharedDown]);
        let gated = self.shared.is_some_and(|shared| shared.gate);
        Ok(ExpertsWeights {
            norms: place.norms(Part::MlpNorm, Part::DownNorm)?,
            router: place.linear(Part::Router)?,
            bias: self.bias.then(|| place.vector(Part::RouterBias)).transpose()?,
            experts: (0..self.n_experts).map(expert).collect::<Result<_>>()?,
            shared: self.shared.map(shared).transpose()?,
            shared_gate: gated.then(|| place.linear(Part::SharedRouter)).transpose()?,
        })
    }

    /// `x += sum of weight * expert(norm(x))` for each row of `x` (T, dim), over the experts that the token chooses, in the order of
    /// their numbers, and the shared one last; where they are given, the rows `before` (T, dim) are read in its place.
    ///
    /// An expert is of the inner width `hidden_dim` and reads the rows of all tokens that chose it together: no row's sums depend on the others.
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        (hidden_dim, activation): (usize, Activation),
        w: &ExpertsWeights<'_>,
        stage: &mut Stage<'_, O>,
        before: Option<&[f32]>,
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        let dim = w.router.weight.cols();
        let n_tokens = x.len() / dim;
        let (weights, rest) = b.inner.split_at_mut(n_tokens * self.n_experts);
        let (gathered, rest) = rest.split_at_mut(x.len());
        let (output, rest) = rest.split_at_mut(x.len());
        let (sum, rest) = rest.split_at_mut(x.len());
        let (shares, hidden) = rest.split_at_mut(n_tokens);
        let scratch = &mut b.scratch;

        let rows = before.unwrap_or(x);
        let input =
            stage.read([Op::MlpNorm, Op::GateUp], rows, &w.norms, scratch.normed, scratch.activations, [&w.router]);
        stage.run(Op::Router, |c| {
            linear(c, [(&w.router, &mut *weights)], &input);
            weights.chunks_exact_mut(self.n_experts).for_each(|scores| route(self.routing, w.bias, scores));
        });
        let rows = if w.norms.input.is_some() { &scratch.normed[..rows.len()] } else { rows };
        sum.fill(0.0);
        for (number, expert) in w.experts.iter().enumerate() {
            let weight = |token: usize| weights[token * self.n_experts + number];
            let mut n = 0;
            for token in (0..n_tokens).filter(|token| weight(*token) != 0.0) {
                gathered[n * dim..][..dim].copy_from_slice(&rows[token * dim..][..dim]);
                n += 1;
            }
            if n == 0 {
                continue;
            }
            let (gathered, output) = (&gathered[..n * dim], &mut output[..n * dim]);
            let hidden = &mut hidden[..n * hidden_dim];
            stage.run(Op::GateUp, |c| {
                let input = input_of(c, gathered, scratch.activations, [&expert.gate, &expert.up]);
                linear_gated(c, activation, &expert.gate, &expert.up, &input, hidden);
            });
            stage.see(Point::Input(Op::Down), hidden);
            stage.run(Op::Down, |c| {
                let input = input_of(c, hidden, scratch.activations, [&expert.down]);
                linear(c, [(&expert.down, &mut *output)], &input);
                let tokens = (0..n_tokens).filter(|token| weight(*token) != 0.0);
                for (token, output) in tokens.zip(output.chunks_exact(dim)) {
                    add_scaled(&mut sum[token * dim..][..dim], weight(token), output);
                }
            });
        }
        if let (Some(expert), Some(shared)) = (&w.shared, self.shared) {
            let hidden = &mut hidden[..n_tokens * shared.hidden_dim];
            stage.run(Op::GateUp, |c| {
                let input = input_of(c, rows, scratch.activations, [&expert.gate, &expert.up]);
                linear_gated(c, activation, &expert.gate, &expert.up, &input, hidden);
                match &w.shared_gate {
                    None => shares.fill(1.0),
                    Some(gate) => {
                        let input = input_of(c, rows, scratch.activations, [gate]);
                        linear(c, [(gate, &mut *shares)], &input);
                        shares.iter_mut().for_each(|share| *share = sigmoid(*share));
                    }
                }
            });
            stage.run(Op::Down, |c| {
                let input = input_of(c, hidden, scratch.activations, [&expert.down]);
                linear(c, [(&expert.down, &mut *output)], &input);
                for ((sum, share), output) in sum.chunks_exact_mut(dim).zip(&*shares).zip(output.chunks_exact(dim)) {
                    add_scaled(sum, *share, output);
                }
            });
        }
        match &w.norms.output {
            None => stage.run(Op::Down, |c| add(c, x, sum)),
            Some(weights) => stage.run(Op::DownNorm, |c| {
                norm(c, sum, weights, output);
                add(c, x, output);
            }),
        }
    }
}
