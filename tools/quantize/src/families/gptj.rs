//! GPT-J (Wang and Komatsuzaki 2021): both branches read one LayerNorm; a part of each head turns, in pairs of neighbours. There are
//! no GGUF files of it.

use whit::model::spec::{NormKind, Part};
use whit::model::{Activation, MlpKind};

use super::family::Family;
use super::llama::{self, SHARED};
use super::variant::Variant;
use crate::source::hf::rope::RotaryKind;

pub(super) static GPTJ: Family = Family {
    model_type: "gptj",
    architectures: &["GPTJForCausalLM", "GPTJModel"],
    config: |fields| llama::config(fields, &VARIANT),
    prefix: "transformer.",
    ignored: &[".attn.bias", ".attn.masked_bias"],
    names: &[NAMES],
    interleaved_rotary: true,
    ..SHARED
};

const VARIANT: Variant = Variant {
    also_called: &[
        ("hidden_size", "n_embd"),
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
        ("max_position_embeddings", "n_positions"),
    ],
    hidden_dim_field: "n_inner",
    hidden_dim_times: Some(4),
    eps_field: Some("layer_norm_epsilon"),
    eps_default: 1e-5,
    attention_bias_field: None,
    mlp_bias: true,
    mlp_field: "activation_function",
    mlp: MlpKind::plain(Activation::GeluTanh),
    norm: NormKind::Layer,
    parallel: true,
    unembedding_bias: true,
    rotary: RotaryKind { dim: Some(("rotary_dim", 64)), ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

const NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "transformer.wte"),
    (Part::AttentionNorm, "transformer.h.{}.ln_1"),
    (Part::MlpNorm, "transformer.h.{}.ln_2"),
    (Part::Query, "transformer.h.{}.attn.q_proj"),
    (Part::Key, "transformer.h.{}.attn.k_proj"),
    (Part::Value, "transformer.h.{}.attn.v_proj"),
    (Part::Output, "transformer.h.{}.attn.out_proj"),
    (Part::Up, "transformer.h.{}.mlp.fc_in"),
    (Part::Down, "transformer.h.{}.mlp.fc_out"),
    (Part::FinalNorm, "transformer.ln_f"),
    (Part::Unembedding, "lm_head"),
];
