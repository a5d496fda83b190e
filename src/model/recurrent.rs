//! What mixers share that remember states of fixed size, behind a causal convolution: their memory, with its marks, and how the
//! texts of a pass go through it.

use super::state::{Memory, Span, StateKind, StateOptions};
use crate::compute::Compute;
use crate::error::Result;
use crate::ops::{Activation, KV_BLOCK, Linear, RecurrentCache, RecurrentShape, RecurrentSpan, activate, conv};
use core::ops::Range;

/// A token at a mark needs what stands after the one before it.
const MARKED: usize = 2;

/// Blocks of the ring that a text needs: the states at the marks to which it can be taken back, and the one that it goes on from.
fn n_blocks(options: StateOptions) -> usize {
    let ring = options.slack.saturating_add(MARKED).div_ceil(KV_BLOCK).saturating_add(1);
    ring.min(options.context_length.div_ceil(KV_BLOCK))
}

/// What a text needs to be remembered by, empty.
pub(super) fn state(shape: RecurrentShape, options: StateOptions) -> Result<RecurrentCache> {
    RecurrentCache::new(shape, n_blocks(options))
}

/// Bytes of [`state`].
pub(super) fn state_bytes(shape: RecurrentShape, options: StateOptions) -> u64 {
    (shape.block_bytes() as u64).saturating_mul(n_blocks(options) as u64)
}

/// What is remembered of a text, as a saved one describes it by these `numbers`.
pub(super) fn state_kind(shape: RecurrentShape, numbers: [u32; 4]) -> StateKind {
    StateKind { numbers, block_bytes: shape.block_bytes(), window: Some(MARKED), step: KV_BLOCK }
}

/// The silu of the convolution by `kernel` (channels, width) of the `inputs` (T, channels) of block `layer`, rows of the tokens of
/// `spans`: `out` (T, channels).
pub(super) fn convolve(
    compute: &Compute,
    layer: usize,
    kernel: &Linear<'_>,
    spans: &[Span<'_>],
    inputs: &[f32],
    out: &mut [f32],
) {
    let channels = kernel.weight.rows();
    let spans = spans.iter().scan(0, |first, span| {
        let inputs = &inputs[*first * channels..][..span.tokens.len() * channels];
        *first += span.tokens.len();
        Some(RecurrentSpan { cache: span.state.memory(layer), start: span.state.position(), inputs })
    });
    conv(compute, kernel, spans, out);
    activate(compute, Activation::Silu, out);
}

/// Calls `advance` for each of `spans` with what block `layer` remembers of its text, its position, and the rows of its tokens.
pub(super) fn each_text(
    layer: usize,
    spans: &mut [Span<'_>],
    mut advance: impl FnMut(&mut RecurrentCache, usize, Range<usize>),
) {
    let mut first = 0;
    for Span { state, tokens, .. } in spans {
        let rows = first..first + tokens.len();
        first = rows.end;
        let position = state.position();
        advance(state.memory_mut(layer), position, rows);
    }
}

impl Memory for RecurrentCache {
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
