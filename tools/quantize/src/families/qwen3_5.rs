//! Qwen3.5 (Alibaba): gated delta nets in the place of most attentions, and attentions whose outputs have a gate.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{Config, DeltaNet, Gate, Mixer, MlpKind, QkNorm};

use super::family::{Family, Naming};
use super::llama::{self, NAMES, SHARED, keep_used_tables};
use super::transform::Transform;
use super::variant::Variant;
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
    transform: |_, spec, naming| Transform {
        depthwise: naming == Naming::HuggingFace && spec.part == Part::ConvKernel,
        plus_one: matches!(
            spec.part,
            Part::AttentionNorm | Part::MlpNorm | Part::QueryNorm | Part::KeyNorm | Part::FinalNorm
        ),
        ..Transform::default()
    },
    ..SHARED
};

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
    let mut config = llama::config(fields, &VARIANT)?;
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
    for (layer, attends) in config.layers.iter_mut().zip(attends) {
        match layer.attention_mut() {
            Some(attention) if attends => attention.gate = Some(Gate::Elements),
            _ => layer.mixer = Mixer::DeltaNet(delta.clone()),
        }
    }
    keep_used_tables(&mut config);
    config.check().map(|()| config)
}
