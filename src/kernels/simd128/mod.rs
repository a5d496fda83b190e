//! 128-bit WebAssembly: simd128, which a program is compiled for or not, as WebAssembly cannot ask at run time. Every kernel
//! is the same as in [`scalar`](super::scalar), bit for bit. Norms, activations and RoPE are those of scalar: the compiler uses
//! simd128 for plain Rust. So are the products of fp16 and f32: a fused multiply-add is among the relaxed instructions alone,
//! whose results are those of the machine.

mod attention;
mod int8;
mod planes;
mod product;
mod ternary;

pub(super) use attention::{attend_f16, attend_f32, attend_int8, attend_q4};
pub(super) use int8::{Int8, quantize};
pub(super) use planes::{Integers, Levels};
pub(super) use product::products;
pub(super) use ternary::Ternary;

use bytemuck::must_cast;
use core::arch::wasm32::*;
use core::hint::black_box;

/// 16 f32 in four registers.
type Row = [v128; 4];

/// 16 halves, as bytes, widened: see [`lanes::widen`](super::lanes::widen).
#[inline(always)]
fn widen(halves: &[u8; 32]) -> Row {
    let halves: [v128; 2] = must_cast(*halves);
    let [low, high] = halves.map(|halves| {
        let special = i16x8_ge(v128_and(halves, i16x8_splat(0x7fff)), i16x8_splat(0x7c00));
        // Both are extended by their sign: a half then has that of its number, and what is special all bits.
        let wide = [i32x4_extend_low_i16x8(halves), i32x4_extend_high_i16x8(halves)];
        let special = [i32x4_extend_low_i16x8(special), i32x4_extend_high_i16x8(special)];
        core::array::from_fn::<_, 2, _>(|i| {
            let bits = v128_and(i32x4_shl(wide[i], 13), u32x4_splat(0x8fff_e000));
            let value = f32x4_mul(bits, u32x4_splat((127 + 112) << 23));
            v128_or(value, v128_and(special[i], u32x4_splat(0x7f80_0000)))
        })
    });
    [low[0], low[1], high[0], high[1]]
}

/// Up to N elements, zeros after them.
#[inline(always)]
fn padded<E: Copy + Default, const N: usize>(x: &[E]) -> [E; N] {
    let mut out = [E::default(); N];
    out[..x.len()].copy_from_slice(x);
    out
}

/// Independent sums of a peak.
const PEAK_SUMS: usize = 8;

/// See [`Peaks::quantized`](super::Peaks::quantized). Each product depends on its sum, so that none can be left out.
pub(super) fn int8_peak(rounds: usize) -> u64 {
    let w = black_box(i16x8_splat(3));
    let mut sums = black_box([i32x4_splat(1); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(w, *sum));
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 8) as u64
}
