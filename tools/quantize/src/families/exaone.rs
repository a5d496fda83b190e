//! EXAONE 3.0 and 3.5 (LG AI Research): Llama under names of its own.

use super::family::{Family, Gguf};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES};
use super::variant::Variant;
use crate::source::hf::rope::RotaryKind;

pub(super) static EXAONE: Family = Family {
    model_type: "exaone",
    // transformers makes Llama of it.
    architectures: &["ExaoneForCausalLM", "ExaoneModel", "LlamaForCausalLM"],
    config: |fields| llama::config(fields, &VARIANT),
    renamed: &[
        ("transformer.wte.", "model.embed_tokens."),
        ("transformer.h.", "model.layers."),
        ("transformer.ln_f.", "model.norm."),
        (".attn.attention.", ".self_attn."),
        (".self_attn.out_proj.", ".self_attn.o_proj."),
        (".ln_1.", ".input_layernorm."),
        (".ln_2.", ".post_attention_layernorm."),
        (".mlp.c_fc_0.", ".mlp.gate_proj."),
        (".mlp.c_fc_1.", ".mlp.up_proj."),
        (".mlp.c_proj.", ".mlp.down_proj."),
    ],
    ignored: &["rotary_emb.inv_freq", "rotary.inv_freq"],
    gguf: Some(Gguf {
        architecture: "exaone",
        label: "exaone",
        interleaved_rotary: false,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    also_called: &[
        ("num_hidden_layers", "num_layers"),
        ("rms_norm_eps", "layer_norm_epsilon"),
        ("hidden_act", "activation_function"),
    ],
    kv_heads_default: Some(8),
    context_default: 4096,
    eps_default: 1e-5,
    rotary: RotaryKind { theta: 500_000.0, ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};
