//! Our own exp, logarithm, tanh, sigmoid, sine and cosine: plain multiplications and additions, so equal on every machine.
//!
//! They do not branch on the value, so that loops over them become vector code. docs/numerics.md states each formula.

use core::f64::consts::FRAC_2_PI;

/// Adding and subtracting it rounds an f32 of magnitude below 2^22 to an integer, ties to even.
const ROUND: f32 = 12_582_912.0;
/// The same for an f64 of magnitude below 2^51.
const ROUND_F64: f64 = 6_755_399_441_055_744.0;
/// log2(e).
const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// The leading 12 bits of ln(2), so that its product with a small integer is exact, and the rest.
const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7000);
const LN_2_LOW: f32 = f32::from_bits(0x3805_fdf4);
/// (exp(r) - 1 - r) / r^2 at the Chebyshev nodes of |r| <= ln(2) / 2, lowest power first: relative error of exp 1e-8.
const EXP: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_552, 0.008_363_233, 0.001_392_625];

/// e to the power `x`, within 2 units in the last place; 0 below -104, infinity above 89, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let q = (((EXP[4] * r + EXP[3]) * r + EXP[2]) * r + EXP[1]) * r + EXP[0];
    let p = 1.0 + (r + (r * r) * q);
    // 2^n in two factors, each a normal number: the first product is exact, the second rounds once.
    let n = shifted.to_bits().cast_signed().wrapping_sub(ROUND.to_bits().cast_signed());
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2 to the power `n`, for -126 <= n <= 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23).cast_unsigned())
}

/// ln(2) in two parts; the first has 33 bits, so that its products with integers below 2^20 are exact.
const LN_2: [f64; 2] = [f64::from_bits(0x3fe6_2e42_fee0_0000), 1.908_214_929_270_587_7e-10];

/// e to the power `x` in f64, relative error below 4e-16; 0 below -745, infinity above 709.8, NaN for NaN.
#[inline]
pub fn exp_f64(x: f64) -> f64 {
    let x = if x < -746.0 { -746.0 } else { x };
    let x = if x > 710.0 { 710.0 } else { x };
    let n = (x * core::f64::consts::LOG2_E + ROUND_F64) - ROUND_F64;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    // Taylor: the first term left out is below 1e-17 for |r| <= ln(2) / 2.
    let mut p = 1.0;
    for k in (1..=13).rev() {
        p = 1.0 + p * (r * INVERSE[k]);
    }
    let n = n as i32;
    p * power_of_two_f64(n >> 1) * power_of_two_f64(n - (n >> 1))
}

/// 1 / k, rounded; 0 for k = 0.
const INVERSE: [f64; 14] = {
    let mut inverse = [0.0; 14];
    let mut k = 1;
    while k < inverse.len() {
        inverse[k] = 1.0 / k as f64;
        k += 1;
    }
    inverse
};

/// 2 to the power `n`, for -1022 <= n <= 1023.
fn power_of_two_f64(n: i32) -> f64 {
    f64::from_bits(((i64::from(n) + 1023) << 52).cast_unsigned())
}

/// The natural logarithm of `x` in f64, absolute error below 1e-15 of the larger of 1 and the result; minus infinity for 0, NaN
/// below it and for NaN.
#[inline]
pub fn ln_f64(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 || x == f64::INFINITY {
        return if x == 0.0 { f64::NEG_INFINITY } else { x };
    }
    // Subnormal numbers are made normal: x = m 2^n with m from sqrt(1/2) to sqrt(2).
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * power_of_two_f64(54), -54) } else { (x, 0) };
    let bits = x.to_bits();
    let m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    let n = (bits >> 52) as i32 - 1023 + shift;
    let (m, n) = if m > core::f64::consts::SQRT_2 { (0.5 * m, n + 1) } else { (m, n) };
    // ln m = 2 artanh(s): the first term left out is below 1e-18 for |s| <= 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut sum = 0.0;
    for k in (1..=11).rev() {
        sum = z * (1.0 / f64::from(2 * k + 1) + sum);
    }
    let n = f64::from(n);
    n * LN_2[0] + (n * LN_2[1] + (2.0 * s + 2.0 * s * sum))
}

/// Hyperbolic tangent, `1 - 2 / (exp(2 x) + 1)`: absolute error below 2e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// `cap * tanh(x / cap)`: nearly `x` where that is small, and never larger than `cap`.
#[inline(always)]
pub fn soft_cap(x: f32, cap: f32) -> f32 {
    cap * tanh(x / cap)
}

