//! 128-bit aarch64: NEON as every ARMv8 core has it (Pi 3, Pi 4, Zero 2). Every kernel is the same as in
//! [`scalar`](super::scalar), bit for bit. Norms, activations and RoPE are scalar's own: NEON belongs to every aarch64
//! CPU, so that plain Rust is compiled for it.

mod attention;
mod float;
mod int8;

pub(super) use attention::{attend_f16, attend_f32, attend_int8, attend_int8_by};
pub(super) use float::{f16_matmul, f16_matvec, f32_matmul, f32_matvec};
pub(super) use int8::{Codes, Dots, int8_matmul, int8_matvec, matmul, matvec, quantize};

use bytemuck::must_cast;
use core::arch::aarch64::*;

/// 16 f32 in four registers.
type Row = [float32x4_t; 4];

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
