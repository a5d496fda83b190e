//! 512-bit x86: AVX-512 F, BW, VL and VNNI (Ice Lake, 2019, and Zen 4, 2022, on), the 16 rows of a panel in one register.
//! Every kernel is the same as in [`scalar`](super::scalar), bit for bit; what is not here is [`avx2`](super::avx2)'s.
//!
//! One operand of `dpbusd` is unsigned: it is w + 128, and each sum starts at -128 times the sum of the input's codes.

pub(super) mod amx;
mod attention;
mod planes;
mod ternary;

pub(super) use attention::{attend_f16, attend_f32, attend_int8, attend_q4};
pub(super) use planes::{planes_matmul, planes_matvec};
pub(super) use ternary::{ternary_matmul, ternary_matvec};

use super::avx2::{Codes, prefetch};
use super::scalar::{check_matmul, check_matvec};
use super::x86::{self, Ahead, Closures, INT8_CODES, INT8_SCALES, Int8Panel, Scaling, Unit, parts};
use super::{Group, Hint, PanelOut};
use crate::quant::{Dtype, PANEL_ROWS, groups, panel_bytes};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::x86_64::*;
use core::hint::black_box;

/// Tokens whose sums stay in registers.
const TOKENS: usize = 12;
/// Panels that a matvec reads side by side.
const STREAMS: usize = 4;

/// 64 bytes at any alignment.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(x: &[u8; 64]) -> __m512i {
    must_cast(*x)
}

/// 16 floats at any alignment.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_f32(x: &[f32; 16]) -> __m512 {
    must_cast(*x)
}

/// 16 halves, as bytes, widened.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(halves: &[u8; 32]) -> __m512 {
    _mm512_cvtph_ps(must_cast(*halves))
}

/// The codes of a group plus 128, 4 columns of 16 rows a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn unsigned(codes: &Codes) -> [__m512i; 8] {
    let lines: &[[u8; 64]; 8] = must_cast_ref(codes);
    let mut w = [_mm512_set1_epi8(i8::MIN); 8];
    for (w, line) in w.iter_mut().zip(lines) {
        *w = _mm512_xor_si512(*w, load(line));
    }
    w
}

/// `sum + dots * (scales * scale)`, each step rounded.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_group(sum: __m512, dots: __m512i, scales: __m512, scale: f32) -> __m512 {
    let scales = _mm512_mul_ps(scales, _mm512_set1_ps(scale));
    _mm512_add_ps(sum, _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scales))
}

/// The instructions: they multiply the weights plus 128, which flips one bit, with the inputs.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
fn unit<'a>()
-> impl Unit<'a, INT8_SCALES, INT8_CODES, 1, Unpacked = [__m512i; 8], Line = __m512i, Sums = __m512i, Floats = __m512> {
    Closures {
        prefetch: |hint, start: *const u8, distance, bytes| prefetch(hint, start, distance, bytes),
        ahead: |hint| Ahead {
            matvec: if hint == Hint::L2 { 1024 } else { 2048 },
            matmul: if hint == Hint::L2 { 4096 } else { 2048 },
        },
        panel: Int8Panel::new,
        unpack: |_: &(), codes: &Codes| unsigned(codes),
        line: |w: &[__m512i; 8], j: usize, _| w[j],
        start: |x: &Group| _mm512_set1_epi32(x.start),
        dot: |sums, w: __m512i, x| _mm512_dpbusd_epi32(sums, w, _mm512_set1_epi32(x)),
        widen: |_: &(), scales: &[u8; INT8_SCALES]| [Scaling::by(widen(scales))],
        add: |sums, dots, by: Scaling<_>, x: &Group| add_group(sums, dots, by.scale, x.scale),
    }
}

/// The exact dot products of one group of 16 rows with each of N tokens.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
fn dots<const N: usize>(w: &[__m512i; 8], x: [&Group; N]) -> [__m512i; N] {
    x86::dots(&unit(), w, 0, x)
}

/// Same as [`scalar::int8_matvec`](super::scalar::int8_matvec).
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn int8_matvec(panels: &[u8], cols: usize, x: &[Group], hint: Hint, out: &mut [f32]) {
    x86::matvec::<STREAMS, true, _, _, _>(&unit(), panels, panel_bytes(Dtype::Int8, cols), cols, x, hint, out);
}

/// Same as [`scalar::int8_matmul`](super::scalar::int8_matmul).
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn int8_matmul(panel: &[u8], cols: usize, x: &[Group], hint: Hint, out: &mut [PanelOut]) {
    check_matmul(Dtype::Int8, panel, cols, x.len(), groups(cols), out.len());
    x86::matmul::<TOKENS, _, _, _>(&unit(), panel, cols, x, hint, out);
}

