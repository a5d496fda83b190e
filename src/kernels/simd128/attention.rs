//! Attention over one KV head, see [`attention`](super::super::attention).

use super::super::PanelOut;
use super::super::attention::{
    BLOCK, Blocks, KvHead, KvHeadInt8, Query, check_queries, quantize_queries, rotate_outputs,
};
use super::super::kv4::{KvHeadQ4, Unpacked};
use super::super::online_softmax::{attend, by_panel, softmax};
use super::int8::{Int8, quantize, quantize_group, values};
use super::product::{Input, dots, product};
use super::{Row, padded, widen};
use crate::quant::{PANEL_ROWS, groups};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::wasm32::*;
use core::ops::Range;

/// Same as [`scalar::attend_f16`](super::super::scalar::attend_f16).
pub(in super::super) fn attend_f16(queries: &mut [Query<'_>], head: &KvHead<'_, u16>) {
    attend_float(queries, head, |x: &[u16; 16]| widen(must_cast_ref(x)));
}

/// Same as [`scalar::attend_f32`](super::super::scalar::attend_f32).
pub(in super::super) fn attend_f32(queries: &mut [Query<'_>], head: &KvHead<'_, f32>) {
    attend_float(queries, head, |x: &[f32; 16]| must_cast(*x));
}

#[inline(always)]
fn attend_float<E: Copy + Default>(
    queries: &mut [Query<'_>],
    head: &KvHead<'_, E>,
    read: impl Fn(&[E; 16]) -> Row + Copy,
) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| head.n_blocks(head_dim));
    let scores = |queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
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
        |_, _, queries, slot, seen, p| by_panel(slot, seen, p, |panel, out| scores(queries, panel, out)),
        softmax,
        weigh,
    );
}

/// The products of N queries with the 16 `keys` of a panel, (head_dim, 16).
#[inline(always)]
fn score<const N: usize, E>(
    queries: &[Query<'_>],
    keys: &[[E; PANEL_ROWS]],
    out: &mut [PanelOut],
    read: impl Fn(&[E; PANEL_ROWS]) -> Row,
) {
    let q: [&[f32]; N] = core::array::from_fn(|i| &queries[i].q[..keys.len()]);
    let mut sums = [[f32x4_splat(0.0); 4]; N];
    for (i, keys) in keys.iter().enumerate() {
        let keys = read(keys);
        for (sum, q) in sums.iter_mut().zip(q) {
            add_product(sum, keys, q[i]);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        *out = must_cast(sum);
    }
}

/// Adds `values` (seen, head_dim), weighted by the slots `seen` of `p`, to the outputs of N queries.
#[inline(always)]
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
        for (j, values) in values.chunks_exact(head_dim).enumerate() {
            let values = match values[start..].first_chunk() {
                Some(values) => read(values),
                None => read(&padded(&values[start..])),
            };
            for (sum, p) in sums.iter_mut().zip(p) {
                add_product(sum, values, p[j]);
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
#[inline(always)]
fn first_16<E: Copy + Default>(x: &[E]) -> [E; 16] {
    x.first_chunk().copied().unwrap_or_else(|| padded(x))
}

/// `sum[i] += x[i] * factor`, rounded twice.
#[inline(always)]
fn add_product(sum: &mut Row, x: Row, factor: f32) {
    for i in 0..4 {
        sum[i] = f32x4_add(sum[i], f32x4_mul(x[i], f32x4_splat(factor)));
    }
}

/// Same as [`scalar::attend_int8`](super::super::scalar::attend_int8).
pub(in super::super) fn attend_int8(queries: &mut [Query<'_>], mut head: &KvHeadInt8<'_>) {
    attend_blocks(queries, &mut head);
}

/// Same as [`scalar::attend_q4`](super::super::scalar::attend_q4).
pub(in super::super) fn attend_q4(queries: &mut [Query<'_>], head: &KvHeadQ4<'_>) {
    attend_blocks(queries, &mut Unpacked::new(head));
}

/// Attention over blocks that are read as int8.
#[inline(always)]
fn attend_blocks<B: Blocks>(queries: &mut [Query<'_>], blocks: &mut B) {
    let (head_dim, n_blocks) = check_queries(queries, |head_dim| blocks.n_blocks(head_dim));
    let quantized = quantize_queries::<B>(queries, |q, out| quantize(q, head_dim, out));
    let scores = |blocks: &B, first: usize, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let panel = blocks.key_panel(panel, head_dim);
        for (q, out) in quantized[first..][..queries.len()].iter().zip(out) {
            product::<Int8>(panel, head_dim, &q[..groups(head_dim)], out);
        }
    };
    let weigh = |blocks: &B, queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        for part in blocks.values(block, head_dim) {
            let [low, high] = must_cast_ref::<_, [[u8; 32]; 2]>(part.scales);
            let scales: [f32; BLOCK] = must_cast([widen(low), widen(high)]);
            for (query, p) in queries.iter_mut().zip(p) {
                let mut weighted = [0.0; BLOCK];
                for j in seen.clone() {
                    weighted[j] = p[j] * scales[j];
                }
                let weights = quantize_group(&weighted);
                let (scale, x) = (f32x4_splat(weights.scale), [Input::new(&weights)]);
                let out = query.out[part.start..].chunks_mut(PANEL_ROWS);
                for (codes, out) in part.codes.iter().zip(out) {
                    let products: [f32; 16] = must_cast(core::array::from_fn::<_, 4, _>(|i| {
                        let [dots] = dots(|j| values(codes, j, i), &x);
                        f32x4_mul(f32x4_convert_i32x4(dots), scale)
                    }));
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
