//! int8 in groups of 32 along a row, one f16 scale per group.

use super::{GROUP_SIZE, PANEL_ROWS, groups, read_f16, scale_bytes};
use half::f16;

/// The largest magnitude of a code that the encoder writes.
const MAX_CODE: f32 = 127.0;
/// Scales tried below the one that maps the largest value to 127, in steps of 1/512 of it: a slightly smaller scale
/// clips the largest value a little and places the others better.
const SCALES_TRIED: u32 = 24;

/// Encodes one group: the f16 scale and the codes of least squared error among the scales tried.
///
/// The scale is 0 and so are all codes where the group is zero or too small for an f16 scale.
pub fn encode_group(x: &[f32], codes: &mut [i8; GROUP_SIZE]) -> f16 {
    let largest = x.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let mut best = (f64::INFINITY, f16::ZERO);
    for step in 0..SCALES_TRIED {
        let scale = f16::from_f32(largest / MAX_CODE * (1.0 - step as f32 / 512.0));
        if scale == f16::ZERO || !scale.is_finite() {
            continue;
        }
        let s = scale.to_f32();
        let error = x.iter().map(|&v| f64::from(v - f32::from(code(v, s)) * s).powi(2)).sum::<f64>();
        if error < best.0 {
            best = (error, scale);
        }
    }
    codes.fill(0);
    if best.1 != f16::ZERO {
        let s = best.1.to_f32();
        for (c, &v) in codes.iter_mut().zip(x) {
            *c = code(v, s);
        }
    }
    best.1
}

/// The code nearest to `value / scale`, ties to even, in [-127, 127].
fn code(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-MAX_CODE, MAX_CODE) as i8
}

/// Byte of row `r`, column `k` within a panel's codes.
const fn code_at(r: usize, k: usize) -> usize {
    (k / 4) * (PANEL_ROWS * 4) + r * 4 + k % 4
}

/// Encodes `rows` of shape (n <= 16, cols) into the zeroed panel `out`.
pub(super) fn encode_panel(rows: &[f32], cols: usize, out: &mut [u8]) {
    let (scales, codes) = out.split_at_mut(scale_bytes(cols));
    let mut group_codes = [0_i8; GROUP_SIZE];
    for (r, row) in rows.chunks_exact(cols).enumerate() {
        for (g, x) in row.chunks(GROUP_SIZE).enumerate() {
            let scale = encode_group(x, &mut group_codes);
            let at = (g * PANEL_ROWS + r) * 2;
            scales[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            for (i, c) in group_codes.iter().enumerate() {
                codes[code_at(r, g * GROUP_SIZE + i)] = c.cast_unsigned();
            }
        }
    }
}

/// Decodes row `r` of a panel.
pub(super) fn read_row(panel: &[u8], r: usize, out: &mut [f32]) {
    let cols = out.len();
    let (scales, codes) = panel.split_at(scale_bytes(cols));
    debug_assert_eq!(codes.len(), groups(cols) * PANEL_ROWS * GROUP_SIZE);
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

    #[test]
    fn a_zero_or_tiny_group_has_scale_zero() {
        let mut codes = [1; GROUP_SIZE];
        assert_eq!(encode_group(&[0.0; 32], &mut codes), f16::ZERO);
        assert_eq!(codes, [0; GROUP_SIZE]);
        assert_eq!(encode_group(&[1e-30; 7], &mut codes), f16::ZERO);
        assert_eq!(codes, [0; GROUP_SIZE]);
    }

    #[test]
    fn codes_never_reach_minus_128() {
        let mut codes = [0; GROUP_SIZE];
        let x: Vec<f32> = (0..32).map(|i| if i == 0 { -1.0 } else { 0.99 - i as f32 * 1e-3 }).collect();
        encode_group(&x, &mut codes);
        assert!(codes.iter().all(|c| (-127..=127).contains(c)));
    }

    #[test]
    fn the_search_is_never_worse_than_the_plain_scale() {
        let x: Vec<f32> = (0..32).map(|i| ((i * 37 % 61) as f32 - 30.0) / 17.0).collect();
        let largest = x.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let plain = f16::from_f32(largest / MAX_CODE).to_f32();
        let error = |s: f32| x.iter().map(|&v| (v - f32::from(code(v, s)) * s).powi(2)).sum::<f32>();
        let mut codes = [0; GROUP_SIZE];
        let scale = encode_group(&x, &mut codes).to_f32();
        assert!(error(scale) <= error(plain));
    }
}
