//! Ops give the same bits on any backend, with any number of threads, and for a batch as for its tokens one by one; and
//! they are right, by f64 twins.

mod random;

use random::{Random, assert_same};
use whit::compute::Compute;
use whit::kernels;
use whit::ops::{
    Activation, Activations, HeadScoring, KV_BLOCK, KvCache, KvDtype, KvShape, KvSpan, Linear, attention, linear,
    linear_add, linear_gated,
};
use whit::quant::{ALIGNMENT, Dtype, Inputs, Matrix, PANEL_ROWS, encode_panel, matrix_bytes, panel_bytes};

/// Every backend with 1, 2 and 3 threads; scalar with one thread first.
fn computes() -> Vec<Compute> {
    let all = kernels::available().flat_map(|kernels| (1..=3).map(move |n| Compute::new(kernels, n)));
    all.collect::<whit::Result<_>>().expect("threads")
}

fn named(compute: &Compute) -> String {
    format!("{} with {} threads", compute.kernels.name, compute.threads.len())
}

/// Calls `f` with the matrix of shape (rows, cols) that encodes `w`.
fn with_matrix<R>(dtype: Dtype, rows: usize, cols: usize, w: &[f32], f: impl FnOnce(Matrix<'_>) -> R) -> R {
    let bytes = matrix_bytes(dtype, rows as u64, cols as u64).expect("small") as usize;
    let mut buffer = vec![0; bytes + ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let data = &mut buffer[start..start + bytes];
    for (w, panel) in w.chunks(PANEL_ROWS * cols).zip(data.chunks_exact_mut(panel_bytes(dtype, cols))) {
        encode_panel(dtype, w, cols, panel);
    }
    f(Matrix::new(dtype, rows, cols, data).expect("the exact size"))
}

#[test]
fn linear_is_one_function_of_weights_and_token() {
    let mut random = Random::new(11);
    let computes = computes();
    // The larger shapes are shared between threads, the smaller run inline.
    for (rows, cols, n_tokens) in [(1, 1, 1), (15, 33, 9), (16, 32, 8), (17, 96, 17), (520, 288, 3), (1000, 160, 19)] {
        let w = random.units(rows * cols);
        let bias = random.units(rows);
        let x = random.units(n_tokens * cols);
        for dtype in Dtype::ALL {
            with_matrix(dtype, rows, cols, &w, |w| {
                let layer = Linear { weight: w, bias: Some(&bias) };
                let mut want = Vec::new();
                for compute in &computes {
                    let what = || format!("{} {dtype:?} {rows} x {cols}, {n_tokens} tokens", named(compute));
                    let mut scratch = Activations::new(n_tokens, cols).expect("memory");
                    let mut y = vec![f32::NAN; n_tokens * rows];
                    let input = scratch.load(compute, &x, cols, [dtype.format().inputs]);
                    linear(compute, [(&layer, &mut y)], &input);
                    if want.is_empty() {
                        check_linear(&w, &bias, &x, &y, dtype);
                        want.clone_from(&y);
                    }
                    assert_same(&y, &want, what);
                    for (x, want) in x.chunks_exact(cols).zip(want.chunks_exact(rows)) {
                        let mut y = vec![f32::NAN; rows];
                        let input = scratch.load(compute, x, cols, [Inputs::Quantized]);
                        linear(compute, [(&layer, &mut y)], &input);
                        assert_same(&y, want, || format!("{}, alone", what()));
                    }
                }
            });
        }
    }
}

/// Compares with sums in f64 over the decoded weights: the float paths within rounding, int8 within what the
/// quantization of the inputs may change.
fn check_linear(w: &Matrix<'_>, bias: &[f32], x: &[f32], y: &[f32], dtype: Dtype) {
    let mut row = vec![0.0; w.cols()];
    let quantized = dtype.format().inputs == Inputs::Quantized;
    let input_error = if quantized { 0.5 / 127.0 } else { 0.0 };
    for r in 0..w.rows() {
        w.read_row(r, &mut row);
        for (x, y) in x.chunks_exact(w.cols()).zip(y.chunks_exact(w.rows())) {
            let products = row.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
            let want = f64::from(bias[r]) + products.sum::<f64>();
            let size: f64 = row.iter().map(|&w| f64::from(w.abs())).sum();
            let error = (f64::from(y[r]) - want).abs();
            assert!(error <= size * (input_error + 1e-5) + 1e-6, "{dtype:?} row {r}: {} for {want}", y[r]);
        }
    }
}

#[test]
fn fused_products_are_those_of_their_parts() {
    let mut random = Random::new(13);
    for (rows, cols, n_tokens) in [(15, 33, 9), (520, 288, 1), (1000, 160, 27)] {
        let (gate, up, x) = (random.units(rows * cols), random.units(rows * cols), random.units(n_tokens * cols));
        let (bias, residual) = (random.units(rows), random.units(n_tokens * rows));
        for dtype in Dtype::ALL {
            with_matrix(dtype, rows, cols, &gate, |gate| {
                with_matrix(dtype, rows, cols, &up, |up| {
                    let layers = [Linear { weight: gate, bias: None }, Linear { weight: up, bias: Some(&bias) }];
                    let [gate, up] = &layers;
                    for compute in computes() {
                        let what = || format!("{} {dtype:?} {rows} x {cols}, {n_tokens} tokens", named(&compute));
                        let mut scratch = Activations::new(n_tokens, cols).expect("memory");
                        let input = scratch.load(&compute, &x, cols, [Inputs::Quantized]);
                        let (mut a, mut b) = (vec![f32::NAN; n_tokens * rows], vec![f32::NAN; n_tokens * rows]);
                        linear(&compute, [(gate, &mut a), (up, &mut b)], &input);
                        let mut sum = residual.clone();
                        linear_add(&compute, up, &input, &mut sum);
                        let want: Vec<_> = residual.iter().zip(&b).map(|(x, y)| x + y).collect();
                        assert_same(&sum, &want, what);
                        let mut gated = vec![f32::NAN; n_tokens * rows];
                        linear_gated(&compute, Activation::Silu, gate, up, &input, &mut gated);
                        let want: Vec<_> = a.iter().zip(&b).map(|(&g, u)| whit::ops::math::silu(g) * u).collect();
                        assert_same(&gated, &want, what);
                    }
                });
            });
        }
    }
}

#[test]
fn nan_and_infinity_reach_every_output_of_their_token() {
    for compute in computes() {
        let w = Random::new(3).units(40 * 64);
        with_matrix(Dtype::Int8, 40, 64, &w, |w| {
            let mut x = vec![0.5; 3 * 64];
            x[70] = f32::INFINITY;
            let mut y = vec![0.0; 3 * 40];
            let mut scratch = Activations::new(3, 64).expect("memory");
            let layer = Linear { weight: w, bias: None };
            linear(&compute, [(&layer, &mut y)], &scratch.load(&compute, &x, 64, [Inputs::Quantized]));
            assert!(y[40..80].iter().all(|v| v.is_nan()), "{}", named(&compute));
            assert!(y[..40].iter().chain(&y[80..]).all(|v| v.is_finite()));
        });
    }
}

/// The shape of an attention test.
struct Shape {
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    start: usize,
    n_tokens: usize,
    window: Option<usize>,
}

#[test]
fn attention_of_a_batch_is_that_of_its_tokens() {
    let shape = |n_heads, n_kv_heads, head_dim, start, n_tokens, window| Shape {
        n_heads,
        n_kv_heads,
        head_dim,
        start,
        n_tokens,
        window,
    };
    let shapes = [
        shape(1, 1, 8, 0, 1, None),
        shape(9, 3, 64, 0, 70, None),
        shape(4, 4, 20, 30, 5, None),
        shape(6, 2, 16, 61, 40, Some(33)),
        shape(20, 1, 16, 0, 40, Some(1)),
    ];
    let mut random = Random::new(12);
    let computes = computes();
    for Shape { n_heads, n_kv_heads, head_dim, start, n_tokens, window } in shapes {
        let end = start + n_tokens;
        let (k, v) = (random.units(end * n_kv_heads * head_dim), random.units(end * n_kv_heads * head_dim));
        let q: Vec<f32> = random.units(n_tokens * n_heads * head_dim).iter().map(|v| v * 4.0).collect();
        for dtype in KvDtype::ALL {
            let shape = KvShape { dtype, n_kv_heads, head_dim, n_blocks: end.div_ceil(KV_BLOCK) };
            let mut cache = KvCache::new(shape).expect("memory");
            cache.store(&computes[0], 0, &k, &v);
            let span = |start, n_tokens| [KvSpan { cache: &cache, start, n_tokens }].into_iter();
            let mut want = Vec::new();
            for compute in &computes {
                let what = || format!("{} {} heads {n_heads} start {start}", named(compute), dtype.name());
                let mut out = vec![f32::NAN; q.len()];
                attention(compute, &q, n_heads, span(start, n_tokens), window, HeadScoring::default(), &mut out);
                if want.is_empty() {
                    let tolerance = match dtype {
                        KvDtype::Q4 => 0.5,
                        KvDtype::Int8 => 0.1,
                        KvDtype::F16 | KvDtype::F32 => 1e-2,
                    };
                    check_attention(&[&q, &k, &v], (n_heads, n_kv_heads, head_dim), start, window, &out, tolerance);
                    want.clone_from(&out);
                }
                assert_same(&out, &want, what);
                let width = n_heads * head_dim;
                for (t, (q, want)) in q.chunks_exact(width).zip(want.chunks_exact(width)).enumerate() {
                    let mut out = vec![f32::NAN; width];
                    attention(compute, q, n_heads, span(start + t, 1), window, HeadScoring::default(), &mut out);
                    assert_same(&out, want, || format!("{}, token {t} alone", what()));
                }
            }
        }
    }
}

/// Compares with a softmax in f64, within the rounding of f16 keys and values.
fn check_attention(
    &[q, k, v]: &[&[f32]; 3],
    (n_heads, n_kv_heads, head_dim): (usize, usize, usize),
    start: usize,
    window: Option<usize>,
    out: &[f32],
    tolerance: f64,
) {
    let row = |x: &[f32], position: usize, head: usize| -> Vec<f64> {
        let at = (position * n_kv_heads + head) * head_dim;
        x[at..at + head_dim].iter().map(|&v| f64::from(v)).collect()
    };
    for (i, (q, out)) in q.chunks_exact(head_dim).zip(out.chunks_exact(head_dim)).enumerate() {
        let (t, head) = (i / n_heads, i % n_heads / (n_heads / n_kv_heads));
        let last = start + t;
        let first = window.map_or(0, |w| (last + 1).saturating_sub(w));
        let scores: Vec<f64> = (first..=last)
            .map(|p| {
                q.iter().zip(row(k, p, head)).map(|(&q, k)| f64::from(q) * k).sum::<f64>() / (head_dim as f64).sqrt()
            })
            .collect();
        let max = scores.iter().fold(f64::NEG_INFINITY, |m, &s| m.max(s));
        let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        for (d, &got) in out.iter().enumerate() {
            let want: f64 =
                (first..=last).zip(&scores).map(|(p, s)| (s - max).exp() / total * row(v, p, head)[d]).sum();
            assert!((f64::from(got) - want).abs() < tolerance, "token {t} head {i}: {got} for {want}");
        }
    }
}

#[test]
fn a_ring_gives_the_bits_of_a_whole_cache_as_long_as_it_holds_what_is_seen() {
    let (n_heads, n_kv_heads, head_dim, window, n_tokens) = (4, 2, 24, 70, 400);
    let width = n_kv_heads * head_dim;
    let mut random = Random::new(21);
    let (k, v) = (random.units(n_tokens * width), random.units(n_tokens * width));
    let q = random.units(n_tokens * n_heads * head_dim);
    for compute in computes() {
        for dtype in KvDtype::ALL {
            let cache = |n_blocks| KvCache::new(KvShape { dtype, n_kv_heads, head_dim, n_blocks }).expect("memory");
            let (mut whole, mut ring) =
                (cache(n_tokens.div_ceil(KV_BLOCK)), cache((window + 16_usize).div_ceil(32) + 1));
            let mut start = 0;
            // Steps of all lengths up to what the ring has room for beside the window.
            for step in (1..=16).cycle() {
                let step = step.min(n_tokens - start);
                let rows = start * width..(start + step) * width;
                let q = &q[start * n_heads * head_dim..(start + step) * n_heads * head_dim];
                let [want, got] = [&mut whole, &mut ring].map(|cache| {
                    cache.store(&compute, start, &k[rows.clone()], &v[rows.clone()]);
                    let mut out = vec![f32::NAN; q.len()];
                    let span = [KvSpan { cache, start, n_tokens: step }].into_iter();
                    attention(&compute, q, n_heads, span, Some(window), HeadScoring::default(), &mut out);
                    out
                });
                assert_same(&got, &want, || format!("{} {} at {start}", named(&compute), dtype.name()));
                start += step;
                if start == n_tokens {
                    break;
                }
            }
        }
    }
}

#[test]
fn spans_of_several_texts_are_each_their_own() {
    let (n_heads, n_kv_heads, head_dim) = (6, 2, 16);
    let (width, kv_width) = (n_heads * head_dim, n_kv_heads * head_dim);
    let spans = [(0, 1), (40, 7), (3, 1), (31, 33), (90, 1)];
    let mut random = Random::new(22);
    let shape = |dtype| KvShape { dtype, n_kv_heads, head_dim, n_blocks: 4 };
    for compute in computes() {
        for dtype in KvDtype::ALL {
            let caches = spans.map(|(start, n_tokens)| {
                let mut cache = KvCache::new(shape(dtype)).expect("memory");
                let n = (start + n_tokens) * kv_width;
                cache.store(&compute, 0, &random.units(n), &random.units(n));
                cache
            });
            let all = || caches.iter().zip(spans).map(|(cache, (start, n_tokens))| KvSpan { cache, start, n_tokens });
            let q = random.units(all().map(|span| span.n_tokens * width).sum());
            let mut together = vec![f32::NAN; q.len()];
            attention(&compute, &q, n_heads, all(), None, HeadScoring::default(), &mut together);
            let mut rest = &q[..];
            let mut alone = Vec::new();
            for span in all() {
                let (q, others) = rest.split_at(span.n_tokens * width);
                let mut out = vec![f32::NAN; q.len()];
                attention(&compute, q, n_heads, [span].into_iter(), None, HeadScoring::default(), &mut out);
                alone.extend(out);
                rest = others;
            }
            assert_same(&together, &alone, || format!("{} {}", named(&compute), dtype.name()));
        }
    }
}

#[test]
fn the_cache_says_its_size_before_it_is_made() {
    let shape = |dtype, n_kv_heads, head_dim, n_blocks| KvShape { dtype, n_kv_heads, head_dim, n_blocks };
    assert_eq!(shape(KvDtype::F16, 3, 64, 64).bytes(), 2 * 3 * 64 * 2048 * 2);
    assert_eq!(shape(KvDtype::Int8, 3, 64, 64).bytes(), 3 * 2048 * (64 + 2 * 2 + 64 + 2));
    assert_eq!(shape(KvDtype::Q4, 3, 64, 64).bytes(), 3 * 2048 * (48 + 2 + 32 + 2));
    assert_eq!(shape(KvDtype::F32, 1 << 30, 64, usize::MAX).bytes(), u64::MAX);
    for dtype in [KvDtype::Int8, KvDtype::Q4] {
        let error = KvCache::new(shape(dtype, 1, 257, 1)).err().expect("heads too large");
        assert_eq!(error.kind(), whit::error::Kind::Unavailable);
        assert!(error.to_string().contains(&format!("those of a KV cache of {} have at most 256", dtype.name())));
    }
    let error = KvCache::new(shape(KvDtype::F32, 1 << 30, 1 << 10, 1 << 15)).err().expect("not to be had");
    assert_eq!(error.kind(), whit::error::Kind::Resources);
}
