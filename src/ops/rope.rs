//! Rotary position embedding over halves: element `i` of a head turns with element `i + head_dim / 2` (Su et al. 2021).

use super::math::sin_cos;
use crate::compute::Compute;

/// Elements below which a part is not worth a thread: some microseconds of work.
const MIN_ELEMENTS: usize = 1 << 14;

/// Cosines and sines of one position: `out` is `[cos; head_dim / 2][sin; head_dim / 2]`, `freqs` (head_dim / 2).
///
/// The angle is `position * freq` in f32.
pub fn rope_angles(position: usize, freqs: &[f32], out: &mut [f32]) {
    assert_eq!(out.len(), 2 * freqs.len(), "a cosine and a sine for each frequency");
    let (cos, sin) = out.split_at_mut(freqs.len());
    for ((cos, sin), freq) in cos.iter_mut().zip(sin).zip(freqs) {
        (*sin, *cos) = sin_cos(position as f32 * freq);
    }
}

/// Turns every head of `x` (T, n_heads, head_dim) by the angles of its token, `angles` (T, head_dim).
pub fn rope(compute: &Compute, x: &mut [f32], angles: &[f32], n_heads: usize, head_dim: usize) {
    assert!(n_heads > 0 && head_dim > 0 && head_dim.is_multiple_of(2), "{n_heads} heads of {head_dim}");
    assert!(angles.len().is_multiple_of(head_dim) && x.len() == angles.len() * n_heads, "an angle row for each token");
    if x.is_empty() {
        return;
    }
    let (all, width) = (x.len(), n_heads * head_dim);
    compute.threads.run_columns(x, all, width, MIN_ELEMENTS.div_ceil(width), &|tokens, mut columns| {
        (compute.kernels.rope)(columns.row(0), &angles[tokens.start * head_dim..tokens.end * head_dim], head_dim);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    #[test]
    fn a_quarter_turn_moves_the_first_half_into_the_second() {
        let compute = Compute::new(kernels::detect(), 1).expect("one thread");
        let mut angles = [f32::NAN; 4];
        rope_angles(3, &[core::f32::consts::FRAC_PI_6, 0.0], &mut angles);
        let mut x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        rope(&compute, &mut x, &angles, 2, 4);
        for (got, want) in x.iter().zip([-3.0, 2.0, 1.0, 4.0, -7.0, 6.0, 5.0, 8.0]) {
            assert!((got - want).abs() < 1e-6, "{x:?}");
        }
    }
}
