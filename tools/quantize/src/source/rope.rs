//! Rotary frequencies, in the f32 arithmetic in which Hugging Face transformers computes them.

/// Rotary positions of heads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    /// Radians per position of each pair of a head, first those that turn.
    pub(crate) freqs: Vec<f32>,
    /// Elements of a head that turn: twice as many as pairs.
    pub(crate) turning: usize,
    /// Positions for which these frequencies hold.
    pub(crate) context_length: usize,
    /// What the turned queries and the turned keys are multiplied by.
    pub(crate) attention_factor: f64,
}

impl Rotary {
    /// The first `dim` elements of heads of `head_dim` turn by the frequencies of heads of `dim`, in a `context`.
    pub(crate) fn of_part(dim: usize, head_dim: usize, theta: f64, context: usize) -> Self {
        let mut freqs = frequencies(dim, theta);
        let turning = 2 * freqs.len();
        freqs.resize(head_dim / 2, 0.0);
        Rotary { freqs, turning, context_length: context, attention_factor: 1.0 }
    }

    /// The frequencies of the pairs that turn.
    pub(crate) fn turning_freqs(&mut self) -> &mut [f32] {
        &mut self.freqs[..self.turning / 2]
    }

    /// The frequencies hold for `original` positions alone, as `why` says, which the user is told where there would be more.
    pub(crate) fn keep_within(&mut self, original: f64, why: &str, notes: &mut Vec<String>) {
        let context = self.context_length;
        if original < context as f64 {
            self.context_length = original as usize;
            notes.push(format!("the model is made for {original} positions, within which {why}, not for {context}"));
        }
    }
}

/// `theta^(-2i / dim)` for the pairs i of `dim` elements.
pub(crate) fn frequencies(dim: usize, theta: f64) -> Vec<f32> {
    let theta = f64::from(theta as f32);
    let exponent = |i: usize| (2 * i) as f32 / dim as f32;
    (0..dim.div_ceil(2)).map(|i| 1.0 / theta.powf(f64::from(exponent(i))) as f32).collect()
}

/// Positions are divided by `factor`.
pub(crate) fn scale_linear(freqs: &mut [f32], factor: f64) {
    freqs.iter_mut().for_each(|f| *f /= factor as f32);
}

/// The parameters of Llama 3's scaling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Llama3 {
    pub(crate) factor: f64,
    pub(crate) low_freq_factor: f64,
    pub(crate) high_freq_factor: f64,
    pub(crate) original_context: f64,
}

/// Llama 3: long waves are divided by `factor`, short ones kept, those between interpolated.
pub(crate) fn scale_llama3(freqs: &mut [f32], scaling: Llama3) {
    let (factor, context) = (scaling.factor as f32, scaling.original_context as f32);
    let (low, high) = (scaling.low_freq_factor as f32, scaling.high_freq_factor as f32);
    let longest = (scaling.original_context / scaling.low_freq_factor) as f32;
    let shortest = (scaling.original_context / scaling.high_freq_factor) as f32;
    for f in freqs {
        let wave = 2.0 * std::f32::consts::PI / *f;
        if wave > longest {
            *f /= factor;
        } else if wave >= shortest {
            let smooth = (context / wave - low) / (high - low);
            *f = (1.0 - smooth) * *f / factor + smooth * *f;
        }
    }
}

/// The parameters of YaRN.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Yarn {
    pub(crate) theta: f64,
    pub(crate) factor: f64,
    /// Pairs that turn more often than this in the original context are kept.
    pub(crate) beta_fast: f64,
    /// Pairs that turn less often than this in the original context are divided.
    pub(crate) beta_slow: f64,
    pub(crate) original_context: f64,
    /// The first and the last pair between the two are whole numbers.
    pub(crate) truncate: bool,
}

