//! Every kernel of every backend that this CPU has, against its scalar twin, equal to the bit: edge lengths, random and
//! extreme inputs, guard pages at both ends, outputs painted with NaN.
#![cfg(unix)]

mod guarded;
mod random;

use guarded::{EDGES, Edge, Guarded};
use random::{Random, assert_same};
use std::ops::{Deref, Range};
use whit::kernels::{
    self, Activation, BLOCK, Group, Hint, Kernels, KvHead, KvHeadInt8, KvHeadQ4, MAX_HEAD_GROUPS, PanelOut, QUERY_ROWS,
    Query, Scoring, TILE, Tokens, key_panel_bytes, packed_value_bytes, scalar, value_block_bytes,
};
use whit::ops::math::exp;
use whit::quant::{self, Dtype, PANEL_ROWS, encode_panel, groups, panel_bytes, read_panel_row};

/// Lengths of a row at and around the edges of lanes, groups and unrolled loops, and real ones.
const COLS: [usize; 21] = [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 288, 576];
/// Tokens of a matmul: all numbers that registers hold, one more, two tiles of them and one more, the most.
const TOKENS: [usize; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 24, 25, 33, TILE];
/// Panels of a matvec: one more and one less than any number read side by side.
const PANELS: [usize; 6] = [1, 2, 3, 4, 5, 9];
/// Random cases of a kernel and backend, besides the lengths above: 100,000, and fewer under emulation, which is fifty
/// times slower. WHIT_BATTERY_CASES says otherwise.
fn random_cases() -> usize {
    let emulated = cfg!(not(target_arch = "x86_64"));
    let said = std::env::var("WHIT_BATTERY_CASES").ok();
    said.map_or(if emulated { 3_000 } else { 100_000 }, |n| n.parse().expect("WHIT_BATTERY_CASES is a number"))
}

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
    for i in 0..random_cases() {
        // Mostly short: the edges are where kernels go wrong.
        let most = random.pick(&[40, 40, 40, 40, 40, 40, 40, 200]);
        let (cols, n) = (1 + random.below(most), random.pick(ns).min(1 + random.below(17)));
        case(&mut random, cols, n, i % 4 == 0);
    }
}

fn quantized(x: &[f32], cols: usize) -> Vec<Group> {
    let mut out = vec![Group::ZERO; groups(cols) * (x.len() / cols)];
    scalar::quantize(x, cols, &mut out);
    out
}

/// The best kernels of CPUs that are emulated.
const EMULATED: [(&str, &str); 7] = [
    ("cortex-a53", "neon"),
    ("cortex-a72", "neon"),
    ("cortex-a76", "dotprod"),
    ("neoverse-n1", "dotprod"),
    ("max", "i8mm"),
    ("cortex-a7", "neon"),
    ("arm1176", "scalar"),
];

#[test]
fn an_emulated_cpu_gets_its_best_kernels() {
    let Ok(cpu) = std::env::var("QEMU_CPU") else { return };
    let named = EMULATED.iter().find(|(name, _)| *name == cpu);
    let (_, best) = named.unwrap_or_else(|| panic!("{cpu}: add it and its kernels to the list"));
    let best = if cfg!(target_arch = "arm") && cpu == "max" { "neon" } else { best };
    assert_eq!(kernels::detect().name, best, "{cpu}");
}

/// Every backend whose features this CPU has, by the standard library or, on 32-bit ARM, the system.
fn expected() -> Vec<&'static str> {
    let mut names = vec!["scalar"];
    let mut add = |name, has: bool| names.extend(has.then_some(name));
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        add("avx2", avx2);
        add("avxvnni", avx2 && is_x86_feature_detected!("avxvnni"));
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        add("avx512", avx2 && avx512);
        // The library asks the CPU and, for the permission, the system; here the list of the system tells.
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        add("amx", avx2 && avx512 && cpuinfo.split_whitespace().any(|flag| flag == "amx_int8"));
    }
    #[cfg(target_arch = "aarch64")]
    {
        use std::arch::is_aarch64_feature_detected;
        let (neon, dotprod) = (is_aarch64_feature_detected!("neon"), is_aarch64_feature_detected!("dotprod"));
        add("neon", neon);
        add("dotprod", neon && dotprod);
        add("i8mm", neon && dotprod && is_aarch64_feature_detected!("i8mm"));
    }
    #[cfg(all(target_arch = "arm", target_os = "linux"))]
    {
        // The system's word of features: entry 16 of the vector that it gives a program at its start.
        let auxv = std::fs::read("/proc/self/auxv").expect("the auxiliary vector");
        let (words, _) = auxv.as_chunks::<4>();
        let mut pairs = words.chunks_exact(2).map(|pair| (u32::from_ne_bytes(pair[0]), u32::from_ne_bytes(pair[1])));
        add("neon", pairs.any(|(kind, value)| kind == 16 && value & 1 << 12 != 0));
    }
    names
}

