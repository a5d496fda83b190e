//! OLMo (Groeneveld et al. 2024): LayerNorm without weights. OLMo 2 (OLMo Team 2024) and 3: norms of what branches add and none of what they read, queries and keys normed over all heads.
//! OLMo 3 has windows, whose layers turn without a scaling.

use whit::error::Result;
use whit::model::spec::{NormKind, Part, Role};
use whit::model::{BranchNorms, Config, HeadNorm, QkNorm};

use super::family::{Family, Gguf};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::transform::Transform;
use super::variant::{LocalRotary, Variant, Window};
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static OLMO1: Family = Family {
    model_type: "olmo",
    architectures: &["OlmoForCausalLM", "OlmoModel"],
    config: olmo1,
    zeros: |spec| spec.role == Role::Norm,
    transform: |_, spec, _| Transform { plus_one: spec.role == Role::Norm && !spec.is_bias, ..Transform::default() },
    gguf: Some(Gguf {
        architecture: "olmo",
        label: "olmo",
        interleaved_rotary: true,
        config: |keys| {
            if let Some(clip) = keys.positive("attention.clamp_kqv")? {
                return Err(keys.error("attention.clamp_kqv", format!("{clip} is not supported")).hint(CLIPPED));
            }
            llama::gguf_config(keys, &OLMO1_VARIANT)
        },
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const OLMO1_VARIANT: Variant =
    Variant { eps_field: None, eps_default: 1e-5, mlp_bias_field: None, norm: NormKind::Layer, ..Variant::LLAMA };

const CLIPPED: &str = "of OLMo those models are read that do not clip queries, keys and values, as of 1B";

fn olmo1(fields: &mut Fields<'_>) -> Result<Config> {
    if fields.has("clip_qkv") {
        return Err(fields.error("clip_qkv", "is not supported").hint(CLIPPED));
    }
    llama::config(fields, &OLMO1_VARIANT)
}

pub(super) static OLMO2: Family = Family {
    model_type: "olmo2",
    architectures: &["Olmo2ForCausalLM", "Olmo2Model"],
    config: |fields| llama::config(fields, &VARIANT),
    names: &[NORMS_AFTER, NAMES],
    gguf: Some(Gguf {
        architecture: "olmo2",
        label: "olmo2 (also OLMo 3)",
        interleaved_rotary: false,
        // OLMo 3 is of the same architecture there, with windows.
        config: |keys| llama::gguf_config(keys, &OLMO3_VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

pub(super) static OLMO3: Family = Family {
    model_type: "olmo3",
    architectures: &["Olmo3ForCausalLM", "Olmo3Model"],
    config: |fields| llama::config(fields, &OLMO3_VARIANT),
    names: &[NORMS_AFTER, NAMES],
    ..SHARED
};

const VARIANT: Variant = Variant {
    mlp_bias_field: None,
    eps_default: 1e-5,
    norms: [AFTER; 2],
    qk_norm: Some(QkNorm { kind: HeadNorm::All, after_rotation: false }),
    ..Variant::LLAMA
};

const OLMO3_VARIANT: Variant = Variant {
    window: Window::AllBut(4),
    rotary: RotaryKind { theta: 500_000.0, layer_type: Some("full_attention"), ..RotaryKind::WHOLE },
    local_rotary: Some(LocalRotary { field: None, theta: 500_000.0 }),
    ..VARIANT
};

/// What a branch adds is normed, what it reads is not.
pub(super) const AFTER: BranchNorms = BranchNorms { input: false, output: true };

pub(super) const NORMS_AFTER: &[(Part, &str)] = &[
    (Part::OutputNorm, "model.layers.{}.post_attention_layernorm"),
    (Part::DownNorm, "model.layers.{}.post_feedforward_layernorm"),
];
