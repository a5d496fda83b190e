//! Mamba (Gu and Dao 2023), which carries information between positions by a state space of each channel: its row of the plan, its
//! tensors, what it remembers, its pass.

use super::fields::{FieldWriter, Fields, in_limit};
use super::op::{Observer, Op, Point};
use super::place::{Norms, Place};
use super::recurrent;
use super::spec::{Part, Table};
use super::stage::{Branch, Stage, input_of};
use super::state::{Span, StateKind, StateOptions};
use crate::error::Result;
use crate::ops::{
    Activation, Linear, MAX_CONV_WIDTH, RecurrentCache, RecurrentShape, SelectiveInputs, activate, gated, linear,
    selective_scan,
};
use crate::quant::{Matrix, PANEL_ROWS};

/// A mixer whose channels let what they remember fade by rates of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mamba1 {
    /// Number of channels.
    pub channels: usize,
    /// Numbers by which a channel is remembered.
    pub state_dim: usize,
    /// Width of what the steps of all channels are made of.
    pub step_rank: usize,
    /// Positions that the convolution before the states spans, the token's own included.
    pub width: usize,
    /// Its kernel has a bias.
    pub conv_bias: bool,
}

/// Tags of the fields of a layer that describe a Mamba.
mod tag {
    pub(super) const CHANNELS: u16 = 112;
    pub(super) const STATE_DIM: u16 = 113;
    pub(super) const STEP_RANK: u16 = 114;
    pub(super) const WIDTH: u16 = 115;
    pub(super) const CONV_BIAS: u16 = 116;
}

/// The weights of a Mamba.
pub(super) struct Mamba1Weights<'a> {
    norms: Norms<'a>,
    /// (channels, dim).
    inner: Linear<'a>,
    /// (channels, dim).
    gate: Linear<'a>,
    /// (channels, width), of f32.
    kernel: Linear<'a>,
    /// (step_rank, channels).
    rank: Linear<'a>,
    /// (2 * state_dim, channels): rows of b, of c.
    select: Linear<'a>,
    /// (channels, step_rank), with a bias.
    spread: Linear<'a>,
    /// (channels, state_dim), of f32.
    rates: Matrix<'a>,
    /// (channels).
    skips: &'a [f32],
    /// (dim, channels).
    output: Linear<'a>,
}

impl Mamba1 {
    /// Elements of a token between the first and the last matrix: x before and after the convolution, the gate, the steps, what
    /// the channels give, what steps are made of, and b and c.
    pub(super) fn inner_width(&self) -> usize {
        5 * self.channels + self.step_rank + 2 * self.state_dim
    }

    /// Columns of the widest matrix whose input is not the residual stream.
    pub(super) fn max_cols(&self) -> usize {
        self.channels.max(self.step_rank)
    }

    /// Refuses dimensions that are beyond the limits.
    pub(super) fn check(&self) -> Result<()> {
        in_limit("scan_channels", self.channels, 1 << 16)?;
        in_limit("state_dim", self.state_dim, 1 << 10)?;
        in_limit("step_rank", self.step_rank, 1 << 16)?;
        in_limit("conv_width", self.width, MAX_CONV_WIDTH)
    }

