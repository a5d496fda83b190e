//! What the rows and the columns of a tensor are multiplied by on the way into a file: powers of two, so that nothing is rounded.

/// Powers of two for one tensor; the default: none.
#[derive(Debug, Clone, Default)]
pub(super) struct Scales {
    /// For each row of a matrix, each element of a vector; empty: 1.
    pub(super) rows: Vec<f32>,
    /// For each column of a matrix; empty: 1.
    pub(super) cols: Vec<f32>,
}

impl Scales {
    /// Multiplies a vector.
    pub(super) fn scale_vector(&self, values: &mut [f32]) {
        values.iter_mut().zip(&self.rows).for_each(|(x, scale)| *x *= scale);
    }

    /// Multiplies the rows of a matrix from `row` on, (n, cols).
    pub(super) fn scale_rows(&self, row: usize, cols: usize, values: &mut [f32]) {
        self.each(row, cols, values, |x, scale| *x *= scale);
    }

    /// The rows as they were before.
    pub(super) fn unscale_rows(&self, row: usize, cols: usize, values: &mut [f32]) {
        self.each(row, cols, values, |x, scale| *x /= scale);
    }

    fn each(&self, row: usize, cols: usize, values: &mut [f32], change: fn(&mut f32, f32)) {
        if let Some(scales) = self.rows.get(row..) {
            let lines = values.chunks_exact_mut(cols);
            lines.zip(scales).for_each(|(line, scale)| line.iter_mut().for_each(|x| change(x, *scale)));
        }
        if !self.cols.is_empty() {
            let lines = values.chunks_exact_mut(cols);
            lines.for_each(|line| line.iter_mut().zip(&self.cols).for_each(|(x, scale)| change(x, *scale)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_are_multiplied_and_come_back() {
        let scales = Scales { rows: vec![2.0, 0.5, 4.0], cols: vec![1.0, 8.0] };
        let (want, mut got) = ([1.5, 16.0, 24.0, 320.0], [3.0, 4.0, 6.0, 10.0]);
        scales.scale_rows(1, 2, &mut got);
        assert_eq!(got, want);
        scales.unscale_rows(1, 2, &mut got);
        assert_eq!(got, [3.0, 4.0, 6.0, 10.0]);
        let mut vector = [1.0, 3.0, 5.0];
        scales.scale_vector(&mut vector);
        assert_eq!(vector, [2.0, 1.5, 20.0]);
        Scales::default().scale_rows(7, 2, &mut got);
        Scales::default().scale_vector(&mut vector);
        assert_eq!((got, vector), ([3.0, 4.0, 6.0, 10.0], [2.0, 1.5, 20.0]));
    }
}
