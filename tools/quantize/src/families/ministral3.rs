//! Ministral 3 (Mistral): YaRN, and queries that grow beyond the original context.

use super::family::{Family, Gguf};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES};
use super::variant::{Variant, Window};
use crate::source::hf::rope::RotaryKind;

pub(super) static MINISTRAL3: Family = Family {
    model_type: "ministral3",
    architectures: &["Ministral3ForCausalLM", "Ministral3Model"],
    config: |fields| {
        fields.one_of(&["rope_parameters", "rope_scaling"])?;
        llama::config(fields, &VARIANT)
    },
    gguf: Some(Gguf {
        architecture: "mistral3",
        label: "mistral3 (Ministral 3)",
        interleaved_rotary: true,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    head_dim_default: Some(128),
    context_default: 262_144,
    eps_default: 1e-5,
    window: Window::Always(None),
    rotary: RotaryKind { grows: true, ..RotaryKind::WHOLE },
    ..Variant::MISTRAL
};
