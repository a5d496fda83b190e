//! Attention over one KV head, see [`attention`](super::super::attention).

use super::super::attention::{
    BLOCK, Blocks, KvHead, KvHeadInt8, Query, Values, check_queries, quantize_queries, rotate_outputs,
};
use super::super::kv4::{KvHeadQ4, Unpacked};
use super::super::online_softmax::{AT_ONCE, attend, by_panel, softmax};
use super::super::x86::Int8Panel;
use super::super::{Group, Hint, PanelOut};
use super::int8::{add_group, dots, quantize, quantize_group};
use super::{load_16, load_f32, prefetch, store_16, widen};
use crate::quant::PANEL_ROWS;
use bytemuck::{must_cast, must_cast_ref};
use core::arch::x86_64::*;
use core::ops::Range;

/// Same as [`scalar::attend_f16`](super::super::scalar::attend_f16).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn attend_f16(queries: &mut [Query<'_>], head: &KvHead<'_, u16>, hint: Hint) {
    attend_float(queries, head, hint, |x: &[u16; 16]| widen(must_cast_ref(x)));
}

/// Same as [`scalar::attend_f32`](super::super::scalar::attend_f32).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn attend_f32(queries: &mut [Query<'_>], head: &KvHead<'_, f32>, hint: Hint) {
    attend_float(queries, head, hint, |x: &[f32; 16]| load_16(x));
}

/// Elements of a head between two checks of bounds.
const UNROLL: usize = 4;
/// Elements of the largest head whose blocks are widened once for all queries.
const WIDE_HEAD: usize = 128;

/// A block of keys and values as f32.
struct Wide {
    /// `[2][head_dim][16]`, as the panels of keys are.
    keys: [[f32; PANEL_ROWS]; 2 * WIDE_HEAD],
    /// `[head_dim / 16][32][16]`: 16 elements of each position.
    values: [[f32; PANEL_ROWS]; WIDE_HEAD / PANEL_ROWS * BLOCK],
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn attend_float<E: Copy + Default>(
    queries: &mut [Query<'_>],
    head: &KvHead<'_, E>,
    hint: Hint,
    read: impl Fn(&[E; 16]) -> [__m256; 2] + Copy,
) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| head.n_blocks(head_dim));
    if queries.len() > AT_ONCE && head_dim <= WIDE_HEAD {
        attend_wide(queries, head, head_dim, n_blocks, read);
    } else {
        attend_narrow(queries, head, head_dim, n_blocks, hint, read);
    }
}

/// Widens each block once for all queries.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn attend_wide<E: Copy + Default>(
    queries: &mut [Query<'_>],
    head: &KvHead<'_, E>,
    head_dim: usize,
    n_blocks: usize,
    read: impl Fn(&[E; 16]) -> [__m256; 2] + Copy,
) {
    let mut wide =
        Wide { keys: [[0.0; PANEL_ROWS]; 2 * WIDE_HEAD], values: [[0.0; PANEL_ROWS]; WIDE_HEAD / PANEL_ROWS * BLOCK] };
    let prepare = |wide: &mut Wide, block: usize| {
        let elements = block * BLOCK * head_dim..(block + 1) * BLOCK * head_dim;
        for (keys, wide) in head.keys[elements.clone()].as_chunks().0.iter().zip(&mut wide.keys) {
            store_16(read(keys), wide);
        }
        for (j, values) in head.values[elements].chunks_exact(head_dim).enumerate() {
            let (chunks, tail) = values.as_chunks();
            for (c, values) in chunks.iter().enumerate() {
                store_16(read(values), &mut wide.values[c * BLOCK + j]);
            }
            if !tail.is_empty() {
                store_16(read(&padded(tail)), &mut wide.values[chunks.len() * BLOCK + j]);
            }
        }
    };
    let scores = |wide: &Wide, _, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        score(queries, &wide.keys[panel % 2 * head_dim..][..head_dim], out, |x| load_16(x));
    };
    let weigh = |wide: &Wide, queries: &mut [Query<'_>], p: &[[f32; BLOCK]], _, seen: Range<usize>| {
        weigh(queries, p, seen.clone(), |c| wide.values[c * BLOCK..][seen.clone()].iter().map(|x| load_16(x)));
    };
    attend(
        queries,
        n_blocks,
        &mut wide,
        prepare,
        |s, first, queries, slot, seen, p| by_panel(slot, seen, p, |panel, out| scores(s, first, queries, panel, out)),
        softmax,
        weigh,
    );
}

