//! Rotary position embedding over halves: element `i` of a head turns with element `i + head_dim / 2`.

use super::math::sin_cos;

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
pub fn rope(x: &mut [f32], angles: &[f32], n_heads: usize, head_dim: usize) {
    assert!(n_heads > 0 && head_dim > 0 && head_dim.is_multiple_of(2), "{n_heads} heads of {head_dim}");
    assert!(angles.len().is_multiple_of(head_dim) && x.len() == angles.len() * n_heads, "an angle row for each token");
    for (x, angles) in x.chunks_exact_mut(n_heads * head_dim).zip(angles.chunks_exact(head_dim)) {
        let (cos, sin) = angles.split_at(head_dim / 2);
        for head in x.chunks_exact_mut(head_dim) {
            let (a, b) = head.split_at_mut(head_dim / 2);
            for (((a, b), &c), &s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_moves_the_first_half_into_the_second() {
        let mut angles = [f32::NAN; 4];
        rope_angles(3, &[std::f32::consts::FRAC_PI_6, 0.0], &mut angles);
        let mut x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        rope(&mut x, &angles, 2, 4);
        for (got, want) in x.iter().zip([-3.0, 2.0, 1.0, 4.0, -7.0, 6.0, 5.0, 8.0]) {
            assert!((got - want).abs() < 1e-6, "{x:?}");
        }
    }
}
