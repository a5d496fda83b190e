//! The block formats of ggml: each decodes one block into 32 or 256 floats. In the comments of a format, `d` is the
//! f16 scale of the block and `m` or `dmin` its f16 offset; a weight is written as ggml multiplies it out, so that
//! the floats are the same to the last bit.

use half::f16;

/// Weights in a block of the K formats.
const SUPER: usize = 256;

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// d, 32 x i8.
pub(in crate::source) fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (y, q) in out.iter_mut().zip(&block[2..34]) {
        *y = f32::from(*q as i8) * d;
    }
}

/// d, 32 x u4 (weight i in the low halves, i + 16 in the high ones), less 8.
pub(in crate::source) fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    let (low, high) = out.split_at_mut(16);
    for ((lo, hi), q) in low.iter_mut().zip(high).zip(&block[2..18]) {
        *lo = (f32::from(q & 15) - 8.0) * d;
        *hi = (f32::from(q >> 4) - 8.0) * d;
    }
}

/// d, m, 32 x u4.
pub(in crate::source) fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    let (low, high) = out.split_at_mut(16);
    for ((lo, hi), q) in low.iter_mut().zip(high).zip(&block[4..20]) {
        *lo = f32::from(q & 15) * d + m;
        *hi = f32::from(q >> 4) * d + m;
    }
}

/// The 32 five-bit numbers of a block: 16 bytes of halves, 32 fifth bits.
fn five_bits(halves: &[u8], fifths: u32) -> [f32; 32] {
    let mut out = [0.0; 32];
    for (i, q) in halves.iter().enumerate() {
        let (low, high) = ((fifths >> i) & 1, (fifths >> (i + 16)) & 1);
        out[i] = f32::from((q & 15) | (low as u8) << 4);
        out[i + 16] = f32::from((q >> 4) | (high as u8) << 4);
    }
    out
}

/// d, 32 fifth bits, 32 x u4, less 16.
pub(in crate::source) fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    let quants = five_bits(&block[6..22], word(block, 2));
    out.iter_mut().zip(quants).for_each(|(y, q)| *y = (q - 16.0) * d);
}

/// d, m, 32 fifth bits, 32 x u4.
pub(in crate::source) fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    let quants = five_bits(&block[8..24], word(block, 4));
    out.iter_mut().zip(quants).for_each(|(y, q)| *y = q * d + m);
}

/// 16 bytes of u4 scale and u4 offset, 64 bytes of u2, d, dmin. Sixteen weights share a scale; a byte holds weights
/// that lie 32 apart.
pub(in crate::source) fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (group, y) in out[..SUPER].chunks_exact_mut(16).enumerate() {
        let (scale, offset) = (d * f32::from(scales[group] & 15), dmin * f32::from(scales[group] >> 4));
        let shift = group % 8 / 2 * 2;
        let bytes = &quants[group / 8 * 32 + group % 2 * 16..];
        for (y, q) in y.iter_mut().zip(bytes) {
            *y = scale * f32::from((q >> shift) & 3) - offset;
        }
    }
}

/// 32 bytes of third bits (0 subtracts 4), 64 bytes of u2, 16 six-bit scales less 32 in 12 bytes, d.
pub(in crate::source) fn q3_k(block: &[u8], out: &mut [f32]) {
    let (thirds, quants, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block, 108);
    for (group, y) in out[..SUPER].chunks_exact_mut(16).enumerate() {
        let low = (scales[group % 8] >> (group / 8 * 4)) & 15;
        let high = (scales[8 + group % 4] >> (group / 4 * 2)) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let shift = group % 8 / 2 * 2;
        let column = group % 2 * 16;
        let bytes = quants[group / 8 * 32 + column..].iter().zip(&thirds[column..]);
        for (y, (q, third)) in y.iter_mut().zip(bytes) {
            let high = if (third >> (group / 2)) & 1 == 1 { 0.0 } else { 4.0 };
            *y = scale * (f32::from((q >> shift) & 3) - high);
        }
    }
}

/// The six-bit scale and offset of group `i` of eight, packed in 12 bytes.
fn scale_and_offset(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, offset) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        ((packed[i + 4] & 15) | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4)
    };
    (f32::from(scale), f32::from(offset))
}

/// d, dmin, 8 six-bit scales and offsets in 12 bytes, 128 bytes of u4: weights 0..32 in the low halves of the first 32
/// bytes, 32..64 in the high ones.
pub(in crate::source) fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (group, y) in out[..SUPER].chunks_exact_mut(32).enumerate() {
        let (scale, offset) = scale_and_offset(&block[4..16], group);
        let (scale, offset) = (d * scale, dmin * offset);
        for (y, q) in y.iter_mut().zip(&block[16 + group / 2 * 32..]) {
            *y = scale * f32::from((q >> (group % 2 * 4)) & 15) - offset;
        }
    }
}

