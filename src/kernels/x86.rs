//! Products with quantized inputs on x86, written once for every vector width and every packing of the codes: the loops
//! over panels, groups and tokens. A backend brings its instructions as a [`Unit`]. All is inlined into the backend's
//! functions, which carry the target features.

use super::scalar::check_matvec;
use super::{Group, Hint, PanelOut};
use crate::quant::{GROUP_SIZE, PANEL_ROWS, groups, scale_bytes};
use bytemuck::{Pod, Zeroable, bytes_of, cast_slice, cast_slice_mut, must_cast, must_cast_ref, pod_read_unaligned};

/// Lines of a group: 4 columns of 16 rows each.
const LINES: usize = GROUP_SIZE / 4;

/// Bytes of the scales of a group of int8.
pub(super) const INT8_SCALES: usize = PANEL_ROWS * 2;
/// Bytes of the codes of a group of int8.
pub(super) const INT8_CODES: usize = PANEL_ROWS * GROUP_SIZE;

/// A panel: what its groups share, and by group `SCALES` bytes of scales and `CODES` of codes.
pub(super) struct Panel<'a, Head, const SCALES: usize, const CODES: usize> {
    pub(super) head: Head,
    pub(super) scales: &'a [[u8; SCALES]],
    pub(super) codes: &'a [[u8; CODES]],
}

/// A panel of int8.
pub(super) type Int8Panel<'a> = Panel<'a, (), INT8_SCALES, INT8_CODES>;

impl<'a> Int8Panel<'a> {
    #[inline(always)]
    pub(super) fn new(panel: &'a [u8], cols: usize) -> Self {
        let (scales, codes) = panel.split_at(scale_bytes(cols));
        let n = groups(cols);
        Panel { head: (), scales: &scales.as_chunks().0[..n], codes: &codes.as_chunks().0[..n] }
    }
}

/// Distances in bytes at which a panel is prefetched ahead of its use.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// In each of the panels that a matvec reads side by side.
    pub(super) matvec: usize,
    pub(super) matmul: usize,
}

/// What the rows of a part of a group are multiplied by, and what is added then.
#[derive(Clone, Copy)]
pub(super) struct Scaling<Floats> {
    pub(super) scale: Floats,
    pub(super) offset: Option<Floats>,
}

impl<Floats> Scaling<Floats> {
    /// Without an offset.
    #[inline(always)]
    pub(super) fn by(scale: Floats) -> Self {
        Scaling { scale, offset: None }
    }
}

