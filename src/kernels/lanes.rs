//! The fixed 16-lane order of the sums in norms and softmax, and the widening of halves, in plain Rust.
//!
//! Lane `l` adds the elements `l, l + 16, l + 32, ...` in this order, each product first rounded and then added (never
//! fused); the lanes are then added as a tree: `i` and `i + 8`, `i` and `i + 4`, `i` and `i + 2`, `i` and `i + 1`. A
//! vector unit of any width gives these bits, and so does a loop.

use core::hint::black_box;

/// Number of lanes.
pub const LANES: usize = 16;

/// The 16 lanes of a reduction.
pub type Lanes = [f32; LANES];

/// Adds the lanes in the order of the tree.
#[inline(always)]
pub fn tree(lanes: Lanes) -> f32 {
    by_halves(lanes, |a, b| a + b)
}

/// The largest of the lanes, none of which is NaN.
#[inline(always)]
pub fn largest(lanes: Lanes) -> f32 {
    by_halves(lanes, |a, b| if b > a { b } else { a })
}

/// Puts each lane of a half of the lanes together with that of the other half, until one is left. The lanes take the way through
/// memory: a compiler that sees the last pair of lanes would else compute all that led to them in pairs, not in vectors of 16.
#[inline(always)]
fn by_halves(lanes: Lanes, f: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    let [lane] = halved::<2, 1>(halved::<4, 2>(halved::<8, 4>(halved::<16, 8>(black_box(lanes), f), f), f), f);
    lane
}

#[inline(always)]
fn halved<const N: usize, const HALF: usize>(lanes: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; HALF] {
    core::array::from_fn(|i| f(lanes[i], lanes[i + HALF]))
}

/// Sum of `f(x[i])` in the 16-lane order.
#[inline(always)]
pub fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(tail) {
        *lane += f(v);
    }
    tree(lanes)
}

/// Sum of `x[i]` in the 16-lane order.
#[inline]
pub fn sum(x: &[f32]) -> f32 {
    sum_by(x, |v| v)
}

/// Sum of `x[i] * x[i]` in the 16-lane order.
#[inline]
pub fn sum_of_squares(x: &[f32]) -> f32 {
    sum_by(x, |v| v * v)
}

/// The exact f32 of the half with bits `h`; a NaN stays a NaN.
#[inline(always)]
pub fn widen(h: u16) -> f32 {
    let magnitude = u32::from(h & 0x7fff);
    // The exponent is too small by 112 (127 - 15); the multiplication corrects it, for subnormals as well. Infinities and
    // NaN then have the exponent 0x8f, which becomes all ones.
    let value = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(value.to_bits() | special | (u32::from(h & 0x8000) << 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widen_is_exact_for_every_half() {
        for h in 0..=u16::MAX {
            let (got, want) = (widen(h), half::f16::from_bits(h).to_f32_const());
            assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{h:#06x}: {got} for {want}");
        }
    }

    #[test]
    fn the_tree_is_the_written_one() {
        let lanes: Lanes = core::array::from_fn(|i| 1.0 + (i as f32) * 1e-7 + 1.0 / (i as f32 + 3.0));
        let a: [f32; 8] = core::array::from_fn(|i| lanes[i] + lanes[i + 8]);
        let b: [f32; 4] = core::array::from_fn(|i| a[i] + a[i + 4]);
        assert_eq!(tree(lanes), (b[0] + b[2]) + (b[1] + b[3]));
    }

    #[test]
    fn the_largest_lane_is_found_wherever_it_is() {
        for at in 0..LANES {
            let lanes: Lanes = core::array::from_fn(|i| if i == at { 2.5 } else { -(i as f32) });
            assert_eq!(largest(lanes), 2.5);
        }
        assert_eq!(largest([f32::NEG_INFINITY; LANES]), f32::NEG_INFINITY);
    }

    #[test]
    fn a_tail_goes_into_the_first_lanes() {
        let x: Vec<f32> = (0..19).map(|i| i as f32).collect();
        assert_eq!(sum(&x), 171.0);
        assert_eq!(sum(&[]), 0.0);
    }
}
