//! Every kernel of every backend that this CPU has, against its scalar twin, equal to the bit: edge lengths, random and
//! extreme inputs, guard pages at both ends, outputs painted with NaN.
#![cfg(unix)]

mod guarded;
mod random;

use guarded::{EDGES, Edge, Guarded};
use random::{Random, assert_same};
use whit::kernels::{self, Group, Heads, Kernels, PanelOut, TILE, scalar};
use whit::quant::{Dtype, PANEL_ROWS, groups};

/// Lengths of a row at and around the edges of lanes, groups and unrolled loops, and real ones.
const COLS: [usize; 21] = [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 288, 576];
/// Panels of a matvec: one more and one less than any number read side by side.
const PANELS: [usize; 6] = [1, 2, 3, 4, 5, 9];
/// Random cases of a kernel and backend, besides the lengths above.
const RANDOM_CASES: usize = if cfg!(debug_assertions) { 150 } else { 1500 };

/// The backends to compare with scalar.
fn backends() -> impl Iterator<Item = &'static Kernels> {
    kernels::available().filter(|backend| backend.name != "scalar")
}

fn painted(n: usize, edge: Edge) -> Guarded<f32> {
    Guarded::new(&vec![f32::from_bits(0x7fc0_dead); n], edge)
}

/// Calls `case(random, cols, n, wild)` for all edge lengths and then for random ones.
fn cases(seed: u64, ns: &[usize], mut case: impl FnMut(&mut Random, usize, usize, bool)) {
    let mut random = Random::new(seed);
    for cols in COLS {
        for &n in ns {
            case(&mut random, cols, n, false);
        }
    }
    for i in 0..RANDOM_CASES {
        let (cols, n) = (1 + random.below(200), random.pick(ns));
        case(&mut random, cols, n, i % 4 == 0);
    }
}

fn quantized(x: &[f32], cols: usize) -> Vec<Group> {
    let mut out = vec![Group::ZERO; groups(cols) * (x.len() / cols)];
    scalar::quantize(x, cols, &mut out);
    out
}

#[test]
fn quantize() {
    let tokens: Vec<usize> = (1..=TILE).collect();
    cases(1, &tokens, |random, cols, n, _| {
        let x = random.inputs(n * cols);
        let want = quantized(&x, cols);
        for backend in backends() {
            for edge in EDGES {
                let x = Guarded::new(&x, edge);
                let mut out = Guarded::new(&vec![Group { codes: [99; 32], scale: -1.0 }; want.len()], edge);
                (backend.quantize)(&x, cols, &mut out);
                for (got, want) in out.iter().zip(&want) {
                    assert_eq!(got.codes, want.codes, "{} quantize cols {cols} n {n}", backend.name);
                    assert_same(&[got.scale], &[want.scale], || format!("{} scale cols {cols}", backend.name));
                }
            }
        }
    });
}

#[test]
fn int8_matvec() {
    cases(2, &PANELS, |random, cols, n, wild| {
        let panels = random.panels(Dtype::Int8, cols, n, wild);
        let x = quantized(&random.inputs(cols), cols);
        let mut want = vec![0.0; n * PANEL_ROWS];
        scalar::int8_matvec(&panels, cols, &x, &mut want);
        for backend in backends() {
            for edge in EDGES {
                let mut out = painted(want.len(), edge);
                let (panels, x) = (Guarded::new(&panels, edge), Guarded::new(&x, edge));
                (backend.int8_matvec)(&panels, cols, &x, &mut out);
                assert_same(&out, &want, || format!("{} int8_matvec cols {cols} panels {n}", backend.name));
            }
        }
    });
}

#[test]
fn int8_matmul() {
    let tokens: Vec<usize> = (1..=TILE).collect();
    cases(3, &tokens, |random, cols, n, wild| {
        let panel = random.panels(Dtype::Int8, cols, 1, wild);
        let x = quantized(&random.inputs(n * cols), cols);
        let mut want = vec![PanelOut::default(); n];
        scalar::int8_matmul(&panel, cols, &x, &mut want);
        for backend in backends() {
            for edge in EDGES {
                let mut out = Guarded::new(&vec![[f32::NAN; PANEL_ROWS]; n], edge);
                let (panel, x) = (Guarded::new(&panel, edge), Guarded::new(&x, edge));
                (backend.int8_matmul)(&panel, cols, &x, &mut out);
                let what = || format!("{} int8_matmul cols {cols} tokens {n}", backend.name);
                assert_same(out.as_flattened(), want.as_flattened(), what);
            }
        }
    });
}

#[test]
fn f16_matvec() {
    float_matvec(4, Dtype::F16, scalar::f16_matvec, |backend| backend.f16_matvec);
}

#[test]
fn f32_matvec() {
    float_matvec(5, Dtype::F32, scalar::f32_matvec, |backend| backend.f32_matvec);
}

#[test]
fn f16_matmul() {
    float_matmul(6, Dtype::F16, scalar::f16_matmul, |backend| backend.f16_matmul);
}

