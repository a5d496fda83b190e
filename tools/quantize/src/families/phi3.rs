//! Phi-3 and Phi-4 (Microsoft): q, k and v in one tensor, gate and up in another; of Phi-4-mini a part of each head turns.

use whit::model::spec::Part;

use super::family::{Family, GGUF_NAMES, Gguf};
use super::llama::{self, NAMES, SHARED};
use super::variant::{Variant, Window};
use crate::source::hf::rope::RotaryKind;

pub(super) static PHI3: Family = Family {
    model_type: "phi3",
    architectures: &["Phi3ForCausalLM", "Phi3Model"],
    config: |fields| llama::config(fields, &VARIANT),
    names: &[FUSED, NAMES],
    gguf: Some(Gguf {
        architecture: "phi3",
        label: "phi3",
        interleaved_rotary: false,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: &[FUSED_IN_GGUF, GGUF_NAMES],
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    context_default: 4096,
    eps_default: 1e-5,
    attention_bias_field: None,
    mlp_bias_field: None,
    window: Window::Always(None),
    rotary: RotaryKind {
        part: Some(1.0),
        also_called: &[("su", "longrope"), ("yarn", "longrope")],
        original_context: Some(4096.0),
        ..RotaryKind::WHOLE
    },
    ..Variant::LLAMA
};

const FUSED: &[(Part, &str)] = &[
    (Part::Query, "model.layers.{}.self_attn.qkv_proj"),
    (Part::Key, "model.layers.{}.self_attn.qkv_proj"),
    (Part::Value, "model.layers.{}.self_attn.qkv_proj"),
    (Part::Gate, "model.layers.{}.mlp.gate_up_proj"),
    (Part::Up, "model.layers.{}.mlp.gate_up_proj"),
];

const FUSED_IN_GGUF: &[(Part, &str)] = &[
    (Part::Query, "blk.{}.attn_qkv"),
    (Part::Key, "blk.{}.attn_qkv"),
    (Part::Value, "blk.{}.attn_qkv"),
    (Part::Gate, "blk.{}.ffn_up"),
    (Part::Up, "blk.{}.ffn_up"),
];
