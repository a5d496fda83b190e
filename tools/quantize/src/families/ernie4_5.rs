//! ERNIE 4.5 without experts (Baidu): Llama whose rotary pairs are neighbours.

use super::family::{Family, Gguf};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES};
use super::variant::Variant;
use crate::source::hf::rope::RotaryKind;

pub(super) static ERNIE4_5: Family = Family {
    model_type: "ernie4_5",
    architectures: &["Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM", "Ernie4_5Model"],
    config: |fields| llama::config(fields, &VARIANT),
    interleaved_rotary: true,
    gguf: Some(Gguf {
        architecture: "ernie4_5",
        label: "ernie4_5",
        interleaved_rotary: true,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    kv_heads_default: Some(2),
    head_dim_default: Some(128),
    context_default: 131_072,
    eps_default: 1e-5,
    tied_default: true,
    attention_bias_field: Some(("use_bias", false)),
    mlp_bias_field: Some(("use_bias", false)),
    rotary: RotaryKind { theta: 500_000.0, ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};