/// As q4_k with 32 bytes of fifth bits, bit g of which belongs to group g, before the halves.
pub(in crate::source) fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (group, y) in out[..SUPER].chunks_exact_mut(32).enumerate() {
        let (scale, offset) = scale_and_offset(&block[4..16], group);
        let (scale, offset) = (d * scale, dmin * offset);
        let bytes = block[48 + group / 2 * 32..].iter().zip(&block[16..48]);
        for (y, (q, fifths)) in y.iter_mut().zip(bytes) {
            let q = (q >> (group % 2 * 4)) & 15 | ((fifths >> group) & 1) << 4;
            *y = scale * f32::from(q) - offset;
        }
    }
}

/// 128 bytes of low halves, 64 bytes of upper bit pairs, 16 x i8 scales, d; six-bit weights less 32.
pub(in crate::source) fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, upper, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    for (group, y) in out[..SUPER].chunks_exact_mut(32).enumerate() {
        let (part, quarter) = (group / 4, group % 4);
        let bytes = low[part * 64 + quarter % 2 * 32..].iter().zip(&upper[part * 32..]);
        for (i, (y, (l, u))) in y.iter_mut().zip(bytes).enumerate() {
            let q = (l >> (quarter / 2 * 4)) & 15 | ((u >> (quarter * 2)) & 3) << 4;
            *y = d * f32::from(scales[group * 2 + i / 16] as i8) * (f32::from(q) - 32.0);
        }
    }
}

/// What the sixteen codes of the nonlinear four-bit formats stand for.
const NONLINEAR: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the sixteen values of four-bit floats with two bits of exponent and one of fraction (OCP Microscaling Formats 1.0,
/// section 5.3.3).
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 32 x u4 (weight i in the low halves, i + 16 in the high ones) as the values that they stand for, times `scale`.
fn table(scale: f32, values: &[i8; 16], quants: &[u8], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(16);
    for ((lo, hi), q) in low.iter_mut().zip(high).zip(quants) {
        *lo = scale * f32::from(values[usize::from(q & 15)]);
        *hi = scale * f32::from(values[usize::from(q >> 4)]);
    }
}

/// d, 32 x u4 of nonlinear values.
pub(in crate::source) fn iq4_nl(block: &[u8], out: &mut [f32]) {
    table(half(block, 0), &NONLINEAR, &block[2..18], out);
}

/// d, the upper two bits of 8 six-bit scales less 32, their lower four, 8 times 32 x u4 of nonlinear values.
pub(in crate::source) fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    let upper = u16::from_le_bytes([block[2], block[3]]);
    for (group, y) in out[..SUPER].chunks_exact_mut(32).enumerate() {
        let low = (block[4 + group / 2] >> (group % 2 * 4)) & 15;
        let high = (upper >> (group * 2)) as u8 & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        table(scale, &NONLINEAR, &block[8 + group * 16..][..16], y);
    }
}

/// A power of two as its biased exponent, 32 x u4 of four-bit floats.
pub(in crate::source) fn mxfp4(block: &[u8], out: &mut [f32]) {
    // Half of it, since the table has twice the values.
    let scale = match block[0] {
        exponent @ 0..2 => f32::from_bits(0x0020_0000 << exponent),
        exponent => f32::from_bits(u32::from(exponent - 1) << 23),
    };
    table(scale, &E2M1, &block[1..17], out);
}

/// 48 bytes of five digits to the base 3 and 4 bytes of four, as fractions of 256, less 1; d.
pub(in crate::source) fn tq1_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 52);
    let mut out = out[..SUPER].iter_mut();
    for (bytes, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for digit in 0..digits {
            for (q, y) in bytes.iter().zip(&mut out) {
                let fraction = q.wrapping_mul(3_u8.pow(digit));
                *y = d * (f32::from(((u16::from(fraction) * 3) >> 8) as u8) - 1.0);
            }
        }
    }
}

/// 64 bytes of u2 less 1, a byte of weights that lie 32 apart; d.
pub(in crate::source) fn tq2_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 64);
    for (group, y) in out[..SUPER].chunks_exact_mut(32).enumerate() {
        for (y, q) in y.iter_mut().zip(&block[group / 4 * 32..]) {
            *y = d * (f32::from((q >> (group % 4 * 2)) & 3) - 1.0);
        }
    }
}

/// 32 bytes of u2 less 1, a byte of weights that lie 32 apart, the first in its upper bits. bitnet.cpp makes them on x86.
pub(in crate::source) fn i2_s(block: &[u8], out: &mut [f32]) {
    for (group, y) in out[..128].chunks_exact_mut(32).enumerate() {
        for (y, q) in y.iter_mut().zip(block) {
            *y = f32::from((q >> (6 - 2 * group)) & 3) - 1.0;
        }
    }
}
