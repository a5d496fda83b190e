//! Products in tiles: AMX (Intel, Sapphire Rapids, 2023, on). A tile is up to 16 rows of up to 64 bytes, and `tdpbssd` multiplies a tile
//! of tokens by a tile of weights in one instruction. A group of a panel is such a tile of weights as it lies in a file: 8 lines, each of
//! 4 columns of 16 rows. Sums of integers are exact in any order, so that a group's products are those of every other backend; scales
//! follow as in AVX-512, whose packings are taken from there.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18. The compiler does not know tiles: they are used
//! in assembly alone, and each function that sets them up releases them.
#![allow(unsafe_code)]

use super::super::scalar::check_matmul;
use super::super::x86::{Panel, Unit, parts};
use super::super::{Group, Hint, PanelOut, Tokens};
use super::{planes, ternary};
use crate::quant::planes::OFFSETS;
use crate::quant::{Dtype, GROUP_SIZE, PANEL_ROWS, groups};
use bytemuck::must_cast;
use core::arch::asm;
use core::arch::x86_64::*;
use core::hint::black_box;

/// Tokens of a tile.
const ROWS: usize = 16;
/// Groups whose codes and scales are unpacked at a time; those of all formats lie in the first level of the cache then.
const CHUNK: usize = 16;

/// A group of weights as a tile: the codes `[8][16][4]`.
type Lines = [[u8; 64]; 8];

/// A chunk of groups in the form that tiles are read in.
#[repr(C, align(64))]
struct Chunk {
    lines: [Lines; CHUNK],
    scales: [[f32; PANEL_ROWS]; CHUNK],
    offsets: [[f32; PANEL_ROWS]; CHUNK],
}

/// The groups of a chunk: their tiles, and the scales and offsets of their rows; of the latter two there may be more.
#[derive(Clone, Copy)]
struct Weights<'a> {
    lines: &'a [Lines],
    scales: &'a [[f32; PANEL_ROWS]],
    offsets: &'a [[f32; PANEL_ROWS]],
}

/// The integer products of up to 16 tokens with a group, by token.
#[repr(C, align(64))]
struct Dots([[i32; PANEL_ROWS]; ROWS]);

/// The shapes of the tiles, as `ldtilecfg` reads them: rows, and bytes of a row.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Whether this CPU has tiles of int8 and the system lets this process use them, which it is asked once. They add 8 KiB to what the
/// system keeps of a thread that uses them, therefore it wants to be asked (Linux, Documentation/arch/x86/xstate.rst).
#[cfg(all(target_os = "linux", feature = "std"))]
pub(in super::super) fn usable() -> bool {
    static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ALLOWED.get_or_init(|| {
        const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        const OSXSAVE: u32 = 1 << 27;
        const AMX_TILE_AND_INT8: u32 = 0b11 << 24;
        let cpu_has = __cpuid(0).eax >= 7
            && __cpuid(1).ecx & OSXSAVE != 0
            && __cpuid_count(7, 0).edx & AMX_TILE_AND_INT8 == AMX_TILE_AND_INT8;
        // SAFETY: the call changes nothing but what this process may use; a kernel that does not know it says so.
        cpu_has && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0
    })
}

/// Without a system there is nobody to be asked.
#[cfg(not(all(target_os = "linux", feature = "std")))]
pub(in super::super) fn usable() -> bool {
    false
}

