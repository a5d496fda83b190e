//! q4h, q5h, q4m and q5m: codes of 4 or 5 bits with a scale of f16 for each row of a group, and of q4m and q5m an offset. They hold
//! what the blocks of ggml's Q4_0, IQ4_NL, MXFP4, Q5_0, Q4_1 and Q5_1 hold, to the last bit. See [`planes`].
//!
//! The encoder looks for a scale, and an offset, that give the weights of a row of a group exactly. Where there is none, it takes
//! those that reach the outermost weights.

use super::layout::{GROUP_SIZE, PANEL_ROWS, groups};
use super::planes::{self, HALVES, HEAD_BYTES, LEVELS, LINE_BYTES, OFFSETS, Scaling, group_bytes, put_code};
use super::{Encoding, Format, Inputs};
use half::f16;

/// 4 bits and a scale.
pub(super) static Q4H: Format = format::<4, HALVES>("q4h");
/// 4 bits, a scale and an offset.
pub(super) static Q4M: Format = format::<4, OFFSETS>("q4m");
/// 5 bits and a scale.
pub(super) static Q5H: Format = format::<5, HALVES>("q5h");
/// 5 bits, a scale and an offset.
pub(super) static Q5M: Format = format::<5, OFFSETS>("q5m");

const fn format<const BITS: usize, const SCALES: usize>(name: &'static str) -> Format {
    Format {
        name,
        bits: BITS as u32,
        max_weight: MAX_WEIGHT,
        inputs: Inputs::Quantized,
        panel_bytes: planes::panel_bytes::<BITS, SCALES>,
        encoding: Encoding::Each(encode::<BITS, SCALES>),
        read_row: planes::read_row::<BITS, SCALES>,
    }
}

/// The largest magnitude of a weight: an f16 offset reaches it, and a scale times the outermost level of every table.
const MAX_WEIGHT: f32 = 65504.0;

/// The tables of levels that q4h may have, by the types of ggml that have them: Q4_0, IQ4_NL, and MXFP4, doubled.
const TABLES: [[i8; LEVELS]; 3] = [
    [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7],
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
    [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12],
];
/// The levels of q4m.
const UNSIGNED: [i8; LEVELS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// 32 weights of a row.
type Weights = [f32; GROUP_SIZE];

/// The values that codes may have.
#[derive(Clone, Copy)]
enum Values {
    /// Those of a table.
    Table([i8; LEVELS]),
    /// Codes less a number, to the largest code.
    Integers { zero: u8, last: u8 },
}

impl Values {
    fn value(&self, code: u8) -> f32 {
        match self {
            Values::Table(levels) => f32::from(levels[usize::from(code)]),
            Values::Integers { zero, .. } => f32::from(code) - f32::from(*zero),
        }
    }

    fn codes(&self) -> core::ops::RangeInclusive<u8> {
        match self {
            Values::Table(_) => 0..=(LEVELS - 1) as u8,
            Values::Integers { last, .. } => 0..=*last,
        }
    }

    /// How far the weight of a code is from `x`.
    fn distance(&self, code: u8, x: f32, line: Scaling) -> f32 {
        (self.value(code) * line.scale + line.offset - x).abs()
    }

    /// The code whose weight is nearest to `x`, the first of several.
    fn nearest(&self, x: f32, line: Scaling) -> u8 {
        self.codes().min_by(|a, b| self.distance(*a, x, line).total_cmp(&self.distance(*b, x, line))).unwrap_or(0)
    }

    /// The code whose weight is `x`, if there is one.
    ///
    /// Adding and subtracting 1.5 * 2^23 rounds to an integer in the default rounding mode; every CPU can do it in vectors.
    fn exact(&self, x: f32, line: Scaling) -> Option<u8> {
        const ROUND: f32 = 12_582_912.0;
        if line.scale == 0.0 {
            return (x == line.offset).then_some(0);
        }
        let value = (x - line.offset) / line.scale + ROUND - ROUND;
        let code = match self {
            Values::Table(levels) => levels.iter().position(|level| f32::from(*level) == value)? as u8,
            Values::Integers { zero, last } => {
                let code = value + f32::from(*zero);
                (0.0..=f32::from(*last)).contains(&code).then_some(code as u8)?
            }
        };
        (value * line.scale + line.offset == x).then_some(code)
    }

    fn are_exact(&self, weights: &Weights, line: Scaling) -> bool {
        weights.iter().all(|x| self.exact(*x, line).is_some())
    }

    fn squared_error(&self, weights: &Weights, line: Scaling) -> f32 {
        let errors = weights.iter().map(|x| self.distance(self.nearest(*x, line), *x, line));
        errors.map(|error| error * error).sum()
    }
}

/// The f16 nearest to `x`.
fn rounded(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

/// The scale that gives `weights` exactly, if there is one.
fn exact_scale(values: &Values, weights: &Weights) -> Option<Scaling> {
    let largest = weights.iter().fold(0.0_f32, |m, x| if x.abs() > m.abs() { *x } else { m });
    if largest == 0.0 {
        return Some(Scaling { scale: 0.0, offset: 0.0 });
    }
    let scales = values.codes().map(|code| largest / values.value(code));
    scales
        .filter(|scale| scale.is_finite() && rounded(*scale) == *scale)
        .map(|scale| Scaling { scale, offset: 0.0 })
        .find(|line| values.are_exact(weights, *line))
}

/// The scale and the offset that give `weights` exactly, if there are such.
fn exact_line(values: &Values, weights: &Weights) -> Option<Scaling> {
    let (least, most) = ends(weights);
    if least == most {
        // An offset, or one and a scale as far as it rounds.
        let offset = rounded(least);
        let line = Scaling { scale: rounded(least - offset), offset };
        return values.are_exact(weights, line).then_some(line);
    }
    let last = *values.codes().end();
    // The codes of the outermost weights: a quantizer mostly uses the first and the last.
    let pairs = (0..=last).flat_map(|low| (low + 1..=last).rev().map(move |high| (low, high)));
    let lines = pairs.flat_map(|(low, high)| {
        let step = rounded((most - least) / f32::from(high - low));
        [(step, least), (-step, most)]
            .map(|(scale, first)| Scaling { scale, offset: rounded(first - f32::from(low) * scale) })
    });
    lines.into_iter().find(|line| values.are_exact(weights, *line))
}

fn ends(weights: &Weights) -> (f32, f32) {
    weights.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), x| (least.min(*x), most.max(*x)))
}

