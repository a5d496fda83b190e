//! How keys and values come into a cache of few bits: rotated, then quantized in groups of 32 elements of a head
//! (docs/numerics.md).

use crate::kernels::lanes::{sum, widen};
use crate::kernels::{
    BLOCK, KEY_BITS, MAX_HEAD_GROUPS, VALUE_BITS, key_panel_bytes, packed_value_bytes, put_code, rotate, scale_bits,
};
use crate::quant::{GROUP_SIZE, PANEL_ROWS, groups};
use half::f16;

/// The byte of scale of a group that is not finite, or too large for an f16: a NaN.
const NAN: u8 = 0xfc;
/// Scales tried from the first on, each with the next smaller byte.
const SCALES_TRIED: u8 = 4;
/// Adding and subtracting it rounds an f32 of magnitude below 2^22 to an integer, ties to even.
const ROUND: f32 = 12_582_912.0;

/// Writes a key into its panel.
pub(super) fn store_key(keys: &mut [u8], position: usize, k: &[f32]) {
    let bytes = key_panel_bytes(k.len());
    let (panel, row) = (&mut keys[position / PANEL_ROWS * bytes..][..bytes], position % PANEL_ROWS);
    let (scales, planes) = panel.split_at_mut(groups(k.len()) * PANEL_ROWS);
    let planes = planes.chunks_exact_mut(KEY_BITS * PANEL_ROWS * 4);
    let mut rotated = [0.0; MAX_HEAD_GROUPS * GROUP_SIZE];
    let rotated = rotated_head(k, &mut rotated);
    for ((x, scales), planes) in rotated.chunks(GROUP_SIZE).zip(scales.chunks_exact_mut(PANEL_ROWS)).zip(planes) {
        let mut codes = [0; GROUP_SIZE];
        scales[row] = quantize::<KEY_BITS>(x, &mut codes);
        (0..).zip(codes).for_each(|(k, code)| put_code::<KEY_BITS>(planes, k, row, code));
    }
}

/// Writes a value into its block.
pub(super) fn store_value(values: &mut [u8], position: usize, v: &[f32]) {
    let bytes = packed_value_bytes(v.len());
    let (block, slot) = (&mut values[position / BLOCK * bytes..][..bytes], position % BLOCK);
    let (scales, planes) = block.split_at_mut(groups(v.len()) * BLOCK);
    let mut rotated = [0.0; MAX_HEAD_GROUPS * GROUP_SIZE];
    let rotated = rotated_head(v, &mut rotated);
    let planes = planes.chunks_mut(GROUP_SIZE * BLOCK * VALUE_BITS / 8);
    for ((x, scales), planes) in rotated.chunks(GROUP_SIZE).zip(scales.chunks_exact_mut(BLOCK)).zip(planes) {
        let mut codes = [0; GROUP_SIZE];
        scales[slot] = quantize::<VALUE_BITS>(x, &mut codes);
        let panels = planes.chunks_exact_mut(PANEL_ROWS * BLOCK * VALUE_BITS / 8);
        for (codes, panel) in codes.chunks_exact(PANEL_ROWS).zip(panels) {
            (0..).zip(codes).for_each(|(r, code)| put_code::<VALUE_BITS>(panel, slot, r, *code));
        }
    }
}

/// `x` [`rotate`]d, in the first elements of `out`.
fn rotated_head<'a>(x: &[f32], out: &'a mut [f32]) -> &'a [f32] {
    let out = &mut out[..x.len()];
    out.copy_from_slice(x);
    rotate(out);
    out
}

/// Quantizes up to 32 elements to codes of `BITS` bits, each its number plus half of their range, and returns the byte of scale;
/// all are 0 for zeros.
fn quantize<const BITS: usize>(x: &[f32], codes: &mut [u8; GROUP_SIZE]) -> u8 {
    let half = (1 << (BITS - 1)) as f32;
    let mut group = [0.0; GROUP_SIZE];
    group[..x.len()].copy_from_slice(x);
    let largest = x.iter().fold(0, |m, v| v.abs().to_bits().max(m));
    if largest == 0 {
        return 0;
    }
    let first = first_byte(f32::from_bits(largest) / half);
    if first >= NAN - 4 {
        return NAN;
    }
    let mut best = (f32::INFINITY, first);
    for byte in (1..=first).rev().take(usize::from(SCALES_TRIED)) {
        let scale = widen(scale_bits(byte));
        let errors = group.map(|x| x - number(x / scale, half) * scale);
        let error = sum(&errors.map(|error| error * error));
        if error < best.0 {
            best = (error, byte);
        }
    }
    let scale = widen(scale_bits(best.1));
    *codes = group.map(|x| (number(x / scale, half) + half) as u8);
    best.1
}

/// The number nearest to `x` that a code stands for.
#[inline(always)]
fn number(x: f32, half: f32) -> f32 {
    x.clamp(-half, half - 1.0) + ROUND - ROUND
}

/// The first scale to try: the byte after the least whose scale is at least `scale`, which is at least that of a NaN where
/// `scale` is not finite or too large.
fn first_byte(scale: f32) -> u8 {
    let nearest = (f16::from_f32(scale).to_bits() >> 7) as u8;
    let below = widen(scale_bits(nearest)) < scale;
    nearest.saturating_add(1 + u8::from(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded<const BITS: usize>(x: &[f32]) -> (u8, Vec<f32>) {
        let mut codes = [0; GROUP_SIZE];
        let byte = quantize::<BITS>(x, &mut codes);
        let half = 1_i32 << (BITS - 1);
        assert!(codes.iter().all(|code| i32::from(*code) < 2 * half));
        let scale = widen(scale_bits(byte));
        (byte, codes[..x.len()].iter().map(|code| (i32::from(*code) - half) as f32 * scale).collect())
    }

    #[test]
    fn groups_are_near_what_they_are_of() {
        for spread in [1e-3_f32, 1.0, 1e4] {
            let x: Vec<f32> = (0..32).map(|i| spread * (((i * 37 + 11) % 64) as f32 / 32.0 - 1.0)).collect();
            for ((key, value), x) in decoded::<KEY_BITS>(&x).1.iter().zip(decoded::<VALUE_BITS>(&x).1).zip(&x) {
                assert!((key - x).abs() <= spread / 16.0, "{key} for {x}");
                assert!((value - x).abs() <= spread / 5.0, "{value} for {x}");
            }
        }
        assert_eq!(decoded::<KEY_BITS>(&[0.0, -0.0]).0, 0);
        assert_eq!(quantize::<VALUE_BITS>(&[0.0; 32], &mut [0; 32]), 0);
    }

    #[test]
    fn what_no_scale_reaches_is_a_nan_and_what_is_too_small_is_zero() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
            let (byte, decoded) = decoded::<KEY_BITS>(&[1.0, bad]);
            assert_eq!(byte, NAN);
            assert!(decoded.iter().all(|x| x.is_nan()));
        }
        for tiny in [f32::from_bits(1), 1e-30] {
            assert!(decoded::<VALUE_BITS>(&[tiny, -tiny]).1.iter().all(|x| *x == 0.0));
        }
    }

    #[test]
    fn the_first_scale_is_the_second_that_holds_the_largest() {
        for bits in (0..0x7a00).step_by(13) {
            let scale = f16::from_bits(bits).to_f32();
            let byte = first_byte(scale);
            assert!(byte >= 1 && widen(scale_bits(byte - 1)) >= scale, "{scale}");
            assert!(byte < 2 || widen(scale_bits(byte - 2)) < scale, "{scale}");
        }
    }
}