#[test]
fn every_backend_that_the_cpu_has_is_compared() {
    let names: Vec<_> = kernels::available().map(|backend| backend.name).collect();
    assert_eq!(names, expected(), "the backends of this CPU");
    assert_eq!(backends().count(), names.len() - 1, "all but scalar are compared");
}

#[test]
fn quantize() {
    cases(1, &TOKENS, |random, cols, n, _| {
        let x = random.inputs(n * cols);
        let want = quantized(&x, cols);
        for backend in backends() {
            for edge in EDGES {
                let x = Guarded::new(&x, edge);
                let mut out = Guarded::new(&vec![Group { codes: [99; 32], scale: -1.0, start: -1 }; want.len()], edge);
                (backend.quantize)(&x, cols, &mut out);
                for (got, want) in out.iter().zip(&want) {
                    assert_eq!(
                        (got.codes, got.start),
                        (want.codes, want.start),
                        "{} quantize cols {cols} n {n}",
                        backend.name
                    );
                    assert_same(&[got.scale], &[want.scale], || format!("{} scale cols {cols}", backend.name));
                }
            }
        }
    });
}

/// Inputs of a product in the form that the format of the weights wants; the other form is empty.
struct Inputs<F, G> {
    cols: usize,
    floats: F,
    groups: G,
}

impl Inputs<Vec<f32>, Vec<Group>> {
    fn new(dtype: Dtype, floats: Vec<f32>, cols: usize) -> Self {
        match dtype.format().inputs {
            quant::Inputs::Floats => Inputs { cols, floats, groups: vec![] },
            quant::Inputs::Quantized => Inputs { cols, groups: quantized(&floats, cols), floats: vec![] },
        }
    }

    /// The same at guard pages.
    fn at(&self, edge: Edge) -> Inputs<Guarded<f32>, Guarded<Group>> {
        let (floats, groups) = (Guarded::new(&self.floats, edge), Guarded::new(&self.groups, edge));
        Inputs { cols: self.cols, floats, groups }
    }
}

impl<F: Deref<Target = [f32]>, G: Deref<Target = [Group]>> Inputs<F, G> {
    fn tokens(&self) -> Tokens<'_> {
        Tokens { cols: self.cols, floats: &self.floats, groups: &self.groups }
    }
}

/// Scalar's products are those of the decoded weights with the inputs, within the rounding of f32.
#[test]
fn scalar_products_are_right() {
    for (i, dtype) in Dtype::ALL.into_iter().enumerate() {
        let mut random = Random::new(2 + i as u64);
        for (cols, n) in COLS.into_iter().flat_map(|cols| [1, 2, 5].map(|n| (cols, n))) {
            let mut panel = vec![0; panel_bytes(dtype, cols)];
            encode_panel(dtype, &random.units(PANEL_ROWS * cols), cols, &mut panel);
            let x = random.units(n * cols);
            let inputs = Inputs::new(dtype, x.clone(), cols);
            let (mut out, mut one) = (vec![PanelOut::default(); n], PanelOut::default());
            (scalar::PRODUCTS[dtype].matmul)(&panel, &inputs.tokens(), Hint::None, &mut out);
            let first = Inputs::new(dtype, x[..cols].to_vec(), cols);
            (scalar::PRODUCTS[dtype].matvec)(&panel, &first.tokens(), Hint::None, &mut one);
            assert_same(&one, &out[0], || format!("{dtype:?} matvec cols {cols}"));
            let input_error = if inputs.groups.is_empty() { 0.0 } else { 0.5 / 127.0 };
            let mut row = vec![0.0; cols];
            for r in 0..PANEL_ROWS {
                read_panel_row(dtype, &panel, r, &mut row);
                let size: f64 = row.iter().map(|&w| f64::from(w.abs())).sum();
                for (x, out) in x.chunks_exact(cols).zip(&out) {
                    let want: f64 = row.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
                    let error = (f64::from(out[r]) - want).abs();
                    assert!(error <= size * (input_error + 1e-5), "{dtype:?} cols {cols}: {} for {want}", out[r]);
                }
            }
        }
    }
}