/// Widens keys and values each time that they are read.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn attend_narrow<E: Copy + Default>(
    queries: &mut [Query<'_>],
    head: &KvHead<'_, E>,
    head_dim: usize,
    n_blocks: usize,
    hint: Hint,
    read: impl Fn(&[E; 16]) -> [__m256; 2] + Copy,
) {
    let prepare = |_: &mut (), block: usize| {
        let elements = (block + 1) * BLOCK * head_dim;
        let bytes = BLOCK * head_dim * size_of::<E>();
        prefetch(hint.soon(), head.keys.as_ptr().wrapping_add(elements).cast(), 0, bytes);
        prefetch(hint.soon(), head.values.as_ptr().wrapping_add(elements).cast(), 0, bytes);
    };
    let scores = |_: &(), _, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        score(queries, &head.keys.as_chunks().0[panel * head_dim..][..head_dim], out, read);
    };
    let weigh = |_: &(), queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        let values = &head.values[(block * BLOCK + seen.start) * head_dim..(block * BLOCK + seen.end) * head_dim];
        weigh(queries, p, seen, |c| {
            values[c * PANEL_ROWS..].chunks(head_dim).map(|values| match values.first_chunk() {
                Some(values) => read(values),
                None => read(&padded(values)),
            })
        });
    };
    attend(
        queries,
        n_blocks,
        &mut (),
        prepare,
        |s, first, queries, slot, seen, p| by_panel(slot, seen, p, |panel, out| scores(s, first, queries, panel, out)),
        softmax,
        weigh,
    );
}

