//! Codes of 4, 5 or 6 bits in planes: what [`q4`](super::q4), [`q5`](super::q5), [`q6`](super::q6) and the formats of
//! [`grids`](super::grids) share.
//!
//! A panel is a [`Head`] of 32 bytes and the scales of each group, together rounded up to 64 bytes, then the planes of each
//! group, lines of 64 bytes `[16][4] u8`. With `k = 4 j + i` a column of the group and `r` a row:
//!
//! | plane | lines | bits of the code of `k` |
//! |---|---|---|
//! | low | 4 | bits 0 to 3: in byte (r, i) of line `j mod 4`, the lower half where `j < 4`, the upper half from there on |
//! | fifth, of q5 | 1 | bit 4: bit `j` of byte (r, i) |
//! | high, of q6 | 2 | bits 4 and 5: bits `2 (j mod 4)` and the next of byte (r, i) of line `j / 4` |
//!
//! `w[r, k] = value(code) * scale + offset`. The value of a code of 4 bits is the level of that number in the head; of q5 it is the code
//! minus 16, of q6 minus 32, and the code itself where there are offsets. The scales of a group are
//!
//! | bytes | layout | |
//! |---|---|---|
//! | [`BYTES`] | `[16] u8` | a sign, 3 bits of exponent and 4 of mantissa, which continue the exponent of the head: [`Head::scale`] |
//! | [`HALVES`] | `[16] f16` | |
//! | [`OFFSETS`] | `[16] f16`, `[16] f16` | the scales, then the offsets; in others these are 0 |
//!
//! Columns past `cols` meet inputs of 0. Their codes are those of value 0 where a code has it, else 0.

use super::layout::{ALIGNMENT, GROUP_SIZE, PANEL_ROWS, groups, read_f16};
use super::{Encoding, Groups};

/// Codes of a table.
pub(crate) const LEVELS: usize = 16;
/// Bytes of a [`Head`].
pub(crate) const HEAD_BYTES: usize = 32;
/// Bytes of a line: 4 columns of 16 rows.
pub(crate) const LINE_BYTES: usize = PANEL_ROWS * 4;
/// Scales of a group where each is a byte.
pub(crate) const BYTES: usize = PANEL_ROWS;
/// Scales of a group where each is an f16.
pub(crate) const HALVES: usize = 2 * PANEL_ROWS;
/// Scales and offsets of a group, each an f16.
pub(crate) const OFFSETS: usize = 4 * PANEL_ROWS;
/// The codes of one group of 16 rows as int8 has them, `[8][16][4] i8`.
pub(crate) type Codes = [u8; PANEL_ROWS * GROUP_SIZE];
/// The exponents that a head may have, as f32 codes them: no scale is subnormal, none infinite.
const EXPONENTS: core::ops::RangeInclusive<u8> = 1..=247;
/// Largest magnitude of a scale byte: the octave 7, 15 sixteenths.
const MAX_SCALE: u8 = 0x7f;
/// The largest magnitude of a weight that the formats take: sums of squared errors are finite.
pub(super) const MAX_WEIGHT: f32 = 1.0e15;
/// Scales tried for each sign, one sixteenth of an octave apart.
const SCALES_TRIED: u8 = 14;
/// Of them, those that are larger than the one which maps the largest weight to the outermost level.
const SCALES_ABOVE: u8 = 4;

/// What the groups of a panel share: `[16] i8` levels (of q4; 0 in others), the exponent, 15 bytes 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// The values of the codes of q4.
    pub(crate) levels: [u8; LEVELS],
    /// The exponent of the smallest scale, as f32 codes it.
    pub(crate) exponent: u32,
}

impl Head {
    /// The head of a panel. An exponent outside 1 to 247 counts as the nearest one in it.
    #[inline(always)]
    pub(crate) fn read(panel: &[u8]) -> Self {
        let (head, _) = panel.split_at(HEAD_BYTES);
        let mut levels = [0; LEVELS];
        levels.copy_from_slice(&head[..LEVELS]);
        Head { levels, exponent: u32::from(head[LEVELS].clamp(*EXPONENTS.start(), *EXPONENTS.end())) }
    }