#[test]
fn matvec() {
    for (i, dtype) in Dtype::ALL.into_iter().enumerate() {
        let mut compared = 0;
        cases(20 + i as u64, &PANELS, |random, cols, n, wild| {
            let panels = random.panels(dtype, cols, n, wild);
            let inputs = Inputs::new(dtype, random.inputs(cols), cols);
            let mut want = vec![0.0; n * PANEL_ROWS];
            (scalar::PRODUCTS[dtype].matvec)(&panels, &inputs.tokens(), Hint::None, &mut want);
            for backend in backends() {
                for edge in EDGES {
                    let mut out = painted(want.len(), edge);
                    let inputs = inputs.at(edge);
                    (backend.products[dtype].matvec)(
                        &Guarded::new(&panels, edge),
                        &inputs.tokens(),
                        Hint::ALL[compared % Hint::ALL.len()],
                        &mut out,
                    );
                    assert_same(&out, &want, || format!("{} {dtype:?} matvec cols {cols} panels {n}", backend.name));
                    compared += 1;
                }
            }
        });
        assert!(compared >= backends().count() * COLS.len() * PANELS.len(), "{dtype:?}: {compared} comparisons");
    }
}

#[test]
fn matmul() {
    for (i, dtype) in Dtype::ALL.into_iter().enumerate() {
        let mut compared = 0;
        cases(30 + i as u64, &TOKENS, |random, cols, n, wild| {
            let panel = random.panels(dtype, cols, 1, wild);
            let inputs = Inputs::new(dtype, random.inputs(n * cols), cols);
            let mut want = vec![PanelOut::default(); n];
            (scalar::PRODUCTS[dtype].matmul)(&panel, &inputs.tokens(), Hint::None, &mut want);
            for backend in backends() {
                for edge in EDGES {
                    let mut out = Guarded::new(&vec![[f32::NAN; PANEL_ROWS]; n], edge);
                    let inputs = inputs.at(edge);
                    (backend.products[dtype].matmul)(
                        &Guarded::new(&panel, edge),
                        &inputs.tokens(),
                        Hint::ALL[compared % Hint::ALL.len()],
                        &mut out,
                    );
                    let what = || format!("{} {dtype:?} matmul cols {cols} tokens {n}", backend.name);
                    assert_same(out.as_flattened(), want.as_flattened(), what);
                    compared += 1;
                }
            }
        });
        assert!(compared >= backends().count() * COLS.len() * TOKENS.len(), "{dtype:?}: {compared} comparisons");
    }
}

/// Keys, values and queries of an attention, as one of the three caches has them.
struct Attention {
    head_dim: usize,
    q: Vec<f32>,
    visible: Vec<Range<usize>>,
    scoring: Scoring,
}

