//! The inputs of attention over one KV head: queries, and cached keys and values in blocks of 32 absolute positions
//! (docs/numerics.md).
//!
//! Keys are laid out as weights are: 16 positions are a panel, so that scores have no sums across lanes. For int8 the
//! values are panels as well, 16 elements of a head by 32 positions, multiplied with quantized probabilities.

use super::Group;
use super::math::soft_cap;
use super::rotate::rotate;
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, panel_bytes};
use core::ops::Range;

/// Positions of a block; block `b` holds the positions `32 b .. 32 b + 32`, wherever a range starts.
pub const BLOCK: usize = 32;
/// The most query rows of one call.
pub const QUERY_ROWS: usize = 32;
/// The most groups of 32 elements of a head in int8.
pub const MAX_HEAD_GROUPS: usize = 8;

/// One query: a head of a token, and what it sees.
#[derive(Default)]
pub struct Query<'a> {
    /// (head_dim).
    pub q: &'a [f32],
    /// The result, softmax(q k^T / sqrt(head_dim)) v: (head_dim).
    pub out: &'a mut [f32],
    /// The positions seen; not empty. Those of all queries of a call together are no more than the head has room for.
    pub visible: Range<usize>,
    /// What happens to its scores.
    pub scoring: Scoring,
}

/// What happens to the scores of a query, the products divided by the root of head_dim, before their softmax.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scoring {
    /// A score s becomes `cap * tanh(s / cap)`, which is smaller than the cap (Bello et al. 2016; Gemma 2).
    pub cap: Option<f32>,
    /// So much is subtracted for each position that a key is before the last that is seen (Press et al. 2022, ALiBi).
    pub slope: f32,
    /// One more score, which takes its share of the softmax and has no value (Agarwal et al. 2025, gpt-oss).
    pub sink: Option<f32>,
}

impl Scoring {
    /// Nothing happens to those of keys.
    pub(super) fn is_plain(self) -> bool {
        self.cap.is_none() && self.slope == 0.0
    }

    /// The largest score and the sum of exp(score - largest) before the first key.
    #[inline(always)]
    pub(super) fn start(self) -> (f32, f32) {
        self.sink.map_or((f32::NEG_INFINITY, 0.0), |sink| (sink, 1.0))
    }

    /// The score of the key that is `distance` positions before the last that is seen.
    #[inline(always)]
    pub(super) fn apply(self, score: f32, distance: f32) -> f32 {
        let score = match self.cap {
            Some(cap) => soft_cap(score, cap),
            None => score,
        };
        score - self.slope * distance
    }
}

/// The cached keys and values of one KV head, as halves or floats.
pub struct KvHead<'a, E> {
    /// `[positions / 16][head_dim][16]`.
    pub keys: &'a [E],
    /// (positions, head_dim).
    pub values: &'a [E],
}

/// The cached keys and values of one KV head, as int8.
pub struct KvHeadInt8<'a> {
    /// int8 panels of 16 positions, head_dim columns each, as in [`quant`](crate::quant).
    pub keys: &'a [u8],
    /// Blocks of 32 positions, see [`value_block_bytes`].
    pub values: &'a [u8],
}

/// Bytes of the int8 values of 32 positions of a head: `[32]` f16 scales, then `[ceil(head_dim / 16)][8][16][4]` codes,
/// the value of position `4 j + i` and element `16 m + r` at `[m][j][r][i]`.
pub const fn value_block_bytes(head_dim: usize) -> usize {
    BLOCK * 2 + head_dim.div_ceil(PANEL_ROWS) * PANEL_ROWS * BLOCK
}

/// Checks that `queries` agree with each other and that the head has room for the positions that they see; returns head_dim
/// and the number of blocks that there is room for, which is `n_blocks(head_dim)`.
///
/// The head is a ring: block `b` of a text lies in slot `b % n_blocks`.
#[inline]
pub(super) fn check_queries(queries: &[Query<'_>], n_blocks: impl Fn(usize) -> usize) -> (usize, usize) {
    assert!((1..=QUERY_ROWS).contains(&queries.len()), "{} queries", queries.len());
    let head_dim = queries[0].q.len();
    assert!(head_dim > 0, "an empty head");
    let n_blocks = n_blocks(head_dim);
    let (mut start, mut end) = (usize::MAX, 0);
    for query in queries {
        assert!(query.q.len() == head_dim && query.out.len() == head_dim, "queries and outputs of {head_dim}");
        assert!(query.visible.start < query.visible.end, "positions");
        (start, end) = (start.min(query.visible.start), end.max(query.visible.end));
    }
    assert!(end.div_ceil(BLOCK) - start / BLOCK <= n_blocks, "positions");
    (head_dim, n_blocks)
}

impl<E> KvHead<'_, E> {
    /// Number of blocks that there is room for.
    pub(super) fn n_blocks(&self, head_dim: usize) -> usize {
        assert!(self.keys.len() == self.values.len(), "keys and values");
        self.keys.len() / head_dim / BLOCK
    }
}