/// The instructions of a backend for one packing: `SCALES` bytes of scales a group and `CODES` of codes. A register holds
/// `16 / PARTS` rows of a panel.
pub(super) trait Unit<'a, const SCALES: usize, const CODES: usize, const PARTS: usize> {
    /// What the groups of a panel share.
    type Head;
    /// The codes of a group, read once for all tokens.
    type Unpacked;
    /// 4 columns of the rows of a part.
    type Line: Copy;
    /// Integer sums of the rows of a part.
    type Sums: Pod;
    /// Floats of the rows of a part.
    type Floats: Pod;
    /// Asks for the cache lines of `bytes` bytes that lie `distance` bytes after `start`. The arithmetic of a group fills the
    /// window of the core, so that without prefetches nothing reads ahead: they double the speed of a matvec of a matrix in
    /// memory, and of a matmul of few tokens.
    fn prefetch(&self, hint: Hint, start: *const u8, distance: usize, bytes: usize);
    /// The distances that suit these instructions and a hint.
    fn ahead(&self, hint: Hint) -> Ahead;
    /// A panel of `cols` columns.
    fn panel(&self, panel: &'a [u8], cols: usize) -> Panel<'a, Self::Head, SCALES, CODES>;
    /// The codes of a group in the form that [`line`](Self::line) reads.
    fn unpack(&self, head: &Self::Head, codes: &'a [u8; CODES]) -> Self::Unpacked;
    /// The columns `4 j .. 4 j + 4` of the rows of `part`.
    fn line(&self, unpacked: &Self::Unpacked, j: usize, part: usize) -> Self::Line;
    /// The sums of a token before its products.
    fn start(&self, x: &Group) -> Self::Sums;
    /// The sums plus the products of `w` with the 4 codes in `x`.
    fn dot(&self, sums: Self::Sums, w: Self::Line, x: i32) -> Self::Sums;
    /// The scales of the rows by parts.
    fn widen(&self, head: &Self::Head, scales: &[u8; SCALES]) -> [Scaling<Self::Floats>; PARTS];
    /// `sums + dots * (scale * x.scale)`, then, where there are offsets, plus `x.sum() * (offset * x.scale)`; each step rounded.
    fn add(&self, sums: Self::Floats, dots: Self::Sums, by: Scaling<Self::Floats>, x: &Group) -> Self::Floats;
}

/// A [`Unit`] of closures. A backend makes them in a function with its target features, so that they have these too.
pub(super) struct Closures<Prefetch, Distances, Panels, Unpack, Line, Start, Dot, Widen, Add> {
    pub(super) prefetch: Prefetch,
    pub(super) ahead: Distances,
    pub(super) panel: Panels,
    pub(super) unpack: Unpack,
    pub(super) line: Line,
    pub(super) start: Start,
    pub(super) dot: Dot,
    pub(super) widen: Widen,
    pub(super) add: Add,
}

impl<
    'a,
    const SCALES: usize,
    const CODES: usize,
    const PARTS: usize,
    H,
    U,
    W,
    D,
    F,
    Prefetch,
    Distances,
    Panels,
    Unpack,
    Line,
    Start,
    Dot,
    Widen,
    Add,
> Unit<'a, SCALES, CODES, PARTS> for Closures<Prefetch, Distances, Panels, Unpack, Line, Start, Dot, Widen, Add>
where
    Prefetch: Fn(Hint, *const u8, usize, usize),
    Distances: Fn(Hint) -> Ahead,
    Panels: Fn(&'a [u8], usize) -> Panel<'a, H, SCALES, CODES>,
    Unpack: Fn(&H, &'a [u8; CODES]) -> U,
    Line: Fn(&U, usize, usize) -> W,
    Start: Fn(&Group) -> D,
    Dot: Fn(D, W, i32) -> D,
    Widen: Fn(&H, &[u8; SCALES]) -> [Scaling<F>; PARTS],
    Add: Fn(F, D, Scaling<F>, &Group) -> F,
    W: Copy,
    D: Pod,
    F: Pod,
{
    type Head = H;
    type Unpacked = U;
    type Line = W;
    type Sums = D;
    type Floats = F;

    #[inline(always)]
    fn prefetch(&self, hint: Hint, start: *const u8, distance: usize, bytes: usize) {
        (self.prefetch)(hint, start, distance, bytes);
    }

    #[inline(always)]
    fn ahead(&self, hint: Hint) -> Ahead {
        (self.ahead)(hint)
    }

    #[inline(always)]
    fn panel(&self, panel: &'a [u8], cols: usize) -> Panel<'a, H, SCALES, CODES> {
        (self.panel)(panel, cols)
    }

    #[inline(always)]
    fn unpack(&self, head: &H, codes: &'a [u8; CODES]) -> U {
        (self.unpack)(head, codes)
    }

    #[inline(always)]
    fn line(&self, unpacked: &U, j: usize, part: usize) -> W {
        (self.line)(unpacked, j, part)
    }

    #[inline(always)]
    fn start(&self, x: &Group) -> D {
        (self.start)(x)
    }

    #[inline(always)]
    fn dot(&self, sums: D, w: W, x: i32) -> D {
        (self.dot)(sums, w, x)
    }

    #[inline(always)]
    fn widen(&self, head: &H, scales: &[u8; SCALES]) -> [Scaling<F>; PARTS] {
        (self.widen)(head, scales)
    }

    #[inline(always)]
    fn add(&self, sums: F, dots: D, by: Scaling<F>, x: &Group) -> F {
        (self.add)(sums, dots, by, x)
    }
}

/// [`Products::matvec`](super::Products::matvec) over panels of `bytes` bytes, `STREAMS` of them side by side, which hides
/// the latency of their sums. The codes of a group are read in the order of their bytes, which suits the prefetchers of a
/// core without VNNI. With `BY_PART` those of one part are read before those of the next, which touches all cache lines of
/// the group sooner. Where a register holds all rows, in one part, the order is the same, and `BY_PART` only picks the inner
/// loop.
#[inline(always)]
pub(super) fn matvec<
    'a,
    const STREAMS: usize,
    const BY_PART: bool,
    const SCALES: usize,
    const CODES: usize,
    const PARTS: usize,
>(
    unit: &impl Unit<'a, SCALES, CODES, PARTS>,
    panels: &'a [u8],
    bytes: usize,
    cols: usize,
    x: &[Group],
    hint: Hint,
    out: &mut [f32],
) {
    check_matvec(panels, bytes, out);
    assert_eq!(x.len(), groups(cols), "groups of {cols} columns");
    // A copy of the loops for each hint: what is asked within them, or a distance in a register, takes a tenth of the speed.
    match hint {
        Hint::None => all::<STREAMS, BY_PART, SCALES, CODES, PARTS>(unit, panels, bytes, cols, x, Hint::None, out),
        Hint::NonTemporal => {
            all::<STREAMS, BY_PART, SCALES, CODES, PARTS>(unit, panels, bytes, cols, x, Hint::NonTemporal, out)
        }
        Hint::L1 => all::<STREAMS, BY_PART, SCALES, CODES, PARTS>(unit, panels, bytes, cols, x, Hint::L1, out),
        Hint::L2 => all::<STREAMS, BY_PART, SCALES, CODES, PARTS>(unit, panels, bytes, cols, x, Hint::L2, out),
    }
}

/// All panels, `STREAMS` side by side as long as there are so many.
#[inline(always)]
fn all<'a, const STREAMS: usize, const BY_PART: bool, const SCALES: usize, const CODES: usize, const PARTS: usize>(
    unit: &impl Unit<'a, SCALES, CODES, PARTS>,
    panels: &'a [u8],
    bytes: usize,
    cols: usize,
    x: &[Group],
    hint: Hint,
    out: &mut [f32],
) {
    let out = out.as_chunks_mut::<PANEL_ROWS>().0;
    for (panels, out) in panels.chunks(STREAMS * bytes).zip(out.chunks_mut(STREAMS)) {
        if out.len() == STREAMS {
            streams::<STREAMS, BY_PART, SCALES, CODES, PARTS>(unit, panels, bytes, cols, x, hint, out);
        } else {
            for (panel, out) in panels.chunks_exact(bytes).zip(out) {
                streams::<1, BY_PART, SCALES, CODES, PARTS>(
                    unit,
                    panel,
                    bytes,
                    cols,
                    x,
                    hint,
                    core::slice::from_mut(out),
                );
            }
        }
    }
}

/// `P` panels side by side, one token.
#[inline(always)]
fn streams<'a, const P: usize, const BY_PART: bool, const SCALES: usize, const CODES: usize, const PARTS: usize>(
    unit: &impl Unit<'a, SCALES, CODES, PARTS>,
    panels: &'a [u8],
    bytes: usize,
    cols: usize,
    x: &[Group],
    hint: Hint,
    out: &mut [PanelOut],
) {
    let panels: [_; P] = core::array::from_fn(|p| unit.panel(&panels[p * bytes..][..bytes], cols));
    let mut sums = [[Zeroable::zeroed(); PARTS]; P];
    for panel in &panels {
        // The groups prefetch at a fixed distance and so would skip as many bytes as the scales before them have.
        unit.prefetch(hint, panel.scales.as_ptr().cast(), unit.ahead(hint).matvec, SCALES * x.len());
    }
    for (g, x) in x.iter().enumerate() {
        for (panel, sums) in panels.iter().zip(&mut sums) {
            let codes = &panel.codes[g];
            unit.prefetch(hint, codes.as_ptr(), unit.ahead(hint).matvec, CODES);
            let unpacked = unit.unpack(&panel.head, codes);
            let mut products = [unit.start(x); PARTS];
            if BY_PART {
                for (part, products) in products.iter_mut().enumerate() {
                    [*products] = dots(unit, &unpacked, part, [x]);
                }
            } else {
                let codes: &[[i8; 4]; LINES] = must_cast_ref(&x.codes);
                for (j, codes) in codes.iter().enumerate() {
                    for (part, products) in products.iter_mut().enumerate() {
                        *products = unit.dot(*products, unit.line(&unpacked, j, part), must_cast(*codes));
                    }
                }
            }
            let scales = unit.widen(&panel.head, &panel.scales[g]);
            for part in 0..PARTS {
                sums[part] = unit.add(sums[part], products[part], scales[part], x);
            }
        }
    }
    for (sums, out) in sums.iter().zip(out) {
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(PANEL_ROWS / PARTS)) {
            cast_slice_mut(out).copy_from_slice(bytes_of(sums));
        }
    }
}

/// Cuts `n` tokens into as few parts of at most `most` tokens as possible, whose sizes differ by at most 1: a part of one
/// token would cost as much as one of many.
pub(super) fn parts(n: usize, most: usize) -> impl Iterator<Item = core::ops::Range<usize>> {
    let n_parts = n.div_ceil(most);
    (0..n_parts).map(move |i| n * i / n_parts..n * (i + 1) / n_parts)
}

/// [`Products::matmul`](super::Products::matmul) with at most `MOST` tokens at a time, 8 or 12, whose integer sums of a
/// part stay in registers; the f32 sums stay in `out`, which lies in L1. The backend has checked the arguments.
#[inline(always)]
pub(super) fn matmul<'a, const MOST: usize, const SCALES: usize, const CODES: usize, const PARTS: usize>(
    unit: &impl Unit<'a, SCALES, CODES, PARTS>,
    panel: &'a [u8],
    cols: usize,
    x: &[Group],
    hint: Hint,
    out: &mut [PanelOut],
) {
    const { assert!(MOST == 8 || MOST == 12, "the numbers of tokens that the match has arms for") };
    let n = out.len();
    let panel = unit.panel(panel, cols);
    out.fill([0.0; PANEL_ROWS]);
    for ((codes, scales), x) in panel.codes.iter().zip(panel.scales).zip(x.chunks_exact(n)) {
        // Near the end of the panel this reaches into the next one.
        unit.prefetch(hint, codes.as_ptr(), unit.ahead(hint).matmul, CODES);
        let (w, scales) = (unit.unpack(&panel.head, codes), unit.widen(&panel.head, scales));
        for part in parts(n, MOST) {
            let (x, out) = (&x[part.clone()], &mut out[part]);
            match out.len() {
                1 => add_products::<1, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                2 => add_products::<2, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                3 => add_products::<3, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                4 => add_products::<4, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                5 => add_products::<5, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                6 => add_products::<6, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                7 => add_products::<7, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                8 if MOST > 8 => add_products::<8, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                9 if MOST > 8 => add_products::<9, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                10 if MOST > 8 => add_products::<10, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                11 if MOST > 8 => add_products::<11, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
                _ => add_products::<MOST, SCALES, CODES, PARTS, _>(unit, &w, scales, x, out),
            }
        }
    }
}

