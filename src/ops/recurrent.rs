//! States of fixed size that a text leaves behind: matrices that every token changes, one after the other, and the last inputs of
//! the convolution before them.

use super::conv::ConvInputs;
use crate::compute::Compute;
use crate::error::{Error, Kind, Remedy, Result};
use crate::kernels::BLOCK;
use crate::room;
use crate::threads::Owned;
use alloc::vec::Vec;
use core::ops::Range;

/// Elements of matrices below which a part of a token is not worth a thread.
const MIN_ELEMENTS: usize = 1 << 14;

/// The shape of what a layer remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentShape {
    /// Heads, each with a matrix (rows, columns).
    pub n_heads: usize,
    /// Rows of a matrix: the width of what is stored by and found by.
    pub rows: usize,
    /// Columns of a matrix: the width of what is stored and found.
    pub columns: usize,
    /// Width of what the convolution before the heads meets.
    pub channels: usize,
    /// Positions that its kernel spans.
    pub width: usize,
}

impl RecurrentShape {
    /// Elements of a head: its matrix, then what it gave last.
    fn head_len(&self) -> usize {
        (self.rows + 1) * self.columns
    }

    /// Elements of what is remembered after a token: all heads, then the last inputs of the convolution.
    fn len(&self) -> usize {
        self.n_heads * self.head_len() + self.inputs_len()
    }

    /// Elements of the inputs that are kept for the tokens to come.
    fn inputs_len(&self) -> usize {
        (self.width - 1) * self.channels
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> usize {
        self.len() * size_of::<f32>()
    }
}

/// What a layer remembers of a text, as f32: of each block of 32 positions what stands after its last token,
/// `[head][rows + 1][columns]`, the last row being what the head gave, then `[width - 1][channels]` inputs of the convolution, the
/// oldest first. A ring of blocks.
pub struct RecurrentCache {
    shape: RecurrentShape,
    n_blocks: usize,
    data: Vec<f32>,
}

impl RecurrentCache {
    /// A cache of an empty text; fails where its memory cannot be allocated.
    pub fn new(shape: RecurrentShape, n_blocks: usize) -> Result<Self> {
        assert!(shape.len() > 0 && n_blocks > 0, "an empty cache of states");
        let data = n_blocks.checked_mul(shape.len()).and_then(room::zeros).ok_or_else(|| {
            let message = format!("no memory for {n_blocks} states of {} bytes", shape.block_bytes());
            Error::new(Kind::Resources, message).remedy(Remedy::ShorterContext)
        })?;
        Ok(RecurrentCache { shape, n_blocks, data })
    }

    /// The shape of what stands after a token.
    pub fn shape(&self) -> RecurrentShape {
        self.shape
    }

    /// Blocks of the ring.
    pub fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    fn range(&self, block: usize) -> Range<usize> {
        let (slot, n) = (block % self.n_blocks, self.shape.len());
        slot * n..(slot + 1) * n
    }

    /// What is remembered after the last token of block `block`.
    pub fn block(&self, block: usize) -> &[f32] {
        &self.data[self.range(block)]
    }

    /// The same, to be written.
    pub fn block_mut(&mut self, block: usize) -> &mut [f32] {
        let range = self.range(block);
        &mut self.data[range]
    }

    /// The inputs of the convolution before `position`, (width - 1, channels), the oldest first.
    fn inputs(&self, position: usize) -> &[f32] {
        let block = self.block(position.saturating_sub(1) / BLOCK);
        &block[block.len() - self.shape.inputs_len()..]
    }

    /// What is remembered before `position`, to become what stands after it.
    fn begin(&mut self, position: usize) -> &mut [f32] {
        let block = position / BLOCK;
        if position == 0 {
            self.block_mut(block).fill(0.0);
        } else if position.is_multiple_of(BLOCK) {
            let (from, to) = (self.range(block - 1), self.range(block));
            self.data.copy_within(from, to.start);
        }
        self.block_mut(block)
    }

    /// Lets tokens of one text from `position` on change what is remembered, one after the other: `head` is called with the number of
    /// a token among them, that of a head, and what the head remembers, whose last row is to become what the head gives. The heads'
    /// rows, one after the other, are a row of `out`, (T, columns of all heads or a few less); `inputs` (T, channels) is what the
    /// convolution met.
    pub fn advance(
        &mut self,
        compute: &Compute,
        position: usize,
        inputs: &[f32],
        out: &mut [f32],
        head: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) {
        let shape @ RecurrentShape { n_heads, columns, channels, .. } = self.shape;
        let n_tokens = inputs.len() / channels;
        assert!(inputs.len() == n_tokens * channels, "{} inputs of {channels} channels", inputs.len());
        let (heads_len, head_len) = (n_heads * shape.head_len(), shape.head_len());
        let width = out.len() / n_tokens.max(1);
        assert!(out.len() == n_tokens * width && width.div_ceil(columns) == n_heads, "{width} outputs of a token");
        let mut first = 0;
        while first < n_tokens {
            // The tokens of a block, so that a head's state stays in a cache from one to the next.
            let n = (BLOCK - (position + first) % BLOCK).min(n_tokens - first);
            let (heads, kept) = self.begin(position + first).split_at_mut(heads_len);
            let states = Owned { all: heads, width: heads_len, unit: head_len };
            let given = Owned { all: &mut out[first * width..(first + n) * width], width, unit: columns };
            let min_heads = MIN_ELEMENTS.div_ceil(n * head_len);
            compute.threads.run_pairs([states, given], min_heads, &|units, [mut states, mut given]| {
                for (k, state) in states.row(0).chunks_exact_mut(head_len).enumerate() {
                    for (t, row) in given.rows(0..n).enumerate() {
                        head(first + t, units.start + k, state);
                        let out = row[k * columns..].iter_mut().take(columns);
                        out.zip(&state[head_len - columns..]).for_each(|(out, last)| *out = *last);
                    }
                }
            });
            keep(kept, &inputs[first * channels..(first + n) * channels]);
            first += n;
        }
    }
}

/// Lets `inputs` follow those that are `kept`, of which the last stay.
fn keep(kept: &mut [f32], inputs: &[f32]) {
    let n = inputs.len().min(kept.len());
    let rest = kept.len() - n;
    kept.copy_within(n.., 0);
    kept[rest..].copy_from_slice(&inputs[inputs.len() - n..]);
}

/// Consecutive tokens of one text, and what their convolution meets.
#[derive(Clone, Copy)]
pub struct RecurrentSpan<'a> {
    /// What is remembered of the text before them.
    pub cache: &'a RecurrentCache,
    /// Position of the first of them in their text.
    pub start: usize,
    /// Their inputs, (n_tokens, channels).
    pub inputs: &'a [f32],
}

impl<'a> ConvInputs<'a> for RecurrentSpan<'a> {
    fn channels(&self) -> usize {
        self.cache.shape.channels
    }

    fn positions(&self) -> Range<usize> {
        self.start..self.start + self.inputs.len() / self.cache.shape.channels
    }

    fn row(&self, position: usize) -> &'a [f32] {
        let RecurrentShape { channels, width, .. } = self.cache.shape;
        match position.checked_sub(self.start) {
            Some(token) => &self.inputs[token * channels..][..channels],
            None => &self.cache.inputs(self.start)[(width - 1 - (self.start - position)) * channels..][..channels],
        }
    }
}