/// The values of a block of some consecutive elements of a head, which share the scale of a position.
pub(super) struct Values<'a> {
    /// The first of the elements.
    pub(super) start: usize,
    /// `[32]` f16.
    pub(super) scales: &'a [u8; BLOCK * 2],
    /// Panels of 16 elements: `[8][16][4]` codes, as [`value_block_bytes`] says.
    pub(super) codes: &'a [[u8; PANEL_ROWS * GROUP_SIZE]],
}

/// A KV head whose blocks lie before the loops as int8, be it that they are stored so or that each is unpacked before it is
/// read. Blocks are slots of a ring.
pub(super) trait Blocks {
    /// Keys and values are [`rotate`]d.
    const ROTATED: bool;

    /// Number of blocks that there is room for.
    fn n_blocks(&self, head_dim: usize) -> usize;

    /// The stored keys and the stored values, each with the bytes of a block.
    #[cfg(target_arch = "x86_64")]
    fn stored(&self, head_dim: usize) -> [(&[u8], usize); 2];

    /// Is called before the keys and values of block `slot` are read.
    fn prepare(&mut self, slot: usize, head_dim: usize);

    /// Panel `panel` of the keys.
    fn key_panel(&self, panel: usize, head_dim: usize) -> &[u8];

    /// The values of block `slot`.
    fn values(&self, slot: usize, head_dim: usize) -> impl Iterator<Item = Values<'_>>;
}

impl Blocks for &KvHeadInt8<'_> {
    const ROTATED: bool = false;

    fn n_blocks(&self, head_dim: usize) -> usize {
        assert!(head_dim <= MAX_HEAD_GROUPS * GROUP_SIZE, "int8 heads of {head_dim}");
        let blocks = self.values.len() / value_block_bytes(head_dim);
        assert!(self.keys.len() >= blocks * 2 * panel_bytes(Dtype::Int8, head_dim), "keys and values");
        blocks
    }

    #[inline(always)]
    #[cfg(target_arch = "x86_64")]
    fn stored(&self, head_dim: usize) -> [(&[u8], usize); 2] {
        [(self.keys, 2 * panel_bytes(Dtype::Int8, head_dim)), (self.values, value_block_bytes(head_dim))]
    }

    #[inline(always)]
    fn prepare(&mut self, _: usize, _: usize) {}

    #[inline(always)]
    fn key_panel(&self, panel: usize, head_dim: usize) -> &[u8] {
        let bytes = panel_bytes(Dtype::Int8, head_dim);
        &self.keys[panel * bytes..][..bytes]
    }

    #[inline(always)]
    fn values(&self, slot: usize, head_dim: usize) -> impl Iterator<Item = Values<'_>> {
        let bytes = value_block_bytes(head_dim);
        let (scales, codes) = self.values[slot * bytes..][..bytes].split_first_chunk().expect("at least the scales");
        core::iter::once(Values { start: 0, scales, codes: codes.as_chunks().0 })
    }
}

/// The quantized queries of one call, `[query][MAX_HEAD_GROUPS]`.
pub(super) type QuantizedQueries = [[Group; MAX_HEAD_GROUPS]; QUERY_ROWS];

/// Quantizes each query as the inputs of a product are, rotated where keys are.
#[inline(always)]
pub(super) fn quantize_queries<B: Blocks>(
    queries: &[Query<'_>],
    quantize: impl Fn(&[f32], &mut [Group]),
) -> QuantizedQueries {
    let mut out = [[Group::ZERO; MAX_HEAD_GROUPS]; QUERY_ROWS];
    for (query, out) in queries.iter().zip(&mut out) {
        let out = &mut out[..query.q.len().div_ceil(GROUP_SIZE)];
        if B::ROTATED {
            let mut rotated = [0.0; MAX_HEAD_GROUPS * GROUP_SIZE];
            let rotated = &mut rotated[..query.q.len()];
            rotated.copy_from_slice(query.q);
            rotate(rotated);
            quantize(rotated, out);
        } else {
            quantize(query.q, out);
        }
    }
    out
}

/// Rotates the outputs back where values are rotated.
#[inline(always)]
pub(super) fn rotate_outputs<B: Blocks>(queries: &mut [Query<'_>]) {
    if B::ROTATED {
        queries.iter_mut().for_each(|query| rotate(query.out));
    }
}
