//! OLMo 2 (OLMo Team 2024) and 3: norms of what branches add and none of what they read, queries and keys normed over all heads.
//! OLMo 3 has windows, whose layers turn without a scaling.

use whit::model::spec::Part;
use whit::model::{BranchNorms, QkNorm};

use super::family::{Family, Gguf};
use super::llama::{self, LocalRotary, NAMES, SHARED, SHARED_GGUF_NAMES, Variant, Window};
use crate::source::hf::rope::RotaryKind;

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
    qk_norm: Some(QkNorm { whole: true, after_rotation: false }),
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
