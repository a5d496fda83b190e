//! Mamba 2 (Dao and Gu 2024), which carries information between positions by state spaces: its row of the plan, its tensors, what it
//! remembers, its pass.

use super::fields::{FieldWriter, Fields, in_limit};
use super::op::{Observer, Op};
use super::place::{Norms, Place};
use super::recurrent;
use super::spec::{Part, Table};
use super::stage::{Branch, Stage};
use super::state::{Span, StateKind, StateOptions};
use crate::error::{Error, Result};
use crate::ops::{
    Activation, Linear, MAX_CONV_WIDTH, RecurrentCache, RecurrentShape, ScanInputs, activate, gated, linear,
    rms_norm_in_place, scan,
};

/// A mixer whose heads let what they remember fade by a rate of each, as Mamba 2, Granite 4 and Falcon-H1 have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mamba2 {
    /// Heads, each with a state (state_dim, head_dim).
    pub n_heads: usize,
    /// Width of what a head reads and gives.
    pub head_dim: usize,
    /// Numbers by which a head remembers each element of what it reads.
    pub state_dim: usize,
    /// Groups of heads that share what is stored by and what is found by; divides `n_heads`.
    pub n_groups: usize,
    /// Positions that the convolution before the heads spans, the token's own included.
    pub width: usize,
    /// Its kernel has a bias.
    pub conv_bias: bool,
    /// The smallest and the largest step of a token; `None`: as it is.
    pub step_limits: Option<[f32; 2]>,
    /// How what the heads give is RMS-normed; `None`: it is not.
    pub norm: Option<ScanNorm>,
}

/// A norm of what the heads give, which has a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanNorm {
    /// Parts of equal width, each normed by itself; divides the width.
    pub n_groups: usize,
    /// Of what has no gate yet, not after the gate.
    pub before_gate: bool,
}

/// Tags of the fields of a layer that describe a Mamba 2.
mod tag {
    pub(super) const N_HEADS: u16 = 96;
    pub(super) const HEAD_DIM: u16 = 97;
    pub(super) const STATE_DIM: u16 = 98;
    pub(super) const N_GROUPS: u16 = 99;
    pub(super) const WIDTH: u16 = 100;
    pub(super) const CONV_BIAS: u16 = 101;
    pub(super) const STEP_LIMITS: u16 = 102;
    pub(super) const NORM_GROUPS: u16 = 103;
    pub(super) const NORM_FIRST: u16 = 104;
}

/// The weights of a Mamba 2.
pub(super) struct Mamba2Weights<'a> {
    norms: Norms<'a>,
    /// (n_heads * head_dim, dim).
    gate: Linear<'a>,
    /// (channels, dim): rows of x, of b, of c.
    inner: Linear<'a>,
    /// (n_heads, dim), with a bias.
    step: Linear<'a>,
    /// (channels, width), of f32.
    kernel: Linear<'a>,
    /// (n_heads).
    rates: &'a [f32],
    /// (n_heads).
    skips: &'a [f32],
    /// (n_heads * head_dim).
    norm: Option<&'a [f32]>,
    norm_eps: f32,
    /// (dim, n_heads * head_dim).
    output: Linear<'a>,
}

