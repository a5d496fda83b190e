//! Reproducible random inputs, ordinary and extreme.
#![allow(dead_code, reason = "each test file uses its part")]

use whit::quant::{Dtype, PANEL_ROWS, groups, panel_bytes, scale_bytes};

/// xorshift64*: enough for tests.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (((self.bits() >> 32) * n as u64) >> 32) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// In [-1, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }

    /// One of a few characters of input: ordinary, ties, zeros, tiny, huge, anything at all.
    pub(crate) fn inputs(&mut self, n: usize) -> Vec<f32> {
        let style = self.below(7);
        (0..n)
            .map(|_| match style {
                0 | 1 => self.unit(),
                2 => (self.below(255) as f32 - 127.0) * 0.5 * if self.below(9) == 0 { 2.0 } else { 1.0 },
                3 => self.pick(&[0.0, -0.0, 1.0, 1e-3]),
                4 => self.unit() * self.pick(&[1e-30, 1e-37, 1e-40, 1e-45]),
                5 => self.unit() * self.pick(&[f32::MAX, 1e30, 1e20]),
                _ => f32::from_bits(self.bits() as u32),
            })
            .collect()
    }

    /// Bits of a half: mostly ordinary weights, some zeros, subnormals and the largest; with `wild`, anything.
    pub(crate) fn half(&mut self, wild: bool) -> u16 {
        match self.below(if wild { 14 } else { 12 }) {
            0 => self.pick(&[0, 0x8000]),
            1 => self.pick(&[0x0001, 0x03ff, 0x8001, 0x0400]),
            2 => self.pick(&[0x7bff, 0xfbff]),
            12 | 13 => self.bits() as u16,
            _ => half::f16::from_f32(self.unit()).to_bits(),
        }
    }

    /// A table of levels: any, or one that kernels treat apart. With magnitudes of at most 32 more products fit into 16 bits; levels may
    /// be the codes themselves.
    fn levels(&mut self) -> [u8; 16] {
        let narrow = |bits: u8| (bits % 65).wrapping_sub(32);
        match self.below(6) {
            0 => self.pick(&[[0x80; 16], [0x7f; 16]]),
            1 => self.pick(&[[32; 16], [32_u8.wrapping_neg(); 16]]),
            2 => core::array::from_fn(|code| code as u8),
            3 => core::array::from_fn(|_| narrow(self.bits() as u8)),
            _ => core::array::from_fn(|_| self.bits() as u8),
        }
    }

    /// `n` panels of any bytes that mean something: every code, scales and weights as [`half`](Self::half).
    pub(crate) fn panels(&mut self, dtype: Dtype, cols: usize, n: usize, wild: bool) -> Vec<u8> {
        let mut panels = Vec::with_capacity(n * panel_bytes(dtype, cols));
        for _ in 0..n {
            let start = panels.len();
            match dtype {
                Dtype::Int8 => {
                    let extreme = self.below(3) == 0;
                    for _ in 0..groups(cols) * PANEL_ROWS {
                        panels.extend(self.half(wild).to_le_bytes());
                    }
                    panels.resize(start + scale_bytes(cols), 0xff);
                    for _ in 0..groups(cols) * PANEL_ROWS * 32 / 8 {
                        let bits = self.bits().to_le_bytes();
                        panels
                            .extend(bits.map(|b| if extreme { [0x80, 0x7f, 0x81, 0][usize::from(b % 4)] } else { b }));
                    }
                }
                Dtype::Q4 | Dtype::Q5 | Dtype::Q6 => {
                    let extreme = self.below(3) == 0;
                    let bytes = panel_bytes(dtype, cols);
                    while panels.len() < start + bytes {
                        panels.extend(self.bits().to_le_bytes().map(|b| if extreme { b & 0x88 } else { b }));
                    }
                    panels.truncate(start + bytes);
                    panels[start..start + 16].copy_from_slice(&self.levels());
                    if !wild {
                        panels[start + 16] = 100 + self.below(40) as u8;
                    }
                }
                Dtype::Q4h | Dtype::Q4m | Dtype::Q5h | Dtype::Q5m => {
                    panels.extend(self.levels());
                    panels.resize(start + 32, 0xff);
                    let lines = if matches!(dtype, Dtype::Q4m | Dtype::Q5m) { 2 } else { 1 };
                    for _ in 0..groups(cols) * PANEL_ROWS * lines {
                        panels.extend(self.half(wild).to_le_bytes());
                    }
                    panels.resize(panels.len().next_multiple_of(64), 0xff);
                    let bytes = panel_bytes(dtype, cols);
                    while panels.len() < start + bytes {
                        panels.extend(self.bits().to_le_bytes());
                    }
                }
                Dtype::T2 => {
                    let extreme = self.below(3) == 0;
                    for _ in 0..PANEL_ROWS {
                        let scale = if wild { f32::from_bits(self.bits() as u32) } else { self.unit() };
                        panels.extend(scale.to_le_bytes());
                    }
                    let bytes = panel_bytes(dtype, cols);
                    while panels.len() < start + bytes {
                        panels.extend(
                            self.bits().to_le_bytes().map(|b| if extreme { [0, 0xff][usize::from(b & 1)] } else { b }),
                        );
                    }
                }
                Dtype::F16 => {
                    for _ in 0..cols * PANEL_ROWS {
                        panels.extend(self.half(wild).to_le_bytes());
                    }
                    panels.resize(start + panel_bytes(dtype, cols), 0xff);
                }
                Dtype::F32 => {
                    for _ in 0..cols * PANEL_ROWS {
                        let w =
                            if wild && self.below(8) == 0 { f32::from_bits(self.bits() as u32) } else { self.unit() };
                        panels.extend(w.to_le_bytes());
                    }
                }
            }
        }
        panels
    }
}

/// Panics unless the two are equal to the bit, any NaN being equal to any NaN.
#[track_caller]
pub(crate) fn assert_same(got: &[f32], want: &[f32], what: impl Fn() -> String) {
    assert_eq!(got.len(), want.len(), "{}", what());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g.to_bits() == w.to_bits() || (g.is_nan() && w.is_nan());
        assert!(same, "{}: [{i}] is {g} ({:#x}), not {w} ({:#x})", what(), g.to_bits(), w.to_bits());
    }
}