    /// The scale of a byte: a float with its sign (bit 7), its mantissa (bits 0 to 3, the upper ones of 23) and the exponent of the
    /// head plus its own (bits 4 to 6).
    #[inline(always)]
    pub(crate) fn scale(&self, byte: u8) -> f32 {
        let byte = u32::from(byte);
        f32::from_bits(((byte & 0x80) << 24 | (byte & 0x7f) << 19) + (self.exponent << 23))
    }

    /// The byte of the least scale that is not below `scale`, a positive one, within what the head reaches.
    fn byte(&self, scale: f32) -> u8 {
        let steps = scale.to_bits().div_ceil(1 << 19).saturating_sub(self.exponent << 4);
        steps.min(u32::from(MAX_SCALE)) as u8
    }
}

/// What the values of a row of a group are multiplied by, and what is added then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scaling {
    pub(crate) scale: f32,
    pub(crate) offset: f32,
}

/// The scalings of the rows of a group.
#[inline(always)]
pub(crate) fn scalings<const SCALES: usize>(head: &Head, scales: &[u8; SCALES]) -> [Scaling; PANEL_ROWS] {
    let (_, offsets) = scales.split_at(SCALES.min(HALVES));
    core::array::from_fn(|r| Scaling {
        scale: if SCALES == BYTES { head.scale(scales[r]) } else { read_f16(scales, r) },
        offset: if SCALES == OFFSETS { read_f16(offsets, r) } else { 0.0 },
    })
}

/// Bytes before the planes of a panel whose groups have `scales` bytes of scales.
pub(crate) const fn planes_at(cols: usize, scales: usize) -> usize {
    (HEAD_BYTES + groups(cols) * scales).next_multiple_of(ALIGNMENT)
}

/// Bytes of the planes of a group of codes of `bits` bits.
pub(crate) const fn group_bytes(bits: usize) -> usize {
    bits * LINE_BYTES
}

/// See [`Format::panel_bytes`](super::Format::panel_bytes).
pub(super) fn panel_bytes<const BITS: usize, const SCALES: usize>(cols: usize) -> usize {
    planes_at(cols, SCALES) + groups(cols) * group_bytes(BITS)
}

/// The scales and planes of a panel by group; a group has `SCALES` bytes of the ones and `CODES` of the others.
#[inline(always)]
pub(crate) fn parts<const SCALES: usize, const CODES: usize>(
    panel: &[u8],
    cols: usize,
) -> (&[[u8; SCALES]], &[[u8; CODES]]) {
    let (before, planes) = panel.split_at(planes_at(cols, SCALES));
    let n = groups(cols);
    (&before[HEAD_BYTES..].as_chunks().0[..n], &planes.as_chunks().0[..n])
}

/// The values of a group's codes as int8 has them. `planes` are those of codes of `BITS` bits.
pub(crate) fn values<const BITS: usize, const SCALES: usize>(head: &Head, planes: &[u8]) -> Codes {
    let (lines, _) = planes.as_chunks::<LINE_BYTES>();
    let mut out = [0; PANEL_ROWS * GROUP_SIZE];
    for (j, out) in out.as_chunks_mut::<LINE_BYTES>().0.iter_mut().enumerate() {
        for (at, out) in out.iter_mut().enumerate() {
            *out = value::<BITS, SCALES>(head, code::<BITS>(lines, j, at)).cast_unsigned();
        }
    }
    out
}

/// The code at byte `at` of a line: of the columns from `4 j` on.
#[inline(always)]
fn code<const BITS: usize>(lines: &[[u8; LINE_BYTES]], j: usize, at: usize) -> u8 {
    let low = lines[j % 4][at] >> (4 * (j / 4)) & 0x0f;
    match BITS {
        4 => low,
        5 => low | (lines[4][at] >> j & 1) << 4,
        _ => low | (lines[4 + j / 4][at] >> (2 * (j % 4)) & 3) << 4,
    }
}

/// Writes a code where [`code`] reads it, over zeros.
pub(super) fn put_code<const BITS: usize>(lines: &mut [[u8; LINE_BYTES]], j: usize, at: usize, code: u8) {
    lines[j % 4][at] |= (code & 0x0f) << (4 * (j / 4));
    match BITS {
        4 => {}
        5 => lines[4][at] |= (code >> 4) << j,
        _ => lines[4 + j / 4][at] |= (code >> 4) << (2 * (j % 4)),
    }
}

