//! Which powers of two make the error of a product least, for the columns of one group.
//!
//! Inputs and weights of a group are both rounded to steps of their largest magnitude, so the error that columns j of a group add to
//! the outputs of a token is, up to a factor, with inputs `x[j] / s[j]` and weights `w[r, j] * s[j]`,
//!
//! ```text
//! max_j (x[j] / s[j])^2 * sum_j s[j]^2 sum_r w[r, j]^2   +   sum_r c[r] max_j (w[r, j] s[j])^2 * sum_j (x[j] / s[j])^2
//! ```
//!
//! where c is the square of how many steps of inputs a step of the row's weights is, beside magnitudes that are alike.
//! SmoothQuant (Xiao et al. 2023) moves magnitude from inputs to weights by a formula of both; here the sum over all tokens, each as
//! a part of what it puts out, goes down column by column as far as it does.

/// Scales are at most this power of two from where the group is on average.
const MAX_EXPONENT: i32 = 8;
/// Times that each column is tried.
const SWEEPS: usize = 6;
/// Steps that are tried, as powers of two.
const STEPS: [i32; 4] = [1, -1, 2, -2];
/// Sums are made in so many lanes.
const LANES: usize = 8;

/// The columns of a group.
pub(super) struct Group<'g> {
    /// Magnitudes of inputs, a column after the other, each (tokens).
    pub(super) inputs: Vec<Vec<f32>>,
    /// Magnitudes of weights, a column after the other, each (rows).
    pub(super) weights: Vec<Vec<f32>>,
    /// How much a row counts, (rows): c.
    pub(super) rows: &'g [f32],
    /// How much a token counts, (tokens). All lengths are multiples of the lanes: see [`padded`].
    pub(super) tokens: &'g [f32],
}

/// Of each token or row the largest of some columns.
struct Largest {
    inputs: Vec<f32>,
    weights: Vec<f32>,
}

/// A search under way.
struct Search<'g> {
    group: &'g Group<'g>,
    /// Sum of the squares of each column's inputs, each token as it counts.
    signals: Vec<f32>,
    /// Sum of the squares of each column's weights.
    norms: Vec<f32>,
    exponents: Vec<i32>,
}

impl Group<'_> {
    /// The exponent of each column's scale, `s = 2^e`.
    pub(super) fn exponents(&self) -> Vec<i32> {
        let (zeros, ones) = (vec![0.0; self.rows.len().max(self.tokens.len())], vec![1.0; self.rows.len()]);
        let signals: Vec<f32> = self.inputs.iter().map(|column| squares(column, 1.0, &zeros, self.tokens)).collect();
        let norms: Vec<f32> = self.weights.iter().map(|column| squares(column, 1.0, &zeros, &ones)).collect();
        let even = signals.iter().zip(&norms).map(|(signal, norm)| nearest_exponent((signal / norm).sqrt().sqrt()));
        let exponents = even.map(|e| e.clamp(-MAX_EXPONENT, MAX_EXPONENT)).collect();
        let mut search = Search { group: self, signals, norms, exponents };
        search.descend();
        search.centred()
    }
}

impl Search<'_> {
    /// Moves each column by the steps that lessen the error, until none does.
    fn descend(&mut self) {
        for _ in 0..SWEEPS {
            let before = self.exponents.clone();
            for j in 0..self.exponents.len() {
                let others = self.largest_but(j);
                let mut least = self.error(j, &others);
                let from = self.exponents[j];
                let mut best = from;
                for step in STEPS {
                    self.exponents[j] = from + step;
                    let error = self.error(j, &others);
                    if error < least {
                        (least, best) = (error, from + step);
                    }
                }
                self.exponents[j] = best;
            }
            if self.exponents == before {
                break;
            }
        }
    }

    /// The largest of all columns but one.
    fn largest_but(&self, column: usize) -> Largest {
        let Group { inputs, weights, rows, tokens } = self.group;
        let mut largest = Largest { inputs: vec![0.0; tokens.len()], weights: vec![0.0; rows.len()] };
        for j in (0..self.exponents.len()).filter(|j| *j != column) {
            let scale = power(self.exponents[j]);
            raise(&mut largest.inputs, &inputs[j], 1.0 / scale);
            raise(&mut largest.weights, &weights[j], scale);
        }
        largest
    }

    /// The error, the largest of all columns but one being known.
    fn error(&self, column: usize, others: &Largest) -> f32 {
        let Group { inputs, weights, rows, tokens } = self.group;
        let scale = power(self.exponents[column]);
        let steps = squares(&inputs[column], 1.0 / scale, &others.inputs, tokens);
        let weight_steps = squares(&weights[column], scale, &others.weights, rows);
        let (mut norm, mut signal) = (0.0, 0.0);
        for (j, e) in self.exponents.iter().enumerate() {
            let square = power(2 * e);
            norm += square * self.norms[j];
            signal += self.signals[j] / square;
        }
        steps * norm + weight_steps * signal
    }

    /// The exponents, 0 on average: one step for all of a group changes nothing.
    fn centred(&self) -> Vec<i32> {
        let n = self.exponents.len().max(1) as i32;
        let mean = (2 * self.exponents.iter().sum::<i32>() + n).div_euclid(2 * n);
        self.exponents.iter().map(|e| (e - mean).clamp(-MAX_EXPONENT, MAX_EXPONENT)).collect()
    }
}

