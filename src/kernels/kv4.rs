//! The KV cache of few bits: keys of 6 bits and values of 4, rotated, with a byte of scale for each group of 32 elements of
//! a head (docs/numerics.md). A block is unpacked to int8 before it is read, once for all queries of a call.

use super::attention::{BLOCK, Blocks, MAX_HEAD_GROUPS, Values};
use super::rotate::rotate;
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, scale_bytes};

/// Bits of a key.
pub const KEY_BITS: usize = 6;
/// Bits of a value.
pub const VALUE_BITS: usize = 4;
/// Bytes of a line of a plane: 4 columns of 16 rows.
const LINE: usize = 4 * PANEL_ROWS;
/// Bytes of the planes of 32 columns of 16 rows.
const KEY_PLANES: usize = KEY_BITS * LINE;
const VALUE_PLANES: usize = VALUE_BITS * LINE;
/// Bytes of the int8 codes of 32 columns of 16 rows.
const CODES: usize = PANEL_ROWS * GROUP_SIZE;
/// Bytes of an int8 panel of keys of the largest head.
const PANEL: usize = MAX_HEAD_GROUPS * (PANEL_ROWS * 2 + CODES);

/// The cached keys and values of one KV head, in few bits.
pub struct KvHeadQ4<'a> {
    /// Panels of 16 positions, see [`key_panel_bytes`].
    pub keys: &'a [u8],
    /// Blocks of 32 positions, see [`packed_value_bytes`].
    pub values: &'a [u8],
}

/// Bytes of the keys of 16 positions of a head: `[groups][16]` scales, then for each group of 32 elements lines of
/// `[16][4]` bytes. With `k = 4 j + i` an element of the group and `r` a position, byte (r, i) of line `j mod 4` of the first
/// four has bits 0 to 3 of a code, in its lower half where `j < 4`, and of line `4 + j / 4` bits 4 and 5, from bit
/// `2 (j mod 4)` on. A code is the number that it stands for plus 32.
pub const fn key_panel_bytes(head_dim: usize) -> usize {
    groups(head_dim) * (PANEL_ROWS + KEY_PLANES)
}

/// Bytes of the values of 32 positions of a head: `[groups][32]` scales, then for each 16 elements four lines as
/// [`key_panel_bytes`] says, `k` being a position of the block and `r` an element. A code is its number plus 8.
pub const fn packed_value_bytes(head_dim: usize) -> usize {
    groups(head_dim) * BLOCK + head_dim.div_ceil(PANEL_ROWS) * VALUE_PLANES
}

/// Bits of the f16 that a byte of scale is: not negative, 5 bits of exponent and 3 of mantissa.
#[inline(always)]
pub const fn scale_bits(byte: u8) -> u16 {
    (byte as u16) << 7
}

/// The numbers of codes of `BITS` bits, 4 or 6, of 32 columns of 16 rows, as int8 has them: `[8][16][4]`.
#[inline(always)]
fn unpack<const BITS: usize>(lines: &[u8], out: &mut [u8; CODES]) {
    let (lines, offset) = (lines.as_chunks::<LINE>().0, 1 << (BITS - 1));
    let (low, high) = out.split_at_mut(CODES / 2);
    let halves = low.as_chunks_mut::<LINE>().0.iter_mut().zip(high.as_chunks_mut::<LINE>().0);
    for (j, (low, high)) in halves.enumerate() {
        for at in 0..LINE {
            let (mut first, mut second) = (lines[j][at] & 15, lines[j][at] >> 4);
            if BITS == 6 {
                first |= (lines[4][at] >> (2 * j) & 3) << 4;
                second |= (lines[5][at] >> (2 * j) & 3) << 4;
            }
            low[at] = first.wrapping_sub(offset);
            high[at] = second.wrapping_sub(offset);
        }
    }
}

/// Writes the code of column `k` and row `r` where `unpack` reads it, over whatever is there.
pub fn put_code<const BITS: usize>(lines: &mut [u8], k: usize, r: usize, code: u8) {
    let (lines, j, at) = (lines.as_chunks_mut::<LINE>().0, k / 4, r * 4 + k % 4);
    let mut put = |line: usize, shift: usize, mask: u8, bits: u8| {
        let byte = &mut lines[line][at];
        *byte = *byte & !(mask << shift) | bits << shift;
    };
    put(j % 4, 4 * (j / 4), 15, code & 15);
    if BITS == 6 {
        put(4 + j / 4, 2 * (j % 4), 3, code >> 4);
    }
}

/// Decodes the key of row `r` of a panel into `out` (head_dim).
pub fn read_key(panel: &[u8], r: usize, out: &mut [f32]) {
    let (scales, planes) = panel.split_at(groups(out.len()) * PANEL_ROWS);
    for ((scales, planes), x) in
        scales.chunks(PANEL_ROWS).zip(planes.chunks(KEY_PLANES)).zip(out.chunks_mut(GROUP_SIZE))
    {
        let mut codes = [0; CODES];
        unpack::<KEY_BITS>(planes, &mut codes);
        for (k, x) in x.iter_mut().enumerate() {
            let code = codes[(k / 4 * PANEL_ROWS + r) * 4 + k % 4].cast_signed();
            *x = f32::from(code) * super::lanes::widen(scale_bits(scales[r]));
        }
    }
    rotate(out);
}

