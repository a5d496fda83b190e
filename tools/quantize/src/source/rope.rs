//! Rotary frequencies, in the f32 arithmetic in which Hugging Face transformers computes them.

/// `theta^(-2i / head_dim)` for i in 0..head_dim / 2.
pub(crate) fn frequencies(head_dim: usize, theta: f64) -> Vec<f32> {
    let theta = f64::from(theta as f32);
    let exponent = |i: usize| (2 * i) as f32 / head_dim as f32;
    (0..head_dim / 2).map(|i| 1.0 / theta.powf(f64::from(exponent(i))) as f32).collect()
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
}