/// `2^exponent`, for exponents of normal numbers.
pub(super) fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// The exponent of the power of two nearest to a positive number, by their ratio; 0 for others.
fn nearest_exponent(x: f32) -> i32 {
    let x = x * core::f32::consts::SQRT_2;
    if x.is_normal() { (x.to_bits() >> 23) as i32 - 127 } else { 0 }
}

/// Makes each of `largest` at least the column's element times `scale`.
fn raise(largest: &mut [f32], column: &[f32], scale: f32) {
    largest.iter_mut().zip(column).for_each(|(largest, x)| *largest = largest.max(x * scale));
}

/// Sum of the squares of the larger of `column * scale` and `others`, each counting as `counts` says, in lanes.
fn squares(column: &[f32], scale: f32, others: &[f32], counts: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let [column, others, counts] = [column, others, counts].map(|values| values.as_chunks::<LANES>().0);
    for ((column, others), counts) in column.iter().zip(others).zip(counts) {
        for i in 0..LANES {
            let largest = others[i].max(column[i] * scale);
            sums[i] += largest * largest * counts[i];
        }
    }
    sums.iter().sum()
}

/// A column of a matrix (rows, cols), as long as a sum in lanes wants it.
pub(super) fn column(matrix: &[f32], cols: usize, column: usize) -> Vec<f32> {
    padded(matrix.iter().skip(column).step_by(cols).copied().collect())
}

/// With zeros at the end, so that lanes are full.
pub(super) fn padded(mut values: Vec<f32>) -> Vec<f32> {
    values.resize(values.len().next_multiple_of(LANES), 0.0);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much every row counts.
    const C: f32 = 0.8;

    /// The error of a group in f64, as the head of this file states it.
    fn error(inputs: &[Vec<f32>], weights: &[Vec<f32>], tokens: &[f32], exponents: &[i32]) -> f64 {
        let scales: Vec<f64> = exponents.iter().map(|e| f64::from(power(*e))).collect();
        let at = |matrix: &[Vec<f32>], i: usize, j: usize| f64::from(matrix[j][i]);
        let columns = 0..scales.len();
        let (mut steps, mut signal, mut weight_steps, mut norm) = (0.0, 0.0, 0.0, 0.0);
        for (t, counts) in tokens.iter().enumerate() {
            let x: Vec<f64> = columns.clone().map(|j| at(inputs, t, j) / scales[j]).collect();
            steps += f64::from(*counts) * x.iter().fold(0.0, |m, x| x.max(m)).powi(2);
            signal += f64::from(*counts) * x.iter().map(|x| x * x).sum::<f64>();
        }
        for r in 0..weights[0].len() {
            let w: Vec<f64> = columns.clone().map(|j| at(weights, r, j) * scales[j]).collect();
            weight_steps += w.iter().fold(0.0, |m, w| w.max(m)).powi(2);
            norm += w.iter().map(|w| w * w).sum::<f64>();
        }
        steps * norm + f64::from(C) * weight_steps * signal
    }

    /// A matrix of `cols` columns, (rows) each, with values of no order.
    fn columns(rows: usize, cols: usize, seed: usize) -> Vec<Vec<f32>> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0;
        (0..cols).map(|j| padded((0..rows).map(|r| value(r * cols + j)).collect())).collect()
    }

    #[test]
    fn an_outlier_is_divided_and_the_error_falls() {
        let (mut inputs, weights, tokens) = (columns(24, 7, 1), columns(16, 7, 2), vec![1.0; 24]);
        inputs[3].iter_mut().for_each(|x| *x *= 40.0);
        let found =
            Group { inputs: inputs.clone(), weights: weights.clone(), rows: &[C; 16], tokens: &tokens }.exponents();
        assert!(found.iter().enumerate().all(|(j, e)| j == 3 || *e < found[3]), "{found:?}");
        let [smoothed, plain] = [&found, &vec![0; 7]].map(|e| error(&inputs, &weights, &tokens, e));
        assert!(smoothed < 0.3 * plain, "{smoothed} of {plain}");
        // No step of a single column is better.
        for (j, step) in (0..7).flat_map(|j| STEPS.map(|step| (j, step))) {
            let mut other = found.clone();
            other[j] += step;
            assert!(error(&inputs, &weights, &tokens, &other) > 0.9999 * smoothed, "column {j} by {step}");
        }
    }

    #[test]
    fn columns_without_inputs_or_weights_are_no_trouble() {
        let (mut inputs, mut weights, tokens) = (columns(8, 4, 3), columns(8, 4, 4), vec![1.0; 8]);
        inputs[0].fill(0.0);
        weights[1].fill(0.0);
        let found = Group { inputs, weights, rows: &[C; 8], tokens: &tokens }.exponents();
        assert!(found.iter().all(|e| e.abs() <= MAX_EXPONENT), "{found:?}");
        let zeros = || vec![vec![0.0; 8]; 4];
        assert_eq!(Group { inputs: zeros(), weights: zeros(), rows: &[C; 8], tokens: &tokens }.exponents(), [0; 4]);
    }

    #[test]
    fn powers_and_their_nearest() {
        for (x, want) in [(1.0, 0), (1.4, 0), (1.42, 1), (0.7, -1), (0.71, 0), (8.0, 3), (0.0, 0), (f32::INFINITY, 0)] {
            assert_eq!(nearest_exponent(x), want, "{x}");
        }
        assert_eq!([power(0), power(3), power(-2)], [1.0, 8.0, 0.25]);
    }
}
