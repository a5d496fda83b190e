//! The gated delta rule (Yang et al. 2025, "Gated Delta Networks"): heads that remember pairs of keys and values in a matrix, which
//! every token lets fade and corrects.

use super::conv::ConvInputs;
use crate::compute::Compute;
use crate::error::{Error, Kind, Remedy, Result};
use crate::kernels::BLOCK;
use crate::kernels::math::{exp, exp_f64, ln_f64};
use crate::room;
use alloc::vec::Vec;
use core::ops::Range;

/// Above it, `ln(1 + exp(x))` is x.
const STRAIGHT: f32 = 20.0;
/// Elements of matrices below which a part of a token is not worth a thread.
const MIN_ELEMENTS: usize = 1 << 14;

/// The shape of what the heads of a layer remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaShape {
    /// Heads, each with a matrix (key_dim, value_dim).
    pub n_heads: usize,
    /// Width of a key and of a query.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
    /// Width of what the convolution before the heads meets.
    pub channels: usize,
    /// Positions that its kernel spans.
    pub width: usize,
}

impl DeltaShape {
    /// Elements of a head: its matrix, then what it gave last.
    fn head_len(&self) -> usize {
        (self.key_dim + 1) * self.value_dim
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

/// What the heads of a layer remember of a text, as f32: of each block of 32 positions what stands after its last token,
/// `[head][key_dim + 1][value_dim]`, the last row being what the head gave, then `[width - 1][channels]` inputs of the convolution,
/// the oldest first. A ring of blocks.
pub struct DeltaCache {
    shape: DeltaShape,
    n_blocks: usize,
    data: Vec<f32>,
}

impl DeltaCache {
    /// A cache of an empty text; fails where its memory cannot be allocated.
    pub fn new(shape: DeltaShape, n_blocks: usize) -> Result<Self> {
        assert!(shape.len() > 0 && n_blocks > 0, "an empty cache of a delta net");
        let mut data = Vec::new();
        let n = n_blocks.checked_mul(shape.len()).filter(|n| room::reserve(&mut data, *n)).ok_or_else(|| {
            let message = format!("no memory for {n_blocks} states of {} bytes", shape.block_bytes());
            Error::new(Kind::Resources, message).remedy(Remedy::ShorterContext)
        })?;
        data.resize(n, 0.0);
        Ok(DeltaCache { shape, n_blocks, data })
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
}

/// Consecutive tokens of one text, and what their convolution meets.
#[derive(Clone, Copy)]
pub struct DeltaSpan<'a> {
    /// What is remembered of the text before them.
    pub cache: &'a DeltaCache,
    /// Position of the first of them in their text.
    pub start: usize,
    /// Their inputs, (n_tokens, channels).
    pub inputs: &'a [f32],
}

impl<'a> ConvInputs<'a> for DeltaSpan<'a> {
    fn channels(&self) -> usize {
        self.cache.shape.channels
    }

    fn positions(&self) -> Range<usize> {
        self.start..self.start + self.inputs.len() / self.cache.shape.channels
    }

    fn row(&self, position: usize) -> &'a [f32] {
        let DeltaShape { channels, width, .. } = self.cache.shape;
        match position.checked_sub(self.start) {
            Some(token) => &self.inputs[token * channels..][..channels],
            None => &self.cache.inputs(self.start)[(width - 1 - (self.start - position)) * channels..][..channels],
        }
    }
}

/// Makes the square of the length of each head of `heads` (.., key_dim) that part of one: `x / sqrt((sum(x^2) + 1e-6) * divisor)`.
pub fn unit_length(compute: &Compute, heads: &mut [f32], key_dim: usize, divisor: f32) {
    assert!(key_dim > 0 && heads.len().is_multiple_of(key_dim), "{} elements in heads of {key_dim}", heads.len());
    (compute.kernels.unit_length)(heads, key_dim, divisor);
}

