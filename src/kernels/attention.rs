//! Attention that streams over one KV head: scores, running softmax and weighted sum over blocks of 32 absolute
//! positions (docs/numerics.md), after Milakov and Gimelshein 2018, "Online normalizer calculation for softmax".
//!
//! Keys are laid out as weights are: 16 positions are a panel, so that scores have no sums across lanes. For int8 the
//! values are panels as well, 16 elements of a head by 32 positions, multiplied with quantized probabilities.

use super::lanes::{LANES, sum};
use super::math::exp;
use super::{Group, PanelOut};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, panel_bytes};
use core::ops::Range;

/// Positions of a block; block `b` holds the positions `32 b .. 32 b + 32`, wherever a range starts.
pub const BLOCK: usize = 32;
/// The most query rows of one call.
pub const QUERY_ROWS: usize = 32;
/// Queries that share what is read of a panel.
pub(super) const AT_ONCE: usize = 4;
/// The most groups of 32 elements of a head in int8.
pub const MAX_HEAD_GROUPS: usize = 8;

/// One query: a head of a token, and what it sees.
#[derive(Default)]
pub struct Query<'a> {
    /// (head_dim).
    pub q: &'a [f32],
    /// The result, softmax(q k^T / sqrt(head_dim)) v: (head_dim).
    pub out: &'a mut [f32],
    /// The positions seen; not empty.
    pub visible: Range<usize>,
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

/// Checks `queries` against each other and returns head_dim.
#[inline]
pub(super) fn check_queries(queries: &[Query<'_>], positions: impl Fn(usize) -> usize) -> usize {
    assert!((1..=QUERY_ROWS).contains(&queries.len()), "{} queries", queries.len());
    let head_dim = queries[0].q.len();
    assert!(head_dim > 0, "an empty head");
    let positions = positions(head_dim);
    for query in queries {
        assert!(query.q.len() == head_dim && query.out.len() == head_dim, "queries and outputs of {head_dim}");
        assert!(query.visible.start < query.visible.end && query.visible.end <= positions, "positions");
    }
    head_dim
}

impl<E> KvHead<'_, E> {
    /// Positions that there is room for, in whole blocks.
    pub(super) fn positions(&self, head_dim: usize) -> usize {
        assert!(self.keys.len() == self.values.len(), "keys and values");
        self.keys.len() / head_dim / BLOCK * BLOCK
    }
}

impl KvHeadInt8<'_> {
    /// Positions that there is room for, in whole blocks.
    pub(super) fn positions(&self, head_dim: usize) -> usize {
        assert!(head_dim <= MAX_HEAD_GROUPS * GROUP_SIZE, "int8 heads of {head_dim}");
        let blocks = self.values.len() / value_block_bytes(head_dim);
        assert!(self.keys.len() >= blocks * 2 * panel_bytes(Dtype::Int8, head_dim), "keys and values");
        blocks * BLOCK
    }

    /// Panel `panel` of the keys.
    pub(super) fn key_panel(&self, panel: usize, head_dim: usize) -> &[u8] {
        let bytes = panel_bytes(Dtype::Int8, head_dim);
        &self.keys[panel * bytes..][..bytes]
    }

    /// Scales and codes of the values of block `block`.
    pub(super) fn value_block(&self, block: usize, head_dim: usize) -> (&[u8; BLOCK * 2], &[[u8; 512]]) {
        let bytes = value_block_bytes(head_dim);
        let (scales, codes) = self.values[block * bytes..][..bytes].split_first_chunk().expect("at least the scales");
        (scales, codes.as_chunks().0)
    }
}

/// The quantized queries of one call, `[query][MAX_HEAD_GROUPS]`.
pub(super) type QuantizedQueries = [[Group; MAX_HEAD_GROUPS]; QUERY_ROWS];

