//! Qwen2 and Qwen3 with experts (Qwen Team 2024, 2025): in Qwen2 one of them is shared, and gated.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{Config, Experts, SharedExpert};

use super::experts;
use super::family::{Family, Gguf};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::olmoe::{EXPERT_NAMES, ROUTER};
use super::variant::Variant;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;

pub(super) static QWEN2_MOE: Family = Family {
    model_type: "qwen2_moe",
    architectures: &["Qwen2MoeForCausalLM", "Qwen2MoeModel"],
    config: |fields| {
        let hidden_dim = fields.required_or("shared_expert_intermediate_size", 5632)?;
        let shared = Some(SharedExpert { hidden_dim, gate: true });
        let variant = Variant { kv_heads_default: Some(16), ..Variant::QWEN2 };
        let defaults = Defaults { n_experts: 60, n_active: 4, hidden_dim: 1408, normalized: false };
        config(fields, &variant, defaults, shared)
    },
    names: &[ROUTER, SHARED_EXPERT, NAMES],
    expert_names: EXPERT_NAMES,
    gguf: Some(Gguf {
        architecture: "qwen2moe",
        label: "qwen2moe",
        interleaved_rotary: false,
        config: |keys| {
            keys.mixes();
            let hidden_dim = keys.length("expert_shared_feed_forward_length")?;
            let shared = hidden_dim.map(|hidden_dim| SharedExpert { hidden_dim, gate: true });
            gguf_config(keys, &Variant::QWEN2, false, shared)
        },
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

pub(super) static QWEN3_MOE: Family = Family {
    model_type: "qwen3_moe",
    architectures: &["Qwen3MoeForCausalLM", "Qwen3MoeModel"],
    config: |fields| {
        fields.also_called(&[("num_experts", "num_local_experts")]);
        let variant = Variant {
            also_called: &[("num_experts", "num_local_experts")],
            kv_heads_default: Some(4),
            head_dim_default: None,
            ..Variant::QWEN3
        };
        let defaults = Defaults { n_experts: 128, n_active: 8, hidden_dim: 768, normalized: false };
        config(fields, &variant, defaults, None)
    },
    names: &[ROUTER, NAMES],
    expert_names: EXPERT_NAMES,
    gguf: Some(Gguf {
        architecture: "qwen3moe",
        label: "qwen3moe",
        interleaved_rotary: false,
        config: |keys| {
            keys.mixes();
            gguf_config(keys, &Variant::QWEN3, true, None)
        },
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const SHARED_EXPERT: &[(Part, &str)] = &[
    (Part::SharedGate, "model.layers.{}.mlp.shared_expert.gate_proj"),
    (Part::SharedUp, "model.layers.{}.mlp.shared_expert.up_proj"),
    (Part::SharedDown, "model.layers.{}.mlp.shared_expert.down_proj"),
    (Part::SharedRouter, "model.layers.{}.mlp.shared_expert_gate"),
];

/// What holds where config.json does not say.
struct Defaults {
    n_experts: usize,
    n_active: usize,
    hidden_dim: usize,
    normalized: bool,
}

fn config(
    fields: &mut Fields<'_>,
    variant: &Variant,
    defaults: Defaults,
    shared: Option<SharedExpert>,
) -> Result<Config> {
    let mut config = llama::config(fields, variant)?;
    let n_experts = fields.required_or("num_experts", defaults.n_experts)?;
    let n_active = fields.required_or("num_experts_per_tok", defaults.n_active)?;
    let normalized = fields.bool("norm_topk_prob", defaults.normalized)?;
    let hidden_dim = fields.required_or("moe_intermediate_size", defaults.hidden_dim)?;
    let step = fields.required_or("decoder_sparse_step", 1)?;
    let without = fields.list("mlp_only_layers")?;
    let experts = Experts { n_experts, shared, ..experts::softmax(n_active, normalized) };
    let mixes = |layer: usize| (layer + 1).is_multiple_of(step) && !without.contains(&layer);
    experts::mix_some(&mut config, experts, Some(hidden_dim), mixes)?;
    Ok(config)
}

/// Of a GGUF file: all its layers have experts.
fn gguf_config(
    keys: &mut Keys<'_, '_>,
    variant: &Variant,
    normalized: bool,
    shared: Option<SharedExpert>,
) -> Result<Config> {
    let mut config = llama::gguf_config(keys, variant)?;
    let (n_experts, n_active) = keys.experts()?;
    let hidden_dim = keys.length("expert_feed_forward_length")?;
    let experts = Experts { n_experts, shared, ..experts::softmax(n_active, normalized) };
    experts::mix_some(&mut config, experts, hidden_dim, |_| true)?;
    Ok(config)
}
