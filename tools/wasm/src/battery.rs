//! The kernels of simd128 against their scalar twins, equal to the bit, as `tests/kernels_battery.rs` compares those of other
//! instruction sets: edge lengths, then random ones, with random and extreme inputs. Guard pages are left out: no kernel of
//! simd128 has a pointer.

#[path = "../../../tests/random/mod.rs"]
mod random;

use core::ops::Range;
use random::Random;
use whit::error::{Error, Kind, Result};
use whit::kernels::{
    self, BLOCK, Group, Hint, Kernels, KvHead, KvHeadInt8, KvHeadQ4, MAX_HEAD_GROUPS, PanelOut, QUERY_ROWS, Query,
    Scoring, TILE, Tokens, key_panel_bytes, packed_value_bytes, scalar, value_block_bytes,
};
use whit::quant::{Dtype, Inputs, PANEL_ROWS, groups};

/// Lengths of a row at and around the edges of lanes and groups, and real ones.
const COLS: [usize; 19] = [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 129, 288];
/// Tokens of a matmul around whole tiles, to the most.
const TOKENS: [usize; 12] = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 33, TILE];
/// Panels of a matvec around the number that is read together.
const PANELS: [usize; 6] = [1, 2, 3, 4, 5, 9];
const HEAD_DIMS: [usize; 14] = [1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 80, 128, 256];
const VISIBLE: [Range<usize>; 9] = [0..1, 0..31, 0..32, 0..33, 31..32, 31..33, 5..40, 40..63, 33..129];

/// Kernels that are compared: of each format the matvec and the matmul, the quantization, and four attentions.
pub(crate) const KERNELS: usize = 2 * Dtype::ALL.len() + 5;

/// Compares all kernels of the best backend in all edge cases and `random_cases` others each. Of kernel number `spoiled`, if there
/// is one, a bit of each result is changed. Gives the number of comparisons.
pub(crate) fn compare(random_cases: usize, spoiled: usize) -> Result<usize> {
    let backend = kernels::detect();
    if backend.name == "scalar" {
        return Err(Error::usage("there are no kernels but scalar's"));
    }
    let mut battery = Battery { backend, random_cases, spoiled, kernel: 0, compared: 0 };
    for dtype in Dtype::ALL {
        battery.matvec(dtype)?;
        battery.matmul(dtype)?;
    }
    battery.quantize()?;
    battery.attend_floats()?;
    battery.attend_int8()?;
    battery.attend_q4()?;
    assert_eq!(battery.kernel, KERNELS, "kernels compared");
    Ok(battery.compared)
}

struct Battery {
    backend: &'static Kernels,
    random_cases: usize,
    spoiled: usize,
    kernel: usize,
    compared: usize,
}

impl Battery {
    /// The random numbers of the next kernel.
    fn begin(&mut self) -> Random {
        self.kernel += 1;
        Random::new(self.kernel as u64)
    }