/// Same as [`scalar::f16_matvec`](super::scalar::f16_matvec).
#[target_feature(enable = "avx512f")]
pub(super) fn f16_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F16, panels, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matvec`](super::scalar::f32_matvec).
#[target_feature(enable = "avx512f")]
pub(super) fn f32_matvec(panels: &[u8], x: &[f32], out: &mut [f32]) {
    float_matvec(Dtype::F32, panels, x, out, |line: &[u8; 64]| must_cast(*line));
}

/// Same as [`scalar::f16_matmul`](super::scalar::f16_matmul).
#[target_feature(enable = "avx512f")]
pub(super) fn f16_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F16, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks().0, cols, x, out, |line| widen(line));
}

/// Same as [`scalar::f32_matmul`](super::scalar::f32_matmul).
#[target_feature(enable = "avx512f")]
pub(super) fn f32_matmul(panel: &[u8], cols: usize, x: &[f32], out: &mut [PanelOut]) {
    check_matmul(Dtype::F32, panel, cols, x.len(), cols, out.len());
    float_matmul(panel.as_chunks().0, cols, x, out, |line: &[u8; 64]| must_cast(*line));
}

#[inline]
#[target_feature(enable = "avx512f")]
fn float_matvec<const BYTES: usize>(
    dtype: Dtype,
    panels: &[u8],
    x: &[f32],
    out: &mut [f32],
    read: impl Fn(&[u8; BYTES]) -> __m512 + Copy,
) {
    let bytes = panel_bytes(dtype, x.len());
    check_matvec(panels, bytes, out);
    let out = out.as_chunks_mut::<PANEL_ROWS>().0;
    for (panels, out) in panels.chunks(STREAMS * bytes).zip(out.chunks_mut(STREAMS)) {
        match out.len() {
            STREAMS => float_streams::<STREAMS, BYTES>(panels, bytes, x, out, read),
            _ => {
                for (panel, out) in panels.chunks_exact(bytes).zip(out) {
                    float_streams::<1, BYTES>(panel, bytes, x, core::slice::from_mut(out), read);
                }
            }
        }
    }
}

/// `P` panels side by side, one token: independent sums hide the latency of the fused multiply-add.
#[inline]
#[target_feature(enable = "avx512f")]
fn float_streams<const P: usize, const BYTES: usize>(
    panels: &[u8],
    bytes: usize,
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8; BYTES]) -> __m512,
) {
    let lines: [&[[u8; BYTES]]; P] = core::array::from_fn(|p| &panels[p * bytes..][..bytes].as_chunks().0[..x.len()]);
    let mut sums = [_mm512_setzero_ps(); P];
    for (k, &x) in x.iter().enumerate() {
        for (lines, sum) in lines.iter().zip(&mut sums) {
            *sum = _mm512_fmadd_ps(read(&lines[k]), _mm512_set1_ps(x), *sum);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        *out = must_cast(sum);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn float_matmul<const BYTES: usize>(
    lines: &[[u8; BYTES]],
    cols: usize,
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8; BYTES]) -> __m512 + Copy,
) {
    let lines = &lines[..cols];
    for part in parts(out.len(), TOKENS) {
        let (x, out) = (&x[part.start * cols..part.end * cols], &mut out[part]);
        match out.len() {
            1 => float_tile::<1, BYTES>(lines, x, out, read),
            2 => float_tile::<2, BYTES>(lines, x, out, read),
            3 => float_tile::<3, BYTES>(lines, x, out, read),
            4 => float_tile::<4, BYTES>(lines, x, out, read),
            5 => float_tile::<5, BYTES>(lines, x, out, read),
            6 => float_tile::<6, BYTES>(lines, x, out, read),
            7 => float_tile::<7, BYTES>(lines, x, out, read),
            8 => float_tile::<8, BYTES>(lines, x, out, read),
            9 => float_tile::<9, BYTES>(lines, x, out, read),
            10 => float_tile::<10, BYTES>(lines, x, out, read),
            11 => float_tile::<11, BYTES>(lines, x, out, read),
            _ => float_tile::<TOKENS, BYTES>(lines, x, out, read),
        }
    }
}

/// One panel, N tokens.
#[inline]
#[target_feature(enable = "avx512f")]
fn float_tile<const N: usize, const BYTES: usize>(
    lines: &[[u8; BYTES]],
    x: &[f32],
    out: &mut [PanelOut],
    read: impl Fn(&[u8; BYTES]) -> __m512,
) {
    const UNROLL: usize = 4;
    let x: [&[f32]; N] = core::array::from_fn(|t| &x[t * lines.len()..][..lines.len()]);
    let mut sums = [_mm512_setzero_ps(); N];
    let (unrolled, rest) = lines.as_chunks::<UNROLL>();
    for (i, lines) in unrolled.iter().enumerate() {
        let x: [&[f32; UNROLL]; N] = core::array::from_fn(|t| &x[t].as_chunks().0[i]);
        for (k, line) in lines.iter().enumerate() {
            let w = read(line);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm512_fmadd_ps(w, _mm512_set1_ps(x[k]), *sum);
            }
        }
    }
    for (i, line) in rest.iter().enumerate() {
        let w = read(line);
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = _mm512_fmadd_ps(w, _mm512_set1_ps(x[unrolled.len() * UNROLL + i]), *sum);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        *out = must_cast(sum);
    }
}

/// Independent sums of a peak.
const PEAK_SUMS: usize = 16;

/// See [`Peaks::quantized`](super::Peaks::quantized). Each product depends on its sum, so that none can be left out.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn int8_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(_mm512_set1_epi8(3)), black_box(_mm512_set1_epi8(5)));
    let mut sums = black_box([_mm512_set1_epi32(1); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, w, x);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 64) as u64
}

/// See [`Peaks::floats`](super::Peaks::floats).
#[target_feature(enable = "avx512f")]
pub(super) fn f32_peak(rounds: usize) -> u64 {
    let (w, x) = (black_box(_mm512_set1_ps(0.75)), black_box(_mm512_set1_ps(0.25)));
    let mut sums = black_box([_mm512_set1_ps(2.0); PEAK_SUMS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, w, x);
        }
    }
    black_box(sums);
    (rounds * PEAK_SUMS * 16) as u64
}