/// Quantizes each query as the inputs of a product are.
#[inline(always)]
pub(super) fn quantize_queries(queries: &[Query<'_>], quantize: impl Fn(&[f32], &mut [Group])) -> QuantizedQueries {
    let mut out = [[Group::ZERO; MAX_HEAD_GROUPS]; QUERY_ROWS];
    for (query, out) in queries.iter().zip(&mut out) {
        quantize(query.q, &mut out[..query.q.len().div_ceil(GROUP_SIZE)]);
    }
    out
}

/// The running softmax of one query: the largest score so far, and the sum of exp(score - max).
#[derive(Clone, Copy)]
struct State {
    max: f32,
    sum: f32,
}

/// Attention of `queries`, in the order of their tokens, by the products of a backend:
///
/// - `prepare(block)` comes before all else of a block, once, and makes what the two products read, an `S`;
/// - `scores(s, first, queries, panel, out)` writes q k^T of up to [`AT_ONCE`] queries, the first being number `first`,
///   with the 16 keys of a panel;
/// - `weigh(s, queries, p, block, seen)` adds the values of the positions `seen` of a block, weighted by `p`, to each
///   `out` of up to [`AT_ONCE`] queries; the other slots of `p` are 0.
#[inline(always)]
pub(super) fn attend<S>(
    queries: &mut [Query<'_>],
    s: &mut S,
    prepare: impl Fn(&mut S, usize),
    scores: impl Fn(&S, usize, &[Query<'_>], usize, &mut [PanelOut]),
    weigh: impl Fn(&S, &mut [Query<'_>], &[[f32; BLOCK]], usize, Range<usize>),
) {
    let scale = 1.0 / (queries[0].q.len() as f32).sqrt();
    let mut states = [State { max: f32::NEG_INFINITY, sum: 0.0 }; QUERY_ROWS];
    let mut p = [[0.0; BLOCK]; QUERY_ROWS];
    let (mut start, mut end) = (usize::MAX, 0);
    for query in queries.iter_mut() {
        query.out.fill(0.0);
        (start, end) = (start.min(query.visible.start), end.max(query.visible.end));
    }
    for block in start / BLOCK..end.div_ceil(BLOCK) {
        prepare(s, block);
        let mut first = 0;
        while first < queries.len() {
            let seen = seen(&queries[first].visible, block);
            let alike = queries[first..].iter().take(AT_ONCE).take_while(|q| self::seen(&q.visible, block) == seen);
            let last = first + alike.count();
            if !seen.is_empty() {
                let (queries, p) = (&mut queries[first..last], &mut p[first..last]);
                for panel in seen.start / PANEL_ROWS..seen.end.div_ceil(PANEL_ROWS) {
                    let mut out = [PanelOut::default(); AT_ONCE];
                    scores(s, first, queries, 2 * block + panel, &mut out[..queries.len()]);
                    for (p, out) in p.iter_mut().zip(&out) {
                        p.as_chunks_mut().0[panel] = *out;
                    }
                }
                for ((query, p), state) in queries.iter_mut().zip(p.iter_mut()).zip(&mut states[first..last]) {
                    softmax(p, &seen, scale, state, query.out);
                }
                weigh(s, queries, p, block, seen);
            }
            first = last;
        }
    }
    for (query, state) in queries.iter_mut().zip(&states) {
        for y in query.out.iter_mut() {
            *y /= state.sum;
        }
    }
}

/// The slots of block `block` whose positions are in `visible`.
#[inline(always)]
fn seen(visible: &Range<usize>, block: usize) -> Range<usize> {
    let slot = |position: usize| position.saturating_sub(block * BLOCK).min(BLOCK);
    slot(visible.start)..slot(visible.end)
}

/// Turns the products `p` of a block into probabilities by the running maximum; `out` is set right for a larger one.
#[inline(always)]
fn softmax(p: &mut [f32; BLOCK], seen: &Range<usize>, scale: f32, state: &mut State, out: &mut [f32]) {
    for p in p.iter_mut() {
        *p *= scale;
    }
    if seen.len() < BLOCK {
        p[..seen.start].fill(f32::NEG_INFINITY);
        p[seen.end..].fill(f32::NEG_INFINITY);
    }
    let mut largest = [state.max; LANES];
    for p in p.as_chunks::<LANES>().0 {
        for (largest, p) in largest.iter_mut().zip(p) {
            *largest = if *p > *largest { *p } else { *largest };
        }
    }
    let max = largest.into_iter().fold(state.max, |max, s| if s > max { s } else { max });
    for p in p.iter_mut() {
        *p = exp(*p - max);
    }
    // Where the maximum stays, the correction is exp(0) = 1 and changes nothing.
    if max > state.max {
        let correction = exp(state.max - max);
        state.sum *= correction;
        for y in out.iter_mut() {
            *y *= correction;
        }
    }
    state.sum += sum(p);
    state.max = max;
}
