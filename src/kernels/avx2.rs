//! 256-bit x86: AVX2, FMA and F16C (Haswell, 2013, and Zen, 2017, on). Every kernel is the same as in
//! [`scalar`](super::scalar), bit for bit.
//!
//! int8: a register holds 8 rows of 4 columns. `maddubs` wants one unsigned side: it gets |w|, up to 128, and the input
//! with the sign of w. The sum of two products is at most 2 * 128 * 127 = 32512 and fits an i16 for every weight byte.

use super::scalar::{check_matmul, check_matvec, check_quantize, group_scale};
use super::streams::attend;
use super::{Group, Heads, PanelOut};
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, scale_bytes};
use core::arch::x86_64::*;
use core::hint::black_box;

/// Rows of a register.
const ROWS: usize = 8;
/// Tokens that a float product keeps in registers: 16 rows each.
const FLOAT_TILE: usize = 4;
/// Panels that a float matvec reads side by side.
const STREAMS: usize = 4;
/// Groups that an int8 matvec asks for ahead of use.
const AHEAD: usize = 8;

/// 32 bytes at any alignment.
#[inline]
#[target_feature(enable = "avx2")]
fn load(x: &[u8; 32]) -> __m256i {
    bytemuck::must_cast(*x)
}

/// 8 floats at any alignment.
#[inline]
#[target_feature(enable = "avx2")]
fn load_f32(x: &[f32; 8]) -> __m256 {
    _mm256_castsi256_ps(load(bytemuck::must_cast_ref(x)))
}

/// 16 floats as two registers.
#[inline]
#[target_feature(enable = "avx2")]
fn load_16(x: &[f32; 16]) -> [__m256; 2] {
    let x: &[[f32; 8]; 2] = bytemuck::must_cast_ref(x);
    [load_f32(&x[0]), load_f32(&x[1])]
}

/// Stores two registers as 16 floats.
#[inline]
#[target_feature(enable = "avx2")]
fn store_16(x: [__m256; 2], out: &mut [f32; 16]) {
    *out = bytemuck::must_cast(x);
}

/// 16 halves, as bytes, widened.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn widen(halves: &[u8; 32]) -> [__m256; 2] {
    let halves = load(halves);
    [_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves))]
}

/// Same as [`scalar::quantize`](super::scalar::quantize).
#[target_feature(enable = "avx2")]
pub(super) fn quantize(x: &[f32], cols: usize, out: &mut [Group]) {
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
fn quantize_group(x: &[f32; GROUP_SIZE], out: &mut Group) {
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
    }
}

/// Same as [`scalar::int8_matvec`](super::scalar::int8_matvec). The arithmetic of a group fills the window of the core, so
/// that it has to be asked for ahead: a matrix in memory is read twice as fast for it, by one stream as well as by four.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], out: &mut [f32]) {
    let bytes = panel_bytes(Dtype::Int8, cols);
    check_matvec(panels, bytes, out);
    assert_eq!(x.len(), groups(cols), "groups of {cols} columns");
    for (panel, out) in panels.chunks_exact(bytes).zip(out.as_chunks_mut::<PANEL_ROWS>().0) {
        let panel = Int8Panel::new(panel, cols);
        let mut sum = [_mm256_setzero_ps(); 2];
        for ((codes, scales), x) in panel.codes.iter().zip(panel.scales).zip(x) {
            prefetch(codes);
            let [low, high] = dots_of_one(codes, x);
            let scales = widen(scales);
            sum = [add_group(sum[0], low, scales[0], x.scale), add_group(sum[1], high, scales[1], x.scale)];
        }
        store_16(sum, out);
    }
}

/// The scales and codes of a panel by group.
struct Int8Panel<'a> {
    scales: &'a [[u8; PANEL_ROWS * 2]],
    codes: &'a [[u8; PANEL_ROWS * GROUP_SIZE]],
}

