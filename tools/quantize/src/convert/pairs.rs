//! Sums of the products of pairs of inputs: with `H = sum over tokens of x x^T`, the errors `e` of a row of weights cost `e H e^T` at its
//! output, squared and summed (Frantar et al. 2023, GPTQ). Tokens do not count alike everywhere.

use std::collections::BTreeMap;

use rayon::prelude::*;
use whit::model::spec::{Role, TensorSpec};
use whit::model::{Observer, Point};

use super::attended::Attended;
use super::calibrate::{Place, columns, place};

/// Bytes that sums and what is made of them may take together.
pub(super) const MOST_BYTES: usize = 1 << 30;
/// How often the first token counts where all of attention's sinks would otherwise be one token among many.
const FIRST: f32 = 10.0;
/// Rows that one task adds to.
const TASK_ROWS: usize = 32;
/// Tokens added at a time.
const TOKENS: usize = 8;

/// How much each token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Counting {
    /// All alike.
    Alike,
    /// The first ten times; each by the inverse of its energy, so that relative errors count: a block gives some tokens a thousand
    /// times as much as others (Sun et al. 2024, "massive activations"), and the norm after it takes that back.
    First,
    /// By the attention that its key and value receive.
    Attended,
}

/// What matrices share the sums of: where they are multiplied, and how tokens count.
pub(super) type Site = (Place, Counting);

/// The site of a matrix, and its columns; `None` of other tensors.
pub(super) fn site(spec: &TensorSpec) -> Option<(Site, usize)> {
    let counting = match spec.role {
        Role::Key | Role::Value => Counting::Attended,
        Role::Output | Role::ConvOutput | Role::DeltaOutput | Role::Gate | Role::Up | Role::Down => Counting::First,
        _ => Counting::Alike,
    };
    Some(((place(spec)?, counting), columns(spec)?))
}

/// Bytes of the sums of `cols` inputs.
pub(super) fn bytes(cols: usize) -> usize {
    cols.saturating_mul(cols).saturating_mul(size_of::<f32>())
}

/// Bytes that encoding takes beside the sums: their factors in f64, then in f32.
pub(super) fn factor_bytes(cols: usize) -> usize {
    bytes(cols).saturating_mul(3)
}

/// Cuts sites into those that are summed in one reading of the text, within [`MOST_BYTES`]; those that are too large alone are left out.
pub(super) fn readings(sites: &[(Site, usize)]) -> Vec<Vec<(Site, usize)>> {
    let mut readings: Vec<Vec<(Site, usize)>> = Vec::new();
    for &(site, cols) in sites {
        if readings.iter().flatten().any(|(other, _)| *other == site) || taken(&[(site, cols)]) > MOST_BYTES {
            continue;
        }
        if let Some(last) = readings.last_mut() {
            last.push((site, cols));
            if taken(last) <= MOST_BYTES {
                continue;
            }
            last.pop();
        }
        readings.push(vec![(site, cols)]);
    }
    readings
}

/// Bytes that a reading takes.
pub(super) fn taken(reading: &[(Site, usize)]) -> usize {
    let sums = reading.iter().fold(0_usize, |sum, (_, cols)| sum.saturating_add(bytes(*cols)));
    sums.saturating_add(reading.iter().map(|(_, cols)| factor_bytes(*cols)).max().unwrap_or(0))
}

/// The sums of some sites, while a text is read.
pub(super) struct Pairs<'a> {
    /// (cols, cols) each, of which the upper triangle is there.
    pub(super) sums: BTreeMap<Site, Vec<f32>>,
    cols: BTreeMap<Site, usize>,
    attended: &'a Attended,
    pub(super) window: usize,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(reading: &[(Site, usize)], attended: &'a Attended) -> Self {
        let sums = reading.iter().map(|(site, cols)| (*site, vec![0.0; cols * cols])).collect();
        Pairs { sums, cols: reading.iter().copied().collect(), attended, window: 0 }
    }
}

