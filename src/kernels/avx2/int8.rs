//! int8 products. A register holds 8 rows of 4 columns. One operand of `maddubs` is unsigned: it is |w|, up to 128, and
//! the other is the input times the sign of w. The sum of two products is at most 2 * 128 * 127 = 32512 and fits an i16
//! for every weight byte.

use super::super::scalar::{check_matmul, check_quantize, group_scale};
use super::super::x86::{self, Ahead, Closures, INT8_CODES, INT8_SCALES, Int8Panel, Scaling, Unit};
use super::super::{Group, Hint, PanelOut};
use super::{load, load_f32, prefetch, widen};
use crate::quant::{Dtype, GROUP_SIZE, groups, panel_bytes};
use core::arch::x86_64::*;

/// Tokens whose integer sums stay in registers, 8 rows each.
pub(super) const TOKENS: usize = 8;

/// Same as [`scalar::quantize`](super::super::scalar::quantize).
#[target_feature(enable = "avx2")]
pub(in super::super) fn quantize(x: &[f32], cols: usize, out: &mut [Group]) {
    let n = check_quantize(x, cols, out);
    for (t, row) in x.chunks_exact(cols).enumerate() {
        let (full, tail) = row.as_chunks::<GROUP_SIZE>();
        for (g, x) in full.iter().enumerate() {
            quantize_group(x, &mut out[g * n + t]);
        }
        if !tail.is_empty() {
            let mut x = [0.0; GROUP_SIZE];
            x[..tail.len()].copy_from_slice(tail);
            quantize_group(&x, &mut out[full.len() * n + t]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn quantize_group(x: &[f32; GROUP_SIZE], out: &mut Group) {
    let x: &[[f32; 8]; 4] = bytemuck::must_cast_ref(x);
    let x = [load_f32(&x[0]), load_f32(&x[1]), load_f32(&x[2]), load_f32(&x[3])];
    let no_sign = _mm256_set1_epi32(0x7fff_ffff);
    let bits = x.map(|x| _mm256_and_si256(_mm256_castps_si256(x), no_sign));
    let m = _mm256_max_epi32(_mm256_max_epi32(bits[0], bits[1]), _mm256_max_epi32(bits[2], bits[3]));
    let m = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256::<1>(m));
    let m = _mm_max_epi32(m, _mm_shuffle_epi32::<0b01_00_11_10>(m));
    let m = _mm_max_epi32(m, _mm_shuffle_epi32::<0b10_11_00_01>(m));
    let scale = group_scale(_mm_cvtsi128_si32(m).cast_unsigned());
    *out = Group { scale, ..Group::ZERO };
    if scale > 0.0 {
        // The conversion rounds to nearest, ties to even: MXCSR is as it was when the process started.
        let divisor = _mm256_set1_ps(scale);
        let q = x.map(|x| _mm256_cvtps_epi32(_mm256_div_ps(x, divisor)));
        let q = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        let q = _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        out.codes = bytemuck::must_cast(q);
        out.start = -128 * sum_of_codes(q);
    }
}

/// The sum of 32 codes.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_codes(codes: __m256i) -> i32 {
    let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
    let sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b01_00_11_10>(sums));
    _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_shuffle_epi32::<0b10_11_00_01>(sums)))
}

/// The codes of one group of 16 rows.
pub(in super::super) type Codes = [u8; INT8_CODES];

/// 8 rows of 4 columns: the lower (`half` 0) or upper half of line `j`.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn line(codes: &Codes, j: usize, half: usize) -> __m256i {
    let codes: &[[u8; 32]; 16] = bytemuck::must_cast_ref(codes);
    load(&codes[2 * j + half])
}

/// The sums plus the products of weights, given with their magnitudes, with 4 codes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dot(sums: __m256i, (w, magnitude): (__m256i, __m256i), x: i32) -> __m256i {
    let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(_mm256_set1_epi32(x), w));
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// The instructions: they multiply the magnitudes of the weights with the inputs times the signs of the weights.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn unit<'a>() -> impl Unit<'a, INT8_SCALES, INT8_CODES, 2, Unpacked = &'a Codes, Sums = __m256i> {
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |hint| Ahead { matvec: if hint == Hint::NonTemporal { 3072 } else { 2048 }, matmul: 2048 },
        panel: Int8Panel::new,
        unpack: |_: &(), codes: &'a Codes| codes,
        line: |codes: &&Codes, j, half| {
            let w = line(codes, j, half);
            (w, _mm256_abs_epi8(w))
        },
        start: |_: &Group| _mm256_setzero_si256(),
        dot: |sums, w: (__m256i, __m256i), x| dot(sums, w, x),
        widen: |_: &(), scales: &[u8; INT8_SCALES]| widen(scales).map(Scaling::by),
        add: |sums, dots, by: Scaling<_>, x: &Group| add_group(sums, dots, by.scale, x.scale),
    }
}

/// The exact dot products of one group of 8 rows, the lower (`half` 0) or upper ones, with each of N tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dots<const N: usize>(codes: &Codes, half: usize, x: [&Group; N]) -> [__m256i; N] {
    x86::dots(&unit(), &codes, half, x)
}

/// `sum + dots * (scales * scale)`, each step rounded.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn add_group(sum: __m256, dots: __m256i, scales: __m256, scale: f32) -> __m256 {
    let scales = _mm256_mul_ps(scales, _mm256_set1_ps(scale));
    _mm256_add_ps(sum, _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales))
}

/// Same as [`scalar::int8_matvec`](super::super::scalar::int8_matvec).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], hint: Hint, out: &mut [f32]) {
    x86::matvec::<1, false, _, _, _>(&unit(), panels, panel_bytes(Dtype::Int8, cols), cols, x, hint, out);
}

/// Same as [`scalar::int8_matmul`](super::super::scalar::int8_matmul).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], hint: Hint, out: &mut [PanelOut]) {
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), out.len());
    x86::matmul::<TOKENS, _, _, _>(&unit(), panel, cols, x, hint, out);
}