impl<'a> Int8Panel<'a> {
    #[inline]
    fn new(panel: &'a [u8], cols: usize) -> Self {
        let (scales, codes) = panel.split_at(scale_bytes(cols));
        let n = groups(cols);
        Int8Panel { scales: &scales.as_chunks().0[..n], codes: &codes.as_chunks().0[..n] }
    }
}

/// The exact dot products of one group of 8 rows, the lower (`half` 0) or upper ones, with each of N tokens.
#[inline]
#[target_feature(enable = "avx2")]
fn dots<const N: usize>(codes: &[u8; PANEL_ROWS * GROUP_SIZE], half: usize, x: [&Group; N]) -> [__m256i; N] {
    let codes: &[[u8; 32]; 16] = bytemuck::must_cast_ref(codes);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); N];
    for j in 0..8 {
        let w = load(&codes[2 * j + half]);
        let magnitude = _mm256_abs_epi8(w);
        for (sum, x) in sums.iter_mut().zip(x) {
            let x: &[[i8; 4]; 8] = bytemuck::must_cast_ref(&x.codes);
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
fn dots_of_one(codes: &[u8; PANEL_ROWS * GROUP_SIZE], x: &Group) -> [__m256i; 2] {
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

/// Asks for the group [`AHEAD`] of this one; past the end of a panel lies the next.
#[inline]
#[target_feature(enable = "avx2")]
fn prefetch(codes: &[u8; PANEL_ROWS * GROUP_SIZE]) {
    let start = codes.as_ptr().wrapping_add(AHEAD * codes.len()).cast::<i8>();
    for line in 0..codes.len() / 64 {
        _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * 64));
    }
}

/// `sum + dots * (scales * scale)`, each step rounded.
#[inline]
#[target_feature(enable = "avx2")]
fn add_group(sum: __m256, dots: __m256i, scales: __m256, scale: f32) -> __m256 {
    let scales = _mm256_mul_ps(scales, _mm256_set1_ps(scale));
    _mm256_add_ps(sum, _mm256_mul_ps(_mm256_cvtepi32_ps(dots), scales))
}

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), out.len());
    match out.len() {
        1 => int8_tile::<1>(panel, cols, x, out),
        2 => int8_tile::<2>(panel, cols, x, out),
        3 => int8_tile::<3>(panel, cols, x, out),
        4 => int8_tile::<4>(panel, cols, x, out),
        5 => int8_tile::<5>(panel, cols, x, out),
        6 => int8_tile::<6>(panel, cols, x, out),
        7 => int8_tile::<7>(panel, cols, x, out),
        _ => int8_tile::<8>(panel, cols, x, out),
    }
}

/// One panel, N tokens: the f32 sums stay in `out`, which lies in L1, and the integer sums in registers.
#[target_feature(enable = "avx2,fma,f16c")]
fn int8_tile<const N: usize>(panel: &[u8], cols: usize, x: &[Group], out: &mut [PanelOut]) {
    let panel = Int8Panel::new(panel, cols);
    let out: &mut [[[f32; ROWS]; 2]] = bytemuck::must_cast_slice_mut(out);
    out.fill([[0.0; ROWS]; 2]);
    for ((codes, scales), x) in panel.codes.iter().zip(panel.scales).zip(x.as_chunks::<N>().0) {
        let scales = widen(scales);
        for half in 0..2 {
            let dots = dots::<N>(codes, half, x.each_ref());
            for t in 0..N {
                let sum = add_group(load_f32(&out[t][half]), dots[t], scales[half], x[t].scale);
                out[t][half] = bytemuck::must_cast(sum);
            }
        }
    }
}

/// Same as [`scalar::f16_matvec`](super::scalar::f16_matvec).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn f16_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F16, panels, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matvec`](super::scalar::f32_matvec).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn f32_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F32, panels, x, out, |line: &[u8; 64]| load_line(line));
}

/// Same as [`scalar::f16_matmul`](super::scalar::f16_matmul).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn f16_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F16, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks().0, cols, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matmul`](super::scalar::f32_matmul).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn f32_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F32, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks().0, cols, x, out, |line: &[u8; 64]| load_line(line));
}