/// A head whose blocks are unpacked one after the other.
pub(super) struct Unpacked<'a> {
    head: &'a KvHeadQ4<'a>,
    /// Two int8 panels of keys.
    keys: [[u8; PANEL]; 2],
    /// `[groups][32]` f16 scales of the values.
    scales: [[u8; BLOCK * 2]; MAX_HEAD_GROUPS],
    /// int8 panels of values, of 16 elements each.
    values: [[u8; CODES]; 2 * MAX_HEAD_GROUPS],
}

impl<'a> Unpacked<'a> {
    pub(super) fn new(head: &'a KvHeadQ4<'a>) -> Self {
        Unpacked {
            head,
            keys: [[0; PANEL]; 2],
            scales: [[0; BLOCK * 2]; MAX_HEAD_GROUPS],
            values: [[0; CODES]; 2 * MAX_HEAD_GROUPS],
        }
    }
}

impl Blocks for Unpacked<'_> {
    const ROTATED: bool = true;

    fn n_blocks(&self, head_dim: usize) -> usize {
        assert!(head_dim <= MAX_HEAD_GROUPS * GROUP_SIZE, "q4 heads of {head_dim}");
        let blocks = self.head.values.len() / packed_value_bytes(head_dim);
        assert!(self.head.keys.len() >= blocks * 2 * key_panel_bytes(head_dim), "keys and values");
        blocks
    }

    #[inline(always)]
    #[cfg(target_arch = "x86_64")]
    fn stored(&self, head_dim: usize) -> [(&[u8], usize); 2] {
        [(self.head.keys, 2 * key_panel_bytes(head_dim)), (self.head.values, packed_value_bytes(head_dim))]
    }

    #[inline(always)]
    fn prepare(&mut self, slot: usize, head_dim: usize) {
        let (n, bytes) = (groups(head_dim), key_panel_bytes(head_dim));
        let keys = &self.head.keys[slot * 2 * bytes..][..2 * bytes];
        for (panel, out) in keys.chunks_exact(bytes).zip(&mut self.keys) {
            let (scales, planes) = panel.split_at(n * PANEL_ROWS);
            let (out_scales, out_codes) = out.split_at_mut(scale_bytes(head_dim));
            unpack_scales(scales, out_scales);
            for (planes, out) in planes.chunks_exact(KEY_PLANES).zip(out_codes.as_chunks_mut::<CODES>().0) {
                unpack::<KEY_BITS>(planes, out);
            }
        }
        let bytes = packed_value_bytes(head_dim);
        let (scales, planes) = self.head.values[slot * bytes..][..bytes].split_at(n * BLOCK);
        unpack_scales(scales, self.scales.as_flattened_mut());
        for (planes, out) in planes.chunks_exact(VALUE_PLANES).zip(&mut self.values) {
            unpack::<VALUE_BITS>(planes, out);
        }
    }

    #[inline(always)]
    fn key_panel(&self, panel: usize, head_dim: usize) -> &[u8] {
        &self.keys[panel % 2][..panel_bytes(Dtype::Int8, head_dim)]
    }

    #[inline(always)]
    fn values(&self, _: usize, head_dim: usize) -> impl Iterator<Item = Values<'_>> {
        let codes = self.values[..head_dim.div_ceil(PANEL_ROWS)].chunks(GROUP_SIZE / PANEL_ROWS);
        let starts = (0..).step_by(GROUP_SIZE);
        starts.zip(self.scales.iter().zip(codes)).map(|(start, (scales, codes))| Values { start, scales, codes })
    }
}

/// Bytes of scale as the f16 that they are.
#[inline(always)]
fn unpack_scales(scales: &[u8], out: &mut [u8]) {
    for (out, scale) in out.as_chunks_mut().0.iter_mut().zip(scales) {
        *out = scale_bits(*scale).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code at every place, written over others.
    fn codes_come_back<const BITS: usize>() {
        let mut lines = vec![0xa5; BITS * LINE];
        let code = |k: usize, r: usize, round: usize| ((k * 7 + r * 3 + round * 11) % (1 << BITS)) as u8;
        for round in 0..3 {
            for k in 0..GROUP_SIZE {
                (0..PANEL_ROWS).for_each(|r| put_code::<BITS>(&mut lines, k, r, code(k, r, round)));
            }
            let mut out = [0; CODES];
            unpack::<BITS>(&lines, &mut out);
            for k in 0..GROUP_SIZE {
                for r in 0..PANEL_ROWS {
                    let got = out[(k / 4 * PANEL_ROWS + r) * 4 + k % 4].cast_signed();
                    assert_eq!(i32::from(got), i32::from(code(k, r, round)) - (1 << (BITS - 1)), "{k} {r}");
                }
            }
        }
    }

    #[test]
    fn codes_are_read_where_they_are_written() {
        codes_come_back::<KEY_BITS>();
        codes_come_back::<VALUE_BITS>();
    }
}
