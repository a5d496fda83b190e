//! Kernels that treat each row or element by itself, written once in plain Rust: a backend can compile them for its
//! instruction set.
//!
//! Sums go through [`lanes`](super::lanes), so that vectors of any width give the same bits. Shapes are checked by the
//! ops that call these.

use super::backend::Activation;
use super::lanes::{sum, sum_by, sum_of_squares};
use super::math;
#[cfg(not(feature = "std"))]
use super::soft::Soft;
use crate::quant::PANEL_ROWS;

/// Compiles `body`, in which `f` is the function of an activation, for each of them.
macro_rules! by_activation {
    ($activation:expr, |$f:ident| $body:block) => {
        match $activation {
            Activation::GeluTanh => by_activation!(@ $f, math::gelu_tanh, $body),
            Activation::Gelu => by_activation!(@ $f, math::gelu, $body),
            Activation::QuickGelu => by_activation!(@ $f, math::quick_gelu, $body),
            Activation::Relu => by_activation!(@ $f, math::relu, $body),
            Activation::ReluSquared => by_activation!(@ $f, math::relu_squared, $body),
            Activation::Silu => by_activation!(@ $f, math::silu, $body),
            Activation::Sigmoid => by_activation!(@ $f, math::sigmoid, $body),
            Activation::Tanh => by_activation!(@ $f, math::tanh, $body),
        }
    };
    (@ $f:ident, $function:path, $body:block) => {{
        let $f = $function;
        $body
    }};
}

/// See [`Kernels::rms_norm`](super::Kernels::rms_norm).
#[inline(always)]
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    for (x, y) in x.chunks_exact(weight.len()).zip(y.chunks_exact_mut(weight.len())) {
        let r = inverse_rms(x, eps);
        for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
            *y = (x * r) * w;
        }
    }
}

/// See [`Kernels::rms_norm_in_place`](super::Kernels::rms_norm_in_place).
#[inline(always)]
pub(super) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    for x in x.chunks_exact_mut(weight.len()) {
        let r = inverse_rms(x, eps);
        for (x, &w) in x.iter_mut().zip(weight) {
            *x = (*x * r) * w;
        }
    }
}

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of_squares(x) / x.len() as f32 + eps).sqrt()
}

/// See [`Kernels::layer_norm`](super::Kernels::layer_norm).
#[inline(always)]
pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let dim = weight.len();
    for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)) {
        let mean = sum(x) / dim as f32;
        let variance = sum_by(x, |v| (v - mean) * (v - mean)) / dim as f32;
        let r = 1.0 / (variance + eps).sqrt();
        for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = ((x - mean) * r) * w + b;
        }
    }
}

/// See [`Kernels::gate`](super::Kernels::gate).
#[inline(always)]
pub(super) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    by_activation!(activation, |f| {
        for (g, &u) in gate.iter_mut().zip(up) {
            *g = f(*g) * u;
        }
    });
}

/// See [`Kernels::activate`](super::Kernels::activate).
#[inline(always)]
pub(super) fn activate(activation: Activation, x: &mut [f32]) {
    by_activation!(activation, |f| {
        for v in x {
            *v = f(*v);
        }
    });
}

/// See [`Kernels::soft_cap`](super::Kernels::soft_cap).
#[inline(always)]
pub(super) fn soft_cap(x: &mut [f32], cap: f32) {
    for v in x {
        *v = math::soft_cap(*v, cap);
    }
}

/// See [`Kernels::add`](super::Kernels::add).
#[inline(always)]
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// See [`Kernels::rope`](super::Kernels::rope).
#[inline(always)]
pub(super) fn rope(x: &mut [f32], angles: &[f32], head_dim: usize) {
    let n_tokens = angles.len() / head_dim;
    let width = x.len() / n_tokens.max(1);
    for (x, angles) in x.chunks_exact_mut(width.max(1)).zip(angles.chunks_exact(head_dim)) {
        let (cos, sin) = angles.split_at(head_dim / 2);
        for head in x.chunks_exact_mut(head_dim) {
            let (a, b) = head.split_at_mut(head_dim / 2);
            for (((a, b), &c), &s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }
}

/// See [`Kernels::conv`](super::Kernels::conv).
#[inline(always)]
pub(super) fn conv(panels: &[f32], width: usize, inputs: &[&[f32]], out: &mut [f32]) {
    let (panels, _) = panels.as_chunks::<PANEL_ROWS>();
    for (i, (panel, out)) in panels.chunks_exact(width).zip(out.chunks_mut(PANEL_ROWS)).enumerate() {
        let mut sums = [0.0; PANEL_ROWS];
        for (weights, input) in panel[width - inputs.len()..].iter().zip(inputs) {
            let x = &input[i * PANEL_ROWS..][..out.len()];
            match x.first_chunk::<PANEL_ROWS>() {
                Some(x) => add_products(&mut sums, weights, x),
                None => add_products(&mut sums, weights, x),
            }
        }
        out.copy_from_slice(&sums[..out.len()]);
    }
}

#[inline(always)]
fn add_products(sums: &mut [f32; PANEL_ROWS], weights: &[f32; PANEL_ROWS], x: &[f32]) {
    for ((sum, &w), &x) in sums.iter_mut().zip(weights).zip(x) {
        *sum += w * x;
    }
}