/// SiLU, `x / (1 + exp(-x))`.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// The logistic function, `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `ln(1 + exp(x))`, relative error below 6e-7: the larger of `x` and 0, plus the logarithm of 1 + e for e = exp(-|x|), which is
/// 2 artanh(s) for s = e / (2 + e). The first term left out is below 2e-9 for s <= 1/3.
#[inline(always)]
pub fn soft_plus(x: f32) -> f32 {
    let e = exp(-x.abs());
    let s = e / (2.0 + e);
    let z = s * s;
    let [c1, c2, c3, c4, c5, c6, c7] = [1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0];
    let q = (((((c7 * z + c6) * z + c5) * z + c4) * z + c3) * z + c2) * z + c1;
    relu(x) + 2.0 * (s + s * (z * q))
}

/// GELU by its tanh form, `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let inner = SQRT_2_OVER_PI * (x + 0.044_715 * (x * x * x));
    0.5 * x * (1.0 + tanh(inner))
}

/// The share of the normal distribution above `x`, times exp(x^2 / 2), for x >= 0: a polynomial of 1 / (1 + 0.3 x) without a
/// constant, lowest power first. Relative error 1.5e-7.
const UPPER_TAIL: [f32; 8] =
    [0.119_629_29, 0.120_754_01, 0.099_913_13, 0.128_562_94, -0.053_686_365, 0.206_356_7, -0.157_205_08, 0.035_675_284];

/// GELU by its exact form, `x P(X <= x)` of a normal X: absolute error below 5e-7.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3 * x.abs());
    let [c1, c2, c3, c4, c5, c6, c7, c8] = UPPER_TAIL;
    let q = ((((((c8 * t + c7) * t + c6) * t + c5) * t + c4) * t + c3) * t + c2) * t + c1;
    let tail = (q * t) * exp(-(0.5 * (x * x)));
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// GELU by the logistic function, `x / (1 + exp(-1.702 x))`.
#[inline(always)]
pub fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-(1.702 * x)))
}

/// The larger of `x` and 0; NaN for NaN.
#[inline(always)]
pub fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Its square.
#[inline(always)]
pub fn relu_squared(x: f32) -> f32 {
    relu(x) * relu(x)
}

/// pi / 2 in three parts; the first two have 33 bits, so that their products with integers below 2^20 are exact.
const HALF_PI: [f64; 3] = [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];

