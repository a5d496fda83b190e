//! What a run measures, a row each.

/// What a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A prompt of so many tokens, and the logits after its last.
    Prefill {
        /// Tokens of the prompt.
        n_tokens: usize,
    },
    /// Tokens one by one.
    Decode {
        /// Tokens in the cache before the first.
        depth: usize,
    },
    /// Tokens of some texts, one of each in every pass, from the beginnings of the texts on.
    Texts {
        /// How many texts.
        n_texts: usize,
    },
}

/// Median and extremes of a row's samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `values`, which it sorts; `None` of nothing.
    pub fn of(values: &mut [f64]) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max, middle) = (*values.first()?, *values.last()?, values.len() / 2);
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { min, median, max })
    }

    /// Half of the distance between the extremes, as a share of the median.
    pub fn deviation(&self) -> f64 {
        (self.max - self.min) / 2.0 / self.median
    }

    /// How far the median lies from the least, as a share of the least. Of the times of many passes one may be long by chance, and
    /// says nothing; a median that is long says that most were.
    pub fn spread(&self) -> f64 {
        self.median / self.min - 1.0
    }
}

/// One measured line.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name of the kernels, as [`Compute::name`](crate::compute::Compute::name) gives it.
    pub kernels: String,
    /// Number of threads.
    pub threads: usize,
    /// What was measured.
    pub work: Work,
    /// Tokens a second.
    pub rate: Spread,
    /// Multiply-adds with weights, for each token on average.
    pub macs: f64,
    /// Bytes of weights, and of keys and values in a decode, for each token on average.
    pub bytes: f64,
    /// What the machine can do at most; `None` where it was not measured.
    pub limits: Option<RowLimits>,
}

/// The limits of a machine that a row is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowLimits {
    /// Bytes read a second.
    pub read: f64,
    /// Multiply-adds a second, of the kind that most weights want.
    pub macs: f64,
}

impl Row {
    /// Multiply-adds a second.
    pub fn macs_per_second(&self) -> f64 {
        self.macs * self.rate.median
    }

    /// Bytes read a second.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes * self.rate.median
    }

    /// What was reached of the bytes that can be read, 0 to about 1.
    pub fn share_of_read(&self) -> Option<f64> {
        self.limits.map(|limits| self.bytes_per_second() / limits.read)
    }

    /// What was reached of the multiply-adds, 0 to about 1.
    pub fn share_of_macs(&self) -> Option<f64> {
        self.limits.map(|limits| self.macs_per_second() / limits.macs)
    }

    /// What was reached of the limit that this work is held against: multiply-adds for a prefill, bytes read for a decode; of
    /// texts that are decoded together, the one that is closer.
    pub fn share(&self) -> Option<f64> {
        match self.work {
            Work::Prefill { .. } => self.share_of_macs(),
            Work::Decode { .. } => self.share_of_read(),
            Work::Texts { .. } => Some(self.share_of_read()?.max(self.share_of_macs()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_of_few_values() {
        assert_eq!(Spread::of(&mut []), None);
        let spread = |values: &mut [f64]| Spread::of(values).expect("values");
        assert_eq!(spread(&mut [2.0]), Spread { min: 2.0, median: 2.0, max: 2.0 });
        assert_eq!(spread(&mut [3.0, 1.0, 8.0]), Spread { min: 1.0, median: 3.0, max: 8.0 });
        let even = spread(&mut [4.0, 1.0, 2.0, 8.0]);
        assert_eq!(even, Spread { min: 1.0, median: 3.0, max: 8.0 });
        assert!((even.deviation() - 3.5 / 3.0).abs() < 1e-12);
        assert!((even.spread() - 2.0).abs() < 1e-12);
    }
}