    pub(super) fn encode(&self, fields: &mut FieldWriter) {
        fields.number(tag::CHANNELS, self.channels);
        fields.number(tag::STATE_DIM, self.state_dim);
        fields.number(tag::STEP_RANK, self.step_rank);
        fields.number(tag::WIDTH, self.width);
        fields.flag(tag::CONV_BIAS, self.conv_bias);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Mamba1 {
            channels: fields.number(tag::CHANNELS, "scan_channels")?,
            state_dim: fields.number(tag::STATE_DIM, "state_dim")?,
            step_rank: fields.number(tag::STEP_RANK, "step_rank")?,
            width: fields.number(tag::WIDTH, "conv_width")?,
            conv_bias: fields.flag(tag::CONV_BIAS, "conv_bias")?,
        })
    }

    /// Adds the tensors of the branch to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table) {
        table.linear(Part::ScanInner, self.channels, table.dim, false);
        table.linear(Part::ScanGate, self.channels, table.dim, false);
        table.linear(Part::ConvKernel, self.channels, self.width, self.conv_bias);
        table.linear(Part::ScanRank, self.step_rank, self.channels, false);
        table.linear(Part::ScanSelect, 2 * self.state_dim, self.channels, false);
        table.linear(Part::ScanSpread, self.channels, self.step_rank, true);
        table.linear(Part::ScanRate, self.channels, self.state_dim, false);
        table.vector(Part::ScanSkip, self.channels);
        table.linear(Part::ScanOutput, table.dim, self.channels, false);
    }

    /// The weights of the branch at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<Mamba1Weights<'a>> {
        Ok(Mamba1Weights {
            norms: place.norms(Part::AttentionNorm, Part::OutputNorm)?,
            inner: place.linear(Part::ScanInner)?,
            gate: place.linear(Part::ScanGate)?,
            kernel: place.linear(Part::ConvKernel)?,
            rank: place.linear(Part::ScanRank)?,
            select: place.linear(Part::ScanSelect)?,
            spread: place.linear(Part::ScanSpread)?,
            rates: place.matrix(Part::ScanRate)?,
            skips: place.vector(Part::ScanSkip)?,
            output: place.linear(Part::ScanOutput)?,
        })
    }

    /// The shape of what it remembers: matrices of 16 channels each.
    fn shape(&self) -> RecurrentShape {
        RecurrentShape {
            n_heads: self.channels.div_ceil(PANEL_ROWS),
            rows: self.state_dim,
            columns: PANEL_ROWS,
            channels: self.channels,
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
        let numbers = [4, self.channels, self.state_dim, self.width].map(|number| number as u32);
        recurrent::state_kind(self.shape(), numbers)
    }

    /// Bytes of what is remembered that a token reads.
    pub(super) fn read_bytes(&self) -> u64 {
        self.shape().block_bytes() as u64
    }

    /// Multiply-adds of a token with what is remembered: what is added, and what is found.
    pub(super) fn macs(&self) -> u64 {
        2 * (self.channels * self.state_dim) as u64
    }

    /// `x += output(channels * silu(gate))` for the tokens of `spans`, whose rows `x` (T, dim) are, one span after the other.
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        w: &Mamba1Weights<'_>,
        stage: &mut Stage<'_, O>,
        spans: &mut [Span<'_>],
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        let n: usize = spans.iter().map(|span| span.tokens.len()).sum();
        let layer = stage.layer.unwrap_or(0);
        let (channels, width) = (self.channels, 2 * self.state_dim);
        let (inner, rest) = b.inner.split_at_mut(n * channels);
        let (mixed, rest) = rest.split_at_mut(n * channels);
        let (gate, rest) = rest.split_at_mut(n * channels);
        let (steps, rest) = rest.split_at_mut(n * channels);
        let (out, rest) = rest.split_at_mut(n * channels);
        let (low, rest) = rest.split_at_mut(n * self.step_rank);
        let selected = &mut rest[..n * width];
        let (normed, activations) = (&mut *b.scratch.normed, &mut *b.scratch.activations);
        let ops = [Op::AttentionNorm, Op::ScanInput];
        let input = stage.read(ops, x, &w.norms, normed, activations, [&w.inner, &w.gate]);
        stage.run(Op::ScanInput, |c| linear(c, [(&w.inner, &mut *inner), (&w.gate, &mut *gate)], &input));
        stage.run(Op::Conv, |c| recurrent::convolve(c, layer, &w.kernel, spans, inner, mixed));
        stage.see(Point::Input(Op::ScanSelect), mixed);
        stage.run(Op::ScanSelect, |c| {
            let input = input_of(c, mixed, b.scratch.activations, [&w.rank, &w.select]);
            linear(c, [(&w.rank, &mut *low), (&w.select, &mut *selected)], &input);
        });
        stage.see(Point::Input(Op::ScanSpread), low);
        stage.run(Op::ScanSpread, |c| {
            let input = input_of(c, low, b.scratch.activations, [&w.spread]);
            linear(c, [(&w.spread, &mut *steps)], &input);
            activate(c, Activation::SoftPlus, steps);
        });
        stage.run(Op::Scan, |c| {
            recurrent::each_text(layer, spans, |cache, position, rows| {
                let of = rows.start * channels..rows.end * channels;
                let given = SelectiveInputs {
                    mixed: &mixed[of.clone()],
                    selected: &selected[rows.start * width..rows.end * width],
                    steps: &steps[of.clone()],
                    rates: w.rates,
                    skips: w.skips,
                    inputs: &inner[of.clone()],
                };
                selective_scan(c, cache, position, &given, &mut out[of]);
            });
            gated(c, Activation::Silu, gate, out);
        });
        stage.add([Op::ScanOutput, Op::OutputNorm], &w.output, &w.norms, gate, x, &mut b.scratch);
    }
}
