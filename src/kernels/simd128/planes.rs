//! Weights in planes of bits, whose codes are put together beside the products.

use super::product::Packing;
use super::{Row, widen};
use crate::quant::Dtype;
use crate::quant::planes::{self, BYTES, HALVES, LINE_BYTES, OFFSETS, group_bytes};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::wasm32::*;

/// What the groups of a panel share, in registers.
pub(in super::super) struct Head {
    levels: v128,
    /// The exponent where an f32 has it.
    exponent: v128,
}

impl Head {
    #[inline(always)]
    fn read(panel: &[u8]) -> Self {
        let head = planes::Head::read(panel);
        Head { levels: must_cast(head.levels), exponent: u32x4_splat(head.exponent << 23) }
    }
}

/// The rows `4 i .. 4 i + 4` of a line of planes.
#[inline(always)]
fn read(planes: &[u8], line: usize, i: usize) -> v128 {
    let quarters: &[[u8; 16]; 4] = must_cast_ref(&planes.as_chunks::<LINE_BYTES>().0[line]);
    must_cast(quarters[i])
}

/// The four bits of the low plane.
#[inline(always)]
fn low(planes: &[u8], j: usize, i: usize) -> v128 {
    let line = read(planes, j % 4, i);
    if j < 4 { v128_and(line, u8x16_splat(0x0f)) } else { u8x16_shr(line, 4) }
}

/// `x` shifted so that bit `from` of a byte becomes bit 4, of which `mask` is kept. Pairs of bytes are shifted: what then comes
/// from the other byte is not in the mask.
#[inline(always)]
fn high(x: v128, from: usize, mask: u8) -> v128 {
    let shifted = if from < 4 { i16x8_shl(x, 4 - from as u32) } else { u16x8_shr(x, from as u32 - 4) };
    v128_and(shifted, u8x16_splat(mask))
}

/// The scales of 16 rows and the offsets, the scales again where there are none: see [`planes::scalings`].
#[inline(always)]
fn scales<const SCALES: usize>(head: &Head, scales: &[u8; SCALES]) -> [Row; 2] {
    let (halves, _) = scales.as_chunks::<HALVES>();
    match SCALES {
        BYTES => [widen_bytes(head, scales.first_chunk().expect("16")); 2],
        HALVES => [widen(&halves[0]); 2],
        _ => [widen(&halves[0]), widen(&halves[1])],
    }
}

/// The scales of 16 rows: see [`planes::Head::scale`].
#[inline(always)]
fn widen_bytes(head: &Head, scales: &[u8; BYTES]) -> Row {
    let scales: v128 = must_cast(*scales);
    let [low, high] = [i16x8_extend_low_i8x16(scales), i16x8_extend_high_i8x16(scales)];
    let scales = [
        i32x4_extend_low_i16x8(low),
        i32x4_extend_high_i16x8(low),
        i32x4_extend_low_i16x8(high),
        i32x4_extend_high_i16x8(high),
    ];
    // The sign is extended into bits 8 to 31, of which the shift and the mask leave bit 31.
    scales.map(|scales| i32x4_add(v128_and(i32x4_shl(scales, 19), u32x4_splat(0x83f8_0000)), head.exponent))
}

/// q4, q4h and q4m: codes of 4 bits, each the number of a level.
pub(in super::super) struct Levels<const DTYPE: usize, const SCALES: usize>;

impl<const DTYPE: usize, const SCALES: usize> Packing for Levels<DTYPE, SCALES> {
    const DTYPE: Dtype = Dtype::ALL[DTYPE];
    const OFFSETS: bool = SCALES == OFFSETS;
    type Head = Head;
    type Scales = [u8; SCALES];
    type Codes = [u8; group_bytes(4)];

    #[inline(always)]
    fn open(panel: &[u8], cols: usize) -> (Head, &[Self::Scales], &[Self::Codes]) {
        let (scales, codes) = planes::parts(panel, cols);
        (Head::read(panel), scales, codes)
    }

    #[inline(always)]
    fn values(head: &Head, codes: &Self::Codes, j: usize, i: usize) -> v128 {
        i8x16_swizzle(head.levels, low(codes, j, i))
    }

    #[inline(always)]
    fn scales(head: &Head, scales: &Self::Scales) -> [Row; 2] {
        self::scales(head, scales)
    }
}

/// q5, q6, q5h and q5m: integers of `CODES / 64` bits.
pub(in super::super) struct Integers<const DTYPE: usize, const CODES: usize, const SCALES: usize>;

impl<const DTYPE: usize, const CODES: usize, const SCALES: usize> Packing for Integers<DTYPE, CODES, SCALES> {
    const DTYPE: Dtype = Dtype::ALL[DTYPE];
    const OFFSETS: bool = SCALES == OFFSETS;
    type Head = Head;
    type Scales = [u8; SCALES];
    type Codes = [u8; CODES];

    #[inline(always)]
    fn open(panel: &[u8], cols: usize) -> (Head, &[Self::Scales], &[Self::Codes]) {
        let (scales, codes) = planes::parts(panel, cols);
        (Head::read(panel), scales, codes)
    }

    #[inline(always)]
    fn values(_: &Head, codes: &Self::Codes, j: usize, i: usize) -> v128 {
        let bits = const { CODES / group_bytes(1) };
        let high = match bits {
            5 => high(read(codes, 4, i), j, 0x10),
            _ => high(read(codes, 4 + j / 4, i), 2 * (j % 4), 0x30),
        };
        let code = v128_or(low(codes, j, i), high);
        if Self::OFFSETS { code } else { i8x16_sub(code, u8x16_splat(planes::zero(bits, SCALES))) }
    }

    #[inline(always)]
    fn scales(head: &Head, scales: &Self::Scales) -> [Row; 2] {
        self::scales(head, scales)
    }
}
