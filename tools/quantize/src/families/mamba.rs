//! Mamba (Gu and Dao 2023) and Mamba 2 (Dao and Gu 2024): state spaces alone, in blocks without an MLP.

use whit::error::Result;
use whit::model::spec::{BranchNorms, NormKind, Part};
use whit::model::{Config, Layer, Mamba1, Mixer, Mlp, MlpKind};

use super::family::{Family, GGUF_NAMES, Gguf};
use super::llama::SHARED;
use super::state_space::{self, Named};
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;

pub(super) const MAMBA2: Family = Family {
    model_type: "mamba2",
    architectures: &["Mamba2ForCausalLM", "Mamba2Model"],
    config: |fields| config(fields, false, mamba2),
    prefix: "backbone.",
    ignored: &[],
    names: &[NAMES],
    renamed: &[("backbone.embedding.", "backbone.embeddings.")],
    gguf: Some(Gguf {
        architecture: "mamba2",
        label: "mamba2",
        interleaved_rotary: false,
        config: |keys| {
            let mixer = Mixer::Mamba2(state_space::gguf(keys, 0)?);
            gguf_network(keys, mixer)
        },
        names: &[state_space::GGUF_NAMES, GGUF_NAMES],
    }),
    transform: state_space::transform,
    ..SHARED
};

pub(super) static MAMBA1: Family = Family {
    model_type: "mamba",
    architectures: &["MambaForCausalLM", "MambaModel"],
    config: |fields| config(fields, true, mamba1),
    names: &[MAMBA1_NAMES, NAMES],
    gguf: Some(Gguf {
        architecture: "mamba",
        label: "mamba",
        interleaved_rotary: false,
        config: gguf_mamba1,
        names: &[MAMBA1_GGUF_NAMES, state_space::GGUF_NAMES, GGUF_NAMES],
    }),
    ..MAMBA2
};

/// The first matrix has the rows of x before those of the gate.
const MAMBA1_NAMES: &[(Part, &str)] = &[
    (Part::ScanInner, "backbone.layers.{}.mixer.in_proj"),
    (Part::ScanGate, "backbone.layers.{}.mixer.in_proj"),
    (Part::ScanRank, "backbone.layers.{}.mixer.x_proj"),
    (Part::ScanSelect, "backbone.layers.{}.mixer.x_proj"),
    (Part::ScanSpread, "backbone.layers.{}.mixer.dt_proj"),
];

const MAMBA1_GGUF_NAMES: &[(Part, &str)] = &[
    (Part::ScanInner, "blk.{}.ssm_in"),
    (Part::ScanGate, "blk.{}.ssm_in"),
    (Part::ScanRank, "blk.{}.ssm_x"),
    (Part::ScanSelect, "blk.{}.ssm_x"),
    (Part::ScanSpread, "blk.{}.ssm_dt"),
];

const NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "backbone.embeddings"),
    (Part::AttentionNorm, "backbone.layers.{}.norm"),
    (Part::ScanGate, "backbone.layers.{}.mixer.in_proj"),
    (Part::ScanInner, "backbone.layers.{}.mixer.in_proj"),
    (Part::ScanStep, "backbone.layers.{}.mixer.in_proj"),
    (Part::ScanStepBias, "backbone.layers.{}.mixer.dt_bias="),
    (Part::ConvKernel, "backbone.layers.{}.mixer.conv1d"),
    (Part::ScanRate, "backbone.layers.{}.mixer.A_log="),
    (Part::ScanSkip, "backbone.layers.{}.mixer.D="),
    (Part::ScanNorm, "backbone.layers.{}.mixer.norm"),
    (Part::ScanOutput, "backbone.layers.{}.mixer.out_proj"),
    (Part::FinalNorm, "backbone.norm_f"),
    (Part::Unembedding, "lm_head"),
];

const NAMED: Named = Named {
    n_heads: "num_heads",
    head_dim: ("head_dim", Some(64)),
    state_dim: ("state_size", 128),
    n_groups: ("n_groups", 8),
    width: "conv_kernel",
    conv_bias: "use_conv_bias",
    biases: &["use_bias"],
};

/// Positions that the plan names: a state has no end, so it is as many as a plan can name.
const CONTEXT_LENGTH: usize = 1 << 20;

