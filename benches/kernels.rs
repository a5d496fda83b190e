//! Kernels by backend and number of threads, through the ops that call them: `cargo bench --bench kernels`.
//!
//! Matrices of a matvec are larger than any last-level cache, so that its bytes a second are those of the memory. A
//! matmul counts multiply-adds as elements: Gelem/s are GMAC/s.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use whit::compute::Compute;
use whit::kernels::{self, Activation};
use whit::ops::{Activations, HeadScoring, KV_BLOCK, KvCache, KvDtype, KvShape, KvSpan, Linear, attention, linear};
use whit::quant::{ALIGNMENT, Dtype, Inputs, Matrix, PANEL_ROWS, encode_panel, matrix_bytes, panel_bytes};

/// Bytes of the matrix of a matvec.
const MATVEC_BYTES: u64 = 128 << 20;
const PREFILL_TOKENS: usize = 128;

/// Weights of shape (rows, cols), or the buffer that they live in.
struct Weights {
    buffer: Vec<u8>,
    dtype: Dtype,
    rows: usize,
    cols: usize,
}

impl Weights {
    fn new(dtype: Dtype, rows: usize, cols: usize) -> Self {
        let bytes = matrix_bytes(dtype, rows as u64, cols as u64).expect("a size") as usize;
        let mut buffer = vec![0; bytes + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        // All panels hold the same weights, so that only one is encoded.
        let mut panel = vec![0; panel_bytes(dtype, cols)];
        encode_panel(dtype, &values(PANEL_ROWS * cols), cols, &mut panel);
        for out in buffer[start..start + bytes].chunks_exact_mut(panel.len()) {
            out.copy_from_slice(&panel);
        }
        Weights { buffer, dtype, rows, cols }
    }

    fn matrix(&self) -> Matrix<'_> {
        let bytes = matrix_bytes(self.dtype, self.rows as u64, self.cols as u64).expect("a size") as usize;
        let start = self.buffer.as_ptr().align_offset(ALIGNMENT);
        Matrix::new(self.dtype, self.rows, self.cols, &self.buffer[start..start + bytes]).expect("its size")
    }
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 506.0).collect()
}

/// Every backend with one thread, and the best with two.
fn computes() -> Vec<Compute> {
    let one = kernels::available().map(|kernels| Compute::new(kernels, 1));
    one.chain([Compute::new(kernels::detect(), 2)]).collect::<whit::Result<_>>().expect("threads")
}

fn id(compute: &Compute, parameter: impl std::fmt::Display) -> BenchmarkId {
    BenchmarkId::new(format!("{} x{}", compute.kernels.name, compute.threads.len()), parameter)
}

fn matvec(c: &mut Criterion) {
    for dtype in Dtype::ALL {
        let cols = 2048;
        let rows = (MATVEC_BYTES / matrix_bytes(dtype, 1, cols as u64).expect("a size")) as usize * PANEL_ROWS;
        let weights = Weights::new(dtype, rows, cols);
        let mut group = c.benchmark_group(format!("matvec {}", dtype.name()));
        group.throughput(Throughput::Bytes(matrix_bytes(dtype, rows as u64, cols as u64).expect("a size")));
        let (x, mut y) = (values(cols), vec![0.0; rows]);
        let mut scratch = Activations::new(1, cols).expect("memory");
        for compute in computes() {
            group.bench_function(id(&compute, cols), |b| {
                b.iter(|| {
                    let input = scratch.load(&compute, &x, cols, [dtype.format().inputs]);
                    linear(&compute, [(&Linear { weight: weights.matrix(), bias: None }, &mut y)], &input);
                });
            });
        }
    }
}

fn matmul(c: &mut Criterion) {
    for dtype in Dtype::ALL {
        let mut group = c.benchmark_group(format!("matmul {}", dtype.name()));
        for cols in [576, 2048, 5632] {
            let rows = 256;
            let weights = Weights::new(dtype, rows, cols);
            group.throughput(Throughput::Elements((rows * cols * PREFILL_TOKENS) as u64));
            let (x, mut y) = (values(PREFILL_TOKENS * cols), vec![0.0; PREFILL_TOKENS * rows]);
            let mut scratch = Activations::new(PREFILL_TOKENS, cols).expect("memory");
            for compute in computes() {
                let input = scratch.load(&compute, &x, cols, [dtype.format().inputs]);
                group.bench_function(id(&compute, cols), |b| {
                    b.iter(|| linear(&compute, [(&Linear { weight: weights.matrix(), bias: None }, &mut y)], &input));
                });
            }
        }
    }
}

