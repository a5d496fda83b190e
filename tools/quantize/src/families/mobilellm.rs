//! MobileLLM-R1 (Meta 2025), of the architecture of Llama 4 without experts: queries and keys turn and are then normed without a
//! weight, but in some layers, where neither happens.

use whit::error::Result;
use whit::model::spec::{Part, TensorSpec};
use whit::model::{Config, HeadNorm, QkNorm};

use super::family::{Family, Naming};
use super::llama::{self, NAMES, SHARED};
use super::smollm3::turning;
use super::transform::Transform;
use super::variant::Variant;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static MOBILELLM: Family = Family {
    model_type: "llama4_text",
    architectures: &["Llama4ForCausalLM", "Llama4TextModel"],
    config,
    names: &[MLP, NAMES],
    interleaved_rotary: true,
    zeros: |spec| is_qk_norm(spec),
    transform: |_: &Config, spec: &TensorSpec, _: Naming| Transform {
        plus_one: is_qk_norm(spec),
        ..Transform::default()
    },
    ..SHARED
};

const MLP: &[(Part, &str)] = &[
    (Part::Gate, "model.layers.{}.feed_forward.gate_proj"),
    (Part::Up, "model.layers.{}.feed_forward.up_proj"),
    (Part::Down, "model.layers.{}.feed_forward.down_proj"),
];

const VARIANT: Variant = Variant {
    hidden_dim_field: "intermediate_size_mlp",
    kv_heads_default: Some(8),
    head_dim_default: Some(128),
    context_default: 131_072,
    eps_default: 1e-5,
    mlp_bias_field: None,
    qk_norm: Some(QkNorm { kind: HeadNorm::Each, after_rotation: true }),
    rotary: RotaryKind { theta: 500_000.0, ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

fn is_qk_norm(spec: &TensorSpec) -> bool {
    matches!(spec.part, Part::QueryNorm | Part::KeyNorm)
}

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    if !fields.is_empty_list("moe_layers")? {
        let error = fields.error("moe_layers", "experts are not supported");
        return Err(error.hint("of this architecture those models are read whose list of such layers is empty"));
    }
    let config = llama::config(fields, &VARIANT)?;
    let turns = fields.turning_layers(config.n_layers())?;
    if turns.contains(&false) && fields.bool("attn_temperature_tuning", true)? {
        let error = fields.error("attn_temperature_tuning", "queries that grow with their position are not supported");
        return Err(error.hint("models of this family without experts set it to false"));
    }
    fields.only("layer_types", &["full_attention"])?;
    let normed = fields.bool("use_qk_norm", true)?;
    let mut config = turning(config, turns);
    for layer in &mut config.layers {
        if let Some(attention) = layer.attention_mut() {
            attention.qk_norm = attention.qk_norm.filter(|_| normed && attention.rotary.is_some());
        }
    }
    Ok(config)
}
