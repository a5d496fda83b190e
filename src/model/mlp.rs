//! The MLP of a block, which works on each position by itself: its row of the plan, its tensors, its pass.

use super::fields::{FieldWriter, Fields, in_limit, place_of};
use super::op::{Observer, Op};
use super::place::{Norms, Place};
use super::spec::{BranchNorms, Part, Table};
use super::stage::{Branch, Stage};
use crate::error::Result;
use crate::ops::{Activation, Linear, activate, linear, linear_swiglu};

/// What works on each position by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// Width of the inner layer.
    pub hidden_dim: usize,
    /// What stands between its matrices.
    pub kind: MlpKind,
    /// Its matrices have biases.
    pub bias: bool,
}

/// What stands between the matrices of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpKind {
    /// `silu(gate) * up` (Shazeer 2020).
    SwiGlu,
    /// `gelu(up)` by the tanh form (Hendrycks and Gimpel 2016).
    GeluTanh,
    /// `gelu(up)` by the exact form.
    Gelu,
    /// `gelu(up)` by the logistic function.
    QuickGelu,
    /// `relu(up)`.
    Relu,
    /// `relu(up)^2`.
    ReluSquared,
    /// `silu(up)`.
    Silu,
    /// `tanh(up)`.
    Tanh,
}

impl MlpKind {
    /// The kinds, in the order of the values of their field.
    pub const ALL: [MlpKind; 8] = [
        MlpKind::SwiGlu,
        MlpKind::GeluTanh,
        MlpKind::Gelu,
        MlpKind::QuickGelu,
        MlpKind::Relu,
        MlpKind::ReluSquared,
        MlpKind::Silu,
        MlpKind::Tanh,
    ];

    /// What stands after `up`, where there is no gate.
    fn activation(self) -> Option<Activation> {
        Some(match self {
            MlpKind::SwiGlu => return None,
            MlpKind::GeluTanh => Activation::GeluTanh,
            MlpKind::Gelu => Activation::Gelu,
            MlpKind::QuickGelu => Activation::QuickGelu,
            MlpKind::Relu => Activation::Relu,
            MlpKind::ReluSquared => Activation::ReluSquared,
            MlpKind::Silu => Activation::Silu,
            MlpKind::Tanh => Activation::Tanh,
        })
    }
}

/// Tags of the fields of a layer that describe its MLP.
mod tag {
    pub(super) const KIND: u16 = 256;
    pub(super) const HIDDEN_DIM: u16 = 257;
    pub(super) const BIAS: u16 = 258;
}

/// The weights of an MLP: of what stands between its matrices, and the matrix after it.
pub(super) struct MlpWeights<'a> {
    norms: Norms<'a>,
    inner: Inner<'a>,
    down: Linear<'a>,
}

/// The matrices before an [`MlpKind`].
enum Inner<'a> {
    SwiGlu { gate: Linear<'a>, up: Linear<'a> },
    Plain { up: Linear<'a>, activation: Activation },
}

impl Mlp {
    pub(super) fn check(&self) -> Result<()> {
        in_limit("hidden_dim", self.hidden_dim, 1 << 20)
    }

    pub(super) fn encode(&self, fields: &mut FieldWriter) {
        fields.number(tag::KIND, place_of(&MlpKind::ALL, self.kind));
        fields.number(tag::HIDDEN_DIM, self.hidden_dim);
        fields.flag(tag::BIAS, self.bias);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Mlp {
            kind: fields.value(tag::KIND, "mlp", |value| MlpKind::ALL.get(value).copied())?,
            hidden_dim: fields.number(tag::HIDDEN_DIM, "hidden_dim")?,
            bias: fields.flag(tag::BIAS, "mlp_bias")?,
        })
    }

    /// Adds the tensors of the branch to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table, norms: BranchNorms) {
        if norms.input {
            table.norm(Part::MlpNorm);
        }
        if self.kind == MlpKind::SwiGlu {
            table.linear(Part::Gate, self.hidden_dim, table.dim, self.bias);
        }
        table.linear(Part::Up, self.hidden_dim, table.dim, self.bias);
        table.linear(Part::Down, table.dim, self.hidden_dim, self.bias);
        if norms.output {
            table.norm(Part::DownNorm);
        }
    }

    /// The weights of the branch at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<MlpWeights<'a>> {
        let inner = match self.kind.activation() {
            None => Inner::SwiGlu { gate: place.linear(Part::Gate)?, up: place.linear(Part::Up)? },
            Some(activation) => Inner::Plain { up: place.linear(Part::Up)?, activation },
        };
        Ok(MlpWeights { norms: place.norms(Part::MlpNorm, Part::DownNorm)?, inner, down: place.linear(Part::Down)? })
    }

    /// `x += down(inner(norm(x)))` for each row of `x` (T, dim).
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        w: &MlpWeights<'_>,
        stage: &mut Stage<'_, O>,
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        let n_tokens = x.len() / w.down.weight.rows();
        let hidden = &mut b.inner[..n_tokens * self.hidden_dim];
        match &w.inner {
            Inner::SwiGlu { gate, up } => {
                let input = stage.read(
                    [Op::MlpNorm, Op::GateUp],
                    x,
                    &w.norms,
                    b.scratch.normed,
                    b.scratch.activations,
                    [gate, up],
                );
                stage.run(Op::GateUp, |c| linear_swiglu(c, gate, up, &input, hidden));
            }
            Inner::Plain { up, activation } => {
                let input =
                    stage.read([Op::MlpNorm, Op::GateUp], x, &w.norms, b.scratch.normed, b.scratch.activations, [up]);
                stage.run(Op::GateUp, |c| {
                    linear(c, [(up, &mut *hidden)], &input);
                    activate(c, *activation, hidden);
                });
            }
        }
        stage.add([Op::Down, Op::DownNorm], &w.down, &w.norms, hidden, x, &mut b.scratch);
    }
}
