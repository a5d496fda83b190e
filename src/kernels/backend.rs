//! What a backend is: a table of kernels, and the CPU features without which they must not run.

use super::{Group, Hint, KvHead, KvHeadInt8, KvHeadQ4, Peaks, ProductTable, Query};
use alloc::vec::Vec;

/// `fn(x, weight, bias, eps, y)`, see [`Kernels::layer_norm`].
pub type LayerNorm = fn(&[f32], &[f32], &[f32], f32, &mut [f32]);

/// `fn(panels, width, inputs, out)`, see [`Kernels::conv`].
pub type Conv = fn(&[f32], usize, &[&[f32]], &mut [f32]);

/// `fn(state, q, k, v, decay, strength)`, see [`Kernels::delta`].
pub type Delta = fn(&mut [f32], &[f32], &[f32], &[f32], f32, f32);

/// `fn(state, c, b, x, decay, step)`, see [`Kernels::scan`].
pub type Scan = fn(&mut [f32], &[f32], &[f32], &[f32], f32, f32);

/// `fn(state, rates, c, b, x, steps)`, see [`Kernels::selective_scan`].
pub type SelectiveScan = fn(&mut [f32], &[f32], &[f32], &[f32], &[f32], &[f32]);

/// The kernels of one backend. Shapes: `n` tokens; `groups = ceil(cols / 32)`.
pub struct Kernels {
    /// The name, as `--kernels` takes it.
    pub name: &'static str,
    /// Quantizes the rows of `x` (n, cols) into `out` (groups, n): groups outermost, as the products read them.
    pub quantize: fn(x: &[f32], cols: usize, out: &mut [Group]),
    /// The products of each weight format.
    pub products: ProductTable,
    /// Attention of up to [`QUERY_ROWS`](super::QUERY_ROWS) queries, in the order of their tokens, over one KV head that is
    /// kept as halves.
    pub attend_f16: fn(queries: &mut [Query<'_>], head: &KvHead<'_, u16>, hint: Hint),
    /// The same over one KV head that is kept as f32.
    pub attend_f32: fn(queries: &mut [Query<'_>], head: &KvHead<'_, f32>, hint: Hint),
    /// The same over one KV head that is kept as int8.
    pub attend_int8: fn(queries: &mut [Query<'_>], head: &KvHeadInt8<'_>, hint: Hint),
    /// The same over one KV head that is kept in 6 and 4 bits.
    pub attend_q4: fn(queries: &mut [Query<'_>], head: &KvHeadQ4<'_>, hint: Hint),
    /// `y = x / sqrt(mean(x^2) + eps) * weight` for each row of `x` and `y` (n, dim); `weight` (dim).
    pub rms_norm: fn(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]),
    /// [`rms_norm`](Self::rms_norm) with `y` in the place of `x`.
    pub rms_norm_in_place: fn(x: &mut [f32], weight: &[f32], eps: f32),
    /// `y = (x - mean) / sqrt(variance + eps) * weight + bias` for each row of `x` and `y` (n, dim); `weight`, `bias`
    /// (dim).
    pub layer_norm: LayerNorm,
    /// `gate[i] = activation(gate[i]) * up[i]`.
    pub gate: fn(activation: Activation, gate: &mut [f32], up: &[f32]),
    /// `x[i] = activation(x[i])`.
    pub activate: fn(activation: Activation, x: &mut [f32]),
    /// `x[i] = cap * tanh(x[i] / cap)`.
    pub soft_cap: fn(x: &mut [f32], cap: f32),
    /// `x[i] += y[i]`.
    pub add: fn(x: &mut [f32], y: &[f32]),
    /// A convolution of each channel by itself, at one token: `out[c] = sum over j of w[c][width - n + j] * inputs[j][c]`, from 0
    /// and in order; `inputs` (n, channels), the oldest first, n being 1 to `width`; `out` (channels); `panels` (channels, width) in
    /// panels of f32.
    pub conv: Conv,
    /// `x / sqrt((sum of x * x + 1e-6) * divisor)` in the place of each row `x` (n, dim).
    pub unit_length: fn(x: &mut [f32], dim: usize, divisor: f32),
    /// The gated delta rule of a head at one token. `state` is a matrix S (key_dim, value_dim), then a row for what the head gives;
    /// `q`, `k` (key_dim), `v` (value_dim): `S = S * decay; c = (v - S^T k) * strength; S = S + k c^T;` then the row is `S^T q`.
    pub delta: Delta,
    /// A state space of a head at one token (Dao and Gu 2024). `state` is a matrix S (state_dim, head_dim), then a row for what the
    /// head gives; `c`, `b` (state_dim), `x` (head_dim): `S = S * decay + b (step * x)^T`, then the row is `S^T c`.
    pub scan: Scan,
    /// The state spaces of up to 16 channels at one token (Gu and Dao 2023). `state` is a matrix S (state_dim, 16), then a row for what
    /// they give; `rates` (state_dim, 16) is a panel of f32; `c`, `b` (state_dim); `x`, `steps` (channels):
    /// `S[i][j] = S[i][j] * exp(steps[j] * rates[i][j]) + b[i] * (steps[j] * x[j])`, then the row is `S^T c`.
    pub selective_scan: SelectiveScan,
    /// Turns every head of `x` (n, n_heads, head_dim) by the angles of its token, `[cos][sin]` of (n, head_dim).
    pub rope: fn(x: &mut [f32], angles: &[f32], head_dim: usize),
    /// The peaks that `whit bench` compares the products with.
    pub peaks: &'static Peaks,
}

/// A function of one number that stands between the matrices of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU by its tanh form (Hendrycks and Gimpel 2016).
    GeluTanh,
    /// GELU by its exact form, with the error function.
    Gelu,
    /// GELU by the logistic function.
    QuickGelu,
    /// The larger of a number and 0.
    Relu,
    /// Its square (So et al. 2021).
    ReluSquared,
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `ln(1 + exp(x))`.
    SoftPlus,
}

impl Activation {
    /// The name, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Activation::GeluTanh => "gelu_tanh",
            Activation::Gelu => "gelu",
            Activation::QuickGelu => "quick_gelu",
            Activation::Relu => "relu",
            Activation::ReluSquared => "relu2",
            Activation::Silu => "silu",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::SoftPlus => "softplus",
        }
    }

    /// All of them.
    pub const ALL: [Activation; 9] = [
        Activation::GeluTanh,
        Activation::Gelu,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::ReluSquared,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::SoftPlus,
    ];
}

/// A backend and the CPU features without which it must not run.
pub(super) struct Backend {
    pub(super) kernels: &'static Kernels,
    /// Whether it is chosen where nobody names one: not before its speed was measured.
    pub(super) by_itself: bool,
    pub(super) features: &'static [Feature],
}

/// A CPU feature by name and the test for it.
pub(super) type Feature = (&'static str, fn() -> bool);

impl Backend {
    /// Names of all features needed.
    pub(super) fn needed(&self) -> Vec<&'static str> {
        self.features.iter().map(|(name, _)| *name).collect()
    }

    /// Names of the features needed that this CPU has.
    pub(super) fn found(&self) -> impl Iterator<Item = &'static str> {
        self.features.iter().filter(|(_, has)| has()).map(|(name, _)| *name)
    }

    /// Names of the features needed that this CPU lacks.
    pub(super) fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.features.iter().filter(|(_, has)| !has()).map(|(name, _)| *name)
    }
}
