//! Weights that make up for each other: columns are rounded one after the other, and what rounding did to the outputs is taken back
//! as far as the columns after it can. This is GPTQ (Frantar et al. 2023) in the form of LDLQ (Chee et al. 2023, QuIP).
//!
//! With `H = (I + U) D (I + U)^T`, `U` strictly upper triangular and `D` diagonal, the errors `e = stored - w` of a row cost
//! `e H e^T = sum over k of D[k] (e[k] + sum over j < k of e[j] U[j, k])^2`. So column k is rounded from
//! `w[k] - sum over j < k of e[j] U[j, k]`, and scales are fitted to that with the importance `D`.

use rayon::prelude::*;
use whit::quant::{GROUP_SIZE, Groups, PANEL_ROWS};

/// Share of itself that is added to each element of the diagonal: the text does not show everything.
const DAMPING: f64 = 0.01;
/// Share of the median of the diagonal that is added too: a weight whose input is nearly always 0 is not to make up for others.
const FLOOR: f64 = 0.1;
/// Columns eliminated together.
const BLOCK: usize = 32;

/// `U` and `D` of the inputs of a matrix.
pub(super) struct Factors {
    cols: usize,
    /// (cols, cols), of which the part above the diagonal is used.
    u: Vec<f32>,
    /// (cols), 1 on average.
    d: Vec<f32>,
}

impl Factors {
    /// Of sums of pairs (cols, cols) of inputs that are divided by `scales`, (cols) or empty. The upper triangle is read; `None` where
    /// they are all 0 or not finite.
    pub(super) fn of(sums: &[f32], cols: usize, scales: &[f32]) -> Option<Self> {
        let mut h: Vec<f64> = sums.iter().map(|x| f64::from(*x)).collect();
        if !scales.is_empty() {
            for (row, by) in h.chunks_exact_mut(cols).zip(scales) {
                row.iter_mut().zip(scales).for_each(|(x, scale)| *x /= f64::from(*by) * f64::from(*scale));
            }
        }
        let mut diagonal: Vec<f64> = (0..cols).map(|k| h[k * cols + k]).filter(|x| *x > 0.0).collect();
        diagonal.sort_by(f64::total_cmp);
        let median = *diagonal.get(diagonal.len() / 2)?;
        for k in 0..cols {
            h[k * cols + k] += h[k * cols + k] * DAMPING + median * FLOOR;
        }
        eliminate(&mut h, cols);
        let d: Vec<f64> = (0..cols).map(|k| h[k * cols + k]).collect();
        let mean = d.iter().sum::<f64>() / cols as f64;
        let d: Vec<f32> = d.iter().map(|x| (x / mean) as f32).collect();
        let u: Vec<f32> = h.into_iter().map(|x| x as f32).collect();
        let usable = d.iter().all(|x| x.is_finite() && *x > 0.0) && u.iter().all(|x| x.is_finite());
        usable.then_some(Factors { cols, u, d })
    }

    /// Encodes `rows` (n, cols), n being at most 16, of magnitudes up to `limit`, into the zeroed panel `out`.
    pub(super) fn encode(&self, groups: &Groups, limit: f32, rows: &[f32], out: &mut [u8]) {
        let cols = self.cols;
        let padded = cols.next_multiple_of(GROUP_SIZE);
        let mut weights = vec![[0.0; PANEL_ROWS]; padded];
        for (r, row) in rows.chunks_exact(cols).enumerate() {
            row.iter().zip(&mut weights).for_each(|(x, column)| column[r] = *x);
        }
        (groups.begin)(rows.iter().fold(0.0_f32, |m, v| m.max(v.abs())), out);
        let mut wanted = weights.clone();
        for (g, weights) in weights.as_chunks::<GROUP_SIZE>().0.iter().enumerate() {
            let first = g * GROUP_SIZE;
            let group = &mut wanted[first..first + GROUP_SIZE];
            group.iter_mut().flatten().for_each(|x| *x = x.max(-limit).min(limit));
            let mut importance = [1.0; GROUP_SIZE];
            importance.iter_mut().zip(&self.d[first..]).for_each(|(importance, d)| *importance = *d);
            let scales = transposed(group).each_ref().map(|row| (groups.fit)(out, row, &importance));
            let mut errors = [[0.0; PANEL_ROWS]; GROUP_SIZE];
            let n = GROUP_SIZE.min(cols - first);
            for k in 0..n {
                let stored = (groups.round)(&wanted[first + k], &scales);
                errors[k] = std::array::from_fn(|r| stored[r] - weights[k][r]);
                for j in k + 1..n {
                    take_back(&mut wanted[first + j], &errors[k], self.u[(first + k) * cols + first + j]);
                }
                wanted[first + k] = stored;
            }
            (groups.put)(out, cols, g, &scales, &transposed(&wanted[first..first + GROUP_SIZE]));
            for (j, column) in wanted[..cols].iter_mut().enumerate().skip(first + n) {
                for (k, errors) in errors.iter().enumerate() {
                    take_back(column, errors, self.u[(first + k) * cols + j]);
                }
            }
        }
    }
}

