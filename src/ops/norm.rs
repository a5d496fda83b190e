//! RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba et al. 2016), each over the last dimension.

use crate::compute::Compute;

/// Elements below which a part is not worth a thread: some microseconds of work.
const MIN_ELEMENTS: usize = 1 << 14;

/// A norm over rows of `weight.len()` elements: LayerNorm where there is a bias, else RMSNorm.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// (dim), not empty.
    pub weight: &'a [f32],
    /// (dim), where there is one.
    pub bias: Option<&'a [f32]>,
    /// What is added to the mean square or the variance.
    pub eps: f32,
}

/// `y` = the norm of each row of `x`, both (T, dim).
///
/// RMSNorm: `x / sqrt(mean(x^2) + eps) * weight`; LayerNorm: `(x - mean) / sqrt(variance + eps) * weight + bias`.
pub fn norm(compute: &Compute, x: &[f32], norm: &Norm<'_>, y: &mut [f32]) {
    let Norm { weight, bias, eps } = *norm;
    let dim = weight.len();
    check(x, weight);
    assert_eq!(x.len(), y.len(), "inputs and outputs");
    assert!(bias.is_none_or(|bias| bias.len() == dim), "the bias of a norm of {dim}");
    if x.is_empty() {
        return;
    }
    let all = y.len();
    compute.threads.run_columns(y, all, dim, MIN_ELEMENTS.div_ceil(dim), &|tokens, mut columns| {
        let (x, y) = (&x[tokens.start * dim..tokens.end * dim], columns.row(0));
        match bias {
            Some(bias) => (compute.kernels.layer_norm)(x, weight, bias, eps, y),
            None => (compute.kernels.rms_norm)(x, weight, eps, y),
        }
    });
}

/// RMSNorm with the result in the place of `x` (.., dim), `weight` (dim): the q and k norms, where dim is head_dim.
pub fn rms_norm_in_place(compute: &Compute, x: &mut [f32], weight: &[f32], eps: f32) {
    check(x, weight);
    (compute.kernels.rms_norm_in_place)(x, weight, eps);
}

/// `y` = the norm of each part of `dim` elements of `x`, both (T, n, dim), the i-th of a row by the weights and biases i of `norm`,
/// (n, dim) each: LayerNorms of heads.
pub fn norm_of_each(compute: &Compute, x: &[f32], dim: usize, norm: &Norm<'_>, y: &mut [f32]) {
    check(x, norm.weight);
    assert!(dim > 0 && norm.weight.len().is_multiple_of(dim), "{} weights for parts of {dim}", norm.weight.len());
    assert_eq!(x.len(), y.len(), "inputs and outputs");
    let parts = x.chunks_exact(dim).zip(y.chunks_exact_mut(dim));
    let places = (0..norm.weight.len()).step_by(dim).cycle();
    for ((x, y), at) in parts.zip(places) {
        let weight = &norm.weight[at..at + dim];
        match norm.bias {
            Some(bias) => (compute.kernels.layer_norm)(x, weight, &bias[at..at + dim], norm.eps, y),
            None => (compute.kernels.rms_norm)(x, weight, norm.eps, y),
        }
    }
}

fn check(x: &[f32], weight: &[f32]) {
    assert!(!weight.is_empty() && x.len().is_multiple_of(weight.len()), "{} inputs, norm of {}", x.len(), weight.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 1013) as f32 - 500.0) / 300.0).collect()
    }

    #[test]
    fn each_part_has_weights_of_its_own() {
        let compute = Compute::new(kernels::detect(), 1).expect("threads");
        let (x, weight, bias) = (values(2 * 3 * 5), values(15), values(15));
        for bias in [None, Some(&bias[..])] {
            let mut y = vec![f32::NAN; x.len()];
            norm_of_each(&compute, &x, 5, &Norm { weight: &weight, bias, eps: 1e-5 }, &mut y);
            for (i, (x, y)) in x.chunks(5).zip(y.chunks(5)).enumerate() {
                let part = i % 3 * 5..i % 3 * 5 + 5;
                let of = Norm { weight: &weight[part.clone()], bias: bias.map(|bias| &bias[part]), eps: 1e-5 };
                let mut want = [f32::NAN; 5];
                norm(&compute, x, &of, &mut want);
                assert_eq!(y, want);
            }
        }
    }

    #[test]
    fn norms_match_their_formulas_in_f64() {
        let compute = Compute::new(kernels::detect(), 2).expect("threads");
        for dim in [1, 15, 16, 33, 576] {
            let x = values(2 * dim);
            let (weight, bias) = (values(dim), values(dim));
            let mut rms = vec![f32::NAN; 2 * dim];
            let mut layer = rms.clone();
            norm(&compute, &x, &Norm { weight: &weight, bias: None, eps: 1e-5 }, &mut rms);
            norm(&compute, &x, &Norm { weight: &weight, bias: Some(&bias), eps: 1e-5 }, &mut layer);
            let mut in_place = x.clone();
            rms_norm_in_place(&compute, &mut in_place, &weight, 1e-5);
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
