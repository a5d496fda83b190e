//! Attention over one KV head, see [`attention`](super::super::attention).

use super::super::attention::{BLOCK, KvHead, KvHeadInt8, Query, attend, check_queries, quantize_queries};
use super::super::{Group, PanelOut};
use super::int8::{Int8Panel, add_group, dots, quantize, quantize_group};
use super::{load_16, load_f32, store_16, widen};
use crate::quant::{GROUP_SIZE, PANEL_ROWS};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::x86_64::*;
use core::ops::Range;

/// Same as [`scalar::attend_f16`](super::super::scalar::attend_f16).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn attend_f16(queries: &mut [Query<'_>], head: &KvHead<'_, u16>) {
    attend_float(queries, head, |x: &[u16; 16]| widen(must_cast_ref(x)));
}

/// Same as [`scalar::attend_f32`](super::super::scalar::attend_f32).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn attend_f32(queries: &mut [Query<'_>], head: &KvHead<'_, f32>) {
    attend_float(queries, head, |x: &[f32; 16]| load_16(x));
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn attend_float<E: Copy + Default>(
    queries: &mut [Query<'_>],
    head: &KvHead<'_, E>,
    read: impl Fn(&[E; 16]) -> [__m256; 2] + Copy,
) {
    let head_dim = check_queries(queries, |head_dim| head.positions(head_dim));
    let scores = |_, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let keys = &head.keys.as_chunks().0[panel * head_dim..][..head_dim];
        match queries.len() {
            1 => score::<1, E>(queries, keys, out, read),
            2 => score::<2, E>(queries, keys, out, read),
            3 => score::<3, E>(queries, keys, out, read),
            _ => score::<4, E>(queries, keys, out, read),
        }
    };
    let weigh = |queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        let values = &head.values[(block * BLOCK + seen.start) * head_dim..(block * BLOCK + seen.end) * head_dim];
        match queries.len() {
            1 => weigh::<1, E>(queries, p, seen, values, read),
            2 => weigh::<2, E>(queries, p, seen, values, read),
            3 => weigh::<3, E>(queries, p, seen, values, read),
            _ => weigh::<4, E>(queries, p, seen, values, read),
        }
    };
    attend(queries, scores, weigh);
}

/// The products of N queries with the 16 `keys` of a panel, (head_dim, 16).
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn score<const N: usize, E>(
    queries: &[Query<'_>],
    keys: &[[E; PANEL_ROWS]],
    out: &mut [PanelOut],
    read: impl Fn(&[E; PANEL_ROWS]) -> [__m256; 2],
) {
    let q: [&[f32]; N] = std::array::from_fn(|i| &queries[i].q[..keys.len()]);
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    for (d, keys) in keys.iter().enumerate() {
        let keys = read(keys);
        for (sum, q) in sums.iter_mut().zip(q) {
            add_product(sum, keys, q[d]);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        store_16(sum, out);
    }
}

/// Adds `values` (seen, head_dim), weighted by the slots `seen` of `p`, to the outputs of N queries.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh<const N: usize, E: Copy + Default>(
    queries: &mut [Query<'_>],
    p: &[[f32; BLOCK]],
    seen: Range<usize>,
    values: &[E],
    read: impl Fn(&[E; 16]) -> [__m256; 2],
) {
    let head_dim = queries[0].out.len();
    let p: [&[f32]; N] = std::array::from_fn(|i| &p[i][seen.clone()]);
    for start in (0..head_dim).step_by(16) {
        let width = (head_dim - start).min(16);
        let mut sums: [[__m256; 2]; N] = std::array::from_fn(|i| load_16(&padded(&queries[i].out[start..][..width])));
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
pub(in super::super) fn attend_int8(queries: &mut [Query<'_>], head: &KvHeadInt8<'_>) {
    let head_dim = check_queries(queries, |head_dim| head.positions(head_dim));
    let quantized = quantize_queries(queries, |q, out| quantize(q, head_dim, out));
    let scores = |first: usize, queries: &[Query<'_>], panel: usize, out: &mut [PanelOut]| {
        let panel = Int8Panel::new(head.key_panel(panel, head_dim), head_dim);
        let q = &quantized[first..][..queries.len()];
        match queries.len() {
            1 => score_int8::<1>(q, &panel, out),
            2 => score_int8::<2>(q, &panel, out),
            3 => score_int8::<3>(q, &panel, out),
            _ => score_int8::<4>(q, &panel, out),
        }
    };
    let weigh = |queries: &mut [Query<'_>], p: &[[f32; BLOCK]], block: usize, seen: Range<usize>| {
        let (scales, codes) = head.value_block(block, head_dim);
        let [low, high] = must_cast_ref::<_, [[u8; 32]; 2]>(scales);
        let scales: [f32; BLOCK] = must_cast([widen(low), widen(high)]);
        match queries.len() {
            1 => weigh_int8::<1>(queries, p, seen, &scales, codes),
            2 => weigh_int8::<2>(queries, p, seen, &scales, codes),
            3 => weigh_int8::<3>(queries, p, seen, &scales, codes),
            _ => weigh_int8::<4>(queries, p, seen, &scales, codes),
        }
    };
    attend(queries, scores, weigh);
}

/// The products of N quantized queries with the 16 keys of a panel.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn score_int8<const N: usize>(q: &[[Group; 8]], panel: &Int8Panel<'_>, out: &mut [PanelOut]) {
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    for (g, (codes, scales)) in panel.codes.iter().zip(panel.scales).enumerate() {
        let scales = widen(scales);
        let q: [&Group; N] = std::array::from_fn(|i| &q[i][g]);
        for half in 0..2 {
            let dots = dots::<N>(codes, half, q.map(|q| &q.codes));
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
fn weigh_int8<const N: usize>(
    queries: &mut [Query<'_>],
    p: &[[f32; BLOCK]],
    seen: Range<usize>,
    scales: &[f32; BLOCK],
    codes: &[[u8; PANEL_ROWS * GROUP_SIZE]],
) {
    let mut weights = [Group::ZERO; N];
    for (weights, p) in weights.iter_mut().zip(p) {
        let mut weighted = [0.0; BLOCK];
        for j in seen.clone() {
            weighted[j] = p[j] * scales[j];
        }
        quantize_group(&weighted, weights);
    }
    for (m, codes) in codes.iter().enumerate() {
        for half in 0..2 {
            let dots = dots::<N>(codes, half, weights.each_ref().map(|weights| &weights.codes));
            for i in 0..N {
                let out = &mut *queries[i].out;
                let rest = out.get_mut((2 * m + half) * 8..).unwrap_or_default();
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(dots[i]), _mm256_set1_ps(weights[i].scale));
                if let Some(out) = rest.first_chunk_mut::<8>() {
                    *out = must_cast(_mm256_add_ps(load_f32(out), product));
                } else {
                    let product: [f32; 8] = must_cast(product);
                    rest.iter_mut().zip(product).for_each(|(y, product)| *y += product);
                }
            }
        }
    }
}