/// The 16 f32 weights of one column.
#[inline]
#[target_feature(enable = "avx2")]
fn load_line(line: &[u8; 64]) -> [__m256; 2] {
    let line: &[[u8; 32]; 2] = bytemuck::must_cast_ref(line);
    [_mm256_castsi256_ps(load(&line[0])), _mm256_castsi256_ps(load(&line[1]))]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_matvec<const BYTES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &[f32],
    out: &mut [f32],
    read: impl Fn(&[u8; BYTES]) -> [__m256; 2] + Copy,
) {
    let bytes = panel_bytes(dtype, x.len());
    check_matvec(panels, bytes, out);
    let (many, one) = panels.split_at(panels.len() / (STREAMS * bytes) * STREAMS * bytes);
    let (out_many, out_one) = out.split_at_mut(many.len() / bytes * PANEL_ROWS);
    for (panels, out) in many.chunks_exact(STREAMS * bytes).zip(out_many.chunks_exact_mut(STREAMS * PANEL_ROWS)) {
        float_streams::<STREAMS, BYTES>(panels, bytes, x, out, read);
    }
    for (panel, out) in one.chunks_exact(bytes).zip(out_one.chunks_exact_mut(PANEL_ROWS)) {
        float_streams::<1, BYTES>(panel, bytes, x, out, read);
    }
}

/// `P` panels side by side, one token: independent sums hide the latency of the fused multiply-add.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_streams<const P: usize, const BYTES: usize>(
    panels: &[u8],
    bytes: usize,
    x: &[f32],
    out: &mut [f32],
    read: impl Fn(&[u8; BYTES]) -> [__m256; 2],
) {
    let lines: [&[[u8; BYTES]]; P] = std::array::from_fn(|p| &panels[p * bytes..][..bytes].as_chunks().0[..x.len()]);
    let mut sums = [[_mm256_setzero_ps(); 2]; P];
    for (k, &x) in x.iter().enumerate() {
        let x = _mm256_set1_ps(x);
        for (lines, sum) in lines.iter().zip(&mut sums) {
            let w = read(&lines[k]);
            *sum = [_mm256_fmadd_ps(w[0], x, sum[0]), _mm256_fmadd_ps(w[1], x, sum[1])];
        }
    }
    for (sum, out) in sums.into_iter().zip(out.as_chunks_mut().0) {
        store_16(sum, out);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_matmul<const BYTES: usize>(
    lines: &[[u8; BYTES]],
    cols: usize,
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8; BYTES]) -> [__m256; 2] + Copy,
) {
    let lines = &lines[..cols];
    for (x, out) in x.chunks(FLOAT_TILE * cols).zip(out.chunks_mut(FLOAT_TILE)) {
        match out.len() {
            1 => float_tile::<1, BYTES>(lines, x, out, read),
            2 => float_tile::<2, BYTES>(lines, x, out, read),
            3 => float_tile::<3, BYTES>(lines, x, out, read),
            _ => float_tile::<FLOAT_TILE, BYTES>(lines, x, out, read),
        }
    }
}

/// One panel, N tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_tile<const N: usize, const BYTES: usize>(
    lines: &[[u8; BYTES]],
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8; BYTES]) -> [__m256; 2],
) {
    let x: [&[f32]; N] = std::array::from_fn(|t| &x[t * lines.len()..][..lines.len()]);
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    for (k, line) in lines.iter().enumerate() {
        let w = read(line);
        for (sum, x) in sums.iter_mut().zip(x) {
            let x = _mm256_set1_ps(x[k]);
            *sum = [_mm256_fmadd_ps(w[0], x, sum[0]), _mm256_fmadd_ps(w[1], x, sum[1])];
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        store_16(sum, out);
    }
}

/// Same as [`scalar::attend_f16`](super::scalar::attend_f16).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn attend_f16(heads: &Heads<'_, u16>, out: &mut [f32]) {
    let read = |x: &[u16; 16]| widen(bytemuck::must_cast_ref(x));
    attend(heads, out, |q, k| dot(q, k, read), |out, p, v| add_weighted(out, p, v, read));
}

