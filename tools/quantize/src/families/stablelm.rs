//! StableLM 2 (Stability AI 2024): LayerNorm, and a part of each head turns. In 12B both branches read the same, and queries and keys
//! pass a LayerNorm of each head.

use whit::error::Result;
use whit::model::spec::{NormKind, Part, TensorSpec};
use whit::model::{Config, HeadNorm, QkNorm};

use super::family::{Family, Gguf, Naming};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::transform::{Slice, Transform};
use super::variant::Variant;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static STABLELM: Family = Family {
    model_type: "stablelm",
    architectures: &["StableLmForCausalLM", "StableLmModel"],
    config,
    names: &[NORMS_OF_HEADS, NAMES],
    // Norms of heads have weights alone.
    zeros: |spec| spec.is_bias && is_norm_of_heads(spec),
    transform: |config, spec, naming| Transform { slice: stacked(config, spec, naming), ..Transform::default() },
    gguf: Some(Gguf {
        architecture: "stablelm",
        label: "stablelm",
        interleaved_rotary: false,
        config: gguf_config,
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const NORMS_OF_HEADS: &[(Part, &str)] = &[
    (Part::QueryNorm, "model.layers.{}.self_attn.q_layernorm.norms.{h}"),
    (Part::KeyNorm, "model.layers.{}.self_attn.k_layernorm.norms.{h}"),
];

const VARIANT: Variant = Variant {
    kv_heads_default: Some(32),
    context_default: 4096,
    eps_field: Some("layer_norm_eps"),
    eps_default: 1e-5,
    attention_bias_field: Some(("use_qkv_bias", false)),
    output_bias: false,
    mlp_bias_field: None,
    norm: NormKind::Layer,
    rotary: RotaryKind { part: Some(0.25), ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let qk_norm = fields.bool("qk_layernorm", false)?.then_some(OF_HEADS);
    let parallel = fields.bool("use_parallel_residual", false)?;
    llama::config(fields, &Variant { parallel, qk_norm, ..VARIANT })
}

/// A GGUF file does not name the norms of heads: they are there or not.
fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let qk_norm = keys.has("blk.0.attn_q_norm.weight").then_some(OF_HEADS);
    let parallel = keys.bool("use_parallel_residual")?.unwrap_or(false);
    llama::gguf_config(keys, &Variant { parallel, qk_norm, ..VARIANT })
}

const OF_HEADS: QkNorm = QkNorm { kind: HeadNorm::LayerOfEach, after_rotation: false };

fn is_norm_of_heads(spec: &TensorSpec) -> bool {
    matches!(spec.part, Part::QueryNorm | Part::KeyNorm)
}

/// In GGUF files the norms of all heads are one matrix, of which each row is that of a head.
fn stacked(config: &Config, spec: &TensorSpec, naming: Naming) -> Option<Slice> {
    if naming != Naming::Gguf || !is_norm_of_heads(spec) {
        return None;
    }
    let attention = config.layers.get(spec.layer?)?.attention().filter(|a| a.qk_norm == Some(OF_HEADS))?;
    let heads = if spec.part == Part::QueryNorm { attention.n_heads } else { attention.n_kv_heads };
    Some(Slice { first: 0, total: heads * attention.head_dim, matrices: heads, heads: None })
}
