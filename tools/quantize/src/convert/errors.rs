//! The errors of a tensor against the values of the checkpoint.

use whit::format::TensorErrors;

/// Sums for the errors of a tensor, in f64.
#[derive(Default)]
pub(super) struct Errors {
    n: u64,
    squared: f64,
    signal: f64,
    max: f64,
}

impl Errors {
    pub(super) fn add(&mut self, want: &[f32], got: &[f32]) {
        self.n += want.len() as u64;
        for (w, g) in want.iter().zip(got) {
            let (w, e) = (f64::from(*w), f64::from(*g) - f64::from(*w));
            self.squared += e * e;
            self.signal += w * w;
            self.max = self.max.max(e.abs());
        }
    }

    pub(super) fn merge(&mut self, other: &Errors) {
        self.n += other.n;
        self.squared += other.squared;
        self.signal += other.signal;
        self.max = self.max.max(other.max);
    }

    pub(super) fn finish(self) -> TensorErrors {
        let n = self.n as f64;
        TensorErrors {
            rms: (self.squared / n).sqrt() as f32,
            max: self.max as f32,
            signal_rms: (self.signal / n).sqrt() as f32,
        }
    }
}
