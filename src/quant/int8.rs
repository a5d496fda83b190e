//! int8 in groups of 32 along a row, one f16 scale per group: a panel is `[groups][16] f16` scales, rounded up to 64
//! bytes, then `[groups][8][16][4] i8` codes.
//!
//! `w[r, k] = code[g][j][r][i] * scale[g][r]` with `k = 32 g + 4 j + i`; columns past `cols` hold code 0.

use super::layout::{GROUP_SIZE, PANEL_ROWS, groups, importance_of, read_f16, scale_bytes};
use super::{Format, Inputs};
use half::f16;

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "int8",
    bits: 8,
    max_weight: MAX_WEIGHT,
    inputs: Inputs::Quantized,
    panel_bytes,
    encode_panel,
    read_row,
};

/// The largest magnitude of a code that the encoder writes.
const MAX_CODE: f32 = 127.0;
/// The largest magnitude of a weight that an f16 scale reaches.
const MAX_WEIGHT: f32 = MAX_CODE * f16::MAX.to_f32_const();
/// Number of scales tried: the first maps the largest value to 127, and each next one is smaller by 1/512 of the first. A
/// slightly smaller scale clips the largest value a little and may represent the others better.
const SCALES_TRIED: u16 = 24;

/// Encodes one group of up to 32 values: the f16 scale and the codes of least squared error, weighted by `importance`, among the
/// scales tried.
///
/// The scale and all codes are 0 where the group is zero or too small for an f16 scale. Values are finite and at most
/// [`MAX_WEIGHT`] in magnitude.
fn encode_group(x: &[f32], importance: &[f32; GROUP_SIZE], codes: &mut [i8; GROUP_SIZE]) -> f16 {
    let mut group = [0.0; GROUP_SIZE];
    group[..x.len()].copy_from_slice(x);
    let largest = group.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let mut best = (f32::INFINITY, f16::ZERO);
    for step in 0..SCALES_TRIED {
        let scale = f16::from_f32(largest / MAX_CODE * (1.0 - f32::from(step) / 512.0));
        if scale == f16::ZERO {
            break;
        }
        let error = squared_error(&group, importance, scale.to_f32());
        if error < best.0 {
            best = (error, scale);
        }
    }
    codes.fill(0);
    if best.1 != f16::ZERO {
        for (c, v) in codes.iter_mut().zip(group) {
            *c = code(v, best.1.to_f32()) as i8;
        }
    }
    best.1
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

/// See [`Format::encode_panel`].
fn encode_panel(rows: &[f32], cols: usize, importance: &[f32], out: &mut [u8]) {
    let (scales, codes) = out.split_at_mut(scale_bytes(cols));
    let mut group_codes = [0_i8; GROUP_SIZE];
    for (r, row) in rows.chunks_exact(cols).enumerate() {
        for (g, x) in row.chunks(GROUP_SIZE).enumerate() {
            let scale = encode_group(x, &importance_of(g, importance), &mut group_codes);
            let at = (g * PANEL_ROWS + r) * 2;
            scales[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            for (i, c) in group_codes.iter().enumerate() {
                codes[code_at(r, g * GROUP_SIZE + i)] = c.cast_unsigned();
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

    #[test]
    fn a_zero_or_tiny_group_has_scale_zero() {
        let mut codes = [1; GROUP_SIZE];
        assert_eq!(encode_group(&[0.0; 32], &ALIKE, &mut codes), f16::ZERO);
        assert_eq!(codes, [0; GROUP_SIZE]);
        assert_eq!(encode_group(&[1e-30; 7], &ALIKE, &mut codes), f16::ZERO);
        assert_eq!(codes, [0; GROUP_SIZE]);
    }

    #[test]
    fn codes_never_reach_minus_128() {
        let mut codes = [0; GROUP_SIZE];
        let x: Vec<f32> = (0..32).map(|i| if i == 0 { -1.0 } else { 0.99 - i as f32 * 1e-3 }).collect();
        encode_group(&x, &ALIKE, &mut codes);
        assert!(codes.iter().all(|c| (-127..=127).contains(c)));
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
        let mut codes = [0; GROUP_SIZE];
        let scale = encode_group(&x, &ALIKE, &mut codes).to_f32();
        assert!(squared_error(&x, &ALIKE, scale) <= squared_error(&x, &ALIKE, plain));
    }

    #[test]
    fn the_largest_weight_is_reached() {
        let mut codes = [0; GROUP_SIZE];
        let scale = encode_group(&[MAX_WEIGHT], &ALIKE, &mut codes);
        assert_eq!((scale.to_f32(), codes[0]), (65504.0, 127));
    }
}
