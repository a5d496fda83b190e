//! Products of weights in planes of bits. The codes of 4 rows of a group are put together in eight registers of 4 columns each, once for
//! all tokens.
//!
//! `smull` and `smlal` multiply to i16 and add products, `sadalp` adds pairs of these to i32. Where no value is beyond 32 in magnitude, as
//! in q5, q6 and the table that our quantizer writes, a sum of eight products is at most 8 * 32 * 127 = 32512, so that one `sadalp` a
//! group suffices; else every two products are added.

use super::super::scalar::{check_matmul, check_matvec};
use super::super::{Group, PanelOut, Tokens};
use super::int8::add;
use super::panel::{AT_ONCE, Codes, Part};
use super::tiles::{self, narrow_product};
use crate::quant::planes::{self, BYTES, HALVES, LINE_BYTES, OFFSETS};
use crate::quant::{Dtype, PANEL_ROWS, groups, panel_bytes};
use bytemuck::{must_cast, must_cast_mut, must_cast_ref};
use core::arch::aarch64::*;

/// Largest magnitude of values of which eight products are added as i16.
const NARROW: u8 = 32;

/// What the groups of a panel share, in registers.
struct Head {
    levels: int8x16_t,
    /// The exponent where an f32 has it.
    exponent: uint32x4_t,
    /// No value is beyond [`NARROW`].
    narrow: bool,
}

impl Head {
    #[inline]
    #[target_feature(enable = "neon")]
    fn read(panel: &[u8]) -> Self {
        let head = planes::Head::read(panel);
        let narrow = head.levels.iter().all(|level| level.cast_signed().unsigned_abs() <= NARROW);
        Head { levels: must_cast(head.levels), exponent: vdupq_n_u32(head.exponent << 23), narrow }
    }
}

/// The values of 4 rows of a group, 4 columns a register.
pub(in super::super) type Rows = [int8x16_t; 8];

/// The rows `4 i .. 4 i + 4` of a group.
#[inline]
#[target_feature(enable = "neon")]
fn rows<const BITS: usize, const SCALES: usize>(head: &Head, planes: &[u8], i: usize) -> Rows {
    let (lines, _) = planes.as_chunks::<LINE_BYTES>();
    let read = |line: usize| -> uint8x16_t {
        let quarters: &[[u8; 16]; 4] = must_cast_ref(&lines[line]);
        must_cast(quarters[i])
    };
    let mut codes = [vdupq_n_u8(0); 8];
    for j in 0..4 {
        let line = read(j);
        codes[j] = vandq_u8(line, vdupq_n_u8(0x0f));
        codes[j + 4] = vshrq_n_u8::<4>(line);
    }
    match BITS {
        4 => codes.map(|codes| vqtbl1q_s8(head.levels, codes)),
        5 => {
            let high = read(4);
            let bits = [
                vshlq_n_u8::<4>(high),
                vshlq_n_u8::<3>(high),
                vshlq_n_u8::<2>(high),
                vshlq_n_u8::<1>(high),
                high,
                vshrq_n_u8::<1>(high),
                vshrq_n_u8::<2>(high),
                vshrq_n_u8::<3>(high),
            ];
            integers(codes, bits, 0x10, planes::zero(BITS, SCALES))
        }
        _ => {
            let [a, b] = [read(4), read(5)]
                .map(|high| [vshlq_n_u8::<4>(high), vshlq_n_u8::<2>(high), high, vshrq_n_u8::<2>(high)]);
            integers(codes, [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]], 0x30, planes::zero(BITS, SCALES))
        }
    }
}

/// The codes with the bits of `mask` from `bits`, less `offset`.
#[inline]
#[target_feature(enable = "neon")]
fn integers(codes: [uint8x16_t; 8], bits: [uint8x16_t; 8], mask: u8, offset: u8) -> Rows {
    core::array::from_fn(|j| {
        let code = vorrq_u8(codes[j], vandq_u8(bits[j], vdupq_n_u8(mask)));
        vreinterpretq_s8_u8(vsubq_u8(code, vdupq_n_u8(offset)))
    })
}