/// How much of its matrix a head keeps, for each of `x` (T, n_heads) in its place: `exp(-exp(rate) * ln(1 + exp(x)))`; `rates`
/// (n_heads).
pub fn decays(x: &mut [f32], rates: &[f32]) {
    for row in x.chunks_exact_mut(rates.len()) {
        for (x, rate) in row.iter_mut().zip(rates) {
            let soft = if *x > STRAIGHT { *x } else { ln_f64(1.0 + exp_f64(f64::from(*x))) as f32 };
            *x = exp(-exp(*rate) * soft);
        }
    }
}

/// What the heads of a layer meet at some tokens.
#[derive(Clone, Copy)]
pub struct DeltaInputs<'a> {
    /// (T, channels): queries and keys of `n_key_heads` heads, then values.
    pub mixed: &'a [f32],
    /// Heads of queries and keys, each shared by `n_heads / n_key_heads` consecutive heads.
    pub n_key_heads: usize,
    /// (T, n_heads).
    pub decays: &'a [f32],
    /// (T, n_heads).
    pub strengths: &'a [f32],
    /// (T, channels): what the convolution met.
    pub inputs: &'a [f32],
}

/// Lets tokens of one text from `position` on change what `cache` remembers, one after the other; `out` (T, n_heads, value_dim) is
/// what the heads give at each.
///
/// `S = decay * S; S = S + k (strength * (v - S^T k))^T; out = S^T q` of each head.
pub fn delta_rule(
    compute: &Compute,
    cache: &mut DeltaCache,
    position: usize,
    given: &DeltaInputs<'_>,
    out: &mut [f32],
) {
    let shape @ DeltaShape { n_heads, key_dim, value_dim, channels, .. } = cache.shape;
    let n_tokens = given.mixed.len() / channels;
    assert!(given.mixed.len() == n_tokens * channels && given.inputs.len() == n_tokens * channels, "rows of channels");
    assert!(out.len() == n_tokens * n_heads * value_dim, "{} outputs of {n_tokens} tokens", out.len());
    assert!(n_heads.is_multiple_of(given.n_key_heads), "{n_heads} heads share {}", given.n_key_heads);
    assert!(channels == (2 * given.n_key_heads * key_dim) + n_heads * value_dim, "{channels} channels");
    let (heads_len, group) = (n_heads * shape.head_len(), n_heads / given.n_key_heads);
    let min_heads = MIN_ELEMENTS.div_ceil(shape.head_len());
    for (t, out) in out.chunks_exact_mut(n_heads * value_dim).enumerate() {
        let state = cache.begin(position + t);
        let (heads, inputs) = state.split_at_mut(heads_len);
        let (keys, values) = given.mixed[t * channels..][..channels].split_at(2 * given.n_key_heads * key_dim);
        let (queries, keys) = keys.split_at(given.n_key_heads * key_dim);
        let [decays, strengths] = [given.decays, given.strengths].map(|all| &all[t * n_heads..][..n_heads]);
        compute.threads.run_columns(heads, heads_len, shape.head_len(), min_heads, &|units, mut columns| {
            for (head, state) in units.zip(columns.row(0).chunks_exact_mut(shape.head_len())) {
                let key = head / group * key_dim..(head / group + 1) * key_dim;
                let value = &values[head * value_dim..][..value_dim];
                let [decay, strength] = [decays[head], strengths[head]];
                (compute.kernels.delta)(state, &queries[key.clone()], &keys[key], value, decay, strength);
            }
        });
        for (out, head) in out.chunks_exact_mut(value_dim).zip(heads.chunks_exact(shape.head_len())) {
            out.copy_from_slice(&head[key_dim * value_dim..]);
        }
        if let Some(rest) = inputs.len().checked_sub(channels) {
            inputs.copy_within(channels.., 0);
            inputs[rest..].copy_from_slice(&given.inputs[t * channels..][..channels]);
        }
    }
}
