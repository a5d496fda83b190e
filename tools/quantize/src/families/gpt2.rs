//! GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").

use whit::error::Result;
use whit::model::spec::{Part, Shape, TensorSpec};
use whit::model::{self, Activation, Config, MlpKind, Uniform};

use super::family::{Family, GGUF_NAMES, Gguf, Names, Naming};
use super::transform::Transform;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;

pub(super) const GPT2: Family = Family {
    model_type: "gpt2",
    architectures: &["GPT2LMHeadModel", "GPT2Model"],
    config: |fields| config(fields, Variant::GPT2),
    prefix: "",
    ignored: &[".attn.bias", ".attn.masked_bias"],
    names: &[NAMES],
    expert_names: &[],
    renamed: &[],
    gguf_renamed: &[],
    gguf_also: &[],
    interleaved_rotary: false,
    backwards: false,
    fused_by_head: false,
    zeros: |_| false,
    gguf: Some(Gguf {
        architecture: "gpt2",
        label: "gpt2",
        interleaved_rotary: false,
        config: gguf_config,
        names: GGUF,
    }),
    transform,
};

const NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "wte"),
    (Part::Positions, "wpe"),
    (Part::AttentionNorm, "h.{}.ln_1"),
    (Part::Query, "h.{}.attn.c_attn"),
    (Part::Key, "h.{}.attn.c_attn"),
    (Part::Value, "h.{}.attn.c_attn"),
    (Part::Output, "h.{}.attn.c_proj"),
    (Part::MlpNorm, "h.{}.ln_2"),
    (Part::Up, "h.{}.mlp.c_fc"),
    (Part::Down, "h.{}.mlp.c_proj"),
    (Part::FinalNorm, "ln_f"),
    (Part::Unembedding, "lm_head"),
];

pub(super) const GGUF: Names = &[FUSED_IN_GGUF, GGUF_NAMES];

const FUSED_IN_GGUF: &[(Part, &str)] =
    &[(Part::Query, "blk.{}.attn_qkv"), (Part::Key, "blk.{}.attn_qkv"), (Part::Value, "blk.{}.attn_qkv")];

/// Hugging Face's Conv1D stores matrices as (in, out).
fn transform(_: &Config, spec: &TensorSpec, naming: Naming) -> Transform {
    let conv1d = naming == Naming::HuggingFace && spec.layer.is_some();
    Transform { transposed: conv1d && matches!(spec.shape, Shape::Matrix(..)), ..Transform::default() }
}

/// What relatives have differently.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    /// The epsilon of the norms, whatever config.json says.
    pub(super) eps: Option<f64>,
    /// What stands between the matrices of the MLP where config.json does not say.
    pub(super) mlp: MlpKind,
    /// The number of positions, whatever config.json says.
    pub(super) context: Option<usize>,
}

impl Variant {
    pub(super) const GPT2: Variant = Variant { eps: None, mlp: MlpKind::plain(Activation::GeluTanh), context: None };
}

/// The plan of a network like GPT-2, of this `variant`.
pub(super) fn config(fields: &mut Fields<'_>, variant: Variant) -> Result<Config> {
    // transformers takes the names of other families, too, and those go first.
    let dim = fields.required(&["hidden_size", "n_embd"])?;
    let n_layers = fields.required(&["num_hidden_layers", "n_layer"])?;
    let n_heads = fields.required(&["num_attention_heads", "n_head"])?;
    let vocab_size = fields.required(&["vocab_size"])?;
    let context_length = match variant.context {
        Some(context) => context,
        None => fields.required(&["max_position_embeddings", "n_positions"])?,
    };
    fields.check()?;
    let norm_eps = variant.eps.map_or_else(|| fields.float("layer_norm_epsilon", 1e-5), Ok)? as f32;
    let kind = fields.activation("activation_function", variant.mlp)?;
    if fields.bool("add_cross_attention", false)? {
        let error = fields.error("add_cross_attention", "true is not supported");
        return Err(error.hint("whit runs models that read text alone, not the output of an encoder"));
    }
    if n_heads == 0 || !dim.is_multiple_of(n_heads) {
        let error = fields.error("n_head", format!("{n_heads} does not divide n_embd {dim}"));
        return Err(error.hint("take config.json and weights from one place"));
    }
    let network = Uniform {
        family: model::Family::Gpt2,
        dim,
        hidden_dim: fields.usize("n_inner", None)?.unwrap_or(dim.saturating_mul(4)),
        n_layers,
        n_heads,
        n_kv_heads: n_heads,
        head_dim: dim / n_heads,
        vocab_size,
        context_length,
        norm_eps,
        sliding_window: None,
        tied: fields.bool("tie_word_embeddings", true)?,
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
        qk_norm: false,
        rope_freqs: Vec::new(),
    };
    network.check()?;
    let scales = query_scales(fields, &network)?;
    fields.scale(Part::Query, scales);
    let mut config = network.config();
    config.layers.iter_mut().for_each(|layer| layer.mlp.kind = kind);
    Ok(config)
}

/// What the queries of each layer are multiplied by so that scores, which are divided by the root of the width of heads, are
/// scaled as `scale_attn_weights` and `scale_attn_by_inverse_layer_idx` say.
fn query_scales(fields: &Fields<'_>, network: &Uniform) -> Result<Vec<f32>> {
    let root = match fields.bool("scale_attn_weights", true)? {
        true => 1.0,
        false => (network.head_dim as f32).sqrt(),
    };
    let by_layer = fields.bool("scale_attn_by_inverse_layer_idx", false)?;
    Ok((0..network.n_layers).map(|layer| if by_layer { root / (layer + 1) as f32 } else { root }).collect())
}

/// The plan with so many heads of keys and values in each layer.
pub(super) fn with_kv_heads(mut config: Config, n_kv_heads: usize) -> Result<Config> {
    for layer in &mut config.layers {
        let Some(attention) = layer.attention_mut() else { continue };
        attention.n_kv_heads = n_kv_heads;
    }
    config.check().map(|()| config)
}

pub(super) fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let network = keys.network(model::Family::Gpt2, "attention.layer_norm_epsilon")?;
    let n_kv_heads = network.n_kv_heads;
    let network = Uniform {
        n_kv_heads: network.n_heads,
        sliding_window: None,
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
        ..network
    };
    network.check()?;
    with_kv_heads(network.config(), n_kv_heads)
}
