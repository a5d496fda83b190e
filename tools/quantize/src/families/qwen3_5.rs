//! Qwen3.5 (Alibaba): gated delta nets in the place of most attentions, and attentions whose outputs have a gate.

use whit::error::Result;
use whit::model::spec::{Part, TensorSpec};
use whit::model::{Config, DeltaNet, Gate, Mixer, MlpKind, QkNorm};

use super::family::{Family, GGUF_NAMES, Gguf, Naming};
use super::llama::{self, NAMES, SHARED, keep_used_tables};
use super::transform::{Tiled, Transform};
use super::variant::Variant;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static QWEN3_5: Family = Family {
    model_type: "qwen3_5_text",
    architectures: &["Qwen3_5ForCausalLM", "Qwen3_5TextModel"],
    config,
    fused_by_head: true,
    // Tensors that guess several tokens at once.
    ignored: &["rotary_emb.inv_freq", "mtp."],
    names: &[QWEN3_5_NAMES, NAMES],
    renamed: &[
        ("linear_attn.A_log", "linear_attn.A_log.weight"),
        ("linear_attn.dt_bias", "linear_attn.in_proj_a.bias"),
    ],
    gguf: Some(Gguf {
        architecture: "qwen35",
        label: "qwen35",
        interleaved_rotary: false,
        config: gguf_config,
        names: &[QWEN3_5_GGUF_NAMES, GGUF_NAMES],
    }),
    gguf_renamed: &[(".ssm_a", ".ssm_a.weight"), (".ssm_dt.bias", ".ssm_alpha.bias")],
    transform,
    ..SHARED
};

/// What is done to a tensor. In GGUF files the norms are whole, decays are minus the rates, and values lie in tiles.
fn transform(config: &Config, spec: &TensorSpec, naming: Naming) -> Transform {
    if naming == Naming::Gguf {
        let log_negative = spec.part == Part::DeltaRate;
        return Transform { tiled: tiled(config, spec), log_negative, ..Transform::default() };
    }
    let part = spec.part;
    Transform {
        depthwise: part == Part::ConvKernel,
        plus_one: matches!(
            part,
            Part::AttentionNorm | Part::MlpNorm | Part::QueryNorm | Part::KeyNorm | Part::FinalNorm
        ),
        ..Transform::default()
    }
}

/// How the heads of values lie in a GGUF file.
fn tiled(config: &Config, spec: &TensorSpec) -> Option<Tiled> {
    let Mixer::DeltaNet(delta) = &config.layers[spec.layer?].mixer else { return None };
    let (first, width) = match spec.part {
        Part::DeltaQkv | Part::ConvKernel => (2 * delta.n_key_heads * delta.key_dim, delta.value_dim),
        Part::DeltaGate | Part::DeltaOutput => (0, delta.value_dim),
        Part::DeltaStrength | Part::DeltaDecay | Part::DeltaRate => (0, 1),
        _ => return None,
    };
    let (groups, heads) = (delta.n_key_heads, delta.n_heads / delta.n_key_heads);
    let tiled = Tiled { first, groups, heads, width, columns: spec.part == Part::DeltaOutput };
    (heads > 1).then_some(tiled)
}

const QWEN3_5_NAMES: &[(Part, &str)] = &[
    (Part::Query, "model.layers.{}.self_attn.q_proj"),
    (Part::OutputGate, "model.layers.{}.self_attn.q_proj"),
    (Part::DeltaQkv, "model.layers.{}.linear_attn.in_proj_qkv"),
    (Part::DeltaGate, "model.layers.{}.linear_attn.in_proj_z"),
    (Part::DeltaStrength, "model.layers.{}.linear_attn.in_proj_b"),
    (Part::DeltaDecay, "model.layers.{}.linear_attn.in_proj_a"),
    (Part::ConvKernel, "model.layers.{}.linear_attn.conv1d"),
    (Part::DeltaRate, "model.layers.{}.linear_attn.A_log"),
    (Part::DeltaNorm, "model.layers.{}.linear_attn.norm"),
    (Part::DeltaOutput, "model.layers.{}.linear_attn.out_proj"),
];