impl Attention {
    /// Calls `attend` with queries whose inputs lie at guard pages, and returns their outputs.
    fn run(&self, edge: Edge, attend: impl Fn(&mut [Query<'_>])) -> Guarded<f32> {
        let q = Guarded::new(&self.q, edge);
        let mut out = painted(q.len(), edge);
        let rows = q.chunks_exact(self.head_dim).zip(out.chunks_exact_mut(self.head_dim)).zip(&self.visible);
        let query = |((q, out), visible): ((_, _), &Range<usize>)| Query {
            q,
            out,
            visible: visible.clone(),
            scoring: self.scoring,
        };
        let mut queries: Vec<_> = rows.map(query).collect();
        attend(&mut queries);
        out
    }
}

/// Calls `case(random, attention, blocks, wild)` for edge shapes and random ones; `blocks` is the room of the cache.
fn attentions(seed: u64, max_head_dim: usize, mut case: impl FnMut(&mut Random, &Attention, usize, bool)) {
    let mut random = Random::new(seed);
    let mut shapes = Vec::new();
    for head_dim in [1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 80, 128, 256] {
        for visible in [0..1, 0..31, 0..32, 0..33, 31..32, 31..33, 5..40, 40..63, 33..129] {
            shapes.push((head_dim, 1, random.pick(&[1, 2, 3, 15, 17, QUERY_ROWS]), visible));
        }
    }
    for _ in 0..random_cases() {
        let start = random.below(70);
        let most = random.pick(&[8, 8, 8, 8, 8, 8, 8, 70]);
        let (tokens, heads) = (1 + random.below(5), 1 + random.below(4));
        shapes.push((1 + random.below(most), tokens, heads, start..start + 1 + random.below(50)));
    }
    for (i, (head_dim, tokens, heads, first)) in shapes.into_iter().enumerate() {
        if head_dim > max_head_dim {
            continue;
        }
        let spread = random.pick(&[1.0, 1.0, 30.0, 1e4]);
        let q: Vec<f32> = random.units(tokens * heads * head_dim).iter().map(|v| v * spread).collect();
        // Half of the cases have a sliding window.
        let slide = random.below(2);
        let of = |t: usize| (first.start + t * slide)..first.end + t;
        let visible: Vec<_> = (0..tokens).flat_map(|t| (0..heads).map(move |_| of(t))).collect();
        let blocks = (first.end + tokens).div_ceil(BLOCK);
        let scoring = Scoring {
            cap: random.pick(&[None, None, Some(3.0)]),
            slope: random.pick(&[0.0, 0.0, 0.25]),
            sink: random.pick(&[
                None,
                None,
                Some(0.5),
                Some(-3.0),
                Some(40.0),
                Some(f32::INFINITY),
                Some(f32::NEG_INFINITY),
            ]),
        };
        case(&mut random, &Attention { head_dim, q, visible, scoring }, blocks, i % 8 == 0);
    }
}

#[test]
fn attend_f16_and_f32() {
    attentions(8, usize::MAX, |random, attention, blocks, wild| {
        let n = blocks * BLOCK * attention.head_dim;
        let halves = |random: &mut Random| (0..n).map(|_| random.half(wild)).collect::<Vec<u16>>();
        let (keys, values) = (halves(random), halves(random));
        let wide = |x: &[u16]| x.iter().map(|&h| half::f16::from_bits(h).to_f32_const()).collect::<Vec<_>>();
        let (wide_keys, wide_values) = (wide(&keys), wide(&values));
        let (head, wide) = (
            KvHead { keys: &keys[..], values: &values[..] },
            KvHead { keys: &wide_keys[..], values: &wide_values[..] },
        );
        let want = attention.run(Edge::End, |queries| scalar::attend_f16(queries, &head));
        let hint = random.pick(&Hint::ALL);
        let Attention { head_dim, visible, scoring, .. } = attention;
        let what = |name: &str| format!("{name} attend head_dim {head_dim} {visible:?} {scoring:?}");
        let floats = attention.run(Edge::End, |queries| scalar::attend_f32(queries, &wide));
        assert_same(&floats, &want, || what("scalar, floats,"));
        for backend in backends() {
            for edge in EDGES {
                let (keys, values) = (Guarded::new(&keys, edge), Guarded::new(&values, edge));
                let head = KvHead { keys: &keys[..], values: &values[..] };
                let got = attention.run(edge, |queries| (backend.attend_f16)(queries, &head, hint));
                assert_same(&got, &want, || what(backend.name));
                let (keys, values) = (Guarded::new(&wide_keys, edge), Guarded::new(&wide_values, edge));
                let head = KvHead { keys: &keys[..], values: &values[..] };
                let got = attention.run(edge, |queries| (backend.attend_f32)(queries, &head, hint));
                assert_same(&got, &want, || what(backend.name));
            }
        }
    });
}

#[test]
fn attend_int8() {
    attentions(9, MAX_HEAD_GROUPS * 32, |random, attention, blocks, wild| {
        let keys = random.panels(Dtype::Int8, attention.head_dim, blocks * BLOCK / PANEL_ROWS, wild);
        let mut values = Vec::new();
        for _ in 0..blocks {
            let end = values.len() + value_block_bytes(attention.head_dim);
            (0..BLOCK).for_each(|_| values.extend(random.half(wild).to_le_bytes()));
            while values.len() < end {
                values.extend(random.bits().to_le_bytes());
            }
        }
        let head = KvHeadInt8 { keys: &keys, values: &values };
        let want = attention.run(Edge::End, |queries| scalar::attend_int8(queries, &head));
        let hint = random.pick(&Hint::ALL);
        for backend in backends() {
            for edge in EDGES {
                let (keys, values) = (Guarded::new(&keys, edge), Guarded::new(&values, edge));
                let head = KvHeadInt8 { keys: &keys, values: &values };
                let got = attention.run(edge, |queries| (backend.attend_int8)(queries, &head, hint));
                let what =
                    || format!("{} attend head_dim {} {:?}", backend.name, attention.head_dim, attention.visible);
                assert_same(&got, &want, what);
            }
        }
    });
}

#[test]
fn attend_q4() {
    attentions(15, MAX_HEAD_GROUPS * 32, |random, attention, blocks, wild| {
        let groups = groups(attention.head_dim);
        // Scales and then codes, any bytes; of scales those of numbers, or else any.
        let mut packed = |n: usize, bytes: usize, scales: usize| -> Vec<u8> {
            let byte = |i: usize, random: &mut Random| match i % bytes < scales && !wild {
                true => random.below(0xc0) as u8,
                false => random.bits() as u8,
            };
            (0..n * bytes).map(|i| byte(i, random)).collect()
        };
        let keys = packed(2 * blocks, key_panel_bytes(attention.head_dim), groups * PANEL_ROWS);
        let values = packed(blocks, packed_value_bytes(attention.head_dim), groups * BLOCK);
        let want =
            attention.run(Edge::End, |queries| scalar::attend_q4(queries, &KvHeadQ4 { keys: &keys, values: &values }));
        let hint = random.pick(&Hint::ALL);
        for backend in backends() {
            for edge in EDGES {
                let (keys, values) = (Guarded::new(&keys, edge), Guarded::new(&values, edge));
                let head = KvHeadQ4 { keys: &keys, values: &values };
                let got = attention.run(edge, |queries| (backend.attend_q4)(queries, &head, hint));
                let what =
                    || format!("{} attend q4 head_dim {} {:?}", backend.name, attention.head_dim, attention.visible);
                assert_same(&got, &want, what);
            }
        }
    });
}

#[test]
fn norms() {
    cases(10, &[1, 2, 3], |random, dim, n, _| {
        let (x, weight, bias) = (random.inputs(n * dim), random.units(dim), random.units(dim));
        let eps = random.pick(&[1e-5, 1e-6, 0.0]);
        let (mut rms, mut layer) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        scalar::rms_norm(&x, &weight, eps, &mut rms);
        scalar::layer_norm(&x, &weight, &bias, eps, &mut layer);
        for backend in backends() {
            let what = || format!("{} norms of {n} x {dim}", backend.name);
            for edge in EDGES {
                let (weight, bias) = (Guarded::new(&weight, edge), Guarded::new(&bias, edge));
                let mut x = Guarded::new(&x, edge);
                let mut y = painted(x.len(), edge);
                (backend.rms_norm)(&x, &weight, eps, &mut y);
                assert_same(&y, &rms, what);
                (backend.layer_norm)(&x, &weight, &bias, eps, &mut y);
                assert_same(&y, &layer, what);
                (backend.rms_norm_in_place)(&mut x, &weight, eps);
                assert_same(&x, &rms, what);
            }
        }
    });
}

#[test]
fn activations() {
    cases(11, &[1], |random, n, _, _| {
        let (x, y) = (random.inputs(n), random.inputs(n));
        let truth = |kernel: &dyn Fn(&mut [f32])| {
            let mut x = x.clone();
            kernel(&mut x);
            x
        };
        let activated = Activation::ALL.map(|activation| {
            let gated = truth(&|x| scalar::gate(activation, x, &y));
            (activation, gated, truth(&|x| scalar::activate(activation, x)))
        });
        let sum = truth(&|x| scalar::add(x, &y));
        let capped = truth(&|x| scalar::soft_cap(x, 3.5));
        for backend in backends() {
            for edge in EDGES {
                let y = Guarded::new(&y, edge);
                for (activation, gated, want) in &activated {
                    let mut got = Guarded::new(&x, edge);
                    (backend.gate)(*activation, &mut got, &y);
                    assert_same(&got, gated, || format!("{} gate by {activation:?} of {n}", backend.name));
                    let mut got = Guarded::new(&x, edge);
                    (backend.activate)(*activation, &mut got);
                    assert_same(&got, want, || format!("{} {activation:?} of {n}", backend.name));
                }
                let mut got = Guarded::new(&x, edge);
                (backend.soft_cap)(&mut got, 3.5);
                assert_same(&got, &capped, || format!("{} soft_cap of {n}", backend.name));
                let mut got = Guarded::new(&x, edge);
                (backend.add)(&mut got, &y);
                assert_same(&got, &sum, || format!("{} add of {n}", backend.name));
            }
        }
    });
}

#[test]
fn rope() {
    cases(12, &[1, 2, 3, 5], |random, half, n, _| {
        let (head_dim, n_tokens) = (2 * half.min(64), 1 + random.below(3));
        let (x, angles) = (random.inputs(n_tokens * n * head_dim), random.units(n_tokens * head_dim));
        let mut want = x.clone();
        scalar::rope(&mut want, &angles, head_dim);
        for backend in backends() {
            for edge in EDGES {
                let mut got = Guarded::new(&x, edge);
                (backend.rope)(&mut got, &Guarded::new(&angles, edge), head_dim);
                assert_same(&got, &want, || format!("{} rope of {n_tokens} x {n} x {head_dim}", backend.name));
            }
        }
    });
}

#[test]
fn conv() {
    cases(13, &[1, 2, 3, 4, 5, 32], |random, channels, width, _| {
        let width = width.max(1);
        let n = 1 + random.below(width);
        let mut panels = vec![0; channels.div_ceil(PANEL_ROWS) * panel_bytes(Dtype::F32, width)];
        let weights = random.inputs(channels * width);
        let rows = weights.chunks(PANEL_ROWS * width);
        for (rows, panel) in rows.zip(panels.chunks_exact_mut(panel_bytes(Dtype::F32, width))) {
            encode_panel(Dtype::F32, rows, width, panel);
        }
        let panels: Vec<f32> = panels.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let inputs: Vec<Vec<f32>> = (0..n).map(|_| random.inputs(channels)).collect();
        let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut want = vec![f32::NAN; channels];
        scalar::conv(&panels, width, &slices, &mut want);
        for (c, want) in want.iter().enumerate() {
            let taps = weights[c * width..][..width][width - n..].iter().zip(&inputs);
            assert_same(&[*want], &[taps.fold(0.0, |sum, (w, x)| sum + w * x[c])], || format!("the formula, {c}"));
        }
        for backend in backends() {
            for edge in EDGES {
                let panels = Guarded::new(&panels, edge);
                let inputs: Vec<_> = inputs.iter().map(|input| Guarded::new(input, edge)).collect();
                let slices: Vec<&[f32]> = inputs.iter().map(|input| &**input).collect();
                let mut got = painted(channels, edge);
                (backend.conv)(&panels, width, &slices, &mut got);
                assert_same(&got, &want, || format!("{} conv of {channels} over {n} of {width}", backend.name));
            }
        }
    });
}

#[test]
fn delta() {
    cases(14, &[1, 2, 3, 16, 33, 64], |random, value_dim, key_dim, _| {
        let (q, k, v) = (random.units(key_dim), random.units(key_dim), random.units(value_dim));
        let state = random.units((key_dim + 1) * value_dim);
        let [decay, strength] = [0, 1].map(|_| random.unit().abs());
        let mut want = state.clone();
        scalar::delta(&mut want, &q, &k, &v, decay, strength);
        for j in 0..value_dim {
            let column = |all: &[f32]| -> Vec<f32> { (0..key_dim).map(|i| all[i * value_dim + j]).collect() };
            let before: Vec<f32> = column(&state).iter().map(|s| s * decay).collect();
            let found = before.iter().zip(&k).fold(0.0, |sum, (s, k)| sum + s * k);
            let c = (v[j] - found) * strength;
            let after: Vec<f32> = before.iter().zip(&k).map(|(s, k)| s + k * c).collect();
            assert_same(&column(&want), &after, || format!("the formula, {j}"));
            let out = after.iter().zip(&q).fold(0.0, |sum, (s, q)| sum + s * q);
            assert_same(&[want[key_dim * value_dim + j]], &[out], || format!("what is given, {j}"));
        }
        let mut unit = v.clone();
        scalar::unit_length(&mut unit, value_dim, 24.0);
        for backend in backends() {
            for edge in EDGES {
                let [q, k, v] = [&q, &k, &v].map(|x| Guarded::new(x, edge));
                let mut got = Guarded::new(&state, edge);
                (backend.delta)(&mut got, &q, &k, &v, decay, strength);
                assert_same(&got, &want, || format!("{} delta of {key_dim} x {value_dim}", backend.name));
                let mut got = Guarded::new(&v, edge);
                (backend.unit_length)(&mut got, value_dim, 24.0);
                assert_same(&got, &unit, || format!("{} unit length of {value_dim}", backend.name));
            }
        }
    });
}

#[test]
fn scan() {
    cases(15, &[1, 2, 3, 16, 33, 64], |random, head_dim, state_dim, _| {
        let (c, b, x) = (random.units(state_dim), random.units(state_dim), random.units(head_dim));
        let state = random.units((state_dim + 1) * head_dim);
        let [decay, step] = [0, 1].map(|_| random.unit().abs());
        let mut want = state.clone();
        scalar::scan(&mut want, &c, &b, &x, decay, step);
        for j in 0..head_dim {
            let after = |i: usize| state[i * head_dim + j] * decay + b[i] * (step * x[j]);
            for i in 0..state_dim {
                assert_same(&[want[i * head_dim + j]], &[after(i)], || format!("the formula, {i} {j}"));
            }
            let out = c.iter().enumerate().fold(0.0, |sum, (i, c)| sum + after(i) * c);
            assert_same(&[want[state_dim * head_dim + j]], &[out], || format!("what is given, {j}"));
        }
        for backend in backends() {
            for edge in EDGES {
                let [c, b, x] = [&c, &b, &x].map(|x| Guarded::new(x, edge));
                let mut got = Guarded::new(&state, edge);
                (backend.scan)(&mut got, &c, &b, &x, decay, step);
                assert_same(&got, &want, || format!("{} scan of {state_dim} x {head_dim}", backend.name));
            }
        }
    });
}

#[test]
fn selective_scan() {
    cases(16, &[1, 2, 3, 15, 16], |random, channels, state_dim, _| {
        let channels = channels.clamp(1, PANEL_ROWS);
        let (c, b) = (random.units(state_dim), random.units(state_dim));
        let (x, steps) = (random.units(channels), random.units(channels));
        let state = random.units((state_dim + 1) * PANEL_ROWS);
        let rates = random.units(state_dim * PANEL_ROWS);
        let mut want = state.clone();
        scalar::selective_scan(&mut want, &rates, &c, &b, &x, &steps);
        for j in 0..channels {
            let place = |i: usize| i * PANEL_ROWS + j;
            let after = |i: usize| state[place(i)] * exp(steps[j] * rates[place(i)]) + b[i] * (steps[j] * x[j]);
            for i in 0..state_dim {
                assert_same(&[want[place(i)]], &[after(i)], || format!("the formula, {i} {j}"));
            }
            let out = c.iter().enumerate().fold(0.0, |sum, (i, c)| sum + after(i) * c);
            assert_same(&[want[place(state_dim)]], &[out], || format!("what is given, {j}"));
        }
        for backend in backends() {
            for edge in EDGES {
                let [rates, c, b, x, steps] = [&rates, &c, &b, &x, &steps].map(|x| Guarded::new(x, edge));
                let mut got = Guarded::new(&state, edge);
                (backend.selective_scan)(&mut got, &rates, &c, &b, &x, &steps);
                let what = || format!("{} selective scan of {state_dim} x {channels}", backend.name);
                assert_same(&got, &want, what);
            }
        }
    });
}

#[test]
fn steps_are_the_logarithm_of_their_formula() {
    let mut random = Random::new(17);
    let edges = [0.0, -0.0, 1e-30, 20.0, -20.0, 80.0, -80.0, 1e30, f32::INFINITY];
    let values = edges.into_iter().chain((0..10_000).map(|_| random.unit() * 80.0)).collect::<Vec<_>>();
    let mut got = values.clone();
    scalar::activate(Activation::SoftPlus, &mut got);
    for (x, got) in values.into_iter().zip(got) {
        let want = f64::from(x).max(0.0) + (-f64::from(x.abs())).exp().ln_1p();
        let close = (f64::from(got) - want).abs() <= 6e-7 * want || f64::from(got) == want;
        assert!(close, "{got} for {want}, of {x}");
    }
    let mut undefined = [f32::NAN, f32::NEG_INFINITY];
    scalar::activate(Activation::SoftPlus, &mut undefined);
    assert!(undefined[0].is_nan() && undefined[1] == 0.0, "{undefined:?}");
}
