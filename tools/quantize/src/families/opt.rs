//! OPT (Zhang et al. 2022): GPT-2 with ReLU, whose positions are counted from 2. There are no GGUF files of it.

use whit::error::Result;
use whit::model::spec::{Part, Shape};
use whit::model::{Activation, Config, MlpKind};

use super::family::Family;
use super::gpt2::{self, GPT2};
use super::transform::{Slice, Transform};
use crate::source::hf::fields::Fields;

/// Rows of the table of positions before that of the first.
const FIRST_POSITION: usize = 2;

pub(super) static OPT: Family = Family {
    model_type: "opt",
    architectures: &["OPTForCausalLM", "OPTModel"],
    config,
    prefix: "model.decoder.",
    ignored: &[],
    names: &[NAMES],
    transform: |_, spec, _| match (spec.part, spec.shape) {
        (Part::Positions, Shape::Matrix(rows, _)) => {
            let slice = Slice { first: FIRST_POSITION, total: rows + FIRST_POSITION, matrices: 1, heads: None };
            Transform { slice: Some(slice), ..Transform::default() }
        }
        _ => Transform::default(),
    },
    gguf: None,
    ..GPT2
};

const VARIANT: gpt2::Variant =
    gpt2::Variant { eps: Some(1e-5), mlp: MlpKind::plain(Activation::Relu), ..gpt2::Variant::GPT2 };

const NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "model.decoder.embed_tokens"),
    (Part::Positions, "model.decoder.embed_positions"),
    (Part::AttentionNorm, "model.decoder.layers.{}.self_attn_layer_norm"),
    (Part::Query, "model.decoder.layers.{}.self_attn.q_proj"),
    (Part::Key, "model.decoder.layers.{}.self_attn.k_proj"),
    (Part::Value, "model.decoder.layers.{}.self_attn.v_proj"),
    (Part::Output, "model.decoder.layers.{}.self_attn.out_proj"),
    (Part::MlpNorm, "model.decoder.layers.{}.final_layer_norm"),
    (Part::Up, "model.decoder.layers.{}.fc1"),
    (Part::Down, "model.decoder.layers.{}.fc2"),
    (Part::FinalNorm, "model.decoder.final_layer_norm"),
    (Part::Unembedding, "lm_head"),
];

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    fields.also_called(&[
        ("n_embd", "hidden_size"),
        ("n_layer", "num_hidden_layers"),
        ("n_head", "num_attention_heads"),
        ("n_positions", "max_position_embeddings"),
        ("n_inner", "ffn_dim"),
    ]);
    let expected =
        [("do_layer_norm_before", true), ("_remove_final_layer_norm", false), ("layer_norm_elementwise_affine", true)];
    for (field, expected) in expected {
        if fields.bool(field, expected)? != expected {
            let error = fields.error(field, format!("{} is not supported", !expected));
            return Err(
                error.hint("OPT is read where norms stand before the branches, as in all its models but that of 350M")
            );
        }
    }
    let biases = fields.bool("enable_bias", true)?;
    let mut config = gpt2::config(fields, VARIANT)?;
    if fields.usize("word_embed_proj_dim", None)?.is_some_and(|width| width != config.dim) {
        let error = fields.error("word_embed_proj_dim", "token vectors of another width are not supported");
        return Err(error.hint("OPT is read where it is hidden_size, as in all its models but that of 350M"));
    }
    for layer in &mut config.layers {
        layer.mlp.bias = biases;
        if let Some(attention) = layer.attention_mut() {
            (attention.qkv_bias, attention.output_bias) = (biases, biases);
        }
    }
    Ok(config)
}
