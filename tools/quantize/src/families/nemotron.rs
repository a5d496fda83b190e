//! Nemotron and Minitron (NVIDIA 2024): LayerNorm of 1 + w, the square of ReLU, and a part of each head turns.

use whit::model::spec::{NormKind, Role};
use whit::model::{Activation, MlpKind};

use super::family::{Family, Gguf, Naming};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES};
use super::transform::Transform;
use super::variant::Variant;
use crate::source::hf::rope::RotaryKind;

pub(super) static NEMOTRON: Family = Family {
    model_type: "nemotron",
    architectures: &["NemotronForCausalLM", "NemotronModel"],
    config: |fields| llama::config(fields, &VARIANT),
    // In GGUF files one is added.
    transform: |_, spec, naming| Transform {
        plus_one: spec.role == Role::Norm && !spec.is_bias && naming == Naming::HuggingFace,
        ..Transform::default()
    },
    gguf: Some(Gguf {
        architecture: "nemotron",
        label: "nemotron",
        interleaved_rotary: false,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    context_default: 4096,
    eps_field: Some("norm_eps"),
    eps_default: 1e-5,
    mlp: MlpKind::plain(Activation::ReluSquared),
    norm: NormKind::Layer,
    rotary: RotaryKind { part: Some(0.5), ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};