/// Same as [`scalar::attend_f32`](super::scalar::attend_f32).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn attend_f32(heads: &Heads<'_, f32>, out: &mut [f32]) {
    let read = |x: &[f32; 16]| load_16(x);
    attend(heads, out, |q, k| dot(q, k, read), |out, p, v| add_weighted(out, p, v, read));
}

/// Up to 16 elements, zeros after them.
#[inline]
fn padded<E: Copy + Default>(x: &[E]) -> [E; 16] {
    let mut out = [E::default(); 16];
    out[..x.len()].copy_from_slice(x);
    out
}

/// Sum of products in the 16-lane order; zeros after a tail leave their lanes as they are.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot<E: Copy + Default>(q: &[f32], k: &[E], read: impl Fn(&[E; 16]) -> [__m256; 2]) -> f32 {
    let ((q, q_tail), (k, k_tail)) = (q.as_chunks::<16>(), k.as_chunks::<16>());
    let mut lanes = [_mm256_setzero_ps(); 2];
    let mut add = |q: &[f32; 16], k: &[E; 16]| {
        let (q, k) = (load_16(q), read(k));
        for i in 0..2 {
            lanes[i] = _mm256_add_ps(lanes[i], _mm256_mul_ps(q[i], k[i]));
        }
    };
    for (q, k) in q.iter().zip(k) {
        add(q, k);
    }
    if !q_tail.is_empty() {
        add(&padded(q_tail), &padded(k_tail));
    }
    let sum = _mm256_add_ps(lanes[0], lanes[1]);
    let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)))
}

/// `out[i] += p[j] * v[j][i]`, 16 columns at a time.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_weighted<E: Copy + Default>(out: &mut [f32], p: &[f32], v: &[E], read: impl Fn(&[E; 16]) -> [__m256; 2]) {
    let head_dim = out.len();
    let add = |sum: [__m256; 2], p: f32, v: [__m256; 2]| {
        let p = _mm256_set1_ps(p);
        [_mm256_add_ps(sum[0], _mm256_mul_ps(p, v[0])), _mm256_add_ps(sum[1], _mm256_mul_ps(p, v[1]))]
    };
    let (chunks, tail) = out.as_chunks_mut::<16>();
    let full = chunks.len() * 16;
    for (c, chunk) in chunks.iter_mut().enumerate() {
        let mut sum = load_16(chunk);
        for (&p, v) in p.iter().zip(v.chunks_exact(head_dim)) {
            sum = add(sum, p, read(&v.as_chunks().0[c]));
        }
        store_16(sum, chunk);
    }
    if !tail.is_empty() {
        let mut sum = load_16(&padded(tail));
        for (&p, v) in p.iter().zip(v.chunks_exact(head_dim)) {
            sum = add(sum, p, read(&padded(&v[full..])));
        }
        let sum: [f32; 16] = bytemuck::must_cast(sum);
        tail.copy_from_slice(&sum[..tail.len()]);
    }
}

/// Independent sums of a peak: they hide the latency of a chain and leave registers for its operands.
const PEAK_SUMS: usize = 12;

/// See [`Kernels::int8_peak`](super::Kernels::int8_peak). Each product depends on its sum, so that none can be left out.
#[target_feature(enable = "avx2")]
pub(super) fn int8_peak(rounds: usize) -> u64 {
    let (w, ones) = (black_box(_mm256_set1_epi8(3)), _mm256_set1_epi16(1));
    let mut sums = black_box([_mm256_set1_epi32(1); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, *sum), ones));
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 32) as u64
}

/// See [`Kernels::f32_peak`](super::Kernels::f32_peak).
#[target_feature(enable = "avx2,fma")]
pub(super) fn f32_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(_mm256_set1_ps(0.75)), black_box(_mm256_set1_ps(0.25)));
    let mut sums = black_box([_mm256_set1_ps(2.0); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, w, x);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 8) as u64
}
