//! Products of weights of three values. The codes of a group, the values plus 1, are put together in eight registers of 4 columns of 16
//! rows, as the unsigned numbers they are, which a token's sum starts below 0 by.

use super::super::avx2::prefetch;
use super::super::scalar::check_matmul;
use super::super::x86::{self, Ahead, Closures, Panel, Scaling, Unit};
use super::super::{Group, Hint, PanelOut, Tokens};
use super::{STREAMS, TOKENS, add_group, load, load_f32};
use crate::quant::planes::LINE_BYTES;
use crate::quant::t2::{self, GROUP_BYTES};
use crate::quant::{Dtype, groups, panel_bytes};
use bytemuck::must_cast_ref;
use core::arch::x86_64::*;

/// A panel with the scales of its rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn panel(panel: &[u8], cols: usize) -> Panel<'_, __m512, 0, GROUP_BYTES> {
    let (scales, codes) = t2::parts(panel, cols);
    Panel { head: load_f32(&t2::scales(panel)), scales, codes }
}

/// The codes of a group.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unsigned(planes: &[u8; GROUP_BYTES]) -> [__m512i; 8] {
    let lines: &[[u8; LINE_BYTES]; 2] = must_cast_ref(planes);
    let [a, b] = [load(&lines[0]), load(&lines[1])]
        .map(|line| [line, _mm512_srli_epi16::<2>(line), _mm512_srli_epi16::<4>(line), _mm512_srli_epi16::<6>(line)]);
    let low = _mm512_set1_epi8(3);
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]].map(|line| _mm512_and_si512(line, low))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn unit<'a>() -> impl Unit<'a, 0, GROUP_BYTES, 1, Line = __m512i, Sums = __m512i, Floats = __m512> {
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |_| Ahead { matvec: 2048, matmul: 2048 },
        panel: |bytes, cols| panel(bytes, cols),
        unpack: |_: &__m512, planes: &[u8; GROUP_BYTES]| unsigned(planes),
        line: |w: &[__m512i; 8], j: usize, _| w[j],
        // That of weights plus 128 is 128 times as much.
        start: |x: &Group| _mm512_set1_epi32(x.start >> 7),
        dot: |sums, w: __m512i, x| _mm512_dpbusd_epi32(sums, w, _mm512_set1_epi32(x)),
        widen: |head: &__m512, _: &[u8; 0]| [Scaling::by(*head)],
        add: |sums, dots, by: Scaling<_>, x: &Group| add_group(sums, dots, by.scale, x.scale),
    }
}

/// Same as [`scalar`](super::super::scalar)'s product of one token with weights of three values.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn ternary_matvec(panels: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::T2, x.cols);
    x86::matvec::<STREAMS, true, _, _, _>(&unit(), panels, bytes, x.cols, x.groups, hint, out);
}

/// Same as [`scalar`](super::super::scalar)'s product of some tokens with weights of three values.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn ternary_matmul(panel: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [PanelOut]) {
    check_matmul(Dtype::T2, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    x86::matmul::<TOKENS, _, _, _>(&unit(), panel, x.cols, x.groups, hint, out);
}
