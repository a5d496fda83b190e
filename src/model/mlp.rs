//! The MLP of a block, which works on each position by itself: its row of the plan, its tensors, its pass.

use super::experts::{Experts, ExpertsWeights};
use super::fields::{FieldWriter, Fields, in_limit, place_of};
use super::op::{Observer, Op};
use super::place::{Norms, Place};
use super::spec::{BranchNorms, Part, Table};
use super::stage::{Branch, Stage};
use crate::error::{Error, Result};
use crate::ops::{Activation, Linear, Norm, activate, linear, linear_gated, rms_norm_in_place};

/// What works on each position by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// Width of the inner layer; 0: the block has no MLP.
    pub hidden_dim: usize,
    /// What stands between its matrices.
    pub kind: MlpKind,
    /// Its matrices have biases.
    pub bias: bool,
    /// What is between its matrices is RMS-normed before the last one.
    pub inner_norm: bool,
    /// There are several, of which each token uses a few; `None`: there is one.
    pub experts: Option<Experts>,
}

/// What stands between the matrices of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MlpKind {
    /// `activation(gate) * up` (Shazeer 2020) instead of `activation(up)`.
    pub gated: bool,
    /// The function of each element.
    pub activation: Activation,
}

impl MlpKind {
    /// `silu(gate) * up`.
    pub const SWIGLU: MlpKind = MlpKind::gated(Activation::Silu);
    /// The kinds, in the order of the values of their field.
    pub const ALL: [MlpKind; 12] = [
        MlpKind::SWIGLU,
        MlpKind::plain(Activation::GeluTanh),
        MlpKind::plain(Activation::Gelu),
        MlpKind::plain(Activation::QuickGelu),
        MlpKind::plain(Activation::Relu),
        MlpKind::plain(Activation::ReluSquared),
        MlpKind::plain(Activation::Silu),
        MlpKind::plain(Activation::Tanh),
        MlpKind::gated(Activation::GeluTanh),
        MlpKind::gated(Activation::Gelu),
        MlpKind::gated(Activation::Relu),
        MlpKind::gated(Activation::ReluSquared),
    ];

    /// `activation(gate) * up`.
    pub const fn gated(activation: Activation) -> Self {
        MlpKind { gated: true, activation }
    }

    /// `activation(up)`.
    pub const fn plain(activation: Activation) -> Self {
        MlpKind { gated: false, activation }
    }
}

/// Tags of the fields of a layer that describe its MLP.
mod tag {
    pub(super) const KIND: u16 = 256;
    pub(super) const HIDDEN_DIM: u16 = 257;
    pub(super) const BIAS: u16 = 258;
    pub(super) const INNER_NORM: u16 = 267;
}

/// The weights of an MLP or of several.
pub(super) enum MlpWeights<'a> {
    None,
    One(OneWeights<'a>),
    Experts(ExpertsWeights<'a>),
}

/// The weights of an MLP.
pub(super) struct OneWeights<'a> {
    norms: Norms<'a>,
    gate: Option<Linear<'a>>,
    up: Linear<'a>,
    /// Of what is between the matrices.
    inner_norm: Option<Norm<'a>>,
    down: Linear<'a>,
}

impl Mlp {
    /// A block has none.
    pub const NONE: Mlp = Mlp { hidden_dim: 0, kind: MlpKind::SWIGLU, bias: false, inner_norm: false, experts: None };

    pub(super) fn check(&self) -> Result<()> {
        in_limit("hidden_dim", self.hidden_dim, 1 << 20)?;
        let Some(experts) = &self.experts else { return Ok(()) };
        if self.bias || !self.kind.gated {
            return Err(Error::data("experts have a gate and no biases").field("n_experts"));
        }
        if self.inner_norm {
            return Err(Error::data("experts have none").field("inner_norm of the MLP"));
        }
        experts.check()
    }

    /// Elements of a token that are computed between the first and the last matrix, the residual stream having `dim`.
    pub(super) fn inner_width(&self, dim: usize) -> usize {
        self.experts.as_ref().map_or(self.hidden_dim, |experts| experts.inner_width(self.hidden_dim, dim))
    }

