//! int8 products. A register holds 8 rows of 4 columns. `maddubs` wants one unsigned side: it gets |w|, up to 128, and
//! the input with the sign of w. The sum of two products is at most 2 * 128 * 127 = 32512 and fits an i16 for every
//! weight byte.

use super::super::scalar::{check_matmul, check_matvec, check_quantize, group_scale};
use super::super::{Group, PanelOut, parts};
use super::{load, load_f32, prefetch, store_16, widen};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, scale_bytes};
use core::arch::x86_64::*;

/// Rows of a register.
const ROWS: usize = 8;
/// Tokens whose integer sums stay in registers, 8 rows each.
const TOKENS: usize = 8;
/// Bytes that a matvec asks for ahead of use. The arithmetic of a group fills the window of the core, so that nothing
/// else reads ahead: a matrix in memory is read at twice the speed for it.
const AHEAD: usize = 2048;

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
        // The conversion rounds to nearest, ties to even: MXCSR is as the process started with.
        let divisor = _mm256_set1_ps(scale);
        let q = x.map(|x| _mm256_cvtps_epi32(_mm256_div_ps(x, divisor)));
        let q = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        let q = _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        out.codes = bytemuck::must_cast(q);
        out.sum = sum_of_codes(q);
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

/// Same as [`scalar::int8_matvec`](super::super::scalar::int8_matvec).
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::Int8, cols);
    check_matvec(panels, bytes, out);
    assert_eq!(x.len(), groups(cols), "groups of {cols} columns");
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        // The groups ask ahead by the same distance, so that the length of the scales before them would be left out.
        prefetch(panel.as_ptr(), AHEAD, scale_bytes(cols));
        let panel = Int8Panel::new(panel, cols);
        let mut sum = [_mm256_setzero_ps(); 2];
        for ((codes, scales), x) in panel.codes.iter().zip(panel.scales).zip(x) {
            prefetch(codes.as_ptr(), AHEAD, codes.len());
            let [low, high] = dots_of_one(codes, x);
            let scales = widen(scales);
            sum = [add_group(sum[0], low, scales[0], x.scale), add_group(sum[1], high, scales[1], x.scale)];
        }
        store_16(sum, out);
    }
}

/// The codes of one group of 16 rows.
pub(in super::super) type Codes = [u8; PANEL_ROWS * GROUP_SIZE];

/// The scales and codes of a panel by group.
pub(in super::super) struct Int8Panel<'a> {
    pub(in super::super) scales: &'a [[u8; PANEL_ROWS * 2]],
    pub(in super::super) codes: &'a [Codes],
}

impl<'a> Int8Panel<'a> {
    #[inline]
    pub(in super::super) fn new(panel: &'a [u8], cols: usize) -> Self {
        let (scales, codes) = panel.split_at(scale_bytes(cols));
        let n = groups(cols);
        Int8Panel { scales: &scales.as_chunks().0[..n], codes: &codes.as_chunks().0[..n] }
    }
}

/// The exact dot products of one group of 8 rows, the lower (`half` 0) or upper ones, with each of N tokens.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dots<const N: usize>(codes: &Codes, half: usize, x: [&[i8; GROUP_SIZE]; N]) -> [__m256i; N] {
    let codes: &[[u8; 32]; 16] = bytemuck::must_cast_ref(codes);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); N];
    for j in 0..8 {
        let w = load(&codes[2 * j + half]);
        let magnitude = _mm256_abs_epi8(w);
        for (sum, x) in sums.iter_mut().zip(x) {
            let x: &[[i8; 4]; 8] = bytemuck::must_cast_ref(x);
            let x = _mm256_set1_epi32(bytemuck::must_cast(x[j]));
            let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, w));
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    sums
}

/// [`dots`] of all 16 rows with one token, in the order of the bytes, as prefetchers like it.
#[inline]
#[target_feature(enable = "avx2")]
fn dots_of_one(codes: &Codes, x: &Group) -> [__m256i; 2] {
    let codes: &[[[u8; 32]; 2]; 8] = bytemuck::must_cast_ref(codes);
    let x: &[[i8; 4]; 8] = bytemuck::must_cast_ref(&x.codes);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); 2];
    for (line, &x) in codes.iter().zip(x) {
        let x = _mm256_set1_epi32(bytemuck::must_cast(x));
        for (sum, w) in sums.iter_mut().zip(line) {
            let w = load(w);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    sums
}

/// `sum + dots * (scales * scale)`, each step rounded.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn add_group(sum: __m256, dots: __m256i, scales: __m256, scale: f32) -> __m256 {
    let scales = _mm256_mul_ps(scales, _mm256_set1_ps(scale));
    _mm256_add_ps(sum, _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales))
}

/// Same as [`scalar::int8_matmul`](super::super::scalar::int8_matmul): the f32 sums stay in `out`, which lies in L1.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    let n = out.len();
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), n);
    let panel = Int8Panel::new(panel, cols);
    out.fill([0.0; PANEL_ROWS]);
    for ((codes, scales), x) in panel.codes.iter().zip(panel.scales).zip(x.chunks_exact(n)) {
        let scales = widen(scales);
        for part in parts(n, TOKENS) {
            let (x, out) = (&x[part.clone()], &mut out[part]);
            match out.len() {
                1 => add_products::<1>(codes, scales, x, out),
                2 => add_products::<2>(codes, scales, x, out),
                3 => add_products::<3>(codes, scales, x, out),
                4 => add_products::<4>(codes, scales, x, out),
                5 => add_products::<5>(codes, scales, x, out),
                6 => add_products::<6>(codes, scales, x, out),
                7 => add_products::<7>(codes, scales, x, out),
                _ => add_products::<TOKENS>(codes, scales, x, out),
            }
        }
    }
}

/// Adds the products of one group with each of N tokens to `out`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_products<const N: usize>(codes: &Codes, scales: [__m256; 2], x: &[Group], out: &mut [PanelOut]) {
    let (x, out): (&[Group; N], &mut [PanelOut; N]) = (x.try_into().expect("N"), out.try_into().expect("N"));
    for half in 0..2 {
        let dots = dots::<N>(codes, half, x.each_ref().map(|x| &x.codes));
        for t in 0..N {
            let out: &mut [[f32; ROWS]; 2] = bytemuck::must_cast_mut(&mut out[t]);
            out[half] = bytemuck::must_cast(add_group(load_f32(&out[half]), dots[t], scales[half], x[t].scale));
        }
    }
}
