//! The gated short convolution of LFM2 (Liquid AI 2025), which carries information over a few positions: its row of the plan, its
//! tensors, what it remembers, its pass.

use super::fields::{FieldWriter, Fields, in_limit};
use super::op::{Observer, Op};
use super::place::{Norms, Place};
use super::spec::{Part, Table};
use super::stage::{Branch, Stage};
use super::state::{Memory, Span, StateKind, StateOptions};
use crate::compute::Compute;
use crate::error::Result;
use crate::ops::{ConvCache, ConvSpan, KV_BLOCK, Linear, MAX_CONV_WIDTH, conv, linear};
use core::ops::Range;

/// A causal convolution of each channel by itself, between two gates that the input makes: `out(c * conv(b * h))`, where
/// `b, c, h = in(x)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortConv {
    /// Number of channels.
    pub channels: usize,
    /// Positions that the kernel spans, the token's own included.
    pub width: usize,
    /// Its matrices and its kernel have biases.
    pub bias: bool,
}

/// Tags of the fields of a layer that describe a short convolution.
mod tag {
    pub(super) const CHANNELS: u16 = 64;
    pub(super) const WIDTH: u16 = 65;
    pub(super) const BIAS: u16 = 66;
}

/// The weights of a short convolution.
pub(super) struct ShortConvWeights<'a> {
    norms: Norms<'a>,
    /// (3 * channels, dim): rows of b, of c, of h.
    input: Linear<'a>,
    /// (channels, width), of f32.
    kernel: Linear<'a>,
    /// (dim, channels).
    output: Linear<'a>,
}

impl ShortConv {
    /// The most positions that a kernel can span.
    pub const MAX_WIDTH: usize = MAX_CONV_WIDTH;

    /// Elements of a token between the first and the last matrix: b, c, h, and what the convolution gives.
    pub(super) fn inner_width(&self) -> usize {
        4 * self.channels
    }

    /// Refuses dimensions that are beyond the limits.
    pub(super) fn check(&self) -> Result<()> {
        in_limit("channels", self.channels, 1 << 16)?;
        in_limit("conv_width", self.width, Self::MAX_WIDTH)
    }

    pub(super) fn encode(&self, fields: &mut FieldWriter) {
        fields.number(tag::CHANNELS, self.channels);
        fields.number(tag::WIDTH, self.width);
        fields.flag(tag::BIAS, self.bias);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(ShortConv {
            channels: fields.number(tag::CHANNELS, "channels")?,
            width: fields.number(tag::WIDTH, "conv_width")?,
            bias: fields.flag(tag::BIAS, "conv_bias")?,
        })
    }

    /// Adds the tensors of the branch to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table) {
        table.linear(Part::ConvInput, 3 * self.channels, table.dim, self.bias);
        table.linear(Part::ConvKernel, self.channels, self.width, self.bias);
        table.linear(Part::ConvOutput, table.dim, self.channels, self.bias);
    }

    /// The weights of the branch at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<ShortConvWeights<'a>> {
        Ok(ShortConvWeights {
            norms: place.norms(Part::AttentionNorm, Part::OutputNorm)?,
            input: place.linear(Part::ConvInput)?,
            kernel: place.linear(Part::ConvKernel)?,
            output: place.linear(Part::ConvOutput)?,
        })
    }

    /// Blocks of the ring that a text needs.
    fn n_blocks(&self, options: StateOptions) -> usize {
        // So many positions in a row touch one block more than they fill.
        let ring = self.width.saturating_add(options.slack).div_ceil(KV_BLOCK).saturating_add(1);
        ring.min(options.context_length.div_ceil(KV_BLOCK))
    }

    /// What a text needs to be remembered by, empty.
    pub(super) fn state(&self, options: StateOptions) -> Result<ConvCache> {
        ConvCache::new(self.channels, self.n_blocks(options))
    }

    /// Bytes of [`state`](Self::state).
    pub(super) fn state_bytes(&self, options: StateOptions) -> u64 {
        (ConvCache::block_bytes(self.channels) as u64).saturating_mul(self.n_blocks(options) as u64)
    }

    /// What it remembers of a text, as a saved one describes it.
    pub(super) fn state_kind(&self) -> StateKind {
        StateKind {
            numbers: [1, self.channels as u32, self.width as u32, 0],
            block_bytes: ConvCache::block_bytes(self.channels),
            window: Some(self.width),
            step: 1,
        }
    }

    /// Bytes of what is remembered that the token at `position` reads.
    pub(super) fn read_bytes(&self, position: usize) -> u64 {
        (self.width.min(position + 1) * self.channels * size_of::<f32>()) as u64
    }

    /// Multiplications of a token with the gates.
    pub(super) fn macs(&self) -> u64 {
        2 * self.channels as u64
    }

    /// `x += out(c * conv(b * h))` for the tokens of `spans`, whose rows `x` (T, dim) are, one span after the other.
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        w: &ShortConvWeights<'_>,
        stage: &mut Stage<'_, O>,
        spans: &mut [Span<'_>],
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        let n_tokens: usize = spans.iter().map(|span| span.tokens.len()).sum();
        let layer = stage.layer.unwrap_or(0);
        let (gates, rest) = b.inner.split_at_mut(n_tokens * 3 * self.channels);
        let out = &mut rest[..n_tokens * self.channels];
        let input = stage.read(
            [Op::AttentionNorm, Op::ConvInput],
            x,
            &w.norms,
            b.scratch.normed,
            b.scratch.activations,
            [&w.input],
        );
        stage.run(Op::ConvInput, |c| linear(c, [(&w.input, &mut *gates)], &input));
        stage.run(Op::Conv, |compute| {
            let mut rows = gates.chunks_exact(3 * self.channels);
            for Span { state, tokens, .. } in spans.iter_mut() {
                let position = state.position();
                let cache: &mut ConvCache = state.memory_mut(layer);
                for (position, row) in (position..).zip(rows.by_ref().take(tokens.len())) {
                    let (b, h) = (&row[..self.channels], &row[2 * self.channels..]);
                    let slots = cache.row_mut(position).iter_mut();
                    slots.zip(b).zip(h).for_each(|((u, b), h)| *u = b * h);
                }
            }
            let spans = spans.iter().map(|span| ConvSpan {
                cache: span.state.memory(layer),
                start: span.state.position(),
                n_tokens: span.tokens.len(),
            });
            conv(compute, &w.kernel, spans, out);
            for (out, row) in out.chunks_exact_mut(self.channels).zip(gates.chunks_exact(3 * self.channels)) {
                let c = &row[self.channels..2 * self.channels];
                out.iter_mut().zip(c).for_each(|(y, c)| *y *= c);
            }
        });
        stage.add([Op::ConvOutput, Op::OutputNorm], &w.output, &w.norms, out, x, &mut b.scratch);
    }
}

impl Memory for ConvCache {
    fn n_blocks(&self) -> usize {
        self.n_blocks()
    }

    fn save_block(&self, block: usize, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        write(bytemuck::cast_slice(self.block(block)))
    }

    fn restore_block(&mut self, block: usize, bytes: &[u8]) {
        bytemuck::cast_slice_mut::<f32, u8>(self.block_mut(block)).copy_from_slice(bytes);
    }

    fn clear(&mut self, _compute: &Compute, positions: Range<usize>) {
        positions.for_each(|position| self.row_mut(position).fill(0.0));
    }
}
