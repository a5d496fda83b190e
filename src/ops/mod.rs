//! What a layer does: linear, attention, convolution, delta rule, state space, norm, RoPE, activation. Work is split over threads here, and only here.
//!
//! Every op takes T tokens as row-major slices (T, width), where T follows from the lengths, and computes for each token
//! the same bits as if it were alone: a batch is a bag of independent rows. No op allocates. No op knows an instruction set
//! or an architecture of models. docs/numerics.md states every formula.

/// The version of docs/numerics.md that this arithmetic follows.
pub const NUMERICS_VERSION: u32 = 2;

pub mod activation;
pub mod attention;
mod buffer;
pub mod conv;
pub mod delta;
mod experts;
pub mod kv4;
mod kv_cache;
pub mod linear;
pub mod norm;
pub mod recurrent;
pub mod rope;
pub mod scan;

pub use crate::kernels::math;
pub use crate::kernels::{Activation, BLOCK as KV_BLOCK};
pub use activation::{activate, add, gated, scale, soft_cap};
pub use attention::{HeadScoring, KvSpan, attention};
pub(crate) use buffer::buffer;
pub use conv::{ConvCache, ConvInputs, ConvSpan, MAX_CONV_WIDTH, conv};
pub use delta::{DeltaInputs, decays, delta_rule, unit_length};
pub use experts::{MAX_EXPERTS, Routing, Scores, add_scaled, route, sigmoid};
pub use kv_cache::{KvCache, KvDtype, KvShape};
pub use linear::{Activations, Input, Linear, linear, linear_add, linear_gated};
pub use norm::{Norm, norm, norm_of_each, rms_norm_in_place};
pub use recurrent::{RecurrentCache, RecurrentShape, RecurrentSpan};
pub use rope::{rope, rope_angles};
pub use scan::{ScanInputs, SelectiveInputs, scan, selective_scan};
