//! What families with state spaces share.

use whit::error::Result;
use whit::model::spec::{Part, TensorSpec};
use whit::model::{Activation, Config, Mamba2, ScanNorm};

use super::family::Naming;
use super::transform::Transform;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;

/// How config.json names what a Mamba 2 is, and what transformers assumes where it does not say.
pub(super) struct Named {
    pub(super) n_heads: &'static str,
    /// `None`: the width of all heads divided by their number.
    pub(super) head_dim: (&'static str, Option<usize>),
    pub(super) state_dim: (&'static str, usize),
    pub(super) n_groups: (&'static str, usize),
    pub(super) width: &'static str,
    pub(super) conv_bias: &'static str,
    /// Biases of the first and the last matrix, which are not supported.
    pub(super) biases: &'static [&'static str],
}

/// As families name it that have other mixers, too.
pub(super) const BESIDE_OTHERS: Named = Named {
    n_heads: "mamba_n_heads",
    head_dim: ("mamba_d_head", None),
    state_dim: ("mamba_d_state", 256),
    n_groups: ("mamba_n_groups", 1),
    width: "mamba_d_conv",
    conv_bias: "mamba_conv_bias",
    biases: &["mamba_proj_bias"],
};

/// The Mamba 2 that config.json describes by these names, the width of all its heads being `inner_dim`; what the heads give is
/// normed in its groups, behind the gate.
pub(super) fn read(fields: &mut Fields<'_>, named: &Named, inner_dim: usize) -> Result<Mamba2> {
    refuse_biases(fields, named.biases)?;
    let mut number = |(key, default): (&str, usize)| Ok(fields.usize(key, Some(default))?.unwrap_or(default));
    let n_heads = number((named.n_heads, 128))?;
    let (state_dim, n_groups) = (number(named.state_dim)?, number(named.n_groups)?);
    let width = number((named.width, 4))?;
    let (key, default) = named.head_dim;
    let head_dim = match fields.is(key, "auto") {
        Ok(true) => None,
        _ => fields.usize(key, default)?,
    };
    let head_dim = head_dim.unwrap_or(inner_dim / n_heads.max(1));
    if n_heads.checked_mul(head_dim) != Some(inner_dim) || n_heads == 0 {
        let message = format!("{n_heads} heads of {head_dim} are not the width {inner_dim} of the state space");
        return Err(fields
            .error(named.n_heads, message)
            .hint("copy config.json again from where the weights are from"));
    }
    Ok(Mamba2 {
        n_heads,
        head_dim,
        state_dim,
        n_groups,
        width,
        conv_bias: fields.bool(named.conv_bias, true)?,
        step_limits: fields.limits("time_step_limit")?.filter(|limits| *limits != [0.0, f32::INFINITY]),
        norm: Some(ScanNorm { n_groups, before_gate: false }),
    })
}

/// Refuses biases of the first and the last matrix by these fields.
pub(super) fn refuse_biases(fields: &Fields<'_>, keys: &[&str]) -> Result<()> {
    for key in keys {
        if fields.bool(key, false)? {
            return Err(fields.error(key, "biases of these matrices are not supported").hint("supported: false"));
        }
    }
    Ok(())
}

/// Refuses another activation than silu, which the convolution before a state space has, too.
pub(super) fn check_activation(fields: &Fields<'_>, activation: Activation) -> Result<()> {
    if activation == Activation::Silu {
        return Ok(());
    }
    let error = fields.error("hidden_act", "not supported in the convolutions before state spaces");
    Err(error.hint("supported: silu; a model works with its own only"))
}

/// Where the tensors of state spaces lie otherwise than in a plan.
pub(super) fn transform(config: &Config, spec: &TensorSpec, naming: Naming) -> Transform {
    let in_gguf = naming == Naming::Gguf;
    let mamba = spec.layer.and_then(|layer| config.layers[layer].mamba2());
    let columns = mamba.filter(|_| in_gguf).and_then(|mamba| match spec.part {
        Part::ScanRate | Part::ScanSkip => Some(1),
        Part::ScanNorm => Some(mamba.inner_dim() / mamba.n_groups),
        _ => None,
    });
    Transform {
        depthwise: !in_gguf && spec.part == Part::ConvKernel && !spec.is_bias,
        negative_exp: !in_gguf && spec.part == Part::ScanRate,
        columns,
        ..Transform::default()
    }
}

/// Names in checkpoints of families that have other mixers, too.
pub(super) const HUB_NAMES: &[(Part, &str)] = &[
    (Part::ScanGate, "model.layers.{}.mamba.in_proj"),
    (Part::ScanInner, "model.layers.{}.mamba.in_proj"),
    (Part::ScanStep, "model.layers.{}.mamba.in_proj"),
    (Part::ScanStepBias, "model.layers.{}.mamba.dt_bias="),
    (Part::ConvKernel, "model.layers.{}.mamba.conv1d"),
    (Part::ScanRate, "model.layers.{}.mamba.A_log="),
    (Part::ScanSkip, "model.layers.{}.mamba.D="),
    (Part::ScanNorm, "model.layers.{}.mamba.norm"),
    (Part::ScanOutput, "model.layers.{}.mamba.out_proj"),
];

/// Names in GGUF files.
pub(super) const GGUF_NAMES: &[(Part, &str)] = &[
    (Part::ScanGate, "blk.{}.ssm_in"),
    (Part::ScanInner, "blk.{}.ssm_in"),
    (Part::ScanStep, "blk.{}.ssm_in"),
    (Part::ScanStepBias, "blk.{}.ssm_dt.bias="),
    (Part::ConvKernel, "blk.{}.ssm_conv1d"),
    (Part::ScanRate, "blk.{}.ssm_a="),
    (Part::ScanSkip, "blk.{}.ssm_d="),
    (Part::ScanNorm, "blk.{}.ssm_norm"),
    (Part::ScanOutput, "blk.{}.ssm_out"),
];

/// The Mamba 2 that the keys of a GGUF file describe, `layer` being the first that has one.
pub(super) fn gguf(keys: &mut Keys<'_, '_>, layer: usize) -> Result<Mamba2> {
    let inner_dim = keys.number("ssm.inner_size")?;
    let n_heads = keys.number("ssm.time_step_rank")?;
    let n_groups = keys.number("ssm.group_count")?;
    if n_heads == 0 || n_groups == 0 || !inner_dim.is_multiple_of(n_heads) || !inner_dim.is_multiple_of(n_groups) {
        let message = format!("{n_heads} heads in {n_groups} groups do not divide ssm.inner_size {inner_dim}");
        return Err(keys.error("ssm.time_step_rank", message));
    }
    let norm = keys.has(&format!("blk.{layer}.ssm_norm.weight"));
    Ok(Mamba2 {
        n_heads,
        head_dim: inner_dim / n_heads,
        state_dim: keys.number("ssm.state_size")?,
        n_groups,
        width: keys.number("ssm.conv_kernel")?,
        conv_bias: keys.has(&format!("blk.{layer}.ssm_conv1d.bias")),
        step_limits: None,
        norm: norm.then_some(ScanNorm { n_groups, before_gate: false }),
    })
}