impl Mamba2 {
    /// Width of all heads together, and of what they give.
    pub fn inner_dim(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of x, b and c together, which the convolution meets.
    pub fn channels(&self) -> usize {
        self.inner_dim() + 2 * self.n_groups * self.state_dim
    }

    /// Elements of a token between the first and the last matrix: x, b and c before and after the convolution, the gate, what the
    /// heads give, and a step a head.
    pub(super) fn inner_width(&self) -> usize {
        2 * (self.channels() + self.inner_dim()) + self.n_heads
    }

    /// Refuses dimensions that are beyond the limits or do not fit each other.
    pub(super) fn check(&self) -> Result<()> {
        in_limit("n_scan_heads", self.n_heads, 1024)?;
        in_limit("scan_head_dim", self.head_dim, 1 << 10)?;
        in_limit("n_scan_heads * scan_head_dim", self.inner_dim(), 1 << 16)?;
        in_limit("state_dim", self.state_dim, 1 << 10)?;
        in_limit("n_groups", self.n_groups, 1024)?;
        in_limit("conv_width", self.width, MAX_CONV_WIDTH)?;
        if !self.n_heads.is_multiple_of(self.n_groups) {
            let message = format!("{} does not divide n_scan_heads {}", self.n_groups, self.n_heads);
            return Err(Error::data(message).field("n_groups"));
        }
        if let Some([low, high]) = self.step_limits
            && !(low >= 0.0 && low <= high)
        {
            return Err(Error::data(format!("from {low} to {high}")).field("step_limits"));
        }
        match self.norm {
            Some(ScanNorm { n_groups, .. }) if n_groups == 0 || !self.inner_dim().is_multiple_of(n_groups) => {
                let message = format!("{n_groups} does not divide the width {}", self.inner_dim());
                Err(Error::data(message).field("n_norm_groups"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn encode(&self, fields: &mut FieldWriter) {
        fields.number(tag::N_HEADS, self.n_heads);
        fields.number(tag::HEAD_DIM, self.head_dim);
        fields.number(tag::STATE_DIM, self.state_dim);
        fields.number(tag::N_GROUPS, self.n_groups);
        fields.number(tag::WIDTH, self.width);
        fields.flag(tag::CONV_BIAS, self.conv_bias);
        fields.optional_floats(tag::STEP_LIMITS, self.step_limits.as_ref().map_or(&[], |limits| limits));
        fields.optional(tag::NORM_GROUPS, self.norm.map(|norm| norm.n_groups));
        fields.flag(tag::NORM_FIRST, self.norm.is_some_and(|norm| norm.before_gate));
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        let limits = fields.optional_floats(tag::STEP_LIMITS, "step_limits")?;
        let step_limits = match limits[..] {
            [] => None,
            [low, high] => Some([low, high]),
            _ => return Err(Error::data(format!("{} numbers, not 2", limits.len())).field("step_limits")),
        };
        let n_norm_groups = fields.optional(tag::NORM_GROUPS, "n_norm_groups")?;
        let before_gate = fields.flag(tag::NORM_FIRST, "norm_before_gate")?;
        if before_gate && n_norm_groups.is_none() {
            return Err(Error::data("there is no norm").field("norm_before_gate"));
        }
        Ok(Mamba2 {
            n_heads: fields.number(tag::N_HEADS, "n_scan_heads")?,
            head_dim: fields.number(tag::HEAD_DIM, "scan_head_dim")?,
            state_dim: fields.number(tag::STATE_DIM, "state_dim")?,
            n_groups: fields.number(tag::N_GROUPS, "n_groups")?,
            width: fields.number(tag::WIDTH, "conv_width")?,
            conv_bias: fields.flag(tag::CONV_BIAS, "conv_bias")?,
            step_limits,
            norm: n_norm_groups.map(|n_groups| ScanNorm { n_groups, before_gate }),
        })
    }

    /// Adds the tensors of the branch to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table) {
        table.linear(Part::ScanGate, self.inner_dim(), table.dim, false);
        table.linear(Part::ScanInner, self.channels(), table.dim, false);
        table.linear(Part::ScanStep, self.n_heads, table.dim, false);
        table.vector(Part::ScanStepBias, self.n_heads);
        table.linear(Part::ConvKernel, self.channels(), self.width, self.conv_bias);
        table.vector(Part::ScanRate, self.n_heads);
        table.vector(Part::ScanSkip, self.n_heads);
        if self.norm.is_some() {
            table.vector(Part::ScanNorm, self.inner_dim());
        }
        table.linear(Part::ScanOutput, table.dim, self.inner_dim(), false);
    }

    /// The weights of the branch at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<Mamba2Weights<'a>> {
        Ok(Mamba2Weights {
            norms: place.norms(Part::AttentionNorm, Part::OutputNorm)?,
            gate: place.linear(Part::ScanGate)?,
            inner: place.linear(Part::ScanInner)?,
            step: Linear { weight: place.matrix(Part::ScanStep)?, bias: Some(place.vector(Part::ScanStepBias)?) },
            kernel: place.linear(Part::ConvKernel)?,
            rates: place.vector(Part::ScanRate)?,
            skips: place.vector(Part::ScanSkip)?,
            norm: self.norm.map(|_| place.vector(Part::ScanNorm)).transpose()?,
            norm_eps: place.norm_eps,
            output: place.linear(Part::ScanOutput)?,
        })
    }

    /// The shape of what it remembers.
    fn shape(&self) -> RecurrentShape {
        RecurrentShape {
            n_heads: self.n_heads,
            rows: self.state_dim,
            columns: self.head_dim,
            channels: self.channels(),
            width: self.width,
        }
    }

    /// What a text needs to be remembered by, empty.
    pub(super) fn state(&self, options: StateOptions) -> Result<RecurrentCache> {
        recurrent::state(self.shape(), options)
    }

    /// Bytes of [`state`](Self::state).
    pub(super) fn state_bytes(&self, options: StateOptions) -> u64 {
        recurrent::state_bytes(self.shape(), options)
    }

    /// What it remembers of a text, as a saved one describes it.
    pub(super) fn state_kind(&self) -> StateKind {
        let heads = [self.n_groups, self.n_heads].map(|n| n as u32);
        let widths = [self.state_dim, self.head_dim].map(|n| n as u32);
        let numbers = [3, heads[0] << 16 | heads[1], widths[0] << 16 | widths[1], self.width as u32];
        recurrent::state_kind(self.shape(), numbers)
    }

    /// Bytes of what is remembered that a token reads.
    pub(super) fn read_bytes(&self) -> u64 {
        self.shape().block_bytes() as u64
    }

    /// Multiply-adds of a token with what is remembered: what is added, and what is found.
    pub(super) fn macs(&self) -> u64 {
        2 * (self.inner_dim() * self.state_dim) as u64
    }

    /// `x += output(heads * silu(gate))`, normed where it is, for the tokens of `spans`, whose rows `x` (T, dim) are, one span after
    /// the other. Where the mixer is `beside` another, it reads the normed input that that one has left.
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        w: &Mamba2Weights<'_>,
        stage: &mut Stage<'_, O>,
        spans: &mut [Span<'_>],
        beside: bool,
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        let n: usize = spans.iter().map(|span| span.tokens.len()).sum();
        let layer = stage.layer.unwrap_or(0);
        let (channels, width) = (self.channels(), self.inner_dim());
        let (inner, rest) = b.inner.split_at_mut(n * channels);
        let (mixed, rest) = rest.split_at_mut(n * channels);
        let (gate, rest) = rest.split_at_mut(n * width);
        let (out, rest) = rest.split_at_mut(n * width);
        let steps = &mut rest[..n * self.n_heads];
        let (normed, activations) = (&mut *b.scratch.normed, &mut *b.scratch.activations);
        let layers = [&w.gate, &w.inner, &w.step];
        let input = match beside {
            false => stage.read([Op::AttentionNorm, Op::ScanInput], x, &w.norms, normed, activations, layers),
            true => stage.read_again(Op::ScanInput, &normed[..x.len()], activations, layers),
        };
        stage.run(Op::ScanInput, |c| {
            linear(c, [(&w.gate, &mut *gate), (&w.inner, &mut *inner), (&w.step, &mut *steps)], &input);
        });
        stage.run(Op::Conv, |c| recurrent::convolve(c, layer, &w.kernel, spans, inner, mixed));
        let output = stage.run(Op::Scan, |c| {
            activate(c, Activation::SoftPlus, steps);
            if let Some([low, high]) = self.step_limits {
                steps.iter_mut().for_each(|step| *step = step.clamp(low, high));
            }
            recurrent::each_text(layer, spans, |cache, position, rows| {
                let given = ScanInputs {
                    mixed: &mixed[rows.start * channels..rows.end * channels],
                    n_groups: self.n_groups,
                    steps: &steps[rows.start * self.n_heads..rows.end * self.n_heads],
                    rates: w.rates,
                    skips: w.skips,
                    inputs: &inner[rows.start * channels..rows.end * channels],
                };
                scan(c, cache, position, &given, &mut out[rows.start * width..rows.end * width]);
            });
            let norm = |values: &mut [f32], before_gate: bool| {
                let (Some(weight), Some(kind)) = (w.norm, self.norm) else { return };
                if kind.before_gate == before_gate {
                    let group = width / kind.n_groups;
                    for (values, weight) in values.chunks_exact_mut(group).zip(weight.chunks_exact(group).cycle()) {
                        rms_norm_in_place(c, values, weight, w.norm_eps);
                    }
                }
            };
            norm(out, true);
            gated(c, Activation::Silu, gate, out);
            norm(gate, false);
            &*gate
        });
        stage.add([Op::ScanOutput, Op::OutputNorm], &w.output, &w.norms, output, x, &mut b.scratch);
    }
}
