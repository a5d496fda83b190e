//! GPT-Neo, as TinyStories (Eldan and Li 2023): GPT-2 with a window in every other layer, scores that are not scaled, and no biases of
//! q, k and v. There are no GGUF files of it.

use whit::error::Result;
use whit::model::Config;
use whit::model::spec::Part;

use super::family::Family;
use super::gpt2::{self, GPT2};
use super::transform::Transform;
use crate::source::hf::fields::Fields;

pub(super) static GPT_NEO: Family = Family {
    model_type: "gpt_neo",
    architectures: &["GPTNeoForCausalLM", "GPTNeoModel"],
    config,
    ignored: &[".attn.attention.bias", ".attn.attention.masked_bias"],
    names: &[NAMES],
    transform: |_, _, _| Transform::default(),
    gguf: None,
    ..GPT2
};

const NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "wte"),
    (Part::Positions, "wpe"),
    (Part::AttentionNorm, "h.{}.ln_1"),
    (Part::Query, "h.{}.attn.attention.q_proj"),
    (Part::Key, "h.{}.attn.attention.k_proj"),
    (Part::Value, "h.{}.attn.attention.v_proj"),
    (Part::Output, "h.{}.attn.attention.out_proj"),
    (Part::MlpNorm, "h.{}.ln_2"),
    (Part::Up, "h.{}.mlp.c_fc"),
    (Part::Down, "h.{}.mlp.c_proj"),
    (Part::FinalNorm, "ln_f"),
    (Part::Unembedding, "lm_head"),
];

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    fields.also_called(&[
        ("n_embd", "hidden_size"),
        ("n_layer", "num_layers"),
        ("n_head", "num_heads"),
        ("n_positions", "max_position_embeddings"),
        ("n_inner", "intermediate_size"),
    ]);
    let mut config = gpt2::config(fields, gpt2::Variant::GPT2)?;
    let window = fields.usize("window_size", Some(256))?.unwrap_or(256);
    if window == 0 {
        return Err(fields.error("window_size", "0 positions").hint("name the window that the model was trained with"));
    }
    let local = local_layers(fields, config.n_layers())?;
    let root = |head_dim: usize| (head_dim as f32).sqrt();
    fields.scale(Part::Query, config.attentions().map(|attention| root(attention.head_dim)).collect());
    for (layer, local) in config.layers.iter_mut().zip(local) {
        if let Some(attention) = layer.attention_mut() {
            attention.qkv_bias = false;
            attention.window = Some(window).filter(|window| local && *window < config.context_length);
        }
    }
    Ok(config)
}

/// Which layers have the window: as `attention_types` says, lists of kinds and how often each is repeated.
fn local_layers(fields: &Fields<'_>, n_layers: usize) -> Result<Vec<bool>> {
    let local = fields.repeated_words("attention_types", &["global", "local"])?;
    let local = local.unwrap_or_else(|| (0..24).map(|layer| layer % 2).collect());
    if local.len() == n_layers {
        return Ok(local.into_iter().map(|kind| kind == 1).collect());
    }
    let error = fields.error("attention_types", format!("{} layers of {n_layers}", local.len()));
    Err(error.hint("name the kind of each layer"))
}
