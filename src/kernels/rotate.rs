//! The rotation of keys, values and queries of a cache of few bits, by a Hadamard matrix: it spreads an element that is much
//! larger than the others of its group over all of them, so that the scale of a group fits all its elements (Ashkboos et al.
//! 2024, "QuaRot").

use crate::quant::GROUP_SIZE;

/// Multiplies each 32 elements of a head with the orthonormal Hadamard matrix of their number; fewer at its end in parts of
/// the largest powers of two. It is its own inverse.
#[inline(always)]
pub fn rotate(x: &mut [f32]) {
    let (whole, mut rest) = x.as_chunks_mut::<GROUP_SIZE>();
    whole.iter_mut().for_each(rotate_part);
    rest = rotate_parts::<16>(rest);
    rest = rotate_parts::<8>(rest);
    rest = rotate_parts::<4>(rest);
    rotate_parts::<2>(rest);
}

/// Rotates the first N elements, if there are so many, and returns the others.
#[inline(always)]
fn rotate_parts<const N: usize>(x: &mut [f32]) -> &mut [f32] {
    let (parts, rest) = x.as_chunks_mut::<N>();
    parts.iter_mut().for_each(rotate_part);
    rest
}

/// The fast Walsh-Hadamard transform, scaled.
#[inline(always)]
fn rotate_part<const N: usize>(x: &mut [f32; N]) {
    let mut step = 1;
    while step < N {
        for pair in x.chunks_exact_mut(2 * step) {
            let (low, high) = pair.split_at_mut(step);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        step *= 2;
    }
    let scale = const {
        match N {
            2 => core::f32::consts::FRAC_1_SQRT_2,
            4 => 0.5,
            8 => core::f32::consts::FRAC_1_SQRT_2 / 2.0,
            16 => 0.25,
            32 => core::f32::consts::FRAC_1_SQRT_2 / 4.0,
            _ => panic!("a power of two up to 32"),
        }
    };
    x.iter_mut().for_each(|x| *x *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_is_the_hadamard_matrix_and_its_own_inverse() {
        for n in [1_usize, 2, 3, 7, 8, 12, 31, 32, 33, 48, 64, 80, 255] {
            let x: Vec<f32> = (0..n).map(|i| ((i * i * 31 + i * 7) % 19) as f32 - 9.0).collect();
            let mut y = x.clone();
            rotate(&mut y);
            let mut start = 0;
            while start < n {
                let part = if n - start >= 32 { 32 } else { 1 << (n - start).ilog2() };
                for i in 0..part {
                    let sign = |j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                    let sum: f64 = (0..part).map(|j| sign(j) * f64::from(x[start + j])).sum();
                    let want = sum / (part as f64).sqrt();
                    assert!((f64::from(y[start + i]) - want).abs() < 1e-4, "{n}: {} for {want}", y[start + i]);
                }
                start += part;
            }
            rotate(&mut y);
            assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-4), "{n}");
        }
    }
}
