//! Phi-1.5 and Phi-2 (Microsoft 2023): both branches read one LayerNorm; biases throughout; a part of each head turns.

use whit::error::Result;
use whit::model::spec::{NormKind, Part};
use whit::model::{Activation, Config, MlpKind};

use super::family::{Family, Gguf};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::variant::Variant;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static PHI2: Family = Family {
    model_type: "phi",
    architectures: &["PhiForCausalLM", "PhiModel"],
    config,
    names: &[OWN, NAMES],
    gguf: Some(Gguf {
        architecture: "phi2",
        label: "phi2",
        interleaved_rotary: false,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    eps_field: Some("layer_norm_eps"),
    eps_default: 1e-5,
    attention_bias_field: None,
    qkv_bias: true,
    o_bias: true,
    mlp_bias: true,
    mlp: MlpKind::plain(Activation::GeluTanh),
    norm: NormKind::Layer,
    parallel: true,
    unembedding_bias: true,
    rotary: RotaryKind { part: Some(0.5), ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

const OWN: &[(Part, &str)] = &[
    (Part::Output, "model.layers.{}.self_attn.dense"),
    (Part::Up, "model.layers.{}.mlp.fc1"),
    (Part::Down, "model.layers.{}.mlp.fc2"),
    (Part::FinalNorm, "model.final_layernorm"),
];

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    if fields.bool("qk_layernorm", false)? {
        let error = fields.error("qk_layernorm", "true is not supported");
        return Err(error.hint("Phi-1.5 and Phi-2 have no norms of queries and keys"));
    }
    llama::config(fields, &VARIANT)
}