/// The value of a code.
#[inline(always)]
fn value<const BITS: usize, const SCALES: usize>(head: &Head, code: u8) -> i8 {
    match BITS {
        4 => head.levels[usize::from(code)].cast_signed(),
        _ => code.cast_signed() - zero(BITS, SCALES).cast_signed(),
    }
}

/// The code of value 0 where codes of so many bits are integers: values are codes less that.
pub(crate) const fn zero(bits: usize, scales: usize) -> u8 {
    if scales == OFFSETS { 0 } else { 1 << (bits - 1) }
}

/// The values of the codes that an encoder writes.
pub(super) trait Grid {
    /// The levels of the head.
    const LEVELS: [i8; LEVELS];
    /// The values of the first code and of the last.
    const ENDS: [i8; 2];

    /// The code whose value is nearest to `x`, and the value.
    fn nearest(x: f32) -> (f32, f32);
}

/// The largest magnitude of a value.
fn outermost<G: Grid>() -> f32 {
    f32::from(G::ENDS[0].unsigned_abs().max(G::ENDS[1].unsigned_abs()))
}

/// How codes of `BITS` bits are found. The scale of a row of a group is that of least squared error among those tried.
pub(super) const fn encoding<G: Grid, const BITS: usize>() -> Encoding {
    Encoding::Groups(Groups {
        begin: begin::<G>,
        fit: fit::<G>,
        exact: |_| None,
        round: round::<G>,
        put: put::<G, BITS>,
    })
}

/// See [`Groups::begin`].
fn begin<G: Grid>(largest: f32, panel: &mut [u8]) {
    let head = head::<G>(largest);
    panel[..LEVELS].copy_from_slice(&head.levels);
    panel[LEVELS] = head.exponent as u8;
}

/// See [`Groups::fit`].
fn fit<G: Grid>(panel: &[u8], weights: &[f32; GROUP_SIZE], importance: &[f32; GROUP_SIZE]) -> f32 {
    let head = Head::read(panel);
    head.scale(best_scale::<G>(&head, weights, importance))
}

/// See [`Groups::round`].
fn round<G: Grid>(weights: &[f32; PANEL_ROWS], scales: &[f32; PANEL_ROWS]) -> [f32; PANEL_ROWS] {
    core::array::from_fn(|r| G::nearest(weights[r] / scales[r]).1 * scales[r])
}

/// See [`Groups::put`].
fn put<G: Grid, const BITS: usize>(
    panel: &mut [u8],
    cols: usize,
    g: usize,
    scales: &[f32; PANEL_ROWS],
    weights: &[[f32; GROUP_SIZE]; PANEL_ROWS],
) {
    let head = Head::read(panel);
    let (before, planes) = panel.split_at_mut(planes_at(cols, BYTES));
    let (lines, _) = planes[g * group_bytes(BITS)..][..group_bytes(BITS)].as_chunks_mut::<LINE_BYTES>();
    for (r, (scale, weights)) in scales.iter().zip(weights).enumerate() {
        before[HEAD_BYTES + g * PANEL_ROWS + r] = head.byte(scale.abs()) | if *scale < 0.0 { 0x80 } else { 0 };
        for (k, x) in weights.iter().enumerate() {
            put_code::<BITS>(lines, k / 4, r * 4 + k % 4, G::nearest(x / scale).0 as u8);
        }
    }
}

/// The head of a panel whose largest magnitude is `largest`: some of the scales that its own group tries are above.
fn head<G: Grid>(largest: f32) -> Head {
    let octave = (largest / outermost::<G>() * 1.25).to_bits() >> 23;
    let exponent = octave.saturating_sub(7).clamp(u32::from(*EXPONENTS.start()), u32::from(*EXPONENTS.end()));
    Head { levels: G::LEVELS.map(i8::cast_unsigned), exponent }
}

/// The scale byte of least squared error among those tried: both signs, where the levels are not symmetric.
fn best_scale<G: Grid>(head: &Head, x: &[f32; GROUP_SIZE], importance: &[f32; GROUP_SIZE]) -> u8 {
    let largest = x.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    if largest == 0.0 {
        return 0;
    }
    let top = head.byte(largest / outermost::<G>()).saturating_add(SCALES_ABOVE).min(MAX_SCALE);
    let mut best = (f32::INFINITY, 0);
    for byte in (0..=top).rev().take(usize::from(SCALES_TRIED)) {
        for sign in [0, 0x80] {
            let error = squared_error::<G>(x, importance, head.scale(byte | sign));
            if error < best.0 {
                best = (error, byte | sign);
            }
        }
    }
    best.1
}

