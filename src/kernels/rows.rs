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
            Activation::SoftPlus => by_activation!(@ $f, math::soft_plus, $body),
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

/// See [`Kernels::unit_length`](super::Kernels::unit_length).
#[inline(always)]
pub(super) fn unit_length(x: &mut [f32], dim: usize, divisor: f32) {
    for x in x.chunks_exact_mut(dim) {
        let scale = 1.0 / ((sum_of_squares(x) + LENGTH_EPS) * divisor).sqrt();
        for x in x {
            *x *= scale;
        }
    }
}

/// See [`Kernels::delta`](super::Kernels::delta).
#[inline(always)]
pub(super) fn delta(state: &mut [f32], q: &[f32], k: &[f32], v: &[f32], decay: f32, strength: f32) {
    let (rows, out) = state.split_at_mut(k.len() * v.len());
    let token = DeltaToken { q, k, v, decay, strength };
    let columns = v.len() / STATE_COLUMNS * STATE_COLUMNS;
    for start in (0..columns).step_by(STATE_COLUMNS) {
        token.columns::<STATE_COLUMNS>(rows, start, out);
    }
    for start in columns..v.len() {
        token.columns::<1>(rows, start, out);
    }
}

/// See [`Kernels::scan`](super::Kernels::scan).
#[inline(always)]
pub(super) fn scan(state: &mut [f32], c: &[f32], b: &[f32], x: &[f32], decay: f32, step: f32) {
    let (rows, out) = state.split_at_mut(b.len() * x.len());
    let token = ScanToken { c, b, x, decay, step };
    let columns = x.len() / STATE_COLUMNS * STATE_COLUMNS;
    for start in (0..columns).step_by(STATE_COLUMNS) {
        token.columns::<STATE_COLUMNS>(rows, start, out);
    }
    for start in columns..x.len() {
        token.columns::<1>(rows, start, out);
    }
}

/// See [`Kernels::selective_scan`](super::Kernels::selective_scan).
#[inline(always)]
pub(super) fn selective_scan(state: &mut [f32], rates: &[f32], c: &[f32], b: &[f32], x: &[f32], steps: &[f32]) {
    let (rows, out) = state.split_at_mut(b.len() * PANEL_ROWS);
    let (mut step, mut added, mut sums) = ([0.0; PANEL_ROWS], [0.0; PANEL_ROWS], [0.0; PANEL_ROWS]);
    step[..steps.len()].copy_from_slice(steps);
    for ((added, step), x) in added.iter_mut().zip(step).zip(x) {
        *added = step * x;
    }
    let (rows, _) = rows.as_chunks_mut::<PANEL_ROWS>();
    let (rates, _) = rates.as_chunks::<PANEL_ROWS>();
    for (((row, rates), &b), &c) in rows.iter_mut().zip(rates).zip(b).zip(c) {
        for ((((s, rate), step), added), sum) in row.iter_mut().zip(rates).zip(step).zip(added).zip(&mut sums) {
            *s = *s * math::exp(step * rate) + b * added;
            *sum += *s * c;
        }
    }
    out.copy_from_slice(&sums);
}

/// What is added to the squared length of a vector of unit length.
const LENGTH_EPS: f32 = 1e-6;
/// Columns of a state that are computed together: their sums and corrections fit into registers.
const STATE_COLUMNS: usize = 32;

/// What a head meets at a token.
struct DeltaToken<'t> {
    q: &'t [f32],
    k: &'t [f32],
    v: &'t [f32],
    decay: f32,
    strength: f32,
}

impl DeltaToken<'_> {
    /// The columns from `start` on.
    #[inline(always)]
    fn columns<const N: usize>(&self, rows: &mut [f32], start: usize, out: &mut [f32]) {
        let width = self.v.len();
        let mut found = [0.0; N];
        for (row, &k) in rows.chunks_exact_mut(width).zip(self.k) {
            let Some(row) = row[start..].first_chunk_mut::<N>() else { continue };
            for (s, sum) in row.iter_mut().zip(&mut found) {
                *s *= self.decay;
                *sum += *s * k;
            }
        }
        let mut correction = [0.0; N];
        for ((c, found), v) in correction.iter_mut().zip(found).zip(&self.v[start..]) {
            *c = (v - found) * self.strength;
        }
        let mut sums = [0.0; N];
        for ((row, &k), &q) in rows.chunks_exact_mut(width).zip(self.k).zip(self.q) {
            let Some(row) = row[start..].first_chunk_mut::<N>() else { continue };
            for ((s, c), sum) in row.iter_mut().zip(correction).zip(&mut sums) {
                *s += k * c;
                *sum += *s * q;
            }
        }
        out[start..start + N].copy_from_slice(&sums);
    }
}

/// What a head of a state space meets at a token.
struct ScanToken<'t> {
    c: &'t [f32],
    b: &'t [f32],
    x: &'t [f32],
    decay: f32,
    step: f32,
}

impl ScanToken<'_> {
    /// The columns from `start` on.
    #[inline(always)]
    fn columns<const N: usize>(&self, rows: &mut [f32], start: usize, out: &mut [f32]) {
        let mut added = [0.0; N];
        for (added, x) in added.iter_mut().zip(&self.x[start..]) {
            *added = self.step * x;
        }
        let mut sums = [0.0; N];
        for ((row, &b), &c) in rows.chunks_exact_mut(self.x.len()).zip(self.b).zip(self.c) {
            let Some(row) = row[start..].first_chunk_mut::<N>() else { continue };
            for ((s, added), sum) in row.iter_mut().zip(added).zip(&mut sums) {
                *s = *s * self.decay + b * added;
                *sum += *s * c;
            }
        }
        out[start..start + N].copy_from_slice(&sums);
    }
}
