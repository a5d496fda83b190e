//! Attention over KV caches.

use super::kv_cache::KvCache;
use crate::compute::Compute;
use crate::kernels::{QUERY_ROWS, Query, Scoring};

/// Multiply-adds below which a part of an attention is not worth a thread.
const MIN_MACS: u64 = 1 << 16;

/// Consecutive tokens of one text, and the cache that holds their keys and values.
#[derive(Clone, Copy)]
pub struct KvSpan<'a> {
    /// The cache, of the same heads for all spans.
    pub cache: &'a KvCache,
    /// Position of the first of them in their text.
    pub start: usize,
    /// Number of tokens.
    pub n_tokens: usize,
}

/// What happens to the scores of an attention's heads, see [`Scoring`].
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScoring<'a> {
    /// What they are smaller than.
    pub cap: Option<f32>,
    /// What each head subtracts for a position, (n_heads); empty: nothing.
    pub slopes: &'a [f32],
    /// The score of each head that has no value, (n_heads); empty: there is none.
    pub sinks: &'a [f32],
}

/// softmax(q k^T / sqrt(head_dim)) v for the tokens of `spans`, one after the other, whose keys and values are stored:
/// `q`, `out` (T, n_heads, head_dim), each `n_heads / n_kv_heads` consecutive heads sharing a KV head.
///
/// The token at position p of its text sees `0..=p`, or with a `window` only its last `window` positions. Keys and values
/// are read once for [`QUERY_ROWS`] queries, which are heads of some tokens, so that a long prompt finds them in cache.
pub fn attention<'a>(
    compute: &Compute,
    q: &[f32],
    n_heads: usize,
    spans: impl Iterator<Item = KvSpan<'a>> + Clone + Sync,
    window: Option<usize>,
    scoring: HeadScoring<'_>,
    out: &mut [f32],
) {
    assert!(scoring.slopes.is_empty() || scoring.slopes.len() == n_heads, "a slope for each head");
    assert!(scoring.sinks.is_empty() || scoring.sinks.len() == n_heads, "a sink for each head");
    assert!(window != Some(0), "an empty window");
    let Some(first) = spans.clone().next() else { return };
    let shape = first.cache.shape();
    let (n_kv_heads, head_dim) = (shape.n_kv_heads, shape.head_dim);
    assert!(n_heads > 0 && n_heads.is_multiple_of(n_kv_heads), "{n_heads} heads share {n_kv_heads}");
    let (group, width) = (n_heads / n_kv_heads, n_heads * head_dim);
    let (mut n_tokens, mut seen) = (0, 0_u64);
    for span in spans.clone() {
        let shape = span.cache.shape();
        assert!((shape.n_kv_heads, shape.head_dim) == (n_kv_heads, head_dim), "caches of other heads");
        n_tokens += span.n_tokens;
        seen += span.n_tokens as u64 * (span.start + span.n_tokens).min(window.unwrap_or(usize::MAX)) as u64;
    }
    assert!(q.len() == out.len() && q.len() == n_tokens * width, "{} queries, {} outputs", q.len(), out.len());
    if n_tokens == 0 {
        return;
    }
    let min_heads = MIN_MACS.div_ceil(2 * seen * head_dim as u64) as usize;
    compute.threads.run_columns(out, width, head_dim, min_heads, &|heads, mut out| {
        let mut head = heads.start;
        while head < heads.end {
            let kv_head = head / group;
            let end = heads.end.min((kv_head + 1) * group).min(head + QUERY_ROWS);
            let columns = (head - heads.start) * head_dim..(end - heads.start) * head_dim;
            let mut first = 0;
            for span in spans.clone() {
                let q = &q[first * width..(first + span.n_tokens) * width];
                let q = q.chunks_exact(width).map(|q| &q[head * head_dim..end * head_dim]);
                let rows = out.rows(first..first + span.n_tokens).map(|row| &mut row[columns.clone()]);
                let scoring = |i: usize| Scoring {
                    cap: scoring.cap,
                    slope: scoring.slopes.get(head + i).copied().unwrap_or(0.0),
                    sink: scoring.sinks.get(head + i).copied(),
                };
                attend(compute, &span, kv_head, window, scoring, q.zip(rows));
                first += span.n_tokens;
            }
            head = end;
        }
    });
}

/// Attention over KV head `kv_head` of `span` for the queries and outputs `rows` of its tokens, some heads of each, the i-th of which
/// has the scores `scoring(i)`.
fn attend<'q>(
    compute: &Compute,
    span: &KvSpan<'_>,
    kv_head: usize,
    window: Option<usize>,
    scoring: impl Fn(usize) -> Scoring,
    rows: impl Iterator<Item = (&'q [f32], &'q mut [f32])>,
) {
    let (head_dim, window) = (span.cache.shape().head_dim, window.unwrap_or(usize::MAX));
    let mut queries: [Query<'_>; QUERY_ROWS] = core::array::from_fn(|_| Query::default());
    let mut n = 0;
    for (position, (q, out)) in (span.start..).zip(rows) {
        if n + q.len() / head_dim > QUERY_ROWS {
            span.cache.attend(compute, kv_head, &mut queries[..n]);
            n = 0;
        }
        let visible = (position + 1).saturating_sub(window)..position + 1;
        for (i, (q, out)) in q.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)).enumerate() {
            queries[n] = Query { q, out, visible: visible.clone(), scoring: scoring(i) };
            n += 1;
        }
    }
    if n > 0 {
        span.cache.attend(compute, kv_head, &mut queries[..n]);
    }
}