#[test]
fn f32_matmul() {
    float_matmul(7, Dtype::F32, scalar::f32_matmul, |backend| backend.f32_matmul);
}

type FloatMatvec = fn(&[u8], &[f32], &mut [f32]);
type FloatMatmul = fn(&[u8], usize, &[f32], &mut [PanelOut]);

fn float_matvec(seed: u64, dtype: Dtype, truth: FloatMatvec, of: impl Fn(&Kernels) -> FloatMatvec) {
    cases(seed, &PANELS, |random, cols, n, wild| {
        let panels = random.panels(dtype, cols, n, wild);
        let x = random.inputs(cols);
        let mut want = vec![0.0; n * PANEL_ROWS];
        truth(&panels, &x, &mut want);
        for backend in backends() {
            for edge in EDGES {
                let mut out = painted(want.len(), edge);
                of(backend)(&Guarded::new(&panels, edge), &Guarded::new(&x, edge), &mut out);
                assert_same(&out, &want, || format!("{} {dtype:?} matvec cols {cols} panels {n}", backend.name));
            }
        }
    });
}

fn float_matmul(seed: u64, dtype: Dtype, truth: FloatMatmul, of: impl Fn(&Kernels) -> FloatMatmul) {
    let tokens: Vec<usize> = (1..=TILE).collect();
    cases(seed, &tokens, |random, cols, n, wild| {
        let panel = random.panels(dtype, cols, 1, wild);
        let x = random.inputs(n * cols);
        let mut want = vec![PanelOut::default(); n];
        truth(&panel, cols, &x, &mut want);
        for backend in backends() {
            for edge in EDGES {
                let mut out = Guarded::new(&vec![[f32::NAN; PANEL_ROWS]; n], edge);
                of(backend)(&Guarded::new(&panel, edge), cols, &Guarded::new(&x, edge), &mut out);
                let what = || format!("{} {dtype:?} matmul cols {cols} tokens {n}", backend.name);
                assert_same(out.as_flattened(), want.as_flattened(), what);
            }
        }
    });
}

#[test]
fn attend() {
    let mut random = Random::new(8);
    let mut shapes = Vec::new();
    for head_dim in [1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 80, 128, 256] {
        for visible in [0..1, 0..31, 0..32, 0..33, 31..32, 31..33, 5..40, 40..63, 33..129] {
            shapes.push((head_dim, random.pick(&[1, 2, 3, 15, 16, 17]), visible));
        }
    }
    for _ in 0..RANDOM_CASES {
        let start = random.below(90);
        let visible = start..start + 1 + random.below(90);
        shapes.push((1 + random.below(70), 1 + random.below(4), visible));
    }
    for (i, (head_dim, n_heads, visible)) in shapes.into_iter().enumerate() {
        let spread = random.pick(&[1.0, 1.0, 30.0, 1e4]);
        let q: Vec<f32> = random.units(n_heads * head_dim).iter().map(|v| v * spread).collect();
        let mut k: Vec<u16> = (0..visible.end * head_dim).map(|_| random.half(i % 8 == 0)).collect();
        let mut v: Vec<u16> = (0..visible.end * head_dim).map(|_| random.half(i % 8 == 0)).collect();
        // What is not seen must not matter.
        k[..visible.start * head_dim].fill(0x7e00);
        v[..visible.start * head_dim].fill(0x7e00);
        let wide = |x: &[u16]| x.iter().map(|&h| half::f16::from_bits(h).to_f32_const()).collect::<Vec<_>>();
        let (k32, v32) = (wide(&k), wide(&v));
        let mut want = vec![0.0; q.len()];
        let halves = Heads { q: &q, k: &k[..], v: &v[..], head_dim, visible: visible.clone() };
        scalar::attend_f16(&halves, &mut want);
        let mut wide = vec![0.0; q.len()];
        scalar::attend_f32(&Heads { q: &q, k: &k32[..], v: &v32[..], head_dim, visible: visible.clone() }, &mut wide);
        assert_same(&wide, &want, || format!("scalar, halves and floats, head_dim {head_dim} {visible:?}"));
        for backend in backends() {
            for edge in EDGES {
                let what = || format!("{} attend head_dim {head_dim} heads {n_heads} {visible:?}", backend.name);
                let q = Guarded::new(&q, edge);
                let mut out = painted(q.len(), edge);
                let (k, v) = (Guarded::new(&k, edge), Guarded::new(&v, edge));
                let visible = visible.clone();
                (backend.attend_f16)(&Heads { q: &q, k: &k, v: &v, head_dim, visible: visible.clone() }, &mut out);
                assert_same(&out, &want, what);
                let mut out = painted(q.len(), edge);
                let (k, v) = (Guarded::new(&k32, edge), Guarded::new(&v32, edge));
                (backend.attend_f32)(&Heads { q: &q, k: &k, v: &v, head_dim, visible }, &mut out);
                assert_same(&out, &want, what);
            }
        }
    }
}
