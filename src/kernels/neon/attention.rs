//! Attention over one KV head, see [`attention`](super::super::attention).

use super::super::attention::{BLOCK, KvHead, KvHeadInt8, Query, attend, check_queries, quantize_queries};
use super::super::{Group, PanelOut};
use super::int8::{Codes, Dots, Int8Panel, dots, quantize, quantize_group};
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
    let head_dim = check_queries(queries, |head_dim| head.positions(head_dim));
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
    attend(queries, &mut (), |_, _| {}, scores, weigh);
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
    let q: [&[f32]; N] = std::array::from_fn(|i| &queries[i].q[..keys.len()]);
    let mut sums = [[vdupq_n_f32(0.0); 4]; N];
    for (d, keys) in keys.iter().enumerate() {
        let keys = read(keys);
        for (sum, q) in sums.iter_mut().zip(q) {
            add_product(sum, keys, q[d]);
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
    let p: [&[f32]; N] = std::array::from_fn(|i| &p[i][seen.clone()]);
    for start in (0..head_dim).step_by(16) {
        let width = (head_dim - start).min(16);
        let mut sums: [Row; N] =
            std::array::from_fn(|i| must_cast(padded::<f32, 16>(&queries[i].out[start..][..width])));
        for (j, values) in values.chunks_exact(head_dim).enumerate() {
            let values = &values[start..];
            let values = match values.first_chunk() {
                Some(values) => read(values),
                None => read(&padded(values)),
            };
            for (sum, p) in sums.iter_mut().zip(p) {
                add_product(sum, values, p[j]);
            }
        }
        for (sum, query) in sums.into_iter().zip(queries.iter_mut()) {
            let sum: [f32; 16] = must_cast(sum);
            query.out[start..][..width].copy_from_slice(&sum[..width]);
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
pub(in super::super) fn attend_int8(queries: &mut [Query<'_>], head: &KvHeadInt8<'_>) {
    attend_int8_by(queries, head, |panel, q| product(panel, q, 1), |codes, x| dots(codes, x));
}

/// [`attend_int8`] by any way to get the product of a panel of keys with a query and the exact dot products of a group.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn attend_int8_by(
    queries: &mut [Query<'_>],
    head: &KvHeadInt8<'_>,
    product: impl Fn(&Int8Panel<'_>, &[Group]) -> Row,
    dots: impl Fn(&Codes, &Group) -> Dots,
) {
    let head_dim = check_queries(queries, |head_dim| head.positions(head_dim));
    let quantized = quantize_queries(queries, |q, out| quantize(q, head_dim, out));
    let scores = |_: &(), first: usize, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let panel = Int8Panel::new(head.key_panel(panel, head_dim), head_dim);
        for (q, out) in quantized[first..][..queries.len()].iter().zip(out) {
            *out = must_cast(product(&panel, &q[..groups(head_dim)]));
        }
    };
    let weigh = |_: &(), queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        let (scales, codes) = head.value_block(block, head_dim);
        let [low, high] = must_cast_ref::<_, [[u8; 32]; 2]>(scales);
        let scales: [f32; BLOCK] = must_cast([widen(low), widen(high)]);
        for (query, p) in queries.iter_mut().zip(p) {
            let mut weighted = [0.0; BLOCK];
            for j in seen.clone() {
                weighted[j] = p[j] * scales[j];
            }
            let mut weights = Group::ZERO;
            quantize_group(&weighted, &mut weights);
            for (codes, out) in codes.iter().zip(query.out.chunks_mut(PANEL_ROWS)) {
                let dots = dots(must_cast_ref(codes), &weights);
                let products: [f32; 16] = must_cast(dots.map(|dots| vmulq_n_f32(vcvtq_f32_s32(dots), weights.scale)));
                out.iter_mut().zip(products).for_each(|(y, product)| *y += product);
            }
        }
    };
    attend(queries, &mut (), |_, _| {}, scores, weigh);
}
