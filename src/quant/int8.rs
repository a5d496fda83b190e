//! int8 in groups of 32 along a row, one f16 scale per group: a panel is `[groups][16] f16` scales, rounded up to 64
//! bytes, then `[groups][8][16][4] i8` codes.
//!
//! `w[r, k] = code[g][j][r][i] * scale[g][r]` with `k = 32 g + 4 j + i`; columns past `cols` hold code 0.

use super::layout::{GROUP_SIZE, PANEL_ROWS, groups, read_f16, scale_bytes};
use super::{Encoding, Format, Groups, Inputs};
use half::f16;

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "int8",
    bits: 8,
    max_weight: MAX_WEIGHT,
    inputs: Inputs::Quantized,
    panel_bytes,
    encoding: Encoding::Groups(Groups { begin: |_, _| (), fit, exact, round, put }),
    read_row,
};

/// The largest magnitude of a code that the encoder writes.
const MAX_CODE: f32 = 127.0;
/// The largest magnitude of a weight that an f16 scale reaches.
const MAX_WEIGHT: f32 = MAX_CODE * f16::MAX.to_f32_const();
/// Number of scales tried: the first maps the largest value to 127, and each next one is smaller by 1/512 of the first. A
/// slightly smaller scale clips the largest value a little and may represent the others better.
const SCALES_TRIED: u16 = 24;

