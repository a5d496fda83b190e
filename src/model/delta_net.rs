//! Gated delta net (Yang et al. 2025), which carries information between positions by a state of fixed size: its row of the plan, its
//! tensors, what it remembers, its pass.

use super::fields::{FieldWriter, Fields, in_limit};
use super::op::{Observer, Op, Point};
use super::place::{Norms, Place};
use super::spec::{BranchNorms, Part, Table};
use super::stage::{Branch, Stage};
use super::state::{Memory, Span, StateKind, StateOptions};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::ops::{
    Activation, DeltaCache, DeltaInputs, DeltaShape, DeltaSpan, KV_BLOCK, Linear, MAX_CONV_WIDTH, activate, conv,
    decays, delta_rule, gated, linear, rms_norm_in_place, unit_length,
};
use core::ops::Range;

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

/// A token at a mark needs what stands after the one before it.
const MARKED: usize = 2;

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
    pub(super) fn tensors(&self, table: &mut Table, norms: BranchNorms) {
        if norms.input {
            table.norm(Part::AttentionNorm);
        }
        table.linear(Part::DeltaQkv, self.channels(), table.dim, false);
        table.linear(Part::DeltaGate, self.width_of_values(), table.dim, false);
        table.linear(Part::DeltaStrength, self.n_heads, table.dim, false);
        table.linear(Part::DeltaDecay, self.n_heads, table.dim, true);
        table.linear(Part::ConvKernel, self.channels(), self.width, false);
        table.vector(Part::DeltaRate, self.n_heads);
        table.vector(Part::DeltaNorm, self.value_dim);
        table.linear(Part::DeltaOutput, table.dim, self.width_of_values(), false);
        if norms.output {
            table.norm(Part::OutputNorm);
        }
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

    fn shape(&self) -> DeltaShape {
        DeltaShape {
            n_heads: self.n_heads,
            key_dim: self.key_dim,
            value_dim: self.value_dim,
            channels: self.channels(),
            width: self.width,
        }
    }

    /// Blocks of the ring that a text needs: the states at the marks to which it can be taken back, and the one that it goes on from.
    fn n_blocks(&self, options: StateOptions) -> usize {
        let ring = options.slack.saturating_add(MARKED).div_ceil(KV_BLOCK).saturating_add(1);
        ring.min(options.context_length.div_ceil(KV_BLOCK))
    }

    /// What a text needs to be remembered by, empty.
    pub(super) fn state(&self, options: StateOptions) -> Result<DeltaCache> {
        DeltaCache::new(self.shape(), self.n_blocks(options))
    }

    /// Bytes of [`state`](Self::state).
    pub(super) fn state_bytes(&self, options: StateOptions) -> u64 {
        (self.shape().block_bytes() as u64).saturating_mul(self.n_blocks(options) as u64)
    }

    /// What it remembers of a text, as a saved one describes it.
    pub(super) fn state_kind(&self) -> StateKind {
        let heads = [self.n_key_heads, self.n_heads].map(|n| n as u32);
        let widths = [self.key_dim, self.value_dim].map(|n| n as u32);
        StateKind {
            numbers: [2, heads[0] << 16 | heads[1], widths[0] << 16 | widths[1], self.width as u32],
            block_bytes: self.shape().block_bytes(),
            window: Some(MARKED),
            step: KV_BLOCK,
        }
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
            let all: &[f32] = qkv;
            let spans = spans.iter().scan(0, |first, span| {
                let inputs = &all[*first * channels..][..span.tokens.len() * channels];
                *first += span.tokens.len();
                Some(DeltaSpan { cache: span.state.memory(layer), start: span.state.position(), inputs })
            });
            conv(c, &w.kernel, spans, mixed);
            activate(c, Activation::Silu, mixed);
            let keys = self.n_key_heads * self.key_dim;
            for row in mixed.chunks_exact_mut(channels) {
                unit_length(c, &mut row[..keys], self.key_dim, self.key_dim as f32);
                unit_length(c, &mut row[keys..2 * keys], self.key_dim, 1.0);
            }
        });
        stage.run(Op::Delta, |c| {
            activate(c, Activation::Sigmoid, strength);
            decays(decay, w.rates);
            let mut first = 0;
            for Span { state, tokens, .. } in spans.iter_mut() {
                let position = state.position();
                let tokens = first..first + tokens.len();
                let given = DeltaInputs {
                    mixed: &mixed[tokens.start * channels..tokens.end * channels],
                    n_key_heads: self.n_key_heads,
                    decays: &decay[tokens.start * self.n_heads..tokens.end * self.n_heads],
                    strengths: &strength[tokens.start * self.n_heads..tokens.end * self.n_heads],
                    inputs: &qkv[tokens.start * channels..tokens.end * channels],
                };
                let out = &mut out[tokens.start * values..tokens.end * values];
                delta_rule(c, state.memory_mut::<DeltaCache>(layer), position, &given, out);
                first = tokens.end;
            }
            rms_norm_in_place(c, out, w.norm, w.norm_eps);
            gated(c, Activation::Silu, gate, out);
        });
        stage.add([Op::DeltaOutput, Op::OutputNorm], &w.output, &w.norms, gate, x, &mut b.scratch);
        stage.see(Point::Attended, x);
    }
}

impl Memory for DeltaCache {
    fn n_blocks(&self) -> usize {
        self.n_blocks()
    }

    fn save_block(&self, block: usize, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        write(bytemuck::cast_slice(self.block(block)))
    }

    fn restore_block(&mut self, block: usize, bytes: &[u8]) {
        bytemuck::cast_slice_mut::<f32, u8>(self.block_mut(block)).copy_from_slice(bytes);
    }

    /// Nothing is remembered of positions to come.
    fn clear(&mut self, _compute: &Compute, _positions: Range<usize>) {}
}