fn quantize(c: &mut Criterion) {
    let cols = 2048;
    let mut group = c.benchmark_group("quantize");
    group.throughput(Throughput::Elements((PREFILL_TOKENS * cols) as u64));
    let x = values(PREFILL_TOKENS * cols);
    let mut scratch = Activations::new(PREFILL_TOKENS, cols).expect("memory");
    for compute in computes() {
        group.bench_function(id(&compute, cols), |b| {
            b.iter(|| scratch.load(&compute, &x, cols, [Inputs::Quantized]).n_tokens())
        });
    }
}

/// Decode at a depth, over KV heads shared by three query heads each; bytes are those of keys and values.
fn attend(c: &mut Criterion) {
    let (n_heads, n_kv_heads, head_dim) = (9, 3, 64);
    for dtype in KvDtype::ALL {
        let mut group = c.benchmark_group(format!("attention {}", dtype.name()));
        for depth in [1024_usize, 8192] {
            let shape = KvShape { dtype, n_kv_heads, head_dim, n_blocks: depth.div_ceil(KV_BLOCK) };
            let mut cache = KvCache::new(shape).expect("memory");
            let kv = values(depth * n_kv_heads * head_dim);
            cache.store(&computes()[0], 0, &kv, &kv);
            group.throughput(Throughput::Bytes(shape.bytes()));
            let q = values(n_heads * head_dim);
            let mut out = vec![0.0; q.len()];
            for compute in computes() {
                group.bench_function(id(&compute, depth), |b| {
                    let span = KvSpan { cache: &cache, start: depth - 1, n_tokens: 1 };
                    b.iter(|| {
                        attention(&compute, &q, n_heads, [span].into_iter(), None, HeadScoring::default(), &mut out)
                    });
                });
            }
        }
    }
}

/// What is done to each row or element by itself.
fn rows(c: &mut Criterion) {
    let (n, head_dim) = (2048, 64);
    let mut group = c.benchmark_group("rows");
    group.throughput(Throughput::Elements(n as u64));
    let (x, mut y) = (values(n), vec![0.0; n]);
    for kernels in kernels::available() {
        let name = kernels.name;
        group.bench_function(format!("rms_norm {name}"), |b| b.iter(|| (kernels.rms_norm)(&x, &x, 1e-5, &mut y)));
        group.bench_function(format!("layer_norm {name}"), |b| {
            b.iter(|| (kernels.layer_norm)(&x, &x, &x, 1e-5, &mut y));
        });
        group.bench_function(format!("swiglu {name}"), |b| {
            b.iter(|| {
                y.copy_from_slice(&x);
                (kernels.gate)(Activation::Silu, &mut y, &x);
            });
        });
        group.bench_function(format!("gelu {name}"), |b| {
            b.iter(|| {
                y.copy_from_slice(&x);
                (kernels.activate)(Activation::GeluTanh, &mut y);
            });
        });
        group.bench_function(format!("exact gelu {name}"), |b| {
            b.iter(|| {
                y.copy_from_slice(&x);
                (kernels.activate)(Activation::Gelu, &mut y);
            });
        });
        group.bench_function(format!("rope {name}"), |b| b.iter(|| (kernels.rope)(&mut y, &x[..head_dim], head_dim)));
        group.bench_function(format!("add {name}"), |b| b.iter(|| (kernels.add)(&mut y, &x)));
    }
}

/// The price of a region: two threads meet, do nothing and part.
fn region(c: &mut Criterion) {
    let compute = Compute::new(kernels::detect(), 2).expect("threads");
    c.bench_function("region x2", |b| {
        b.iter(|| {
            compute.threads.run(2, &|range| {
                std::hint::black_box(range);
            })
        })
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500));
    targets = matvec, matmul, quantize, attend, rows, region
}
criterion_main!(benches);