/// The plan of blocks whose mixer is read by `mixer`, which is given the width of the residual stream; the unembedding is the
/// embedding as said, or `tied`.
fn config(fields: &mut Fields<'_>, tied: bool, mixer: fn(&mut Fields<'_>, usize) -> Result<Mixer>) -> Result<Config> {
    let dim = fields.required(&["hidden_size"])?;
    let n_layers = fields.required(&["num_hidden_layers"])?;
    let vocab_size = fields.required(&["vocab_size"])?;
    fields.check()?;
    let activation = fields.activation("hidden_act", MlpKind::SWIGLU)?.activation;
    state_space::check_activation(fields, activation)?;
    let norm_eps = fields.float("layer_norm_epsilon", 1e-5)? as f32;
    let mixer = mixer(fields, dim)?;
    network(dim, vocab_size, (n_layers, mixer), norm_eps, fields.tied(tied)?)
}

fn mamba2(fields: &mut Fields<'_>, dim: usize) -> Result<Mixer> {
    let inner_dim = fields.number("expand")?.unwrap_or(2).saturating_mul(dim);
    Ok(Mixer::Mamba2(state_space::read(fields, &NAMED, inner_dim)?))
}

fn mamba1(fields: &mut Fields<'_>, dim: usize) -> Result<Mixer> {
    state_space::refuse_biases(fields, NAMED.biases)?;
    let step_rank = match fields.is("time_step_rank", "auto") {
        Ok(true) => None,
        _ => fields.number("time_step_rank")?,
    };
    Ok(Mixer::Mamba1(Mamba1 {
        channels: fields.number("expand")?.unwrap_or(2).saturating_mul(dim),
        state_dim: fields.usize("state_size", Some(16))?.unwrap_or(16),
        step_rank: step_rank.unwrap_or(dim.div_ceil(16)),
        width: fields.usize(NAMED.width, Some(4))?.unwrap_or(4),
        conv_bias: fields.bool(NAMED.conv_bias, true)?,
    }))
}

/// The plan of blocks that have a `mixer` and nothing else, `n_layers` of them.
fn network(
    dim: usize,
    vocab_size: usize,
    (n_layers, mixer): (usize, Mixer),
    norm_eps: f32,
    tied: bool,
) -> Result<Config> {
    let layer = Layer {
        mixer,
        beside: None,
        mixer_norms: BranchNorms::PRE,
        mlp: Mlp::NONE,
        mlp_norms: BranchNorms::NONE,
        parallel: false,
        scaled: false,
    };
    let config = Config {
        family: "mamba".into(),
        dim,
        vocab_size,
        context_length: CONTEXT_LENGTH,
        learned_positions: false,
        embedding_norm: false,
        layer_inputs: None,
        rotary_tables: Vec::new(),
        norm: NormKind::Rms,
        norm_eps,
        // Beyond the limit of a plan, which the check tells, no memory is taken.
        layers: vec![layer; n_layers.min(1025)],
        tied,
        unembedding_bias: false,
        logit_cap: None,
    };
    config.check().map(|()| config)
}

/// The plan of a GGUF file of Mamba.
fn gguf_mamba1(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let key = "ssm.dt_b_c_rms";
    if keys.bool(key)?.unwrap_or(false) {
        let error = keys.error(key, "norms of steps, b and c are not supported");
        return Err(error.hint("files of Mamba have false; true is Falcon Mamba, which is not read yet"));
    }
    let mixer = Mixer::Mamba1(Mamba1 {
        channels: keys.number("ssm.inner_size")?,
        state_dim: keys.number("ssm.state_size")?,
        step_rank: keys.number("ssm.time_step_rank")?,
        width: keys.number("ssm.conv_kernel")?,
        conv_bias: keys.has("blk.0.ssm_conv1d.bias"),
    });
    gguf_network(keys, mixer)
}

/// As [`network`], of a GGUF file.
fn gguf_network(keys: &mut Keys<'_, '_>, mixer: Mixer) -> Result<Config> {
    let dim = keys.number("embedding_length")?;
    let n_layers = keys.number("block_count")?;
    let eps = "attention.layer_norm_rms_epsilon";
    let norm_eps = keys.positive_required(eps)? as f32;
    let (vocab_size, tied) = keys.ends(n_layers)?;
    network(dim, vocab_size, (n_layers, mixer), norm_eps, tied)
}
