//! StableLM 2 (Stability AI 2024): LayerNorm, and a part of each head turns.

use whit::error::Result;
use whit::model::Config;
use whit::model::spec::NormKind;

use super::family::{Family, Gguf};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES};
use super::variant::Variant;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static STABLELM: Family = Family {
    model_type: "stablelm",
    architectures: &["StableLmForCausalLM", "StableLmModel"],
    config,
    gguf: Some(Gguf {
        architecture: "stablelm",
        label: "stablelm",
        interleaved_rotary: false,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    kv_heads_default: Some(32),
    context_default: 4096,
    eps_field: Some("layer_norm_eps"),
    eps_default: 1e-5,
    attention_bias_field: Some(("use_qkv_bias", false)),
    output_bias: false,
    mlp_bias_field: None,
    norm: NormKind::Layer,
    rotary: RotaryKind { part: Some(0.25), ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    if fields.bool("qk_layernorm", false)? {
        let error = fields.error("qk_layernorm", "true is not supported");
        return Err(error.hint("StableLM 2 is read where heads have no norms of their own, as of 1.6B"));
    }
    let parallel = fields.bool("use_parallel_residual", false)?;
    llama::config(fields, &Variant { parallel, ..VARIANT })
}
