//! Attention over the KV cache.

use super::kv_cache::KvLayer;
use crate::compute::Compute;
use crate::kernels::{QUERY_ROWS, Query};

/// Multiply-adds below which a part of an attention is not worth a thread.
const MIN_MACS: usize = 1 << 16;

/// softmax(q k^T / sqrt(head_dim)) v for T tokens at `start_position ..`, whose keys and values are stored:
/// `q`, `out` (T, n_heads, head_dim), each `n_heads / n_kv_heads` consecutive heads sharing a KV head.
///
/// The token at position p sees `0..=p`, or with a `window` only its last `window` positions. Keys and values are read
/// once for [`QUERY_ROWS`] queries, heads of some tokens, so that a long prompt meets them in cache.
pub fn attention(
    compute: &Compute,
    q: &[f32],
    n_heads: usize,
    kv: &KvLayer<'_>,
    start_position: usize,
    window: Option<usize>,
    out: &mut [f32],
) {
    let ((n_kv_heads, head_dim), context_length) = (kv.cache.heads(), kv.cache.context_length());
    assert!(n_heads > 0 && n_heads.is_multiple_of(n_kv_heads), "{n_heads} heads share {n_kv_heads}");
    assert!(window != Some(0), "an empty window");
    let (group, width) = (n_heads / n_kv_heads, n_heads * head_dim);
    assert!(q.len() == out.len() && q.len().is_multiple_of(width), "{} queries, {} outputs", q.len(), out.len());
    let n_tokens = q.len() / width;
    assert!(n_tokens <= context_length && start_position <= context_length - n_tokens, "position {start_position}");
    if n_tokens == 0 {
        return;
    }
    let window = window.unwrap_or(usize::MAX);
    let seen = (start_position + n_tokens).min(window);
    let min_heads = MIN_MACS.div_ceil(2 * n_tokens * seen * head_dim);
    compute.threads.run_columns(out, width, head_dim, min_heads, &|heads, mut out| {
        let mut head = heads.start;
        while head < heads.end {
            let kv_head = head / group;
            let end = heads.end.min((kv_head + 1) * group).min(head + QUERY_ROWS);
            let tokens_at_once = QUERY_ROWS / (end - head);
            for first in (0..n_tokens).step_by(tokens_at_once) {
                let tokens = first..(first + tokens_at_once).min(n_tokens);
                let mut queries: [Query<'_>; QUERY_ROWS] = core::array::from_fn(|_| Query::default());
                let mut slots = queries.iter_mut();
                for (t, out) in tokens.clone().zip(out.rows(tokens.clone())) {
                    let q = &q[t * width..][head * head_dim..end * head_dim];
                    let out = &mut out[(head - heads.start) * head_dim..(end - heads.start) * head_dim];
                    let position = start_position + t;
                    let visible = (position + 1).saturating_sub(window)..position + 1;
                    let pairs = q.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim));
                    for ((q, out), slot) in pairs.zip(&mut slots) {
                        *slot = Query { q, out, visible: visible.clone() };
                    }
                }
                kv.attend(compute, kv_head, &mut queries[..tokens.len() * (end - head)]);
            }
            head = end;
        }
    });
}
