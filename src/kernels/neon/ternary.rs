//! Products of weights of three values. The values of 4 rows of a group are put together in eight registers of 4 columns each, once for
//! all tokens, and multiplied as those of [`planes`](super::planes) are.

use super::super::scalar::check_matmul;
use super::super::{Group, PanelOut, Tokens};
use super::planes::{Rows, dots, matvec};
use crate::quant::planes::LINE_BYTES;
use crate::quant::t2::{self, GROUP_BYTES};
use crate::quant::{Dtype, PANEL_ROWS, groups};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::aarch64::*;

/// The rows `4 i .. 4 i + 4` of a group.
#[inline]
#[target_feature(enable = "neon")]
fn rows(planes: &[u8; GROUP_BYTES], i: usize) -> Rows {
    let quarters: &[[u8; LINE_BYTES / 4]; 8] = must_cast_ref(planes);
    let read = |line: usize| -> uint8x16_t { must_cast(quarters[4 * line + i]) };
    let [a, b] =
        [read(0), read(1)].map(|line| [line, vshrq_n_u8::<2>(line), vshrq_n_u8::<4>(line), vshrq_n_u8::<6>(line)]);
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
        .map(|line| vreinterpretq_s8_u8(vsubq_u8(vandq_u8(line, vdupq_n_u8(3)), vdupq_n_u8(1))))
}

/// Same as [`scalar`](super::super::scalar)'s product of one token with weights of three values.
#[target_feature(enable = "neon")]
pub(in super::super) fn ternary_matvec(panels: &[u8], x: &Tokens<'_>, out: &mut [f32]) {
    matvec(Dtype::T2, panels, x, out, |panel, x, out| product(panel, x, out, |w, x| dots::<true>(w, x)));
}

/// Same as [`scalar`](super::super::scalar)'s product of some tokens with weights of three values.
#[target_feature(enable = "neon")]
pub(in super::super) fn ternary_matmul(panel: &[u8], x: &Tokens<'_>, out: &mut [PanelOut]) {
    check_matmul(Dtype::T2, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    product(panel, x, out, |w, x| dots::<true>(w, x));
}

/// The products of a panel with the tokens of `x`, by the exact dot products of 4 rows with a token.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn product(
    panel: &[u8],
    x: &Tokens<'_>,
    out: &mut [PanelOut],
    dots: impl Fn(&Rows, &Group) -> int32x4_t,
) {
    let scales: [float32x4_t; 4] = must_cast(t2::scales(panel));
    let (_, codes) = t2::parts(panel, x.cols);
    let n = out.len();
    out.fill([0.0; PANEL_ROWS]);
    for (codes, x) in codes.iter().zip(x.groups.chunks_exact(n)) {
        for (i, scales) in scales.into_iter().enumerate() {
            let w = rows(codes, i);
            for (x, out) in x.iter().zip(out.iter_mut()) {
                let out: &mut [[f32; 4]; 4] = bytemuck::must_cast_mut(out);
                let products = vmulq_f32(vcvtq_f32_s32(dots(&w, x)), vmulq_n_f32(scales, x.scale));
                out[i] = must_cast(vaddq_f32(must_cast(out[i]), products));
            }
        }
    }
}
