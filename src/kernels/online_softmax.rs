//! The order in which attention streams over one KV head: scores, running softmax and weighted sum, block by block, after
//! Milakov and Gimelshein 2018, "Online normalizer calculation for softmax". Each backend brings its own products.

use super::PanelOut;
use super::attention::{BLOCK, QUERY_ROWS, Query};
use super::lanes::{self, LANES, sum};
use super::math::exp;
#[cfg(not(feature = "std"))]
use super::soft::Soft;
use crate::quant::PANEL_ROWS;
use core::ops::Range;

/// The most queries that one reading of a panel serves.
pub(super) const AT_ONCE: usize = 4;

/// The running softmax of one query: the largest score so far, and the sum of exp(score - max).
#[derive(Clone, Copy)]
pub(super) struct State {
    pub(super) max: f32,
    sum: f32,
}

/// Attention of `queries`, in the order of their tokens, over a ring of `n_blocks` blocks, by the products of a backend, which
/// are given slots of the ring:
///
/// - `prepare(slot)` is called once for each block, before the others, and makes the `S` that the two products read;
/// - `scores(s, first, queries, slot, seen, p)` writes q k^T of up to [`AT_ONCE`] queries, the first being number `first`,
///   with the keys of a block to `p`, of which those of the panels that hold positions in `seen` are wanted, see [`by_panel`];
/// - `softmax(p, seen, scale, states, queries)` turns them into probabilities, as [`softmax`] does;
/// - `weigh(s, queries, p, slot, seen)` adds the values of the positions `seen` of a block, weighted by `p`, to each
///   `out` of up to [`AT_ONCE`] queries; the other slots of `p` are 0.
#[inline(always)]
pub(super) fn attend<S>(
    queries: &mut [Query<'_>],
    n_blocks: usize,
    s: &mut S,
    prepare: impl Fn(&mut S, usize),
    scores: impl Fn(&S, usize, &[Query<'_>], usize, &Range<usize>, &mut [[f32; BLOCK]]),
    softmax: impl Fn(&mut [[f32; BLOCK]], &Range<usize>, f32, &mut [State], &mut [Query<'_>]),
    weigh: impl Fn(&S, &mut [Query<'_>], &[[f32; BLOCK]], usize, Range<usize>),
) {
    let scale = 1.0 / (queries[0].q.len() as f32).sqrt();
    let mut states = [State { max: f32::NEG_INFINITY, sum: 0.0 }; QUERY_ROWS];
    for (state, query) in states.iter_mut().zip(queries.iter()) {
        (state.max, state.sum) = query.scoring.start();
    }
    let mut p = [[0.0; BLOCK]; QUERY_ROWS];
    let (mut start, mut end) = (usize::MAX, 0);
    for query in queries.iter_mut() {
        query.out.fill(0.0);
        (start, end) = (start.min(query.visible.start), end.max(query.visible.end));
    }
    for block in start / BLOCK..end.div_ceil(BLOCK) {
        let slot = block % n_blocks;
        prepare(s, slot);
        let mut first = 0;
        while first < queries.len() {
            let seen = seen(&queries[first].visible, block);
            let alike = queries[first..].iter().take(AT_ONCE).take_while(|q| self::seen(&q.visible, block) == seen);
            let last = first + alike.count();
            if !seen.is_empty() {
                let (queries, p) = (&mut queries[first..last], &mut p[first..last]);
                scores(s, first, queries, slot, &seen, p);
                let scale = score(p, queries, block, scale);
                softmax(p, &seen, scale, &mut states[first..last], queries);
                weigh(s, queries, p, slot, seen);
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

/// What happens to the products `p` of block `block` by the queries' [`Scoring`](super::Scoring), if anything does; returns what they
/// are still to be multiplied by.
#[inline(always)]
fn score(p: &mut [[f32; BLOCK]], queries: &[Query<'_>], block: usize, scale: f32) -> f32 {
    if queries.iter().all(|query| query.scoring.is_plain()) {
        return scale;
    }
    for (p, query) in p.iter_mut().zip(queries) {
        let last = (query.visible.end - 1) as f32 - (block * BLOCK) as f32;
        for (j, p) in p.iter_mut().enumerate() {
            *p = query.scoring.apply(*p * scale, last - j as f32);
        }
    }
    1.0
}

/// The slots of block `block` whose positions are in `visible`.
#[inline(always)]
fn seen(visible: &Range<usize>, block: usize) -> Range<usize> {
    let slot = |position: usize| position.saturating_sub(block * BLOCK).min(BLOCK);
    slot(visible.start)..slot(visible.end)
}

/// Scores of the block in slot `slot` by those of its panels: `scores(panel, out)` writes those of the queries with the 16 keys of a
/// panel to `out`, one for each of `p`.
#[inline(always)]
pub(super) fn by_panel(
    slot: usize,
    seen: &Range<usize>,
    p: &mut [[f32; BLOCK]],
    scores: impl Fn(usize, &mut [PanelOut]),
) {
    for panel in seen.start / PANEL_ROWS..seen.end.div_ceil(PANEL_ROWS) {
        let mut out = [PanelOut::default(); AT_ONCE];
        scores(slot * (BLOCK / PANEL_ROWS) + panel, &mut out[..p.len()]);
        for (p, out) in p.iter_mut().zip(&out) {
            p.as_chunks_mut().0[panel] = *out;
        }
    }
}

/// Turns the products `p` of a block with each query into probabilities by the running maximum; where that grows, the output
/// of the query is scaled to it.
#[inline(always)]
pub(super) fn softmax(
    p: &mut [[f32; BLOCK]],
    seen: &Range<usize>,
    scale: f32,
    states: &mut [State],
    queries: &mut [Query<'_>],
) {
    for ((p, state), query) in p.iter_mut().zip(states).zip(queries) {
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
        let max = lanes::largest(largest);
        for p in p.iter_mut() {
            *p = exp(*p - max);
        }
        state.add(max, sum(p), query.out);
    }
}

impl State {
    /// Adds a block of probabilities of this `sum` by the maximum `max`, to which `out` and the sum so far are scaled.
    #[inline(always)]
    pub(super) fn add(&mut self, max: f32, sum: f32, out: &mut [f32]) {
        // Where the maximum stays, the correction is exp(0) = 1 and changes nothing.
        if max > self.max {
            let correction = exp(self.max - max);
            self.sum *= correction;
            for y in out {
                *y *= correction;
            }
        }
        self.sum += sum;
        self.max = max;
    }
}
