//! Attention over one KV head, see [`attention`](super::super::attention).

use super::super::attention::{
    BLOCK, Blocks, KvHead, KvHeadInt8, Query, check_queries, quantize_queries, rotate_outputs,
};
use super::super::kv4::{KvHeadQ4, Unpacked};
use super::super::online_softmax::{attend, by_panel, softmax};
use super::super::{Group, PanelOut};
use super::int8::{Dots, dots, quantize, quantize_group};
use super::panel::{Codes, Int8Panel};
use super::tiles::product;
use super::{Row, padded, widen};
use crate::quant::{PANEL_ROWS, groups};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::aarch64::*;
use core::ops::Range;

/// Same as [`scalar::attend_f16`](super::super::scalar::attend_f16).
#[target_feature(enable = "neon")]
pub(in super::super) fn attend_f16(queries: &mut [Query<'_>], head: &KvHead<'_, u16>) {
    attend_float(queries, head, |x: &[u16; 16]| widen(must_cast_ref(x)));
}

/// Same as [`scalar::attend_f32`](super::super::scalar::attend_f32).
#[target_feature(enable = "neon")]
pub(in super::super) fn attend_f32(queries: &mut [Query<'_>], head: &KvHead<'_, f32>) {
    attend_float(queries, head, |x: &[f32; 16]| must_cast(*x));
}

#[inline]
#[target_feature(enable = "neon")]
fn attend_float<E: Copy + Default>(
    queries: &mut [Query<'_>],
    head: &KvHead<'_, E>,
    read: impl Fn(&[E; 16]) -> Row + Copy,
) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| head.n_blocks(head_dim));
    let scores = |_: &(), _, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let keys = &head.keys.as_chunks().0[panel * head_dim..][..head_dim];
        match queries.len() {
            1 => score::<1, E>(queries, keys, out, read),
            2 => score::<2, E>(queries, keys, out, read),
            3 => score::<3, E>(queries, keys, out, read),
            _ => score::<4, E>(queries, keys, out, read),
        }
    };
    let weigh = |_: &(), queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        let values = &head.values[(block * BLOCK + seen.start) * head_dim..(block * BLOCK + seen.end) * head_dim];
        match queries.len() {
            1 => weigh::<1, E>(queries, p, seen, values, read),
            2 => weigh::<2, E>(queries, p, seen, values, read),
            3 => weigh::<3, E>(queries, p, seen, values, read),
            _ => weigh::<4, E>(queries, p, seen, values, read),
        }
    };
    attend(
        queries,
        n_blocks,
        &mut (),
        |_, _| {},
        |s, first, queries, slot, seen, p| by_panel(slot, seen, p, |panel, out| scores(s, first, queries, panel, out)),
        softmax,
        weigh,
    );
}

