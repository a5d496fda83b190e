//! Products of weights of three values. Their codes, the values plus 1, are multiplied as the unsigned numbers they are, and a token's
//! sums start below 0 by as much. The sums of a group stay i16, two of them for a row: codes are at most 3, so that none is beyond
//! 16 * 3 * 127 + 32 * 127 = 10160.

use super::super::scalar::check_matmul;
use super::super::x86::{self, Ahead, Closures, Panel, Scaling, Unit};
use super::super::{Group, Hint, PanelOut, Tokens};
use super::int8::{TOKENS, add_group};
use super::{load, load_16, prefetch};
use crate::quant::planes::LINE_BYTES;
use crate::quant::t2::{self, GROUP_BYTES};
use crate::quant::{Dtype, groups, panel_bytes};
use bytemuck::must_cast_ref;
use core::arch::x86_64::*;

/// The scales of the rows of a panel.
pub(in super::super) type Scales = [__m256; 2];

/// A panel with the scales of its rows.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn panel(panel: &[u8], cols: usize) -> Panel<'_, Scales, 0, GROUP_BYTES> {
    let (scales, codes) = t2::parts(panel, cols);
    Panel { head: load_16(&t2::scales(panel)), scales, codes }
}

/// The codes of 8 rows of the columns from `4 j` on: of the lower (`half` 0) or upper rows.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn line(planes: &[u8; GROUP_BYTES], j: usize, half: usize) -> __m256i {
    let halves: &[[u8; LINE_BYTES / 2]; 4] = must_cast_ref(planes);
    let codes = load(&halves[j / 4 * 2 + half]);
    let codes = match j % 4 {
        0 => codes,
        1 => _mm256_srli_epi16::<2>(codes),
        2 => _mm256_srli_epi16::<4>(codes),
        _ => _mm256_srli_epi16::<6>(codes),
    };
    _mm256_and_si256(codes, _mm256_set1_epi8(3))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn unit<'a>() -> impl Unit<'a, 0, GROUP_BYTES, 2> {
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |_| Ahead { matvec: 2048, matmul: 2048 },
        panel: |bytes, cols| panel(bytes, cols),
        unpack: |_: &Scales, planes: &'a [u8; GROUP_BYTES]| planes,
        line: |planes: &&[u8; GROUP_BYTES], j, half| line(planes, j, half),
        // In the first of the two sums of each row; that of weights plus 128 is 128 times as much.
        start: |x: &Group| _mm256_set1_epi32((x.start >> 7) & 0xffff),
        dot: |sums, w: __m256i, x| _mm256_add_epi16(sums, _mm256_maddubs_epi16(w, _mm256_set1_epi32(x))),
        widen: |head: &Scales, _: &[u8; 0]| head.map(Scaling::by),
        add: |sums, dots, by: Scaling<_>, x: &Group| {
            add_group(sums, _mm256_madd_epi16(dots, _mm256_set1_epi16(1)), by.scale, x.scale)
        },
    }
}

/// Same as [`scalar`](super::super::scalar)'s product of one token with weights of three values.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn ternary_matvec(panels: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::T2, x.cols);
    x86::matvec::<1, false, _, _, _>(&unit(), panels, bytes, x.cols, x.groups, hint, out);
}

/// Same as [`scalar`](super::super::scalar)'s product of some tokens with weights of three values.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn ternary_matmul(panel: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [PanelOut]) {
    check_matmul(Dtype::T2, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    x86::matmul::<TOKENS, _, _, _>(&unit(), panel, x.cols, x.groups, hint, out);
}