impl Observer for Pairs<'_> {
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        let Point::Input(op) = point else { return };
        for counting in [Counting::Alike, Counting::First, Counting::Attended] {
            let site = ((layer, op), counting);
            let (Some(sums), Some(&cols)) = (self.sums.get_mut(&site), self.cols.get(&site)) else { continue };
            let attended = layer.and_then(|layer| self.attended.weights(self.window, layer)).unwrap_or(&[]);
            let rows = values.chunks_exact(cols).enumerate();
            let weights = rows.map(|(t, row)| match counting {
                Counting::Alike => 1.0,
                Counting::First => [FIRST, 1.0][t.min(1)] * cols as f32 / energy(row),
                Counting::Attended => attended.get(t).copied().unwrap_or(1.0),
            });
            add(sums, values, cols, &weights.collect::<Vec<_>>());
        }
    }
}

/// The sum of the squares of a row; of one that is all 0, 1.
fn energy(row: &[f32]) -> f32 {
    let squares: f32 = row.iter().map(|x| x * x).sum();
    if squares.is_normal() { squares } else { 1.0 }
}

/// Adds `x x^T` of each row `x` of `values` (T, cols), times its number of `weights` (T), to the upper triangle of `sums` (cols, cols).
/// The order of additions to an element is the same on any number of threads.
fn add(sums: &mut [f32], values: &[f32], cols: usize, weights: &[f32]) {
    sums.par_chunks_mut(TASK_ROWS * cols).enumerate().for_each(|(task, rows)| {
        for (x, weights) in values.chunks(TOKENS * cols).zip(weights.chunks(TOKENS)) {
            for (i, row) in (task * TASK_ROWS..).zip(rows.chunks_exact_mut(cols)) {
                // Fewer tokens than eight: the first one stands for those that are missing, times 0.
                let token = |t: usize| &x[t.min(weights.len() - 1) * cols..][i..cols];
                let at = |t: usize| weights.get(t).map_or(0.0, |weight| weight * x[t * cols + i]);
                add_scaled(&mut row[i..], std::array::from_fn(token), std::array::from_fn(at));
            }
        }
    });
}

/// `row += sum of x[t] * by[t]`.
fn add_scaled(row: &mut [f32], x: [&[f32]; TOKENS], by: [f32; TOKENS]) {
    let x = x.map(|x| &x[..row.len()]);
    for (j, sum) in row.iter_mut().enumerate() {
        let pairs = [0, 2, 4, 6].map(|t| x[t][j] * by[t] + x[t + 1][j] * by[t + 1]);
        *sum += (pairs[0] + pairs[1]) + (pairs[2] + pairs[3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whit::model::Op;

    #[test]
    fn sums_are_those_of_all_pairs() {
        for (n, cols) in [(1, 1), (7, 33), (8, 40), (19, 70)] {
            let x: Vec<f32> = (0..n * cols).map(|i| (i * 31 % 67) as f32 / 30.0 - 1.1).collect();
            let weights: Vec<f32> = (0..n).map(|t| 1.0 + t as f32).collect();
            let mut sums = vec![0.0; cols * cols];
            add(&mut sums, &x, cols, &weights);
            for i in 0..cols {
                for j in i..cols {
                    let terms = (0..n).map(|t| f64::from(weights[t] * x[t * cols + i]) * f64::from(x[t * cols + j]));
                    let want: f64 = terms.sum();
                    let got = f64::from(sums[i * cols + j]);
                    assert!((got - want).abs() <= 1e-4 * (1.0 + want.abs()), "{n} {cols} {i} {j}: {got} for {want}");
                }
            }
        }
    }

    #[test]
    fn readings_keep_within_the_bound() {
        let site = |layer| ((Some(layer), Op::Down), Counting::First);
        let sites: Vec<_> = (0..9).map(|layer| (site(layer), if layer == 4 { 9000 } else { 7000 })).collect();
        let readings = readings(&[&sites[..], &sites[..2]].concat());
        assert!(readings.iter().all(|reading| taken(reading) <= MOST_BYTES));
        let all: Vec<_> = readings.into_iter().flatten().collect();
        assert_eq!(all.len(), 8, "each once, without the one that is too large");
        assert!(all.iter().all(|(_, cols)| *cols == 7000));
    }
}
