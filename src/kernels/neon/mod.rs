//! 128-bit aarch64: NEON as every ARMv8 core has it (Pi 3, Pi 4, Zero 2). Every kernel is the same as in
//! [`scalar`](super::scalar), bit for bit. Norms, activations and RoPE are those of scalar: every aarch64 CPU has NEON, so
//! the compiler uses it for plain Rust.

mod attention;
mod float;
mod int8;
mod panel;
pub(super) mod planes;
pub(super) mod ternary;
pub(super) mod tiles;

pub(super) use attention::{attend_blocks, attend_f16, attend_f32, attend_int8, attend_q4};
pub(super) use float::{f16_matmul, f16_matvec, f32_matmul, f32_matvec};
pub(super) use int8::{Dots, add_one, int8_matmul, int8_matvec, matvec, quantize};
pub(super) use panel::{Codes, Int8Panel, Part, int8_parts};
pub(super) use planes::{planes_matmul, planes_matvec};
pub(super) use ternary::{ternary_matmul, ternary_matvec};

use bytemuck::must_cast;
use core::arch::aarch64::*;
use core::hint::black_box;

/// 16 f32 in four registers.
pub(super) type Row = [float32x4_t; 4];

/// 16 halves, as bytes, widened.
#[inline]
#[target_feature(enable = "neon")]
fn widen(halves: &[u8; 32]) -> Row {
    let halves: [uint16x4_t; 4] = must_cast(*halves);
    halves.map(|h| vcvt_f32_f16(vreinterpret_f16_u16(h)))
}

/// Up to N elements, zeros after them.
#[inline]
fn padded<E: Copy + Default, const N: usize>(x: &[E]) -> [E; N] {
    let mut out = [E::default(); N];
    out[..x.len()].copy_from_slice(x);
    out
}

/// Independent sums of a peak: enough of them, in stages, that a core that runs in order waits for no result.
const PEAK_SUMS: usize = 8;

/// See [`Peaks::quantized`](super::Peaks::quantized). Each product depends on its sum, so that none can be left out.
#[target_feature(enable = "neon")]
pub(super) fn int8_peak(rounds: usize) -> u64 {
    let w = black_box(vdupq_n_s8(3));
    let mut sums = black_box([vdupq_n_s32(1); PEAK_SUMS]);
    for _ in 0..rounds {
        let mut products = [vdupq_n_s16(0); PEAK_SUMS];
        for i in 0..PEAK_SUMS {
            products[i] = vmull_s8(vget_low_s8(w), vget_low_s8(vreinterpretq_s8_s32(sums[i])));
        }
        for i in 0..PEAK_SUMS {
            products[i] = vmlal_high_s8(products[i], w, vreinterpretq_s8_s32(sums[i]));
        }
        for i in 0..PEAK_SUMS {
            sums[i] = vpadalq_s16(sums[i], products[i]);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 16) as u64
}

/// See [`Peaks::floats`](super::Peaks::floats).
#[target_feature(enable = "neon")]
pub(super) fn f32_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(vdupq_n_f32(0.75)), black_box(vdupq_n_f32(0.25)));
    let mut sums = black_box([vdupq_n_f32(2.0); 2 * PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = vfmaq_f32(x, *sum, w);
        }
    }
    black_box(sums);
    (rounds * 2 * PEAK_SUMS * 4) as u64
}