/// Sum of squared errors of a group at `scale`, weighted by `importance`, in 8 lanes.
fn squared_error<G: Grid>(group: &[f32; GROUP_SIZE], importance: &[f32; GROUP_SIZE], scale: f32) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (x, importance) in group.as_chunks::<8>().0.iter().zip(importance.as_chunks::<8>().0) {
        for i in 0..8 {
            let error = x[i] - G::nearest(x[i] / scale).1 * scale;
            lanes[i] += importance[i] * (error * error);
        }
    }
    lanes.iter().sum()
}

/// See [`Format::read_row`](super::Format::read_row).
pub(super) fn read_row<const BITS: usize, const SCALES: usize>(panel: &[u8], r: usize, out: &mut [f32]) {
    let cols = out.len();
    assert_eq!(panel.len(), panel_bytes::<BITS, SCALES>(cols), "panel bytes");
    let head = Head::read(panel);
    let (before, planes) = panel.split_at(planes_at(cols, SCALES));
    let scales = before[HEAD_BYTES..].as_chunks::<SCALES>().0;
    let groups = planes.chunks_exact(group_bytes(BITS)).zip(scales);
    for (out, (planes, scales)) in out.chunks_mut(GROUP_SIZE).zip(groups) {
        let (lines, _) = planes.as_chunks::<LINE_BYTES>();
        let Scaling { scale, offset } = scalings(&head, scales)[r];
        for (k, y) in out.iter_mut().enumerate() {
            let value = f32::from(value::<BITS, SCALES>(&head, code::<BITS>(lines, k / 4, r * 4 + k % 4)));
            *y = if SCALES == OFFSETS { value * scale + offset } else { value * scale };
        }
    }
}

/// The nearest integer that a code of `BITS` bits has as its value, ties to even, after its code.
///
/// Adding and subtracting 1.5 * 2^23 rounds to an integer in the default rounding mode; every CPU can do it in vectors.
#[inline(always)]
pub(super) fn nearest_integer<const BITS: usize>(x: f32) -> (f32, f32) {
    const ROUND: f32 = 12_582_912.0;
    let half = (1 << (BITS - 1)) as f32;
    let value = x.clamp(-half, half - 1.0) + ROUND - ROUND;
    (value + half, value)
}

#[cfg(test)]
mod tests {
    use super::super::{Dtype, encode_panel, panel_bytes, read_panel_row};
    use super::*;

    /// The first row of a panel of `x`, encoded and decoded.
    fn stored(dtype: Dtype, x: &[f32]) -> Vec<f32> {
        let mut panel = vec![0; panel_bytes(dtype, x.len())];
        encode_panel(dtype, x, x.len(), &mut panel);
        let mut row = vec![f32::NAN; x.len()];
        read_panel_row(dtype, &panel, 0, &mut row);
        row
    }

    #[test]
    fn the_largest_weights_and_the_least_are_reached() {
        for dtype in [Dtype::Q4, Dtype::Q5, Dtype::Q6] {
            for largest in [MAX_WEIGHT, 1.0, 1e-15, 1e-30] {
                for x in [[largest; 3], [-largest, largest / 2.0, 0.0]] {
                    for (got, want) in stored(dtype, &x).iter().zip(x) {
                        assert!((got - want).abs() <= largest / 8.0, "{dtype:?}: {got} for {want}");
                    }
                }
            }
            assert_eq!(stored(dtype, &[0.0; 40]), [0.0; 40]);
        }
    }

    #[test]
    fn a_head_beyond_its_range_is_the_nearest_one() {
        for (exponent, counts_as) in [(0, 1), (1, 1), (247, 247), (255, 247)] {
            let mut panel = [0; HEAD_BYTES];
            panel[LEVELS] = exponent;
            assert_eq!(Head::read(&panel).exponent, counts_as);
        }
        let head = Head { levels: [0; LEVELS], exponent: 247 };
        assert!(head.scale(0xff).is_finite() && head.scale(0xff) < 0.0);
        assert!(Head { exponent: 1, ..head }.scale(0).is_normal());
    }
}