/// Sine and cosine of `angle` in radians, each rounded to f32 from an f64 good to 1e-14; |angle| below 2^20.
#[inline]
pub fn sin_cos(angle: f32) -> (f32, f32) {
    let x = f64::from(angle);
    let shifted = x * FRAC_2_PI + ROUND_F64;
    let n = shifted - ROUND_F64;
    let r = ((x - n * HALF_PI[0]) - n * HALF_PI[1]) - n * HALF_PI[2];
    let z = r * r;
    // Taylor: the first term left out is below 1e-15 for |r| <= pi / 4.
    let mut sine = 0.0;
    for k in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sine = (1.0 + sine) * z * (-1.0 / (k * (k - 1.0)));
    }
    let sine = r + r * sine;
    let mut cosine = 0.0;
    for k in [16.0, 14.0, 12.0, 10.0, 8.0, 6.0, 4.0, 2.0] {
        cosine = (1.0 + cosine) * z * (-1.0 / (k * (k - 1.0)));
    }
    let cosine = 1.0 + cosine;
    match shifted.to_bits() & 3 {
        0 => (sine as f32, cosine as f32),
        1 => (cosine as f32, -sine as f32),
        2 => (-sine as f32, -cosine as f32),
        _ => (-cosine as f32, sine as f32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units in the last place of `want`.
    fn ulps(got: f32, want: f64) -> f64 {
        let rounded = want as f32;
        let unit = f64::from(f32::from_bits(rounded.abs().to_bits() + 1) - rounded.abs());
        (f64::from(got) - want).abs() / unit
    }

    #[test]
    fn exp_is_within_two_ulps() {
        let mut worst = 0.0_f64;
        for i in -1_040_000..=887_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            if want >= f64::from(f32::MIN_POSITIVE) {
                worst = worst.max(ulps(exp(x), want));
            } else {
                assert!((f64::from(exp(x)) - want).abs() <= 2f64.powi(-149));
            }
        }
        assert!(worst < 2.0, "{worst}");
    }

    #[test]
    fn exp_ends_where_f32_does() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(exp(-104.0).to_bits(), 0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert!(exp(88.72).is_finite());
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-f32::NAN).is_nan());
    }

    #[test]
    fn exponentials_and_logarithms_of_f64_are_near_and_of_known_bits() {
        let mut hash = 0_u64;
        for i in -200_000..=200_000 {
            let x = f64::from(i) * 0.003_5;
            let (got, want) = (exp_f64(x), x.exp());
            assert!((got - want).abs() <= 4e-16 * want, "exp {x}: {got:e}, not {want:e}");
            for y in [got, 1.0 + f64::from(i + 200_001) * 1e-9] {
                let (got, want) = (ln_f64(y), y.ln());
                assert!((got - want).abs() <= 1e-15 * want.abs().max(1.0), "ln {y:e}: {got:e}, not {want:e}");
                hash = hash.wrapping_mul(0x100_0000_01b3) ^ got.to_bits();
            }
            hash = hash.wrapping_mul(0x100_0000_01b3) ^ got.to_bits();
        }
        // Every target computes these bits.
        assert_eq!(hash, 0x2831_b6c5_169d_00bd, "{hash:#x}");
    }

    #[test]
    fn exponentials_and_logarithms_of_f64_end_where_f64_does() {
        assert_eq!([exp_f64(0.0), exp_f64(-0.0), exp_f64(-746.0), exp_f64(f64::NEG_INFINITY)], [1.0, 1.0, 0.0, 0.0]);
        assert_eq!([exp_f64(710.0), exp_f64(f64::INFINITY)], [f64::INFINITY; 2]);
        assert!(exp_f64(709.7).is_finite() && exp_f64(-745.0) > 0.0 && exp_f64(f64::NAN).is_nan());
        assert_eq!([ln_f64(1.0), ln_f64(0.0), ln_f64(f64::INFINITY)], [0.0, f64::NEG_INFINITY, f64::INFINITY]);
        assert!(ln_f64(-1.0).is_nan() && ln_f64(f64::NAN).is_nan());
        assert!((ln_f64(f64::from_bits(1)) - f64::from_bits(1).ln()).abs() < 1e-12);
    }

    #[test]
    fn the_s_curves_have_their_limits() {
        for x in [-1e30_f32, f32::NEG_INFINITY, -200.0] {
            assert_eq!(tanh(x), -1.0);
        }
        assert_eq!(tanh(1e30), 1.0);
        assert_eq!(silu(200.0), 200.0);
        assert_eq!(silu(-200.0), -0.0);
        for i in -2000..2000 {
            let x = i as f32 * 0.01;
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2e-7, "{x}");
            let gelu = 0.5 * f64::from(x) * (1.0 + (0.797_884_560_8 * f64::from(x + 0.044_715 * x * x * x)).tanh());
            assert!((f64::from(gelu_tanh(x)) - gelu).abs() < 2e-6 * (1.0 + gelu.abs()), "{x}");
            let quick = f64::from(x) / (1.0 + (-1.702 * f64::from(x)).exp());
            assert!((f64::from(quick_gelu(x)) - quick).abs() < 2e-6 * (1.0 + quick.abs()), "{x}");
        }
    }

    /// The share of the normal distribution below `x`, summed as its series (Abramowitz and Stegun 26.2.10).
    fn share_below(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..400 {
            term *= x * x / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 + sum * (-0.5 * x * x).exp() / (2.0 * core::f64::consts::PI).sqrt()
    }

    #[test]
    fn gelu_is_exact_to_f32_and_relu_is_what_it_is() {
        for i in -90_000..90_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x) * share_below(f64::from(x));
            assert!((f64::from(gelu(x)) - want).abs() < 5e-7 * (1.0 + want.abs()), "{x}: {} is not {want}", gelu(x));
        }
        for x in [20.0_f32, 1e10, f32::MAX, f32::INFINITY] {
            assert_eq!((gelu(x), relu(x), relu(-x)), (x, x, 0.0));
        }
        for x in [-20.0, -1e10, f32::MIN] {
            assert_eq!(gelu(x), 0.0);
        }
        assert!(gelu(f32::NAN).is_nan() && quick_gelu(f32::NAN).is_nan() && relu(f32::NAN).is_nan());
        assert_eq!((gelu(0.0), gelu(-0.0).to_bits(), quick_gelu(0.0)), (0.0, (-0.0_f32).to_bits(), 0.0));
    }

    #[test]
    fn sine_and_cosine_are_the_nearest_f32() {
        for i in 0..400_000_u32 {
            let x = if i % 2 == 0 { i as f32 * 0.37 } else { -(i as f32) * 1e-5 };
            let (s, c) = sin_cos(x);
            assert!(ulps(s, f64::from(x).sin()) <= 0.5 + 1e-5, "sin {x}");
            assert!(ulps(c, f64::from(x).cos()) <= 0.5 + 1e-5, "cos {x}");
        }
        assert_eq!(sin_cos(0.0), (0.0, 1.0));
    }
}