    /// An error unless the two are equal to the bit, any NaN being equal to any NaN.
    fn same(&mut self, got: &[f32], want: &[f32], what: impl Fn() -> String) -> Result<()> {
        let spoil = u32::from(self.kernel == self.spoiled);
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let got = f32::from_bits(got.to_bits() ^ spoil);
            if got.to_bits() != want.to_bits() && !(got.is_nan() && want.is_nan()) {
                let message = format!("{} {}: [{i}] is {got:e}, not {want:e}", self.backend.name, what());
                return Err(Error::new(Kind::Unavailable, message));
            }
        }
        self.compared += 1;
        Ok(())
    }

    /// Rows and numbers of tokens or panels, and whether weights may be anything.
    fn cases(&self, random: &mut Random, ns: &[usize]) -> Vec<(usize, usize, bool)> {
        let mut cases: Vec<_> = COLS.iter().flat_map(|cols| ns.iter().map(|n| (*cols, *n, false))).collect();
        for i in 0..self.random_cases {
            let most = random.pick(&[40, 40, 40, 40, 40, 40, 40, 200]);
            cases.push((1 + random.below(most), random.pick(ns).min(1 + random.below(17)), i % 4 == 0));
        }
        cases
    }

    fn matvec(&mut self, dtype: Dtype) -> Result<()> {
        let mut random = self.begin();
        for (cols, n, wild) in self.cases(&mut random, &PANELS) {
            let panels = random.panels(dtype, cols, n, wild);
            let floats = random.inputs(cols);
            let groups = quantized(dtype, &floats, cols);
            let x = Tokens { cols, floats: &floats, groups: &groups };
            let (mut got, mut want) = (vec![f32::NAN; n * PANEL_ROWS], vec![0.0; n * PANEL_ROWS]);
            (self.backend.products[dtype].matvec)(&panels, &x, Hint::None, &mut got);
            (scalar::PRODUCTS[dtype].matvec)(&panels, &x, Hint::None, &mut want);
            self.same(&got, &want, || format!("{dtype:?} matvec of {n} panels of {cols} columns"))?;
        }
        Ok(())
    }

    fn matmul(&mut self, dtype: Dtype) -> Result<()> {
        let mut random = self.begin();
        for (cols, n, wild) in self.cases(&mut random, &TOKENS) {
            let panel = random.panels(dtype, cols, 1, wild);
            let floats = random.inputs(n * cols);
            let groups = quantized(dtype, &floats, cols);
            let x = Tokens { cols, floats: &floats, groups: &groups };
            let (mut got, mut want) = (vec![[f32::NAN; PANEL_ROWS]; n], vec![PanelOut::default(); n]);
            (self.backend.products[dtype].matmul)(&panel, &x, Hint::None, &mut got);
            (scalar::PRODUCTS[dtype].matmul)(&panel, &x, Hint::None, &mut want);
            let what = || format!("{dtype:?} matmul of {n} tokens of {cols} columns");
            self.same(got.as_flattened(), want.as_flattened(), what)?;
        }
        Ok(())
    }

    fn quantize(&mut self) -> Result<()> {
        let mut random = self.begin();
        for (cols, n, _) in self.cases(&mut random, &TOKENS) {
            let x = random.inputs(n * cols);
            let mut got = vec![Group { codes: [99; 32], scale: -1.0, start: -1 }; groups(cols) * n];
            let mut want = vec![Group::ZERO; got.len()];
            (self.backend.quantize)(&x, cols, &mut got);
            scalar::quantize(&x, cols, &mut want);
            for (got, want) in got.iter().zip(&want) {
                let what = || format!("quantize {n} tokens of {cols} columns: {got:?} for {want:?}");
                let numbers = |group: &Group| -> Vec<f32> {
                    let codes = group.codes.iter().map(|code| f32::from(*code));
                    codes.chain([group.scale, f32::from_bits(group.start.cast_unsigned())]).collect()
                };
                self.same(&numbers(got), &numbers(want), what)?;
            }
        }
        Ok(())
    }

    /// Heads of at most so many elements, what is seen of them, and whether cached numbers may be anything.
    fn attentions(&self, random: &mut Random, max_head_dim: usize) -> Vec<(Attention, bool)> {
        let mut shapes = Vec::new();
        for head_dim in HEAD_DIMS.into_iter().filter(|head_dim| *head_dim <= max_head_dim) {
            for visible in VISIBLE {
                shapes.push((head_dim, 1, random.pick(&[1, 2, 3, 5, 17, QUERY_ROWS]), visible));
            }
        }
        for _ in 0..self.random_cases {
            let (start, most) = (random.below(70), random.pick(&[8, 8, 8, 70]));
            let visible = start..start + 1 + random.below(50);
            shapes.push((1 + random.below(most), 1 + random.below(5), 1 + random.below(4), visible));
        }
        let attention = |(i, (head_dim, tokens, heads, first)): (usize, (usize, usize, usize, Range<usize>))| {
            let spread = random.pick(&[1.0, 1.0, 30.0, 1e4]);
            let q = random.units(tokens * heads * head_dim).iter().map(|v| v * spread).collect();
            // Half of the cases have a sliding window.
            let slide = random.below(2);
            let of = |t: usize| (first.start + t * slide)..first.end + t;
            let visible = (0..tokens).flat_map(|t| (0..heads).map(move |_| of(t))).collect();
            let scoring = Scoring {
                cap: random.pick(&[None, None, Some(3.0)]),
                slope: random.pick(&[0.0, 0.0, 0.25]),
                sink: random.pick(&[None, None, Some(0.5), Some(40.0), Some(f32::NEG_INFINITY)]),
            };
            let blocks = (first.end + tokens).div_ceil(BLOCK);
            (Attention { head_dim, q, visible, scoring, blocks }, i % 8 == 0)
        };
        shapes.into_iter().enumerate().map(attention).collect()
    }

    fn attend_floats(&mut self) -> Result<()> {
        let mut random = self.begin();
        for (attention, wild) in self.attentions(&mut random, usize::MAX) {
            let n = attention.blocks * BLOCK * attention.head_dim;
            let mut halves = || (0..n).map(|_| random.half(wild)).collect::<Vec<u16>>();
            let (keys, values) = (halves(), halves());
            let head = KvHead { keys: &keys[..], values: &values[..] };
            let want = attention.run(|queries| scalar::attend_f16(queries, &head));
            let got = attention.run(|queries| (self.backend.attend_f16)(queries, &head, Hint::None));
            self.same(&got, &want, || format!("attend f16 {attention}"))?;
        }
        let mut random = self.begin();
        for (attention, _) in self.attentions(&mut random, usize::MAX) {
            let n = attention.blocks * BLOCK * attention.head_dim;
            let (keys, values) = (random.units(n), random.inputs(n));
            let head = KvHead { keys: &keys[..], values: &values[..] };
            let want = attention.run(|queries| scalar::attend_f32(queries, &head));
            let got = attention.run(|queries| (self.backend.attend_f32)(queries, &head, Hint::None));
            self.same(&got, &want, || format!("attend f32 {attention}"))?;
        }
        Ok(())
    }

    fn attend_int8(&mut self) -> Result<()> {
        let mut random = self.begin();
        for (attention, wild) in self.attentions(&mut random, MAX_HEAD_GROUPS * 32) {
            let keys = random.panels(Dtype::Int8, attention.head_dim, attention.blocks * BLOCK / PANEL_ROWS, wild);
            let mut values = Vec::new();
            for _ in 0..attention.blocks {
                let end = values.len() + value_block_bytes(attention.head_dim);
                (0..BLOCK).for_each(|_| values.extend(random.half(wild).to_le_bytes()));
                while values.len() < end {
                    values.extend(random.bits().to_le_bytes());
                }
            }
            let head = KvHeadInt8 { keys: &keys, values: &values };
            let want = attention.run(|queries| scalar::attend_int8(queries, &head));
            let got = attention.run(|queries| (self.backend.attend_int8)(queries, &head, Hint::None));
            self.same(&got, &want, || format!("attend int8 {attention}"))?;
        }
        Ok(())
    }

    fn attend_q4(&mut self) -> Result<()> {
        let mut random = self.begin();
        for (attention, wild) in self.attentions(&mut random, MAX_HEAD_GROUPS * 32) {
            let groups = groups(attention.head_dim);
            // Scales and then codes, any bytes; of scales those of numbers, or else any.
            let mut packed = |n: usize, bytes: usize, scales: usize| -> Vec<u8> {
                let mut byte = |i: usize| match i % bytes < scales && !wild {
                    true => random.below(0xc0) as u8,
                    false => random.bits() as u8,
                };
                (0..n * bytes).map(&mut byte).collect()
            };
            let keys = packed(2 * attention.blocks, key_panel_bytes(attention.head_dim), groups * PANEL_ROWS);
            let values = packed(attention.blocks, packed_value_bytes(attention.head_dim), groups * BLOCK);
            let head = KvHeadQ4 { keys: &keys, values: &values };
            let want = attention.run(|queries| scalar::attend_q4(queries, &head));
            let got = attention.run(|queries| (self.backend.attend_q4)(queries, &head, Hint::None));
            self.same(&got, &want, || format!("attend q4 {attention}"))?;
        }
        Ok(())
    }
}

/// The inputs as groups, where the format wants them.
fn quantized(dtype: Dtype, x: &[f32], cols: usize) -> Vec<Group> {
    if dtype.format().inputs == Inputs::Floats {
        return Vec::new();
    }
    let mut out = vec![Group::ZERO; groups(cols) * (x.len() / cols)];
    scalar::quantize(x, cols, &mut out);
    out
}

/// Queries, and how many blocks the cache has.
struct Attention {
    head_dim: usize,
    q: Vec<f32>,
    visible: Vec<Range<usize>>,
    scoring: Scoring,
    blocks: usize,
}

impl core::fmt::Display for Attention {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "of heads of {}, {:?} seen, {:?}", self.head_dim, self.visible, self.scoring)
    }
}

impl Attention {
    /// What `attend` gives.
    fn run(&self, attend: impl Fn(&mut [Query<'_>])) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.q.len()];
        let rows = self.q.chunks_exact(self.head_dim).zip(out.chunks_exact_mut(self.head_dim)).zip(&self.visible);
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