/// The scales and the offsets of 16 rows, 0 where there are none: see [`planes::scalings`].
#[inline]
#[target_feature(enable = "neon")]
fn widen<const SCALES: usize>(head: &Head, scales: &[u8; SCALES]) -> [[float32x4_t; 4]; 2] {
    let (halves, _) = scales.as_chunks::<HALVES>();
    let zeros = [vdupq_n_f32(0.0); 4];
    match SCALES {
        BYTES => [widen_bytes(head, scales.as_chunks().0), zeros],
        HALVES => [super::widen(&halves[0]), zeros],
        _ => [super::widen(&halves[0]), super::widen(&halves[1])],
    }
}

/// The scales of 16 rows, four times 4: see [`planes::Head::scale`].
#[inline]
#[target_feature(enable = "neon")]
fn widen_bytes(head: &Head, quarters: &[[u8; 4]]) -> [float32x4_t; 4] {
    core::array::from_fn(|i| {
        // The sign is extended into bits 8 to 31, of which the shift and the mask leave bit 31.
        let scales = vcreate_s8(u64::from(u32::from_le_bytes(quarters[i])));
        let scales = vreinterpretq_u32_s32(vmovl_s16(vget_low_s16(vmovl_s8(scales))));
        let bits = vandq_u32(vshlq_n_u32::<19>(scales), vdupq_n_u32(0x83f8_0000));
        vreinterpretq_f32_u32(vaddq_u32(bits, head.exponent))
    })
}

/// The exact dot products of 4 rows with a token. `NARROW`: no value is beyond 32 in magnitude.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn dots<const NARROW: bool>(w: &Rows, x: &Group) -> int32x4_t {
    let x: &[[i8; 4]; 8] = must_cast_ref(&x.codes);
    let x = |j: usize| vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(must_cast(x[j]))));
    // Two rows each, as the sums of their even and of their odd pairs of columns.
    let mut sums = [vdupq_n_s32(0); 2];
    if NARROW {
        let x0 = x(0);
        let (mut low, mut high) = (vmull_s8(vget_low_s8(w[0]), vget_low_s8(x0)), vmull_high_s8(w[0], x0));
        for j in 1..8 {
            let x = x(j);
            low = vmlal_s8(low, vget_low_s8(w[j]), vget_low_s8(x));
            high = vmlal_high_s8(high, w[j], x);
        }
        sums = [vpaddlq_s16(low), vpaddlq_s16(high)];
    } else {
        for j in 0..4 {
            let x = [x(2 * j), x(2 * j + 1)];
            let low = vmull_s8(vget_low_s8(w[2 * j]), vget_low_s8(x[0]));
            let low = vmlal_s8(low, vget_low_s8(w[2 * j + 1]), vget_low_s8(x[1]));
            sums[0] = vpadalq_s16(sums[0], low);
            let high = vmlal_high_s8(vmull_high_s8(w[2 * j], x[0]), w[2 * j + 1], x[1]);
            sums[1] = vpadalq_s16(sums[1], high);
        }
    }
    vpaddq_s32(sums[0], sums[1])
}

/// Same as [`scalar`](super::super::scalar)'s product of one token with weights of `BITS` bits.
#[target_feature(enable = "neon")]
pub(in super::super) fn planes_matvec<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &Tokens<'_>,
    out: &mut [f32],
) {
    matvec(dtype, panels, x, out, |panel, x, out| {
        if BITS == 4 && Head::read(panel).narrow {
            out[0] = must_cast(narrow_product::<CODES, SCALES>(panel, x));
        } else {
            either::<BITS, CODES, SCALES>(panel, x, out);
        }
    });
}

/// Same as [`scalar`](super::super::scalar)'s product of some tokens with weights of `BITS` bits.
#[target_feature(enable = "neon")]
pub(in super::super) fn planes_matmul<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panel: &[u8],
    x: &Tokens<'_>,
    out: &mut [PanelOut],
) {
    check_matmul(dtype, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    if out.len() < tiles::TOKENS {
        either::<BITS, CODES, SCALES>(panel, x, out);
    } else {
        parts::<BITS, CODES, SCALES>(panel, x, out, |part, x, out| add(part, x, out));
    }
}

/// The products of a panel by the instructions that its values allow.
#[inline]
#[target_feature(enable = "neon")]
fn either<const BITS: usize, const CODES: usize, const SCALES: usize>(
    panel: &[u8],
    x: &Tokens<'_>,
    out: &mut [PanelOut],
) {
    if BITS > 4 || Head::read(panel).narrow {
        product::<BITS, CODES, SCALES>(panel, x, out, |w, x| dots::<true>(w, x));
    } else {
        product::<BITS, CODES, SCALES>(panel, x, out, |w, x| dots::<false>(w, x));
    }
}

/// A matvec by the product of a panel with one token.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn matvec(
    dtype: Dtype,
    panels: &[u8],
    x: &Tokens<'_>,
    out: &mut [f32],
    product: impl Fn(&[u8], &Tokens<'_>, &mut [PanelOut]),
) {
    let bytes = panel_bytes(dtype, x.cols);
    check_matvec(panels, bytes, out);
    assert_eq!(x.groups.len(), groups(x.cols), "groups of {} columns", x.cols);
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        product(panel, x, core::slice::from_mut(out));
    }
}

