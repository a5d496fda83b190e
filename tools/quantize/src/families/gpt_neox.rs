//! GPT-NeoX, as Pythia (Biderman et al. 2023): both branches read the residual stream before the block, each by a norm of its own; a
//! part of each head turns.

use whit::error::Result;
use whit::model::spec::{NormKind, Part};
use whit::model::{Activation, Config, MlpKind};

use super::family::{Family, Gguf};
use super::gpt2;
use super::llama::{self, SHARED};
use super::variant::Variant;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static GPT_NEOX: Family = Family {
    model_type: "gpt_neox",
    architectures: &["GPTNeoXForCausalLM", "GPTNeoXModel"],
    config,
    prefix: "gpt_neox.",
    ignored: &["rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias"],
    names: &[NAMES],
    renamed: &[("embed_out.", "lm_head.")],
    fused_by_head: true,
    gguf: Some(Gguf {
        architecture: "gptneox",
        label: "gptneox",
        interleaved_rotary: false,
        config: |keys| {
            let parallel = keys.bool("use_parallel_residual")?.unwrap_or(true);
            llama::gguf_config(keys, &Variant { parallel, ..VARIANT })
        },
        names: gpt2::GGUF,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    eps_field: Some("layer_norm_eps"),
    eps_default: 1e-5,
    attention_bias_field: Some(("attention_bias", true)),
    mlp_bias: true,
    mlp: MlpKind::plain(Activation::Gelu),
    norm: NormKind::Layer,
    rotary: RotaryKind {
        theta_field: "rotary_emb_base",
        part: Some(0.25),
        part_field: "rotary_pct",
        ..RotaryKind::WHOLE
    },
    ..Variant::LLAMA
};

const NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "gpt_neox.embed_in"),
    (Part::AttentionNorm, "gpt_neox.layers.{}.input_layernorm"),
    (Part::Query, "gpt_neox.layers.{}.attention.query_key_value"),
    (Part::Key, "gpt_neox.layers.{}.attention.query_key_value"),
    (Part::Value, "gpt_neox.layers.{}.attention.query_key_value"),
    (Part::Output, "gpt_neox.layers.{}.attention.dense"),
    (Part::MlpNorm, "gpt_neox.layers.{}.post_attention_layernorm"),
    (Part::Up, "gpt_neox.layers.{}.mlp.dense_h_to_4h"),
    (Part::Down, "gpt_neox.layers.{}.mlp.dense_4h_to_h"),
    (Part::FinalNorm, "gpt_neox.final_layer_norm"),
    (Part::Unembedding, "lm_head"),
];

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let parallel = fields.bool("use_parallel_residual", true)?;
    llama::config(fields, &Variant { parallel, ..VARIANT })
}
