//! Gated delta net (Yang et al. 2025), which carries information between positions by a state of fixed size: its row of the plan, its
//! tensors, what it remembers, its pass.

use super::fields::{FieldWriter, Fields, in_limit};
use super::op::{Observer, Op};
use super::place::{Norms, Place};
use super::recurrent;
use super::spec::{Part, Table};
use super::stage::{Branch, Stage};
use super::state::{Span, StateKind, StateOptions};
use crate::error::{Error, Result};
use crate::ops::{
    Activation, DeltaInputs, Linear, MAX_CONV_WIDTH, RecurrentCache, RecurrentShape, activate, decays, delta_rule,
    gated, linear, rms_norm_in_place, unit_length,
};

/// A mixer whose heads remember pairs of keys and values in matrices, as Qwen3-Next and Qwen3.5 have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaNet {
    /// Heads of queries and keys; divides `n_heads`.
    pub n_key_heads: usize,
    /// Heads of values, each with a state (key_dim, value_dim).
    pub n_heads: usize,
    /// Width of a query and of a key.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
    /// Positions that the convolution before the heads spans, the token's own included.
    pub width: usize,
}

/// Tags of the fields of a layer that describe a gated delta net.
mod tag {
    pub(super) const N_KEY_HEADS: u16 = 80;
    pub(super) const N_HEADS: u16 = 81;
    pub(super) const KEY_DIM: u16 = 82;
    pub(super) const VALUE_DIM: u16 = 83;
    pub(super) const WIDTH: u16 = 84;
}

/// The weights of a gated delta net.
pub(super) struct DeltaNetWeights<'a> {
    norms: Norms<'a>,
    /// (channels, dim): rows of queries, of keys, of values.
    qkv: Linear<'a>,
    /// (n_heads * value_dim, dim).
    gate: Linear<'a>,
    /// (n_heads, dim).
    strength: Linear<'a>,
    /// (n_heads, dim), with a bias.
    decay: Linear<'a>,
    /// (channels, width), of f32.
    kernel: Linear<'a>,
    /// (n_heads).
    rates: &'a [f32],
    /// (value_dim).
    norm: &'a [f32],
    norm_eps: f32,
    /// (dim, n_heads * value_dim).
    output: Linear<'a>,
}

impl DeltaNet {
    /// Width of all values together, and of what the heads give.
    pub fn width_of_values(&self) -> usize {
        self.n_heads * self.value_dim
    }

    /// Width of queries, keys and values together, which the convolution meets.
    pub fn channels(&self) -> usize {
        2 * self.n_key_heads * self.key_dim + self.width_of_values()
    }

    /// Elements of a token between the first and the last matrix: queries, keys and values before and after the convolution, the
    /// gate, what the heads give, and two numbers a head.
    pub(super) fn inner_width(&self) -> usize {
        2 * (self.channels() + self.width_of_values() + self.n_heads)
    }

    /// Refuses dimensions that are beyond the limits or do not fit each other.
    pub(super) fn check(&self) -> Result<()> {
        in_limit("n_key_heads", self.n_key_heads, 1024)?;
        in_limit("n_value_heads", self.n_heads, 1024)?;
        in_limit("key_dim", self.key_dim, 1 << 10)?;
        in_limit("value_dim", self.value_dim, 1 << 10)?;
        in_limit("conv_width", self.width, MAX_CONV_WIDTH)?;
        if !self.n_heads.is_multiple_of(self.n_key_heads) {
            let message = format!("{} does not divide n_value_heads {}", self.n_key_heads, self.n_heads);
            return Err(Error::data(message).field("n_key_heads"));
        }
        Ok(())
    }

    pub(super) fn encode(&self, fields: &mut FieldWriter) {
        fields.number(tag::N_KEY_HEADS, self.n_key_heads);
        fields.number(tag::N_HEADS, self.n_heads);
        fields.number(tag::KEY_DIM, self.key_dim);
        fields.number(tag::VALUE_DIM, self.value_dim);
        fields.number(tag::WIDTH, self.width);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(DeltaNet {
            n_key_heads: fields.number(tag::N_KEY_HEADS, "n_key_heads")?,
            n_heads: fields.number(tag::N_HEADS, "n_value_heads")?,
            key_dim: fields.number(tag::KEY_DIM, "key_dim")?,
            value_dim: fields.number(tag::VALUE_DIM, "value_dim")?,
            width: fields.number(tag::WIDTH, "conv_width")?,
        })
    }

