//! Attention of one token, written once for every backend: scores, running softmax and weighted sum over blocks of 32
//! absolute positions (docs/numerics.md).

use super::math::exp;
use core::ops::Range;

/// Positions of a block; block `b` holds the positions `32 b .. 32 b + 32`, wherever a range starts.
pub(super) const BLOCK: usize = 32;
/// Query heads whose softmax state is kept at once.
const HEADS_AT_ONCE: usize = 16;

/// The query heads of one token that share a KV head, and what they see.
#[derive(Clone)]
pub struct Heads<'a, E> {
    /// Queries (n_heads, head_dim).
    pub q: &'a [f32],
    /// Keys (positions, head_dim).
    pub k: &'a [E],
    /// Values (positions, head_dim).
    pub v: &'a [E],
    /// Elements of a head.
    pub head_dim: usize,
    /// The positions seen; not empty.
    pub visible: Range<usize>,
}

/// Writes softmax(q k^T / sqrt(head_dim)) v for each head into `out` (n_heads, head_dim).
///
/// The two inner loops differ between backends in how they widen `E` and in instructions, never in order:
/// `dot(q, k)` is the sum of `q[i] * k[i]` in the 16-lane order; `add_weighted(out, p, v)`, with `v` of shape
/// (p.len(), out.len()), adds `p[j] * v[j][i]` to `out[i]` for each `j` in order.
#[inline(always)]
pub(super) fn attend<E>(
    heads: &Heads<'_, E>,
    out: &mut [f32],
    dot: impl Fn(&[f32], &[E]) -> f32,
    add_weighted: impl Fn(&mut [f32], &[f32], &[E]),
) {
    let Heads { q, k, v, head_dim, ref visible } = *heads;
    assert!(head_dim > 0 && q.len().is_multiple_of(head_dim) && q.len() == out.len(), "queries and outputs");
    assert!(visible.start < visible.end && visible.end <= k.len() / head_dim && k.len() == v.len(), "positions");
    let scale = 1.0 / (head_dim as f32).sqrt();
    let at_once = HEADS_AT_ONCE * head_dim;
    for (q, out) in q.chunks(at_once).zip(out.chunks_mut(at_once)) {
        let mut state = [(f32::NEG_INFINITY, 0.0_f32); HEADS_AT_ONCE];
        out.fill(0.0);
        let mut start = visible.start;
        while start < visible.end {
            let end = (start / BLOCK * BLOCK + BLOCK).min(visible.end);
            let elements = start * head_dim..end * head_dim;
            let (k, v) = (&k[elements.clone()], &v[elements]);
            let heads = q.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)).zip(&mut state);
            for ((q, out), (max, sum)) in heads {
                let mut p = [f32::NEG_INFINITY; BLOCK];
                let seen = &mut p[start % BLOCK..][..end - start];
                let before = *max;
                for (score, k) in seen.iter_mut().zip(k.chunks_exact(head_dim)) {
                    *score = dot(q, k) * scale;
                    *max = if *score > *max { *score } else { *max };
                }
                for p in &mut p {
                    *p = exp(*p - *max);
                }
                let correction = exp(before - *max);
                *sum = *sum * correction + super::lanes::sum(&p);
                for y in out.iter_mut() {
                    *y *= correction;
                }
                add_weighted(out, &p[start % BLOCK..][..end - start], v);
            }
            start = end;
        }
        for (out, (_, sum)) in out.chunks_exact_mut(head_dim).zip(&state) {
            for y in out {
                *y /= *sum;
            }
        }
    }
}