/// Tile 0 and 3: the products of a part of tokens; 1 and 4: their codes; 2: a group of weights. Parts have `most` tokens or one less.
fn shapes(most: usize) -> Shapes {
    let mut shapes = Shapes { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
    for (tile, rows, bytes) in
        [(0, most, 64), (1, most, GROUP_SIZE), (2, 8, 64), (3, most - 1, 64), (4, most - 1, GROUP_SIZE)]
    {
        // A tile without rows is one that is not used.
        if rows > 0 {
            (shapes.rows[tile], shapes.bytes[tile]) = (rows as u8, bytes as u16);
        }
    }
    shapes
}

/// The products of `x`, the tokens of a part, with a group, to `dots`.
///
/// # Safety
///
/// The tiles have [`shapes`] for parts of at most `most` tokens, which are no more than 16, and `x` are `most` tokens or one less, and
/// at least one.
#[inline]
unsafe fn multiply(x: &[Group], lines: &Lines, most: usize, dots: &mut Dots) {
    let (x_stride, line_stride) = (size_of::<Group>(), 64_usize);
    let (x_at, lines_at, dots_at) = (x.as_ptr(), lines.as_ptr(), dots.0.as_mut_ptr());
    if x.len() == most {
        // SAFETY: tile 1 reads 32 bytes of each of `most` tokens, whose codes come first; tile 2 all 8 lines; tile 0 is written to 64
        // bytes of each of `most` rows of the 16 in `dots`. The compiler uses no tiles, and the flags stay as they are.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tileloadd tmm1, [{x} + {x_stride}]",
                "tileloadd tmm2, [{lines} + {line_stride}]",
                "tdpbssd tmm0, tmm1, tmm2",
                "tilestored [{dots} + {line_stride}], tmm0",
                x = in(reg) x_at,
                x_stride = in(reg) x_stride,
                lines = in(reg) lines_at,
                line_stride = in(reg) line_stride,
                dots = in(reg) dots_at,
                options(nostack, preserves_flags),
            );
        }
    } else {
        // SAFETY: as above, with tiles of one row less.
        unsafe {
            asm!(
                "tilezero tmm3",
                "tileloadd tmm4, [{x} + {x_stride}]",
                "tileloadd tmm2, [{lines} + {line_stride}]",
                "tdpbssd tmm3, tmm4, tmm2",
                "tilestored [{dots} + {line_stride}], tmm3",
                x = in(reg) x_at,
                x_stride = in(reg) x_stride,
                lines = in(reg) lines_at,
                line_stride = in(reg) line_stride,
                dots = in(reg) dots_at,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Adds the products of `weights` with N tokens to `out`; `x` (groups, n) from the part's first token on.
///
/// # Safety
///
/// As for [`multiply`].
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn add_chunk<const N: usize, const OFFSET: bool>(
    weights: Weights<'_>,
    x: &[Group],
    n: usize,
    most: usize,
    out: &mut [PanelOut],
    prefetch: impl Fn(usize),
) {
    let Weights { lines, scales, offsets } = weights;
    let out: &mut [PanelOut; N] = out.try_into().expect("N");
    let mut sums: [__m512; N] = out.map(must_cast);
    // Two of them, so that a group need not wait until the last one was read.
    let mut dots = [Dots([[0; PANEL_ROWS]; ROWS]), Dots([[0; PANEL_ROWS]; ROWS])];
    for (g, ((lines, scales), offsets)) in lines.iter().zip(scales).zip(offsets).enumerate() {
        prefetch(g);
        let (x, dots) = (&x[g * n..][..N], &mut dots[g % 2]);
        // SAFETY: the caller's promise.
        unsafe { multiply(x, lines, most, dots) };
        let (scales, offsets) = (must_cast(*scales), must_cast(*offsets));
        for t in 0..N {
            sums[t] = super::add_group(sums[t], must_cast(dots.0[t]), scales, x[t].scale);
            if OFFSET {
                sums[t] = super::add_group(sums[t], _mm512_set1_epi32(x[t].sum()), offsets, x[t].scale);
            }
        }
    }
    *out = sums.map(must_cast);
}

/// [`Products::matmul`](super::super::Products::matmul) with the packing of `unit`. `lines` are the codes of some groups as they are, where
/// they are tiles; others are unpacked.
///
/// # Safety
///
/// The CPU has tiles, and the system lets this process use them: [`usable`].
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn matmul<'a, const OFFSET: bool, const SCALES: usize, const CODES: usize, U>(
    unit: &U,
    panel: &'a [u8],
    x: &Tokens<'_>,
    hint: Hint,
    as_they_are: impl Fn(&'a [[u8; CODES]]) -> Option<&'a [Lines]>,
    out: &mut [PanelOut],
) where
    U: Unit<'a, SCALES, CODES, 1, Line = __m512i, Sums = __m512i, Floats = __m512>,
{
    let n = out.len();
    let Panel { head, scales, codes } = unit.panel(panel, x.cols);
    let most = n.div_ceil(n.div_ceil(ROWS));
    let shapes = shapes(most);
    // SAFETY: `shapes` has 64 bytes in the form that the instruction wants, and the caller promises that there are tiles.
    unsafe { asm!("ldtilecfg [{shapes}]", shapes = in(reg) &shapes, options(nostack, preserves_flags, readonly)) };
    let mut chunk =
        Chunk { lines: [[[0; 64]; 8]; CHUNK], scales: [[0.0; PANEL_ROWS]; CHUNK], offsets: [[0.0; PANEL_ROWS]; CHUNK] };
    out.fill([0.0; PANEL_ROWS]);
    for ((codes, scales), x) in codes.chunks(CHUNK).zip(scales.chunks(CHUNK)).zip(x.groups.chunks(CHUNK * n)) {
        let Chunk { lines, scales: widened, offsets } = &mut chunk;
        for ((scales, widened), offsets) in scales.iter().zip(widened.iter_mut()).zip(offsets.iter_mut()) {
            let [by] = unit.widen(&head, scales);
            *widened = must_cast(by.scale);
            if let Some(offset) = by.offset {
                *offsets = must_cast(offset);
            }
        }
        let lines = match as_they_are(codes) {
            Some(lines) => lines,
            None => {
                // The start of a token whose codes add up to 1 is how much the codes of the weights were raised by, below 0.
                let start = unit.start(&Group { start: -128, ..Group::ZERO });
                let lower = _mm512_set1_epi8(_mm512_cvtsi512_si32(start) as i8);
                for (codes, lines) in codes.iter().zip(lines.iter_mut()) {
                    let unpacked = unit.unpack(&head, codes);
                    for (j, line) in lines.iter_mut().enumerate() {
                        *line = must_cast(_mm512_add_epi8(unit.line(&unpacked, j, 0), lower));
                    }
                }
                &lines[..codes.len()]
            }
        };
        let weights = Weights { lines, scales: widened, offsets };
        for (i, part) in parts(n, ROWS).enumerate() {
            // The first part brings what the next chunk, or the next panel, begins with.
            let prefetch = |g: usize| {
                if i == 0 {
                    unit.prefetch(hint, codes[g].as_ptr(), unit.ahead(hint).matmul, CODES);
                }
            };
            let (x, out) = (&x[part.start..], &mut out[part]);
            // SAFETY: the tiles were set up for `most` tokens, and parts have as many, or one less.
            unsafe {
                match out.len() {
                    1 => add_chunk::<1, OFFSET>(weights, x, n, most, out, prefetch),
                    2 => add_chunk::<2, OFFSET>(weights, x, n, most, out, prefetch),
                    3 => add_chunk::<3, OFFSET>(weights, x, n, most, out, prefetch),
                    4 => add_chunk::<4, OFFSET>(weights, x, n, most, out, prefetch),
                    5 => add_chunk::<5, OFFSET>(weights, x, n, most, out, prefetch),
                    6 => add_chunk::<6, OFFSET>(weights, x, n, most, out, prefetch),
                    7 => add_chunk::<7, OFFSET>(weights, x, n, most, out, prefetch),
                    8 => add_chunk::<8, OFFSET>(weights, x, n, most, out, prefetch),
                    9 => add_chunk::<9, OFFSET>(weights, x, n, most, out, prefetch),
                    10 => add_chunk::<10, OFFSET>(weights, x, n, most, out, prefetch),
                    11 => add_chunk::<11, OFFSET>(weights, x, n, most, out, prefetch),
                    12 => add_chunk::<12, OFFSET>(weights, x, n, most, out, prefetch),
                    13 => add_chunk::<13, OFFSET>(weights, x, n, most, out, prefetch),
                    14 => add_chunk::<14, OFFSET>(weights, x, n, most, out, prefetch),
                    15 => add_chunk::<15, OFFSET>(weights, x, n, most, out, prefetch),
                    _ => add_chunk::<ROWS, OFFSET>(weights, x, n, most, out, prefetch),
                }
            }
        }
    }
    // SAFETY: as above.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
}

/// Same as [`scalar::int8_matmul`](super::super::scalar::int8_matmul).
///
/// # Safety
///
/// The system lets this process use tiles: [`usable`].
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) unsafe fn int8_matmul(panel: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [PanelOut]) {
    check_matmul(Dtype::Int8, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    // SAFETY: the caller's promise.
    unsafe { matmul::<false, _, _, _>(&super::unit(), panel, x, hint, |codes| Some(bytemuck::cast_slice(codes)), out) };
}

/// Same as [`scalar`](super::super::scalar)'s product of some tokens with weights of three values.
///
/// # Safety
///
/// As for [`int8_matmul`].
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) unsafe fn ternary_matmul(panel: &[u8], x: &Tokens<'_>, hint: Hint, out: &mut [PanelOut]) {
    check_matmul(Dtype::T2, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    // SAFETY: the caller's promise.
    unsafe { matmul::<false, _, _, _>(&ternary::unit(), panel, x, hint, |_| None, out) };
}

/// Same as [`scalar`](super::super::scalar)'s product of some tokens with weights of `BITS` bits.
///
/// # Safety
///
/// As for [`int8_matmul`].
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) unsafe fn planes_matmul<const BITS: usize, const CODES: usize, const SCALES: usize>(
    dtype: Dtype,
    panel: &[u8],
    x: &Tokens<'_>,
    hint: Hint,
    out: &mut [PanelOut],
) {
    check_matmul(dtype, panel, x.cols, x.groups.len(), groups(x.cols), out.len());
    let unit = planes::unit::<BITS, CODES, SCALES>();
    // SAFETY: the caller's promise.
    unsafe {
        if SCALES == OFFSETS {
            matmul::<true, _, _, _>(&unit, panel, x, hint, |_| None, out);
        } else {
            matmul::<false, _, _, _>(&unit, panel, x, hint, |_| None, out);
        }
    }
}

/// See [`Peaks::quantized`](super::super::Peaks::quantized): full tiles, of two groups a row.
///
/// # Safety
///
/// As for [`int8_matmul`].
pub(in super::super) unsafe fn int8_peak(rounds: usize) -> u64 {
    const FULL: usize = 6;
    let mut shapes = shapes(1);
    shapes.rows[..FULL].fill(16);
    shapes.bytes[..FULL].fill(64);
    let shapes = black_box(shapes);
    // SAFETY: the tiles are in registers alone; the caller promises that there are any.
    unsafe {
        asm!("ldtilecfg [{shapes}]", shapes = in(reg) &shapes, options(nostack, preserves_flags, readonly));
        for _ in 0..rounds {
            asm!(
                "tdpbssd tmm0, tmm4, tmm5",
                "tdpbssd tmm1, tmm4, tmm5",
                "tdpbssd tmm2, tmm4, tmm5",
                "tdpbssd tmm3, tmm4, tmm5",
                options(nomem, nostack, preserves_flags),
            );
        }
        asm!("tilerelease", options(nomem, nostack, preserves_flags));
    }
    (rounds * 4 * ROWS * PANEL_ROWS * 64) as u64
}