const QWEN3_5_GGUF_NAMES: &[(Part, &str)] = &[
    (Part::Query, "blk.{}.attn_q"),
    (Part::OutputGate, "blk.{}.attn_q"),
    (Part::DeltaQkv, "blk.{}.attn_qkv"),
    (Part::DeltaGate, "blk.{}.attn_gate"),
    (Part::DeltaStrength, "blk.{}.ssm_beta"),
    (Part::DeltaDecay, "blk.{}.ssm_alpha"),
    (Part::ConvKernel, "blk.{}.ssm_conv1d"),
    (Part::DeltaRate, "blk.{}.ssm_a"),
    (Part::DeltaNorm, "blk.{}.ssm_norm"),
    (Part::DeltaOutput, "blk.{}.ssm_out"),
    (Part::MlpNorm, "blk.{}.post_attention_norm"),
];

const VARIANT: Variant = Variant {
    kv_heads_default: Some(4),
    head_dim_default: Some(256),
    context_default: 32_768,
    attention_bias_field: None,
    mlp_bias_field: None,
    qk_norm: Some(QkNorm::HEADS),
    rotary: RotaryKind { part: Some(0.25), ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

/// The types of layers that transformers knows.
const TYPES: [&str; 2] = ["full_attention", "linear_attention"];

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let config = llama::config(fields, &VARIANT)?;
    if config.layers.iter().any(|layer| layer.mlp.kind != MlpKind::SWIGLU) {
        let error = fields.error("hidden_act", "not supported in the convolutions before delta nets");
        return Err(error.hint("supported: silu; a model works with its own only"));
    }
    let n_layers = config.n_layers();
    let attends: Vec<bool> = match fields.types_among(TYPES, n_layers)? {
        Some(types) => types.into_iter().map(|kind| kind == 0).collect(),
        None => {
            let interval = fields.number("full_attention_interval")?.unwrap_or(4);
            (1..=n_layers).map(|layer| layer.is_multiple_of(interval)).collect()
        }
    };
    let mut dimension = |key, default| Ok(fields.usize(key, Some(default))?.unwrap_or(default));
    let delta = DeltaNet {
        n_key_heads: dimension("linear_num_key_heads", 16)?,
        n_heads: dimension("linear_num_value_heads", 32)?,
        key_dim: dimension("linear_key_head_dim", 128)?,
        value_dim: dimension("linear_value_head_dim", 128)?,
        width: dimension("linear_conv_kernel_dim", 4)?,
    };
    with_delta_nets(config, &attends, &delta)
}

/// The plan of `config` with delta nets in layers that do not attend, and gates in those that do.
fn with_delta_nets(mut config: Config, attends: &[bool], delta: &DeltaNet) -> Result<Config> {
    for (layer, attends) in config.layers.iter_mut().zip(attends) {
        match layer.attention_mut() {
            Some(attention) if *attends => attention.gate = Some(Gate::Elements),
            _ => layer.mixer = Mixer::DeltaNet(delta.clone()),
        }
    }
    keep_used_tables(&mut config);
    config.check().map(|()| config)
}

/// As [`config`], of a GGUF file.
fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let config = llama::gguf_config(keys, &VARIANT)?;
    let n_layers = config.n_layers();
    let interval = keys.length("full_attention_interval")?.unwrap_or(4);
    let attends = match keys.recurs(n_layers)? {
        Some(recurs) => recurs.into_iter().map(|recurs| !recurs).collect(),
        None => (1..=n_layers).map(|layer| layer.is_multiple_of(interval)).collect::<Vec<_>>(),
    };
    let (n_heads, inner) = (keys.number("ssm.time_step_rank")?, keys.number("ssm.inner_size")?);
    if n_heads == 0 || !inner.is_multiple_of(n_heads) {
        let error = keys.error("ssm.inner_size", format!("{inner} is no multiple of ssm.time_step_rank {n_heads}"));
        return Err(error.hint("it is the width of all heads of values together"));
    }
    let delta = DeltaNet {
        n_key_heads: keys.number("ssm.group_count")?,
        n_heads,
        key_dim: keys.number("ssm.state_size")?,
        value_dim: inner / n_heads,
        width: keys.number("ssm.conv_kernel")?,
    };
    with_delta_nets(config, &attends, &delta)
}