/// The products of a panel with the tokens of `x`, whose groups are put together once for all of them: `add(part, x, out)` adds the
/// products of a part to `out`.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn parts<const BITS: usize, const CODES: usize, const SCALES: usize>(
    panel: &[u8],
    x: &Tokens<'_>,
    out: &mut [PanelOut],
    add: impl Fn(&Part<'_>, &[Group], &mut [PanelOut]),
) {
    let head = Head::read(panel);
    let (scales, planes) = planes::parts::<SCALES, CODES>(panel, x.cols);
    let has_offsets = SCALES == OFFSETS;
    let per_group = if has_offsets { 2 } else { 1 };
    let mut codes: [Codes; AT_ONCE] = [[[0; _]; _]; AT_ONCE];
    let mut widened = [[0.0; PANEL_ROWS]; 2 * AT_ONCE];
    out.fill([0.0; PANEL_ROWS]);
    let parts = planes.chunks(AT_ONCE).zip(scales.chunks(AT_ONCE));
    for ((planes, scales), x) in parts.zip(x.groups.chunks(AT_ONCE * out.len())) {
        for (codes, planes) in codes.iter_mut().zip(planes) {
            put_together::<BITS, SCALES>(&head, planes, codes);
        }
        for (widened, scales) in widened.chunks_exact_mut(per_group).zip(scales) {
            for (widened, scales) in widened.iter_mut().zip(widen(&head, scales)) {
                *widened = must_cast(scales);
            }
        }
        let (codes, scales) = (&codes[..planes.len()], &widened[..planes.len() * per_group]);
        add(&Part { codes, scales, has_offsets }, x, out);
    }
}

/// The values of a group as int8 has them.
#[inline]
#[target_feature(enable = "neon")]
fn put_together<const BITS: usize, const SCALES: usize>(head: &Head, planes: &[u8], codes: &mut Codes) {
    let lines: &mut [[[i8; 16]; 4]; 8] = must_cast_mut(codes);
    for i in 0..4 {
        for (line, values) in lines.iter_mut().zip(rows::<BITS, SCALES>(head, planes, i)) {
            line[i] = must_cast(values);
        }
    }
}

/// The products of a panel with the tokens of `x`, by the exact dot products of 4 rows with a token.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn product<const BITS: usize, const CODES: usize, const SCALES: usize>(
    panel: &[u8],
    x: &Tokens<'_>,
    out: &mut [PanelOut],
    dots: impl Fn(&Rows, &Group) -> int32x4_t,
) {
    let head = Head::read(panel);
    let (scales, codes) = planes::parts::<SCALES, CODES>(panel, x.cols);
    let n = out.len();
    out.fill([0.0; PANEL_ROWS]);
    for ((codes, scales), x) in codes.iter().zip(scales).zip(x.groups.chunks_exact(n)) {
        let [scales, offsets] = widen(&head, scales);
        for (i, (scales, offsets)) in scales.into_iter().zip(offsets).enumerate() {
            let w = rows::<BITS, SCALES>(&head, codes, i);
            for (x, out) in x.iter().zip(out.iter_mut()) {
                let out: &mut [[f32; 4]; 4] = bytemuck::must_cast_mut(out);
                let products = vmulq_f32(vcvtq_f32_s32(dots(&w, x)), vmulq_n_f32(scales, x.scale));
                let mut sums = vaddq_f32(must_cast(out[i]), products);
                if SCALES == OFFSETS {
                    let sum = vdupq_n_f32(x.sum() as f32);
                    sums = vaddq_f32(sums, vmulq_f32(sum, vmulq_n_f32(offsets, x.scale)));
                }
                out[i] = must_cast(sums);
            }
        }
    }
}