/// See [`Groups::fit`]. The scale is 0 where the group is zero or too small for an f16 scale.
fn fit(_: &[u8], weights: &[f32; GROUP_SIZE], importance: &[f32; GROUP_SIZE]) -> f32 {
    let largest = weights.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let mut best = (f32::INFINITY, 0.0);
    for step in 0..SCALES_TRIED {
        let scale = f16::from_f32(largest / MAX_CODE * (1.0 - f32::from(step) / 512.0)).to_f32();
        if scale == 0.0 {
            break;
        }
        let error = squared_error(weights, importance, scale);
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

/// See [`Groups::exact`]. Of several scales it is the smallest.
fn exact(weights: &[f32; GROUP_SIZE]) -> Option<f32> {
    let largest = weights.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    if largest == 0.0 {
        return Some(0.0);
    }
    let scales = (1..=MAX_CODE as u8).rev().map(|code| largest / f32::from(code));
    let mut scales = scales.filter(|scale| *scale > 0.0 && f16::from_f32(*scale).to_f32() == *scale);
    scales.find(|scale| weights.iter().all(|x| code(*x, *scale) * *scale == *x))
}

/// See [`Groups::round`].
fn round(weights: &[f32; PANEL_ROWS], scales: &[f32; PANEL_ROWS]) -> [f32; PANEL_ROWS] {
    core::array::from_fn(|r| if scales[r] == 0.0 { 0.0 } else { code(weights[r], scales[r]) * scales[r] })
}

/// The code nearest to `value / scale`, ties to even, in [-127, 127].
///
/// Adding and subtracting 1.5 * 2^23 rounds to an integer in the default rounding mode; every CPU can do it in vectors.
fn code(value: f32, scale: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    (value / scale).clamp(-MAX_CODE, MAX_CODE) + ROUND - ROUND
}

/// Sum of squared errors of a group at `scale`, weighted by `importance`, in 8 lanes.
fn squared_error(group: &[f32; GROUP_SIZE], importance: &[f32; GROUP_SIZE], scale: f32) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (x, importance) in group.as_chunks::<8>().0.iter().zip(importance.as_chunks::<8>().0) {
        for i in 0..8 {
            let error = x[i] - code(x[i], scale) * scale;
            lanes[i] += importance[i] * (error * error);
        }
    }
    lanes.iter().sum()
}

/// See [`Format::panel_bytes`].
fn panel_bytes(cols: usize) -> usize {
    scale_bytes(cols) + groups(cols) * PANEL_ROWS * GROUP_SIZE
}

/// Byte of row `r`, column `k` within a panel's codes.
const fn code_at(r: usize, k: usize) -> usize {
    (k / 4) * (PANEL_ROWS * 4) + r * 4 + k % 4
}

/// See [`Groups::put`]. Codes are 0 where the scale is.
fn put(panel: &mut [u8], cols: usize, g: usize, scales: &[f32; PANEL_ROWS], weights: &[[f32; GROUP_SIZE]; PANEL_ROWS]) {
    let (stored, codes) = panel.split_at_mut(scale_bytes(cols));
    for (r, (scale, weights)) in scales.iter().zip(weights).enumerate() {
        let at = (g * PANEL_ROWS + r) * 2;
        stored[at..at + 2].copy_from_slice(&f16::from_f32(*scale).to_le_bytes());
        if *scale != 0.0 {
            for (i, x) in weights.iter().enumerate() {
                codes[code_at(r, g * GROUP_SIZE + i)] = (code(*x, *scale) as i8).cast_unsigned();
            }
        }
    }
}

/// See [`Format::read_row`].
fn read_row(panel: &[u8], r: usize, out: &mut [f32]) {
    let cols = out.len();
    let (scales, codes) = panel.split_at(scale_bytes(cols));
    assert_eq!(codes.len(), groups(cols) * PANEL_ROWS * GROUP_SIZE, "panel bytes");
    for (g, x) in out.chunks_mut(GROUP_SIZE).enumerate() {
        let scale = read_f16(scales, g * PANEL_ROWS + r);
        for (i, y) in x.iter_mut().enumerate() {
            *y = f32::from(codes[code_at(r, g * GROUP_SIZE + i)].cast_signed()) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIKE: [f32; GROUP_SIZE] = [1.0; GROUP_SIZE];

    /// The scale of a group of `x`, zeros after it, and its codes.
    fn encoded(x: &[f32]) -> (f32, [i8; GROUP_SIZE]) {
        let mut group = [0.0; GROUP_SIZE];
        group[..x.len()].copy_from_slice(x);
        let mut panel = vec![0; panel_bytes(GROUP_SIZE)];
        let scale = fit(&panel, &group, &ALIKE);
        put(&mut panel, GROUP_SIZE, 0, &[scale; PANEL_ROWS], &[group; PANEL_ROWS]);
        let codes = &panel[scale_bytes(GROUP_SIZE)..];
        (scale, core::array::from_fn(|k| codes[code_at(3, k)].cast_signed()))
    }

    #[test]
    fn a_zero_or_tiny_group_has_scale_zero() {
        for x in [&[0.0; 32][..], &[1e-30; 7]] {
            assert_eq!(encoded(x), (0.0, [0; GROUP_SIZE]));
            assert_eq!(round(&[x[0]; PANEL_ROWS], &[0.0; PANEL_ROWS]), [0.0; PANEL_ROWS]);
        }
    }

    #[test]
    fn codes_never_reach_minus_128() {
        let x: Vec<f32> = (0..32).map(|i| if i == 0 { -1.0 } else { 0.99 - i as f32 * 1e-3 }).collect();
        assert!(encoded(&x).1.iter().all(|c| (-127..=127).contains(c)));
    }

    #[test]
    fn codes_round_to_nearest_even() {
        for (value, want) in [(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (126.6, 127.0), (500.0, 127.0), (-0.4, 0.0)] {
            assert_eq!(code(value, 1.0), want, "{value}");
        }
    }

    #[test]
    fn the_search_is_never_worse_than_the_plain_scale() {
        let x: [f32; 32] = core::array::from_fn(|i| ((i * 37 % 61) as f32 - 30.0) / 17.0);
        let largest = x.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let plain = f16::from_f32(largest / MAX_CODE).to_f32();
        assert!(squared_error(&x, &ALIKE, encoded(&x).0) <= squared_error(&x, &ALIKE, plain));
    }

    #[test]
    fn multiples_of_a_half_have_a_scale_that_gives_them() {
        for scale in [f16::from_f32(0.013).to_f32(), 0.5, 6e-8_f32] {
            let scale = f16::from_f32(scale).to_f32();
            for most in [1, 8, 100, 127] {
                let x: [f32; GROUP_SIZE] = core::array::from_fn(|i| ((i as i32 * 37) % (most + 1)) as f32 * scale);
                let found = exact(&x).expect("a scale");
                assert!(x.iter().all(|x| code(*x, found) * found == *x), "{most} x {scale}");
            }
        }
        assert_eq!(exact(&[0.0; GROUP_SIZE]), Some(0.0));
        let thirds: [f32; GROUP_SIZE] = core::array::from_fn(|i| 1.0 / (i + 1) as f32);
        assert_eq!(exact(&thirds), None);
    }

    #[test]
    fn the_largest_weight_is_reached() {
        let (scale, codes) = encoded(&[MAX_WEIGHT]);
        assert_eq!((scale, codes[0]), (65504.0, 127));
    }
}