/// YaRN (Peng et al. 2023): long waves are divided by `factor`, short ones kept, those between interpolated by their place.
pub(crate) fn scale_yarn(freqs: &mut [f32], scaling: Yarn) {
    let dim = 2.0 * freqs.len() as f64;
    let pair_that_turns = |times: f64| {
        dim * (scaling.original_context / (times * std::f64::consts::TAU)).ln() / (2.0 * scaling.theta.ln())
    };
    let (mut first, mut last) = (pair_that_turns(scaling.beta_fast), pair_that_turns(scaling.beta_slow));
    if scaling.truncate {
        (first, last) = (first.floor(), last.ceil());
    }
    (first, last) = (first.max(0.0), last.min(dim - 1.0));
    if first == last {
        last += 0.001;
    }
    for (i, f) in freqs.iter_mut().enumerate() {
        let divided = ((i as f64 - first) / (last - first)).clamp(0.0, 1.0) as f32;
        *f = *f / scaling.factor as f32 * divided + *f * (1.0 - divided);
    }
}

/// YaRN's temperature of attention for a context that is `scale` times the original, weighted by `mscale`.
pub(crate) fn yarn_attention(scale: f64, mscale: f64) -> f64 {
    if scale <= 1.0 { 1.0 } else { 0.1 * mscale * scale.ln() + 1.0 }
}

/// LongRoPE (Ding et al. 2024): each frequency is divided by a factor of its own.
pub(crate) fn scale_each(freqs: &mut [f32], factors: &[f64]) {
    freqs.iter_mut().zip(factors).for_each(|(f, factor)| *f /= *factor as f32);
}

/// LongRoPE's factor of attention for a context that is `scale` times the `original`.
pub(crate) fn longrope_attention(scale: f64, original: f64) -> f64 {
    if scale <= 1.0 { 1.0 } else { (1.0 + scale.ln() / original.ln()).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_from_one() {
        let freqs = frequencies(8, 10000.0);
        assert_eq!(freqs[0], 1.0);
        for (f, want) in freqs.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((f - want).abs() < 1e-8, "{f} {want}");
        }
    }

    /// Values of transformers' `_compute_llama3_parameters` for Llama 3.2 1B.
    #[test]
    fn llama3_keeps_short_waves_and_divides_long_ones() {
        let mut freqs = frequencies(64, 500_000.0);
        let plain = freqs.clone();
        let scaling = Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192.0 };
        scale_llama3(&mut freqs, scaling);
        assert_eq!(freqs[..15], plain[..15]);
        assert_eq!(freqs[31], plain[31] / 32.0);
        assert!(freqs[17] < plain[17] && freqs[17] > plain[17] / 32.0);
    }

    /// Values of transformers' `_compute_yarn_parameters` for Qwen3 8B with a factor of 4, and for heads of 64 whose range is not
    /// cut to whole pairs.
    #[test]
    fn yarn_keeps_short_waves_and_divides_long_ones() {
        let scaling = Yarn {
            theta: 1e6,
            factor: 4.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_context: 32768.0,
            truncate: true,
        };
        let check = |head_dim, scaling: Yarn, want: &[(usize, f32)]| {
            let mut freqs = frequencies(head_dim, scaling.theta);
            scale_yarn(&mut freqs, scaling);
            for (i, f) in want {
                assert!((freqs[*i] / f - 1.0).abs() < 3e-6, "{i}: {} {f}", freqs[*i]);
            }
        };
        let qwen3 = [(0, 1.0), (20, 0.013335215), (24, 0.0053753215), (30, 0.00106436), (39, 6.49039e-5)];
        check(128, scaling, &qwen3);
        check(128, scaling, &[(40, 4.4456985e-5), (63, 3.1023443e-7)]);
        let uncut = Yarn { theta: 150_000.0, factor: 32.0, original_context: 4096.0, truncate: false, ..scaling };
        check(64, uncut, &[(0, 1.0), (8, 0.050813273), (9, 0.031705696), (12, 0.006794959), (17, 0.0001293187)]);
        assert!((yarn_attention(4.0, 1.0) - 1.138629436).abs() < 1e-9);
        assert_eq!(yarn_attention(1.0, 1.0), 1.0);
    }
}