    /// Adds the tensors of the branch to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table) {
        table.linear(Part::DeltaQkv, self.channels(), table.dim, false);
        table.linear(Part::DeltaGate, self.width_of_values(), table.dim, false);
        table.linear(Part::DeltaStrength, self.n_heads, table.dim, false);
        table.linear(Part::DeltaDecay, self.n_heads, table.dim, true);
        table.linear(Part::ConvKernel, self.channels(), self.width, false);
        table.vector(Part::DeltaRate, self.n_heads);
        table.vector(Part::DeltaNorm, self.value_dim);
        table.linear(Part::DeltaOutput, table.dim, self.width_of_values(), false);
    }

    /// The weights of the branch at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<DeltaNetWeights<'a>> {
        Ok(DeltaNetWeights {
            norms: place.norms(Part::AttentionNorm, Part::OutputNorm)?,
            qkv: place.linear(Part::DeltaQkv)?,
            gate: place.linear(Part::DeltaGate)?,
            strength: place.linear(Part::DeltaStrength)?,
            decay: place.linear(Part::DeltaDecay)?,
            kernel: place.linear(Part::ConvKernel)?,
            rates: place.vector(Part::DeltaRate)?,
            norm: place.vector(Part::DeltaNorm)?,
            norm_eps: place.norm_eps,
            output: place.linear(Part::DeltaOutput)?,
        })
    }

    fn shape(&self) -> RecurrentShape {
        RecurrentShape {
            n_heads: self.n_heads,
            rows: self.key_dim,
            columns: self.value_dim,
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
        let heads = [self.n_key_heads, self.n_heads].map(|n| n as u32);
        let widths = [self.key_dim, self.value_dim].map(|n| n as u32);
        let numbers = [2, heads[0] << 16 | heads[1], widths[0] << 16 | widths[1], self.width as u32];
        recurrent::state_kind(self.shape(), numbers)
    }

    /// Bytes of what is remembered that a token reads.
    pub(super) fn read_bytes(&self) -> u64 {
        self.shape().block_bytes() as u64
    }

    /// Multiply-adds of a token with what is remembered: what a key finds, its correction, and what a query finds.
    pub(super) fn macs(&self) -> u64 {
        3 * (self.n_heads * self.key_dim * self.value_dim) as u64
    }

    /// `x += output(norm(heads) * silu(gate))` for the tokens of `spans`, whose rows `x` (T, dim) are, one span after the other.
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        w: &DeltaNetWeights<'_>,
        stage: &mut Stage<'_, O>,
        spans: &mut [Span<'_>],
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        let n: usize = spans.iter().map(|span| span.tokens.len()).sum();
        let layer = stage.layer.unwrap_or(0);
        let (channels, values) = (self.channels(), self.width_of_values());
        let (qkv, rest) = b.inner.split_at_mut(n * channels);
        let (mixed, rest) = rest.split_at_mut(n * channels);
        let (gate, rest) = rest.split_at_mut(n * values);
        let (out, rest) = rest.split_at_mut(n * values);
        let (strength, rest) = rest.split_at_mut(n * self.n_heads);
        let decay = &mut rest[..n * self.n_heads];
        let input = stage.read(
            [Op::AttentionNorm, Op::DeltaInput],
            x,
            &w.norms,
            b.scratch.normed,
            b.scratch.activations,
            [&w.qkv, &w.gate, &w.strength, &w.decay],
        );
        stage.run(Op::DeltaInput, |c| {
            let outputs =
                [(&w.qkv, &mut *qkv), (&w.gate, &mut *gate), (&w.strength, &mut *strength), (&w.decay, &mut *decay)];
            linear(c, outputs, &input);
        });
        stage.run(Op::Conv, |c| {
            recurrent::convolve(c, layer, &w.kernel, spans, qkv, mixed);
            let keys = self.n_key_heads * self.key_dim;
            for row in mixed.chunks_exact_mut(channels) {
                unit_length(c, &mut row[..keys], self.key_dim, self.key_dim as f32);
                unit_length(c, &mut row[keys..2 * keys], self.key_dim, 1.0);
            }
        });
        stage.run(Op::Delta, |c| {
            activate(c, Activation::Sigmoid, strength);
            decays(decay, w.rates);
            recurrent::each_text(layer, spans, |cache, position, rows| {
                let given = DeltaInputs {
                    mixed: &mixed[rows.start * channels..rows.end * channels],
                    n_key_heads: self.n_key_heads,
                    decays: &decay[rows.start * self.n_heads..rows.end * self.n_heads],
                    strengths: &strength[rows.start * self.n_heads..rows.end * self.n_heads],
                    inputs: &qkv[rows.start * channels..rows.end * channels],
                };
                delta_rule(c, cache, position, &given, &mut out[rows.start * values..rows.end * values]);
            });
            rms_norm_in_place(c, out, w.norm, w.norm_eps);
            gated(c, Activation::Silu, gate, out);
        });
        stage.add([Op::DeltaOutput, Op::OutputNorm], &w.output, &w.norms, gate, x, &mut b.scratch);
    }
}