/// The products of up to [`AT_ONCE`] queries with the 16 `keys` of a panel, (head_dim, 16).
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn score<E>(
    queries: &[Query<'_>],
    keys: &[[E; PANEL_ROWS]],
    out: &mut [PanelOut],
    read: impl Fn(&[E; PANEL_ROWS]) -> [__m256; 2],
) {
    match queries.len() {
        1 => score_n::<1, E>(queries, keys, out, read),
        2 => score_n::<2, E>(queries, keys, out, read),
        3 => score_n::<3, E>(queries, keys, out, read),
        _ => score_n::<AT_ONCE, E>(queries, keys, out, read),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn score_n<const N: usize, E>(
    queries: &[Query<'_>],
    keys: &[[E; PANEL_ROWS]],
    out: &mut [PanelOut],
    read: impl Fn(&[E; PANEL_ROWS]) -> [__m256; 2],
) {
    let q: [&[f32]; N] = core::array::from_fn(|i| &queries[i].q[..keys.len()]);
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    let (unrolled, rest) = keys.as_chunks::<UNROLL>();
    for (c, keys) in unrolled.iter().enumerate() {
        let q: [&[f32; UNROLL]; N] = core::array::from_fn(|i| &q[i].as_chunks().0[c]);
        for (d, keys) in keys.iter().enumerate() {
            let keys = read(keys);
            for (sum, q) in sums.iter_mut().zip(&q) {
                add_product(sum, keys, q[d]);
            }
        }
    }
    for (d, keys) in (unrolled.len() * UNROLL..).zip(rest) {
        let keys = read(keys);
        for (sum, q) in sums.iter_mut().zip(&q) {
            add_product(sum, keys, q[d]);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        store_16(sum, out);
    }
}

/// Adds the values of the positions `seen`, weighted by these slots of `p`, to the outputs of up to [`AT_ONCE`] queries;
/// `values(c)` are the elements `16 c ..` of each position.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh<V: Iterator<Item = [__m256; 2]>>(
    queries: &mut [Query<'_>],
    p: &[[f32; BLOCK]],
    seen: Range<usize>,
    values: impl Fn(usize) -> V,
) {
    match queries.len() {
        1 => weigh_n::<1, V>(queries, p, seen, values),
        2 => weigh_n::<2, V>(queries, p, seen, values),
        3 => weigh_n::<3, V>(queries, p, seen, values),
        _ => weigh_n::<AT_ONCE, V>(queries, p, seen, values),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh_n<const N: usize, V: Iterator<Item = [__m256; 2]>>(
    queries: &mut [Query<'_>],
    p: &[[f32; BLOCK]],
    seen: Range<usize>,
    values: impl Fn(usize) -> V,
) {
    let mut weights = [[0.0; N]; BLOCK];
    for (j, weights) in weights.iter_mut().enumerate() {
        for i in 0..N {
            weights[i] = p[i][j];
        }
    }
    for c in 0..queries[0].out.len().div_ceil(PANEL_ROWS) {
        let mut sums = [[_mm256_setzero_ps(); 2]; N];
        for (sum, query) in sums.iter_mut().zip(&*queries) {
            let out = &query.out[c * PANEL_ROWS..];
            *sum = match out.first_chunk() {
                Some(out) => load_16(out),
                None => load_16(&padded(out)),
            };
        }
        for (values, weights) in values(c).zip(&weights[seen.clone()]) {
            for i in 0..N {
                add_product(&mut sums[i], values, weights[i]);
            }
        }
        for (sum, query) in sums.into_iter().zip(queries.iter_mut()) {
            let out = &mut query.out[c * PANEL_ROWS..];
            if let Some(out) = out.first_chunk_mut() {
                store_16(sum, out);
            } else {
                let sum: [f32; PANEL_ROWS] = must_cast(sum);
                out.copy_from_slice(&sum[..out.len()]);
            }
        }
    }
}

/// `sum[i] += x[i] * factor`, rounded twice.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_product(sum: &mut [__m256; 2], x: [__m256; 2], factor: f32) {
    let factor = _mm256_set1_ps(factor);
    *sum = [_mm256_add_ps(sum[0], _mm256_mul_ps(x[0], factor)), _mm256_add_ps(sum[1], _mm256_mul_ps(x[1], factor))];
}

/// Up to 16 elements, zeros after them.
#[inline]
fn padded<E: Copy + Default>(x: &[E]) -> [E; 16] {
    let mut out = [E::default(); 16];
    out[..x.len()].copy_from_slice(x);
    out
}

/// Same as [`scalar::attend_int8`](super::super::scalar::attend_int8).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn attend_int8(queries: &mut [Query<'_>], mut head: &KvHeadInt8<'_>, hint: Hint) {
    attend_blocks(queries, &mut head, hint);
}

/// Same as [`scalar::attend_q4`](super::super::scalar::attend_q4).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn attend_q4(queries: &mut [Query<'_>], head: &KvHeadQ4<'_>, hint: Hint) {
    attend_blocks(queries, &mut Unpacked::new(head), hint);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn attend_blocks<B: Blocks>(queries: &mut [Query<'_>], blocks: &mut B, hint: Hint) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| blocks.n_blocks(head_dim));
    let quantized = quantize_queries::<B>(queries, |q, out| quantize(q, head_dim, out));
    let scores = |blocks: &B, first: usize, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let panel = Int8Panel::new(blocks.key_panel(panel, head_dim), head_dim);
        let q = &quantized[first..][..queries.len()];
        match queries.len() {
            1 => score_int8::<1>(q, &panel, out),
            2 => score_int8::<2>(q, &panel, out),
            3 => score_int8::<3>(q, &panel, out),
            _ => score_int8::<4>(q, &panel, out),
        }
    };
    let weigh = |blocks: &B, queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        for values in blocks.values(block, head_dim) {
            match queries.len() {
                1 => weigh_int8::<1>(queries, p, seen.clone(), &values),
                2 => weigh_int8::<2>(queries, p, seen.clone(), &values),
                3 => weigh_int8::<3>(queries, p, seen.clone(), &values),
                _ => weigh_int8::<4>(queries, p, seen.clone(), &values),
            }
        }
    };
    let prepare = |blocks: &mut B, block: usize| {
        prefetch_block(blocks, head_dim, block + 1, hint);
        blocks.prepare(block, head_dim);
    };
    attend(
        queries,
        n_blocks,
        blocks,
        prepare,
        |s, first, queries, slot, seen, p| by_panel(slot, seen, p, |panel, out| scores(s, first, queries, panel, out)),
        softmax,
        weigh,
    );
    rotate_outputs::<B>(queries);
}

/// The products of N quantized queries with the 16 keys of a panel.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn score_int8<const N: usize>(q: &[[Group; 8]], panel: &Int8Panel<'_>, out: &mut [PanelOut]) {
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    for (g, (codes, scales)) in panel.codes.iter().zip(panel.scales).enumerate() {
        let scales = widen(scales);
        let q: [&Group; N] = core::array::from_fn(|i| &q[i][g]);
        for half in 0..2 {
            let dots = dots::<N>(codes, half, q);
            for i in 0..N {
                sums[i][half] = add_group(sums[i][half], dots[i], scales[half], q[i].scale);
            }
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        store_16(sum, out);
    }
}

/// Adds the values of a block, weighted by the slots `seen` of `p`, to the outputs of N queries.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh_int8<const N: usize>(queries: &mut [Query<'_>], p: &[[f32; BLOCK]], seen: Range<usize>, values: &Values<'_>) {
    let (mut weights, scales) = ([Group::ZERO; N], value_scales(values.scales));
    for (weights, p) in weights.iter_mut().zip(p) {
        quantize_weights(p, &scales, seen.clone(), weights);
    }
    for (m, codes) in values.codes.iter().enumerate() {
        for half in 0..2 {
            let dots = dots::<N>(codes, half, weights.each_ref());
            for i in 0..N {
                if let Some(out) = queries[i].out.get_mut(values.start + (2 * m + half) * 8..) {
                    add_values(out, dots[i], weights[i].scale);
                }
            }
        }
    }
}

/// Asks for the keys and values of block `block`.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn prefetch_block<B: Blocks>(blocks: &B, head_dim: usize, block: usize, hint: Hint) {
    for (stored, bytes) in blocks.stored(head_dim) {
        prefetch(hint.soon(), stored.as_ptr(), block * bytes, bytes);
    }
}

/// The scales of the values of a block.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in super::super) fn value_scales(scales: &[u8; BLOCK * 2]) -> [f32; BLOCK] {
    let [low, high] = must_cast_ref::<_, [[u8; 32]; 2]>(scales);
    must_cast([widen(low), widen(high)])
}

/// The slots `seen` of `p` times the scales of their values, quantized.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn quantize_weights(
    p: &[f32; BLOCK],
    scales: &[f32; BLOCK],
    seen: Range<usize>,
    weights: &mut Group,
) {
    let mut weighted = [0.0; BLOCK];
    for j in seen {
        weighted[j] = p[j] * scales[j];
    }
    quantize_group(&weighted, weights);
}

/// Adds `dots * scale` to the first 8 elements of `out`, or to all where there are fewer.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn add_values(out: &mut [f32], dots: __m256i, scale: f32) {
    let products = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), _mm256_set1_ps(scale));
    if let Some(out) = out.first_chunk_mut::<8>() {
        *out = must_cast(_mm256_add_ps(load_f32(out), products));
    } else {
        let products: [f32; 8] = must_cast(products);
        out.iter_mut().zip(products).for_each(|(y, product)| *y += product);
    }
}
