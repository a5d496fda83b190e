//! InternLM 3 (Shanghai AI Laboratory): Llama with fields of its own. Its GGUF files are of the architecture llama.

use super::family::Family;
use super::llama::{self, SHARED};
use super::variant::Variant;

pub(super) static INTERNLM3: Family = Family {
    model_type: "internlm3",
    // transformers makes Llama of it.
    architectures: &["InternLM3ForCausalLM", "InternLM3Model", "LlamaForCausalLM"],
    config: |fields| {
        fields.also_called(VARIANT.also_called);
        if fields.bool("attention_bias", false)? != fields.bool("mlp_bias", false)? {
            let error = fields.error("qkv_bias", "differs from bias, which is not supported");
            return Err(error.hint("transformers has biases in all matrices or in none"));
        }
        llama::config(fields, &VARIANT)
    },
    ..SHARED
};

const VARIANT: Variant = Variant {
    also_called: &[("attention_bias", "qkv_bias"), ("mlp_bias", "bias")],
    kv_heads_default: Some(2),
    head_dim_default: Some(128),
    context_default: 32_768,
    eps_default: 1e-5,
    ..Variant::LLAMA
};