/// Adds the products of one group with each of N tokens to `out`.
#[inline(always)]
fn add_products<
    'a,
    const N: usize,
    const SCALES: usize,
    const CODES: usize,
    const PARTS: usize,
    U: Unit<'a, SCALES, CODES, PARTS>,
>(
    unit: &U,
    unpacked: &U::Unpacked,
    scales: [Scaling<U::Floats>; PARTS],
    x: &[Group],
    out: &mut [PanelOut],
) {
    let (x, out): (&[Group; N], &mut [PanelOut; N]) = (x.try_into().expect("N"), out.try_into().expect("N"));
    for (part, by) in scales.into_iter().enumerate() {
        let dots = dots::<N, SCALES, CODES, PARTS, U>(unit, unpacked, part, x.each_ref());
        for t in 0..N {
            let out = &mut out[t][part * (PANEL_ROWS / PARTS)..][..PANEL_ROWS / PARTS];
            let sums = unit.add(pod_read_unaligned(cast_slice(out)), dots[t], by, &x[t]);
            cast_slice_mut(out).copy_from_slice(bytes_of(&sums));
        }
    }
}

/// The exact dot products of the rows of `part` of a group with each of N tokens.
#[inline(always)]
pub(super) fn dots<
    'a,
    const N: usize,
    const SCALES: usize,
    const CODES: usize,
    const PARTS: usize,
    U: Unit<'a, SCALES, CODES, PARTS>,
>(
    unit: &U,
    unpacked: &U::Unpacked,
    part: usize,
    x: [&Group; N],
) -> [U::Sums; N] {
    let mut sums = [Zeroable::zeroed(); N];
    for (sums, x) in sums.iter_mut().zip(x) {
        *sums = unit.start(x);
    }
    for j in 0..LINES {
        let w = unit.line(unpacked, j, part);
        for (sums, x) in sums.iter_mut().zip(x) {
            let x: &[[i8; 4]; LINES] = must_cast_ref(&x.codes);
            *sums = unit.dot(*sums, w, must_cast(x[j]));
        }
    }
    sums
}
