//! Attention over one KV head, see [`attention`](super::super::attention): scores, softmax and weighted sum of up to four queries at
//! a time, whose sums stay in registers.

use super::super::attention::{
    BLOCK, Blocks, KvHead, KvHeadInt8, Query, check_queries, quantize_queries, rotate_outputs,
};
use super::super::avx2;
use super::super::kv4::{KvHeadQ4, Unpacked};
use super::super::math::exp;
use super::super::online_softmax::{AT_ONCE, State, attend, by_panel};
use super::super::x86::Int8Panel;
use super::super::{Group, Hint, PanelOut};
use super::{add_group, dots, load_f32, prefetch, unsigned, widen};
use crate::quant::PANEL_ROWS;
use bytemuck::{must_cast, must_cast_ref};
use core::arch::x86_64::*;
use core::ops::Range;

/// Elements of a head between two checks of bounds.
const UNROLL: usize = 8;
/// Registers of a position's values whose weighted sums are taken at once.
const COLUMNS: usize = 4;

/// Elements of the keys of a block, or of its values, that are widened once for all queries, at most: they lie on the stack.
const WIDE_BLOCK: usize = BLOCK * 64;

/// Same as [`scalar::attend_f16`](super::super::scalar::attend_f16).
#[target_feature(enable = "avx2,avx512f")]
pub(in super::super) fn attend_f16(queries: &mut [Query<'_>], head: &KvHead<'_, u16>, hint: Hint) {
    let elements = BLOCK * queries[0].q.len();
    if queries.len() <= AT_ONCE || elements > WIDE_BLOCK {
        return attend_head(queries, head, hint, |x: &[u16; 16]| widen(must_cast_ref(x)));
    }
    let (_, n_blocks) = check_queries(queries, |head_dim| head.n_blocks(head_dim));
    let prepare = |(keys, values): &mut Wide<'_>, block: usize| {
        prefetch_next(head, block, elements, hint);
        widen_all(&head.keys[block * elements..][..elements], &mut keys[..]);
        widen_all(&head.values[block * elements..][..elements], &mut values[..]);
    };
    let (mut keys, mut values) = ([0.0; WIDE_BLOCK], [0.0; WIDE_BLOCK]);
    let mut wide = (&mut keys, &mut values);
    let read = |x: &[f32; 16]| load_f32(x);
    attend_blocks(queries, n_blocks, &mut wide, prepare, |(k, v), _| (&k[..elements], &v[..elements]), read);
}

/// Same as [`scalar::attend_f32`](super::super::scalar::attend_f32).
#[target_feature(enable = "avx2,avx512f")]
pub(in super::super) fn attend_f32(queries: &mut [Query<'_>], head: &KvHead<'_, f32>, hint: Hint) {
    attend_head(queries, head, hint, |x: &[f32; 16]| load_f32(x));
}

/// Keys and values of a block as f32.
type Wide<'w> = (&'w mut [f32; WIDE_BLOCK], &'w mut [f32; WIDE_BLOCK]);

/// Attention over keys and values as they lie in the cache.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn attend_head<E: Copy + Default>(
    queries: &mut [Query<'_>],
    mut head: &KvHead<'_, E>,
    hint: Hint,
    read: impl Fn(&[E; 16]) -> __m512 + Copy,
) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| head.n_blocks(head_dim));
    let elements = BLOCK * head_dim;
    let prepare = |head: &mut &KvHead<'_, E>, block| prefetch_next(head, block, elements, hint);
    attend_blocks(
        queries,
        n_blocks,
        &mut head,
        prepare,
        |head, i| (&head.keys[i * elements..][..elements], &head.values[i * elements..][..elements]),
        read,
    );
}

/// Asks for the keys and values of the block after `block`, of `elements` each.
#[inline]
#[target_feature(enable = "avx2")]
fn prefetch_next<E>(head: &KvHead<'_, E>, block: usize, elements: usize, hint: Hint) {
    let (next, bytes) = ((block + 1) * elements, elements * size_of::<E>());
    prefetch(hint.soon(), head.keys.as_ptr().wrapping_add(next).cast(), 0, bytes);
    prefetch(hint.soon(), head.values.as_ptr().wrapping_add(next).cast(), 0, bytes);
}

/// The elements of a block, a multiple of 16, as f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen_all(halves: &[u16], wide: &mut [f32]) {
    for (halves, wide) in halves.as_chunks::<16>().0.iter().zip(wide.as_chunks_mut::<16>().0) {
        *wide = must_cast(widen(must_cast_ref(halves)));
    }
}

