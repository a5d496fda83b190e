//! OLMoE (Muennighoff et al. 2024): experts, with queries and keys normed over all heads.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{Config, Experts, HeadNorm, QkNorm};

use super::experts;
use super::family::{Family, Gguf};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::variant::Variant;
use crate::source::hf::fields::Fields;

pub(super) static OLMOE: Family = Family {
    model_type: "olmoe",
    architectures: &["OlmoeForCausalLM", "OlmoeModel"],
    config,
    names: &[ROUTER, NAMES],
    expert_names: EXPERT_NAMES,
    gguf: Some(Gguf {
        architecture: "olmoe",
        label: "olmoe",
        interleaved_rotary: false,
        config: |keys| {
            keys.mixes();
            let mut config = llama::gguf_config(keys, &VARIANT)?;
            let (n_experts, n_active) = keys.experts()?;
            experts::mix(&mut config, Experts { n_experts, ..experts::softmax(n_active, false) })?;
            Ok(config)
        },
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    context_default: 4096,
    eps_default: 1e-5,
    mlp_bias_field: None,
    qk_norm: Some(QkNorm { kind: HeadNorm::All, after_rotation: false }),
    ..Variant::LLAMA
};

pub(super) const ROUTER: &[(Part, &str)] = &[(Part::Router, "model.layers.{}.mlp.gate")];
pub(super) const EXPERT_NAMES: &[&[(Part, &str)]] = &[&[
    (Part::Gate, "model.layers.{}.mlp.experts.{e}.gate_proj"),
    (Part::Up, "model.layers.{}.mlp.experts.{e}.up_proj"),
    (Part::Down, "model.layers.{}.mlp.experts.{e}.down_proj"),
]];

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    if fields.has("clip_qkv") {
        let error = fields.error("clip_qkv", "bounds of queries, keys and values are not supported");
        return Err(error.hint("models of this family that are published have null there"));
    }
    let mut config = llama::config(fields, &VARIANT)?;
    let n_experts = fields.required_or("num_experts", 64)?;
    let n_active = fields.required_or("num_experts_per_tok", 8)?;
    let normalized = fields.bool("norm_topk_prob", false)?;
    experts::mix(&mut config, Experts { n_experts, ..experts::softmax(n_active, normalized) })?;
    Ok(config)
}