/// The products of N queries with the 16 `keys` of a panel, (head_dim, 16).
#[inline]
#[target_feature(enable = "neon")]
fn score<const N: usize, E>(
    queries: &[Query<'_>],
    keys: &[[E; PANEL_ROWS]],
    out: &mut [PanelOut],
    read: impl Fn(&[E; PANEL_ROWS]) -> Row,
) {
    let q: [&[f32]; N] = core::array::from_fn(|i| &queries[i].q[..keys.len()]);
    let (fours, rest) = keys.as_chunks::<4>();
    let mut sums = [[vdupq_n_f32(0.0); 4]; N];
    for (i, keys) in fours.iter().enumerate() {
        let q = q.map(|q| q.as_chunks::<4>().0[i]);
        add_four(&mut sums, keys.each_ref().map(|keys| read(keys)), q);
    }
    for (i, keys) in rest.iter().enumerate() {
        let keys = read(keys);
        for (sum, q) in sums.iter_mut().zip(q) {
            add_product(sum, keys, q[4 * fours.len() + i]);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        *out = must_cast(sum);
    }
}

/// Adds `values` (seen, head_dim), weighted by the slots `seen` of `p`, to the outputs of N queries.
#[inline]
#[target_feature(enable = "neon")]
fn weigh<const N: usize, E: Copy + Default>(
    queries: &mut [Query<'_>],
    p: &[[f32; BLOCK]],
    seen: Range<usize>,
    values: &[E],
    read: impl Fn(&[E; 16]) -> Row,
) {
    let head_dim = queries[0].out.len();
    let p: [&[f32]; N] = core::array::from_fn(|i| &p[i][seen.clone()]);
    for start in (0..head_dim).step_by(16) {
        let mut sums: [Row; N] = core::array::from_fn(|i| must_cast(first_16(&queries[i].out[start..])));
        let read = |values: &[E]| match values[start..].first_chunk() {
            Some(values) => read(values),
            None => read(&padded(&values[start..])),
        };
        let mut fours = values.chunks_exact(4 * head_dim);
        for (i, values) in fours.by_ref().enumerate() {
            let p = p.map(|p| p.as_chunks::<4>().0[i]);
            let (a, b) = values.split_at(2 * head_dim);
            let ((a, b), (c, d)) = (a.split_at(head_dim), b.split_at(head_dim));
            add_four(&mut sums, [read(a), read(b), read(c), read(d)], p);
        }
        for (j, values) in fours.remainder().chunks_exact(head_dim).enumerate() {
            let values = read(values);
            for (sum, p) in sums.iter_mut().zip(p) {
                add_product(sum, values, p[seen.len() / 4 * 4 + j]);
            }
        }
        for (sum, query) in sums.into_iter().zip(queries.iter_mut()) {
            let (sum, out): ([f32; 16], _) = (must_cast(sum), &mut query.out[start..]);
            match out.first_chunk_mut() {
                Some(out) => *out = sum,
                None => out.copy_from_slice(&sum[..out.len()]),
            }
        }
    }
}

/// The first 16 elements, zeros after the last.
#[inline]
fn first_16<E: Copy + Default>(x: &[E]) -> [E; 16] {
    x.first_chunk().copied().unwrap_or_else(|| padded(x))
}

/// Adds the products of four rows with a factor of each, one after the other, to N sums.
#[inline]
#[target_feature(enable = "neon")]
fn add_four<const N: usize>(sums: &mut [Row; N], rows: [Row; 4], factors: [[f32; 4]; N]) {
    let factors: [float32x4_t; N] = factors.map(|factors| must_cast(factors));
    let [a, b, c, d] = rows;
    for (sum, factors) in sums.iter_mut().zip(factors) {
        for i in 0..4 {
            sum[i] = vaddq_f32(sum[i], vmulq_laneq_f32::<0>(a[i], factors));
            sum[i] = vaddq_f32(sum[i], vmulq_laneq_f32::<1>(b[i], factors));
            sum[i] = vaddq_f32(sum[i], vmulq_laneq_f32::<2>(c[i], factors));
            sum[i] = vaddq_f32(sum[i], vmulq_laneq_f32::<3>(d[i], factors));
        }
    }
}

/// `sum[i] += x[i] * factor`, rounded twice.
#[inline]
#[target_feature(enable = "neon")]
fn add_product(sum: &mut Row, x: Row, factor: f32) {
    for i in 0..4 {
        sum[i] = vaddq_f32(sum[i], vmulq_n_f32(x[i], factor));
    }
}

/// Same as [`scalar::attend_int8`](super::super::scalar::attend_int8).
#[target_feature(enable = "neon")]
pub(in super::super) fn attend_int8(queries: &mut [Query<'_>], mut head: &KvHeadInt8<'_>) {
    attend_blocks(queries, &mut head, |panel, q| product(panel, q, 1), |codes, x| dots(codes, x));
}

/// Same as [`scalar::attend_q4`](super::super::scalar::attend_q4).
#[target_feature(enable = "neon")]
pub(in super::super) fn attend_q4(queries: &mut [Query<'_>], head: &KvHeadQ4<'_>) {
    attend_blocks(queries, &mut Unpacked::new(head), |panel, q| product(panel, q, 1), |codes, x| dots(codes, x));
}

/// Attention over blocks that are read as int8, by two given functions: the product of a panel of keys with a query, and the
/// exact dot products of a group.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn attend_blocks<B: Blocks>(
    queries: &mut [Query<'_>],
    blocks: &mut B,
    product: impl Fn(&Int8Panel<'_>, &[Group]) -> Row,
    dots: impl Fn(&Codes, &Group) -> Dots,
) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| blocks.n_blocks(head_dim));
    let quantized = quantize_queries::<B>(queries, |q, out| quantize(q, head_dim, out));
    let scores = |blocks: &B, first: usize, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let panel = Int8Panel::new(blocks.key_panel(panel, head_dim), head_dim);
        for (q, out) in quantized[first..][..queries.len()].iter().zip(out) {
            *out = must_cast(product(&panel, &q[..groups(head_dim)]));
        }
    };
    let weigh = |blocks: &B, queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        for values in blocks.values(block, head_dim) {
            let [low, high] = must_cast_ref::<_, [[u8; 32]; 2]>(values.scales);
            let scales: [f32; BLOCK] = must_cast([widen(low), widen(high)]);
            for (query, p) in queries.iter_mut().zip(p) {
                let mut weighted = [0.0; BLOCK];
                for j in seen.clone() {
                    weighted[j] = p[j] * scales[j];
                }
                let mut weights = Group::ZERO;
                quantize_group(&weighted, &mut weights);
                let out = query.out[values.start..].chunks_mut(PANEL_ROWS);
                for (codes, out) in values.codes.iter().zip(out) {
                    let dots = dots(must_cast_ref(codes), &weights);
                    let products: [f32; 16] =
                        must_cast(dots.map(|dots| vmulq_n_f32(vcvtq_f32_s32(dots), weights.scale)));
                    out.iter_mut().zip(products).for_each(|(y, product)| *y += product);
                }
            }
        }
    };
    attend(
        queries,
        n_blocks,
        blocks,
        |blocks, block| blocks.prepare(block, head_dim),
        |s, first, queries, slot, seen, p| by_panel(slot, seen, p, |panel, out| scores(s, first, queries, panel, out)),
        softmax,
        weigh,
    );
    rotate_outputs::<B>(queries);
}
