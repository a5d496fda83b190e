//! RMSNorm and LayerNorm, each over the last dimension, with the fixed 16-lane sums.

use crate::kernels::lanes::{sum, sum_by, sum_of_squares};

/// `y = x / sqrt(mean(x^2) + eps) * weight` for each row of `x` and `y` (T, dim); `weight` (dim).
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    check(x, weight);
    assert_eq!(x.len(), y.len(), "inputs and outputs");
    let dim = weight.len();
    for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)) {
        let r = inverse_rms(x, eps);
        for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
            *y = (x * r) * w;
        }
    }
}

/// [`rms_norm`] with `y` in the place of `x` (.., dim): the q and k norms, where dim is head_dim.
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    check(x, weight);
    for x in x.chunks_exact_mut(weight.len()) {
        let r = inverse_rms(x, eps);
        for (x, &w) in x.iter_mut().zip(weight) {
            *x = (*x * r) * w;
        }
    }
}

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias` for each row of `x` and `y` (T, dim); `weight`, `bias` (dim).
pub fn layer_norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, y: &mut [f32]) {
    check(x, weight);
    assert_eq!(x.len(), y.len(), "inputs and outputs");
    let dim = weight.len();
    assert!(bias.is_none_or(|bias| bias.len() == dim), "the bias of a norm of {dim}");
    for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)) {
        let mean = sum(x) / dim as f32;
        let variance = sum_by(x, |v| (v - mean) * (v - mean)) / dim as f32;
        let r = 1.0 / (variance + eps).sqrt();
        for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
            *y = ((x - mean) * r) * w;
        }
        if let Some(bias) = bias {
            super::add(y, bias);
        }
    }
}

fn check(x: &[f32], weight: &[f32]) {
    assert!(!weight.is_empty() && x.len().is_multiple_of(weight.len()), "{} inputs, norm of {}", x.len(), weight.len());
}

/// `1 / sqrt(mean(x^2) + eps)`.
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of_squares(x) / x.len() as f32 + eps).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 1013) as f32 - 500.0) / 300.0).collect()
    }

    #[test]
    fn norms_match_their_formulas_in_f64() {
        for dim in [1, 15, 16, 33, 576] {
            let x = values(2 * dim);
            let (weight, bias) = (values(dim), values(dim));
            let mut rms = vec![f32::NAN; 2 * dim];
            let mut layer = rms.clone();
            rms_norm(&x, &weight, 1e-5, &mut rms);
            layer_norm(&x, &weight, Some(&bias), 1e-5, &mut layer);
            let mut in_place = x.clone();
            rms_norm_in_place(&mut in_place, &weight, 1e-5);
            assert_eq!(rms, in_place);
            for t in 0..2 {
                let row: Vec<f64> = x[t * dim..][..dim].iter().map(|&v| f64::from(v)).collect();
                let mean = row.iter().sum::<f64>() / dim as f64;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / dim as f64;
                let square = row.iter().map(|v| v * v).sum::<f64>() / dim as f64;
                for i in 0..dim {
                    let want = row[i] / (square + 1e-5).sqrt() * f64::from(weight[i]);
                    assert!((f64::from(rms[t * dim + i]) - want).abs() < 1e-5);
                    let want = (row[i] - mean) / (variance + 1e-5).sqrt() * f64::from(weight[i]) + f64::from(bias[i]);
                    assert!((f64::from(layer[t * dim + i]) - want).abs() < 1e-4, "{dim}");
                }
            }
        }
    }
}