    /// Columns of the widest matrix whose input is not the residual stream.
    pub(super) fn max_cols(&self) -> usize {
        self.experts.as_ref().map_or(self.hidden_dim, |experts| experts.hidden_dim(self.hidden_dim))
    }

    pub(super) fn encode(&self, fields: &mut FieldWriter) {
        fields.number(tag::KIND, place_of(&MlpKind::ALL, self.kind));
        fields.number(tag::HIDDEN_DIM, self.hidden_dim);
        fields.flag(tag::BIAS, self.bias);
        fields.flag(tag::INNER_NORM, self.inner_norm);
        if let Some(experts) = &self.experts {
            experts.encode(fields);
        }
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Mlp {
            kind: fields.value(tag::KIND, "mlp", |value| MlpKind::ALL.get(value).copied())?,
            hidden_dim: fields.number(tag::HIDDEN_DIM, "hidden_dim")?,
            bias: fields.flag(tag::BIAS, "mlp_bias")?,
            inner_norm: fields.flag(tag::INNER_NORM, "inner_norm of the MLP")?,
            experts: Experts::decode(fields)?,
        })
    }

    /// Adds the tensors of the branch to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table, norms: BranchNorms) {
        if self.hidden_dim == 0 {
            return;
        }
        if let Some(experts) = &self.experts {
            return experts.tensors(self.hidden_dim, table, norms);
        }
        if norms.input {
            table.norm(Part::MlpNorm);
        }
        if self.kind.gated {
            table.linear(Part::Gate, self.hidden_dim, table.dim, self.bias);
        }
        table.linear(Part::Up, self.hidden_dim, table.dim, self.bias);
        if self.inner_norm {
            table.vector(Part::HiddenNorm, self.hidden_dim);
        }
        table.linear(Part::Down, table.dim, self.hidden_dim, self.bias);
        if norms.output {
            table.norm(Part::DownNorm);
        }
    }

    /// The weights of the branch at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<MlpWeights<'a>> {
        if self.hidden_dim == 0 {
            return Ok(MlpWeights::None);
        }
        if let Some(experts) = &self.experts {
            return experts.open(place).map(MlpWeights::Experts);
        }
        Ok(MlpWeights::One(OneWeights {
            norms: place.norms(Part::MlpNorm, Part::DownNorm)?,
            gate: self.kind.gated.then(|| place.linear(Part::Gate)).transpose()?,
            up: place.linear(Part::Up)?,
            inner_norm: self.inner_norm.then(|| place.norm(Part::HiddenNorm)).transpose()?,
            down: place.linear(Part::Down)?,
        }))
    }

    /// `x += down(inner(norm(x)))` for each row of `x` (T, dim); where they are given, the rows `before` (T, dim) are read in its place.
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        w: &MlpWeights<'_>,
        stage: &mut Stage<'_, O>,
        before: Option<&[f32]>,
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        let w = match (w, &self.experts) {
            (MlpWeights::One(w), _) => w,
            (MlpWeights::Experts(w), Some(experts)) => {
                let of_one = (self.hidden_dim, self.kind.activation);
                return experts.forward(of_one, w, stage, before, x, b);
            }
            (MlpWeights::Experts(_) | MlpWeights::None, _) => return,
        };
        let n_tokens = x.len() / w.down.weight.rows();
        let hidden = &mut b.inner[..n_tokens * self.hidden_dim];
        let (OneWeights { norms, gate, up, inner_norm, down }, activation) = (w, self.kind.activation);
        let layers = [gate.as_ref().unwrap_or(up), up];
        let ops = [Op::MlpNorm, Op::GateUp];
        let input = stage.read(ops, before.unwrap_or(x), norms, b.scratch.normed, b.scratch.activations, layers);
        stage.run(Op::GateUp, |c| match gate {
            Some(gate) => linear_gated(c, activation, gate, up, &input, hidden),
            None => {
                linear(c, [(up, &mut *hidden)], &input);
                activate(c, activation, hidden);
            }
        });
        if let Some(norm) = inner_norm {
            stage.run(Op::GateUp, |c| rms_norm_in_place(c, hidden, norm.weight, norm.eps));
        }
        stage.add([Op::Down, Op::DownNorm], down, norms, hidden, x, &mut b.scratch);
    }
}