/// Lines that reach the outermost weights, of which that of least squared error is taken.
fn reaching<const SCALES: usize>(values: &Values, weights: &Weights) -> Scaling {
    let (least, most) = ends(weights);
    let outermost = |side: fn(f32, f32) -> f32| values.codes().map(|code| values.value(code)).fold(0.0, side);
    let (low, high) = (outermost(f32::min), outermost(f32::max));
    let lines = if SCALES == OFFSETS {
        [Scaling { scale: rounded((most - least) / high), offset: rounded(least) }; 2]
    } else {
        let up = (most / high).max(least / low);
        let down = (most / low).min(least / high);
        [up, down].map(|scale| Scaling { scale: rounded(scale), offset: 0.0 })
    };
    let [a, b] = lines.map(|line| values.squared_error(weights, line));
    if a <= b { lines[0] } else { lines[1] }
}

/// Encodes `rows` of shape (n, cols), n being at most 16, into the zeroed panel `out`.
fn encode<const BITS: usize, const SCALES: usize>(rows: &[f32], cols: usize, out: &mut [u8]) {
    let weights = |row: &[f32], g: usize| {
        let mut weights = [0.0; GROUP_SIZE];
        let row = &row[g * GROUP_SIZE..cols.min((g + 1) * GROUP_SIZE)];
        weights[..row.len()].copy_from_slice(row);
        weights
    };
    let exact = |values: &Values, weights: &Weights| match SCALES {
        OFFSETS => exact_line(values, weights),
        _ => exact_scale(values, weights),
    };
    let gives_all = |values: &Values| {
        let mut groups = rows.chunks_exact(cols).flat_map(|row| (0..groups(cols)).map(move |g| (row, g)));
        groups.all(|(row, g)| exact(values, &weights(row, g)).is_some())
    };
    let values = match (BITS, SCALES) {
        (4, OFFSETS) => Values::Table(UNSIGNED),
        (4, _) => {
            let tables = TABLES.map(Values::Table);
            tables.into_iter().find(gives_all).unwrap_or(tables[0])
        }
        _ => Values::Integers { zero: planes::zero(BITS, SCALES), last: (1 << BITS) - 1 },
    };
    let (before, planes) = out.split_at_mut(planes::planes_at(cols, SCALES));
    let (head, scales) = before.split_at_mut(HEAD_BYTES);
    if let Values::Table(levels) = values {
        head[..LEVELS].copy_from_slice(&levels.map(i8::cast_unsigned));
    }
    for (r, row) in rows.chunks_exact(cols).enumerate() {
        let of_groups = planes.chunks_exact_mut(group_bytes(BITS)).zip(scales.as_chunks_mut::<SCALES>().0);
        for (g, (planes, scales)) in of_groups.enumerate() {
            let weights = weights(row, g);
            let line = exact(&values, &weights).unwrap_or_else(|| reaching::<SCALES>(&values, &weights));
            let mut put = |at: usize, x: f32| scales[at..at + 2].copy_from_slice(&f16::from_f32(x).to_le_bytes());
            put(2 * r, line.scale);
            if SCALES == OFFSETS {
                put(2 * (PANEL_ROWS + r), line.offset);
            }
            let (lines, _) = planes.as_chunks_mut::<LINE_BYTES>();
            for (k, x) in weights.iter().enumerate() {
                let code = values.exact(*x, line).unwrap_or_else(|| values.nearest(*x, line));
                put_code::<BITS>(lines, k / 4, r * 4 + k % 4, code);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dtype, encode_panel, panel_bytes, read_panel_row};
    use super::*;

    const FORMATS: [Dtype; 4] = [Dtype::Q4h, Dtype::Q4m, Dtype::Q5h, Dtype::Q5m];

    /// Rows of `x`, encoded and decoded.
    fn stored(dtype: Dtype, x: &[f32], cols: usize) -> Vec<f32> {
        let mut panel = vec![0xff; panel_bytes(dtype, cols)];
        encode_panel(dtype, x, cols, &mut panel);
        let mut out = vec![f32::NAN; x.len()];
        out.chunks_exact_mut(cols).enumerate().for_each(|(r, row)| read_panel_row(dtype, &panel, r, row));
        out
    }

    /// Numbers from 0 to `n - 1` without a pattern, of which the first `n` calls need not give all.
    fn codes(seed: &mut u32, n: u32) -> u32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*seed >> 16) % n
    }

    /// 16 rows of 64 weights on a grid: `codes` numbers of `value`, times a scale, plus an offset.
    fn on_a_grid(n: u32, value: impl Fn(u32) -> f32, offsets: bool) -> Vec<f32> {
        let mut seed = 7;
        let mut rows = Vec::new();
        for line in 0..PANEL_ROWS * 2 {
            let scale = rounded((codes(&mut seed, 1000) as f32 - 500.0) / 3000.0);
            let offset = if offsets { rounded((codes(&mut seed, 1000) as f32 - 500.0) / 1000.0) } else { 0.0 };
            // Some lines use few of the codes.
            let most = if line % 3 == 0 { 1 + n / 4 } else { n };
            rows.extend((0..GROUP_SIZE).map(|_| value(codes(&mut seed, most)) * scale + offset));
        }
        rows
    }

    #[test]
    fn what_lies_on_a_grid_is_held_as_it_is() {
        for table in TABLES {
            let x = on_a_grid(16, |code| f32::from(table[code as usize]), false);
            assert_eq!(stored(Dtype::Q4h, &x, 64), x, "{table:?}");
        }
        let x = on_a_grid(16, |code| code as f32, true);
        assert_eq!(stored(Dtype::Q4m, &x, 64), x);
        let x = on_a_grid(32, |code| code as f32 - 16.0, false);
        assert_eq!(stored(Dtype::Q5h, &x, 64), x);
        let x = on_a_grid(32, |code| code as f32, true);
        assert_eq!(stored(Dtype::Q5m, &x, 64), x);
    }

    #[test]
    fn rows_of_one_value_are_held_as_they_are() {
        for dtype in FORMATS {
            for x in [0.0, 0.5, -0.25] {
                assert_eq!(stored(dtype, &[x; 40], 40), [x; 40], "{dtype:?}");
            }
        }
        // An offset of an f16 and a scale added to it.
        assert_eq!(stored(Dtype::Q4m, &[1.0 + 1.0 / 65536.0; 32], 32), [1.0 + 1.0 / 65536.0; 32]);
    }

    #[test]
    fn other_weights_are_within_a_step() {
        let x: Vec<f32> = (0..96).map(|i| ((i * 37 % 61) as f32 - 20.0) / 17.0).collect();
        for dtype in FORMATS {
            // The widest gap of a table of 16 levels is a ninth of what it reaches, half of that on either side.
            let bound = if dtype.format().bits == 4 { 0.16 } else { 0.09 };
            for (got, want) in stored(dtype, &x, 96).iter().zip(&x) {
                assert!((got - want).abs() <= bound, "{dtype:?}: {got} for {want}");
            }
        }
    }

    #[test]
    fn the_largest_weights_are_reached() {
        for dtype in FORMATS {
            for largest in [MAX_WEIGHT, -MAX_WEIGHT] {
                let got = stored(dtype, &[largest, 0.0, largest / 2.0], 3);
                assert!(got.iter().all(|x| x.is_finite()) && (got[0] - largest).abs() <= MAX_WEIGHT / 8.0, "{got:?}");
            }
            let wide = stored(dtype, &[MAX_WEIGHT, -MAX_WEIGHT], 2);
            assert!(wide.iter().all(|x| x.is_finite()) && wide[0] > 0.0 && wide[1] < 0.0, "{dtype:?}: {wide:?}");
        }
    }
}
