//! GLM-4 and GLM-Edge (Zhipu): a part of each head turns, in pairs of neighbours; gate and up are one tensor.

use whit::model::spec::Part;

use super::family::{Family, GGUF_NAMES, Gguf};
use super::llama::{self, NAMES, SHARED};
use super::variant::Variant;
use crate::source::hf::rope::RotaryKind;

pub(super) static GLM: Family = Family {
    model_type: "glm",
    architectures: &["GlmForCausalLM", "GlmModel"],
    config: |fields| llama::config(fields, &VARIANT),
    names: &[FUSED, NAMES],
    interleaved_rotary: true,
    gguf: Some(Gguf {
        architecture: "chatglm",
        label: "chatglm (GLM-4, GLM-Edge)",
        interleaved_rotary: true,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: &[FUSED_IN_GGUF, GGUF_NAMES],
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    kv_heads_default: Some(2),
    head_dim_default: Some(128),
    context_default: 131_072,
    eps_default: 1.5625e-7,
    attention_bias_field: Some(("attention_bias", true)),
    output_bias: false,
    mlp_bias_field: None,
    rotary: RotaryKind { part: Some(0.5), ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

const FUSED: &[(Part, &str)] =
    &[(Part::Gate, "model.layers.{}.mlp.gate_up_proj"), (Part::Up, "model.layers.{}.mlp.gate_up_proj")];

const FUSED_IN_GGUF: &[(Part, &str)] = &[(Part::Gate, "blk.{}.ffn_up"), (Part::Up, "blk.{}.ffn_up")];
