//! Helium 1 (Kyutai): Llama whose rotary pairs are neighbours. There are no GGUF files of it.

use super::family::Family;
use super::llama::{self, SHARED};
use super::variant::Variant;
use crate::source::hf::rope::RotaryKind;

pub(super) static HELIUM: Family = Family {
    model_type: "helium",
    architectures: &["HeliumForCausalLM", "HeliumModel"],
    config: |fields| llama::config(fields, &VARIANT),
    interleaved_rotary: true,
    ..SHARED
};

const VARIANT: Variant = Variant {
    kv_heads_default: Some(20),
    head_dim_default: Some(128),
    context_default: 4096,
    eps_default: 1e-8,
    output_bias: false,
    rotary: RotaryKind { theta: 100_000.0, ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};
