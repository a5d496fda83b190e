//! Functions of f32 that `core` lacks, for builds without `std`. IEEE 754 fixes their results, so they give the bits of
//! those in `std`.

/// `f32` as `std` extends it.
pub(super) trait Soft {
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The nearest integer; of two equally near, the even one.
    fn round_ties_even(self) -> Self;
}

impl Soft for f32 {
    fn sqrt(self) -> f32 {
        if !(self > 0.0 && self < f32::INFINITY) {
            return if self < 0.0 { f32::NAN } else { self };
        }
        let bits = self.to_bits();
        // self = significand * 2^exponent.
        let (significand, exponent) = match bits >> 23 {
            0 => (bits, -149),
            biased => (bits & 0x007f_ffff | 0x0080_0000, biased as i32 - 150),
        };
        // Moved up to 51 or 52 bits, so that the exponent is even and the root has 26 bits, two more than f32.
        let room = u64::from(significand).leading_zeros() as i32 - 12;
        let shift = room - ((exponent - room) & 1);
        let square = u64::from(significand) << shift;
        let root = square.isqrt();
        // One more bit says whether the root has more digits; the conversion rounds to nearest even.
        let rounded = (root << 1 | u64::from(root * root != square)) as f32;
        rounded * f32::from_bits(((exponent - shift) / 2 - 1 + 127) as u32 * (1 << 23))
    }

    fn mul_add(self, a: f32, b: f32) -> f32 {
        // The product has 48 bits, so f64 holds it. The sum is rounded to odd. As f32 has less than half of the bits of f64,
        // rounding that gives the same as rounding the exact sum.
        let (product, b) = (f64::from(self) * f64::from(a), f64::from(b));
        let sum = product + b;
        let back = sum - product;
        let error = (product - (sum - back)) + (b - back);
        let bits = sum.to_bits();
        if error == 0.0 || error.is_nan() || bits & 1 == 1 {
            return sum as f32;
        }
        let away = (error > 0.0) == (sum > 0.0);
        f64::from_bits(if away { bits + 1 } else { bits - 1 }) as f32
    }

    fn round_ties_even(self) -> f32 {
        // From here on every f32 is an integer, and adding it rounds to one.
        const INTEGERS: f32 = (1 << 23) as f32;
        // NaN and the infinities also stay as they are.
        if self.abs() < INTEGERS { ((self.abs() + INTEGERS) - INTEGERS).copysign(self) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::Soft;

    /// Bits of f32: the edges of every kind of number and pseudorandom ones.
    fn numbers(n: usize) -> impl Iterator<Item = f32> {
        let edges = [0, 1, 2, 3, 0x7f_ffff, 0x80_0000, 0x80_0001, 0x3f7f_ffff, 0x3f80_0000, 0x3f80_0001, 0x4b00_0000];
        let large = [0x4aff_ffff, 0x4b7f_ffff, 0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0000, 0x3f00_0000, 0x3fc0_0000];
        let edges = edges.into_iter().chain(large).flat_map(|bits| [bits, bits | 1 << 31]);
        let mut state = 7_u64;
        let random = (0..n).map(move |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        });
        edges.chain(random).map(f32::from_bits)
    }

    #[track_caller]
    fn assert_same(got: f32, want: f32, of: &[f32]) {
        assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{got:e} for {want:e}, of {of:?}");
    }

    #[test]
    fn roots_and_integers_are_those_of_std() {
        for x in numbers(200_000) {
            assert_same(Soft::sqrt(x), f32::sqrt(x), &[x]);
            assert_same(Soft::round_ties_even(x), f32::round_ties_even(x), &[x]);
        }
        // Every significand, with an even and an odd exponent.
        for bits in 0x3f80_0000..0x4080_0000_u32 {
            let x = f32::from_bits(bits);
            assert_same(Soft::sqrt(x), f32::sqrt(x), &[x]);
        }
        for half in -20_000..20_000 {
            let x = half as f32 / 4.0;
            assert_same(Soft::round_ties_even(x), f32::round_ties_even(x), &[x]);
        }
    }

    #[test]
    fn fused_products_are_those_of_std() {
        let few: Vec<f32> = numbers(30).collect();
        for &a in &few {
            for &b in &few {
                for &c in &few {
                    assert_same(Soft::mul_add(a, b, c), f32::mul_add(a, b, c), &[a, b, c]);
                }
            }
        }
        // Sums near a tie: the addend a few units beside what the product lacks to one, and products that underflow.
        for (a, b) in numbers(100_000).zip(numbers(200_000).skip(77_777)) {
            for scale in [1.0, 0.5, 2f32.powi(-24), 2f32.powi(-25), 2f32.powi(24), 2f32.powi(48), -1.0] {
                let c = a * b * scale;
                assert_same(Soft::mul_add(a, b, c), f32::mul_add(a, b, c), &[a, b, c]);
            }
            let (a, b) = (f32::from_bits(a.to_bits() & 0x0fff_ffff), f32::from_bits(b.to_bits() & 0x3fff_ffff));
            assert_same(Soft::mul_add(a, b, 1e-45), f32::mul_add(a, b, 1e-45), &[a, b]);
        }
    }
}