/// Attention over the blocks `block(s, slot)`: keys (2, head_dim, 16) and values (32, head_dim).
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn attend_blocks<S, E: Copy + Default>(
    queries: &mut [Query<'_>],
    n_blocks: usize,
    s: &mut S,
    prepare: impl Fn(&mut S, usize),
    block: impl Fn(&S, usize) -> (&[E], &[E]),
    read: impl Fn(&[E; 16]) -> __m512 + Copy,
) {
    let scores = |s: &S, _, queries: &[Query<'_>], slot: usize, seen: &Range<usize>, p: &mut [[f32; BLOCK]]| {
        let (keys, _) = block(s, slot);
        match queries.len() {
            1 => score::<1, E>(queries, keys, seen, p, read),
            2 => score::<2, E>(queries, keys, seen, p, read),
            3 => score::<3, E>(queries, keys, seen, p, read),
            _ => score::<AT_ONCE, E>(queries, keys, seen, p, read),
        }
    };
    let weigh = |s: &S, queries: &mut [Query<'_>], p: &[[f32; BLOCK]], slot: usize, seen: Range<usize>| {
        let (_, values) = block(s, slot);
        match queries.len() {
            1 => weigh::<1, E>(queries, p, seen, values, read),
            2 => weigh::<2, E>(queries, p, seen, values, read),
            3 => weigh::<3, E>(queries, p, seen, values, read),
            _ => weigh::<AT_ONCE, E>(queries, p, seen, values, read),
        }
    };
    attend(
        queries,
        n_blocks,
        s,
        prepare,
        scores,
        |p, seen, scale, of, queries| softmax(p, seen, scale, of, queries),
        weigh,
    );
}

/// The products of N queries with the `keys` of a block, two panels of (head_dim, 16), of which `seen` is wanted.
#[inline]
#[target_feature(enable = "avx512f")]
fn score<const N: usize, E>(
    queries: &[Query<'_>],
    keys: &[E],
    seen: &Range<usize>,
    p: &mut [[f32; BLOCK]],
    read: impl Fn(&[E; PANEL_ROWS]) -> __m512,
) {
    let (low, high) = keys.as_chunks().0.split_at(queries[0].q.len());
    if seen.end <= PANEL_ROWS {
        score_panels::<N, 1, E>(queries, [low], 0, p, read);
    } else if seen.start >= PANEL_ROWS {
        score_panels::<N, 1, E>(queries, [high], 1, p, read);
    } else {
        score_panels::<N, 2, E>(queries, [low, high], 0, p, read);
    }
}

/// The products of N queries with the panels `keys` of a block, whose first is number `first`.
#[inline]
#[target_feature(enable = "avx512f")]
fn score_panels<const N: usize, const P: usize, E>(
    queries: &[Query<'_>],
    keys: [&[[E; PANEL_ROWS]]; P],
    first: usize,
    p: &mut [[f32; BLOCK]],
    read: impl Fn(&[E; PANEL_ROWS]) -> __m512,
) {
    let head_dim = keys[0].len();
    let q: [&[f32]; N] = core::array::from_fn(|i| &queries[i].q[..head_dim]);
    let mut sums = [[_mm512_setzero_ps(); P]; N];
    let whole = head_dim / UNROLL;
    for c in 0..whole {
        let q: [&[f32; UNROLL]; N] = core::array::from_fn(|i| &q[i].as_chunks().0[c]);
        let keys: [&[[E; PANEL_ROWS]; UNROLL]; P] = core::array::from_fn(|i| &keys[i].as_chunks().0[c]);
        for d in 0..UNROLL {
            for (i, keys) in keys.iter().enumerate() {
                let keys = read(&keys[d]);
                for (sums, q) in sums.iter_mut().zip(&q) {
                    sums[i] = add_product(sums[i], keys, q[d]);
                }
            }
        }
    }
    for d in whole * UNROLL..head_dim {
        for (i, keys) in keys.iter().enumerate() {
            let keys = read(&keys[d]);
            for (sums, q) in sums.iter_mut().zip(&q) {
                sums[i] = add_product(sums[i], keys, q[d]);
            }
        }
    }
    for (sums, p) in sums.into_iter().zip(p) {
        for (sum, out) in sums.into_iter().zip(&mut p.as_chunks_mut::<PANEL_ROWS>().0[first..]) {
            *out = must_cast(sum);
        }
    }
}

/// `sum + x * factor`, each step rounded.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_product(sum: __m512, x: __m512, factor: f32) -> __m512 {
    _mm512_add_ps(sum, _mm512_mul_ps(x, _mm512_set1_ps(factor)))
}

/// Same as [`online_softmax::softmax`](super::super::online_softmax::softmax) for up to [`AT_ONCE`] queries, whose lanes are
/// put together side by side.
#[inline]
#[target_feature(enable = "avx512f")]
fn softmax(p: &mut [[f32; BLOCK]], seen: &Range<usize>, scale: f32, states: &mut [State], queries: &mut [Query<'_>]) {
    let positions = (u64::MAX << seen.start & !(u64::MAX << seen.end)) as u32;
    let masks = [positions as u16, (positions >> 16) as u16];
    let (scale, unseen) = (_mm512_set1_ps(scale), _mm512_set1_ps(f32::NEG_INFINITY));
    let mut lanes = [unseen; AT_ONCE];
    for ((p, state), lanes) in p.iter_mut().zip(states.iter()).zip(&mut lanes) {
        *lanes = _mm512_set1_ps(state.max);
        for (p, mask) in p.as_chunks_mut().0.iter_mut().zip(masks) {
            let x = _mm512_mask_mul_ps(unseen, mask, load_f32(p), scale);
            *p = must_cast(x);
            *lanes = _mm512_max_ps(x, *lanes);
        }
    }
    let maxima = halved(lanes, |a, b| _mm512_max_ps(b, a));
    for (p, max) in p.iter_mut().zip(maxima) {
        for p in p {
            *p -= max;
        }
    }
    for p in p.as_flattened_mut() {
        *p = exp(*p);
    }
    for (p, lanes) in p.iter().zip(&mut lanes) {
        // A probability is not negative, so that 0 plus the first is the first.
        let [low, high] = p.as_chunks().0 else { unreachable!("a block is two registers") };
        *lanes = _mm512_add_ps(load_f32(low), load_f32(high));
    }
    let sums = halved(lanes, |a, b| _mm512_add_ps(a, b));
    for ((state, query), (max, sum)) in states.iter_mut().zip(queries).zip(maxima.into_iter().zip(sums)) {
        state.add(max, sum, query.out);
    }
}

/// The lanes of four registers put together by halves, as [`lanes::tree`](super::super::lanes::tree) adds them.
#[inline]
#[target_feature(enable = "avx512f")]
fn halved(lanes: [__m512; AT_ONCE], f: impl Fn(__m512, __m512) -> __m512) -> [f32; AT_ONCE] {
    let [a, b, c, d] = lanes;
    let ab = f(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
    let cd = f(_mm512_shuffle_f32x4::<0b01_00_01_00>(c, d), _mm512_shuffle_f32x4::<0b11_10_11_10>(c, d));
    let quarters = f(_mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd));
    let pairs = f(quarters, _mm512_permute_ps::<0b01_00_11_10>(quarters));
    let all: [[f32; 4]; AT_ONCE] = must_cast(f(pairs, _mm512_permute_ps::<0b10_11_00_01>(pairs)));
    all.map(|all| all[0])
}

/// Adds the `values` of a block (32, head_dim), weighted by the slots `seen` of `p`, to the outputs of N queries.
#[inline]
#[target_feature(enable = "avx512f")]
fn weigh<const N: usize, E: Copy + Default>(
    queries: &mut [Query<'_>],
    p: &[[f32; BLOCK]],
    seen: Range<usize>,
    values: &[E],
    read: impl Fn(&[E; 16]) -> __m512 + Copy,
) {
    let head_dim = queries[0].out.len();
    let mut start = 0;
    while start + COLUMNS * 16 <= head_dim {
        weigh_columns::<N, COLUMNS, E>(queries, p, seen.clone(), values, start, read);
        start += COLUMNS * 16;
    }
    while start < head_dim {
        weigh_columns::<N, 1, E>(queries, p, seen.clone(), values, start, read);
        start += 16;
    }
}

/// The same for the columns `start .. start + 16 C`, or as many as there are.
#[inline]
#[target_feature(enable = "avx512f")]
fn weigh_columns<const N: usize, const C: usize, E: Copy + Default>(
    queries: &mut [Query<'_>],
    p: &[[f32; BLOCK]],
    seen: Range<usize>,
    values: &[E],
    start: usize,
    read: impl Fn(&[E; 16]) -> __m512,
) {
    let head_dim = queries[0].out.len();
    let p: [&[f32; BLOCK]; N] = core::array::from_fn(|i| &p[i]);
    let mut sums = [[_mm512_setzero_ps(); C]; N];
    for (sums, query) in sums.iter_mut().zip(&*queries) {
        for (sum, out) in sums.iter_mut().zip(query.out[start..].chunks(16)) {
            *sum = load_f32(&padded(out));
        }
    }
    for (j, values) in (seen.start..seen.end.min(BLOCK)).zip(values[seen.start * head_dim..].chunks_exact(head_dim)) {
        let values = &values[start..];
        if let Some((values, _)) = values.split_at_checked(16 * C) {
            for (c, values) in values.as_chunks().0.iter().enumerate() {
                let values = read(values);
                for (sums, p) in sums.iter_mut().zip(p) {
                    sums[c] = add_product(sums[c], values, p[j]);
                }
            }
        } else {
            let values = read(&padded(values));
            for (sums, p) in sums.iter_mut().zip(p) {
                sums[0] = add_product(sums[0], values, p[j]);
            }
        }
    }
    for (sums, query) in sums.into_iter().zip(queries.iter_mut()) {
        for (sum, out) in sums.into_iter().zip(query.out[start..].chunks_mut(16)) {
            store(sum, out);
        }
    }
}

/// Writes the first 16 elements of `out`, or all where there are fewer.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(sum: __m512, out: &mut [f32]) {
    if let Some(out) = out.first_chunk_mut::<16>() {
        *out = must_cast(sum);
    } else {
        let sum: [f32; 16] = must_cast(sum);
        out.copy_from_slice(&sum[..out.len()]);
    }
}

/// Up to 16 elements, zeros after them.
#[inline]
fn padded<E: Copy + Default>(x: &[E]) -> [E; 16] {
    x.first_chunk().copied().unwrap_or_else(|| {
        let mut out = [E::default(); 16];
        out[..x.len()].copy_from_slice(x);
        out
    })
}

/// Same as [`scalar::attend_int8`](super::super::scalar::attend_int8).
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn attend_int8(queries: &mut [Query<'_>], mut head: &KvHeadInt8<'_>, hint: Hint) {
    attend_int8_blocks(queries, &mut head, hint);
}

/// Same as [`scalar::attend_q4`](super::super::scalar::attend_q4).
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn attend_q4(queries: &mut [Query<'_>], head: &KvHeadQ4<'_>, hint: Hint) {
    attend_int8_blocks(queries, &mut Unpacked::new(head), hint);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn attend_int8_blocks<B: Blocks>(queries: &mut [Query<'_>], blocks: &mut B, hint: Hint) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| blocks.n_blocks(head_dim));
    let quantized = quantize_queries::<B>(queries, |q, out| avx2::quantize(q, head_dim, out));
    let scores = |blocks: &B, first: usize, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let panel = Int8Panel::new(blocks.key_panel(panel, head_dim), head_dim);
        let mut sums = [_mm512_setzero_ps(); AT_ONCE];
        for (g, (codes, scales)) in panel.codes.iter().zip(panel.scales).enumerate() {
            let (w, scales) = (unsigned(codes), widen(scales));
            for (q, sum) in quantized[first..][..queries.len()].iter().zip(&mut sums) {
                let [dots] = dots::<1>(&w, [&q[g]]);
                *sum = add_group(*sum, dots, scales, q[g].scale);
            }
        }
        for (sum, out) in sums.into_iter().zip(out) {
            *out = must_cast(sum);
        }
    };
    let weigh = |blocks: &B, queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        for values in blocks.values(block, head_dim) {
            let scales = avx2::value_scales(values.scales);
            let mut weights = [Group::ZERO; AT_ONCE];
            for (weights, p) in weights.iter_mut().zip(p) {
                avx2::quantize_weights(p, &scales, seen.clone(), weights);
            }
            for (m, codes) in values.codes.iter().enumerate() {
                let w = unsigned(codes);
                for (query, weights) in queries.iter_mut().zip(&weights) {
                    let [dots] = dots::<1>(&w, [weights]);
                    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), _mm512_set1_ps(weights.scale));
                    let out = &mut query.out[values.start + m * PANEL_ROWS..];
                    store(_mm512_add_ps(load_f32(&padded(out)), product), out);
                }
            }
        }
    };
    let prepare = |blocks: &mut B, block: usize| {
        avx2::prefetch_block(blocks, head_dim, block + 1, hint);
        blocks.prepare(block, head_dim);
    };
    attend(
        queries,
        n_blocks,
        blocks,
        prepare,
        |s, first, queries, slot, seen, p| by_panel(slot, seen, p, |panel, out| scores(s, first, queries, panel, out)),
        |p, seen, scale, states, queries| softmax(p, seen, scale, states, queries),
        weigh,
    );
    rotate_outputs::<B>(queries);
}