/// `column -= errors * by`.
#[inline(always)]
fn take_back(column: &mut [f32; PANEL_ROWS], errors: &[f32; PANEL_ROWS], by: f32) {
    for (x, error) in column.iter_mut().zip(errors) {
        *x -= error * by;
    }
}

/// The rows of a group of columns.
fn transposed(columns: &[[f32; PANEL_ROWS]]) -> [[f32; GROUP_SIZE]; PANEL_ROWS] {
    std::array::from_fn(|r| std::array::from_fn(|k| columns[k][r]))
}

/// Puts `D` onto the diagonal of `h` (n, n), of which the upper triangle is read, and `U` above it. Columns are eliminated from the
/// last on. The order of the operations on an element is the same on any number of threads.
fn eliminate(h: &mut [f64], n: usize) {
    let mut end = n;
    while end > 0 {
        let start = end.saturating_sub(BLOCK).next_multiple_of(BLOCK).min(end - 1);
        // The columns of the block, by those of it that come later.
        for c in (start..end).rev() {
            let d = h[c * n + c];
            // The rest of column c becomes that of U; the products with it leave the columns before it in the block.
            let column: Vec<f64> = (start..c).map(|j| h[j * n + c]).collect();
            h[..c * n].par_chunks_exact_mut(n).with_min_len(BLOCK).enumerate().for_each(|(i, row)| {
                let u = row[c] / d;
                row[c] = u;
                for j in i.max(start)..c {
                    row[j] -= u * column[j - start];
                }
            });
        }
        // The columns before the block, by all of it.
        let block: Vec<f64> =
            (start..end).flat_map(|c| (0..start).map(move |j| (c, j))).map(|(c, j)| h[j * n + c]).collect();
        let d: Vec<f64> = (start..end).map(|c| h[c * n + c]).collect();
        h[..start * n].par_chunks_exact_mut(n).with_min_len(4).enumerate().for_each(|(i, row)| {
            let (row, by) = row.split_at_mut(start);
            let row = &mut row[i..];
            let mut columns = block.chunks_exact(start.max(1)).map(|column| &column[i..]);
            let mut by = by.iter().zip(&d).map(|(u, d)| u * d);
            while let (Some(first), Some(a)) = (columns.next(), by.next()) {
                match (columns.next(), by.next()) {
                    (Some(second), Some(b)) => {
                        for ((x, first), second) in row.iter_mut().zip(first).zip(second) {
                            *x -= a * first + b * second;
                        }
                    }
                    _ => row.iter_mut().zip(first).for_each(|(x, first)| *x -= a * first),
                }
            }
        });
        end = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whit::quant::{Dtype, Encoding, encode_panel, encode_panel_for, panel_bytes, read_panel_row};

    /// Reproducible values in [-1, 1).
    fn values(n: usize, mut state: u32) -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Sums of pairs of inputs that depend on each other.
    fn sums(cols: usize) -> Vec<f32> {
        let mut h = vec![0.0; cols * cols];
        for t in 0..3 * cols {
            let x = values(cols, t as u32 * 7919 + 1);
            let x: Vec<f32> = (0..cols).map(|k| x[k] + 2.0 * x[k / 4] + x[0]).collect();
            for i in 0..cols {
                (0..cols).for_each(|j| h[i * cols + j] += x[i] * x[j]);
            }
        }
        h
    }

    #[test]
    fn the_factors_multiply_to_the_sums() {
        for cols in [1, 2, 31, 32, 33, 77] {
            let h = sums(cols);
            let mut f: Vec<f64> = h.iter().map(|x| f64::from(*x)).collect();
            eliminate(&mut f, cols);
            let u = |i: usize, k: usize| if i == k { 1.0 } else { f[i * cols + k] };
            for i in 0..cols {
                for j in i..cols {
                    let got: f64 = (j..cols).map(|k| u(i, k) * f[k * cols + k] * u(j, k)).sum();
                    let want = f64::from(h[i * cols + j]);
                    assert!((got - want).abs() < 1e-6 * (1.0 + want.abs()), "{cols} {i} {j}: {got} for {want}");
                }
            }
        }
    }

    /// `e H e^T` of a panel of one row.
    fn cost(dtype: Dtype, h: &[f32], row: &[f32], panel: &[u8]) -> f64 {
        let cols = row.len();
        let mut stored = vec![0.0; cols];
        read_panel_row(dtype, panel, 0, &mut stored);
        let e: Vec<f64> = stored.iter().zip(row).map(|(s, w)| f64::from(*s) - f64::from(*w)).collect();
        (0..cols)
            .flat_map(|i| (0..cols).map(move |j| (i, j)))
            .map(|(i, j)| e[i] * e[j] * f64::from(h[i * cols + j]))
            .sum()
    }

    #[test]
    fn outputs_are_nearer_than_with_each_weight_by_itself() {
        for dtype in [Dtype::Q4, Dtype::Q5, Dtype::Q6, Dtype::Int8] {
            let Encoding::Groups(groups) = dtype.format().encoding else { panic!("{dtype:?} has groups") };
            for cols in [40, 96] {
                let h = sums(cols);
                let factors = Factors::of(&h, cols, &[]).expect("positive");
                let diagonal: Vec<f32> = (0..cols).map(|k| h[k * cols + k]).collect();
                let mut costs = [0.0; 2];
                for seed in 0..8 {
                    let row = values(cols, seed);
                    let mut panels = [vec![0; panel_bytes(dtype, cols)], vec![0; panel_bytes(dtype, cols)]];
                    encode_panel_for(dtype, &row, cols, &diagonal, &mut panels[0]);
                    factors.encode(&groups, 100.0, &row, &mut panels[1]);
                    (0..2).for_each(|i| costs[i] += cost(dtype, &h, &row, &panels[i]));
                }
                assert!(costs[1] < 0.7 * costs[0], "{dtype:?}, {cols} columns: {costs:?}");
            }
        }
    }

    #[test]
    fn inputs_that_do_not_depend_on_each_other_change_nothing() {
        let cols = 50;
        let mut h = vec![0.0; cols * cols];
        (0..cols).for_each(|k| h[k * cols + k] = 1.0);
        let factors = Factors::of(&h, cols, &[]).expect("positive");
        for dtype in [Dtype::Q4, Dtype::Q5, Dtype::Q6, Dtype::Int8] {
            let Encoding::Groups(groups) = dtype.format().encoding else { panic!("{dtype:?} has groups") };
            let rows = values(7 * cols, 5);
            let mut panels = [vec![0; panel_bytes(dtype, cols)], vec![0; panel_bytes(dtype, cols)]];
            encode_panel(dtype, &rows, cols, &mut panels[0]);
            factors.encode(&groups, 100.0, &rows, &mut panels[1]);
            assert!(panels[0] == panels[1], "{dtype:?}");
        }
    }

    #[test]
    fn sums_that_show_nothing_have_no_factors() {
        assert!(Factors::of(&[0.0; 9], 3, &[]).is_none());
        assert!(Factors::of(&[f32::NAN; 9], 3, &[]).is_none());
        assert!(Factors::of(&[1.0, 1.0, 0.0, 1.0], 2, &[]).is_some(), "damped");
    }
}
