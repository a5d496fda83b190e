//! GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").

use whit::error::Result;
use whit::model::spec::{Part, Shape, TensorSpec};
use whit::model::{self, Config, Uniform};

use super::family::{Family, GGUF_NAMES, Gguf, Naming, Prefix};
use super::transform::{Slice, Transform};
use crate::source::gguf_keys::Keys;
use crate::source::hf_fields::Fields;

pub(super) static GPT2: Family = Family {
    model_type: "gpt2",
    architectures: &["GPT2LMHeadModel", "GPT2Model"],
    config,
    prefix: Prefix::Dropped("transformer."),
    ignored: &[".attn.bias", ".attn.masked_bias"],
    names: &[NAMES],
    gguf: Some(Gguf {
        architecture: "gpt2",
        label: "gpt2",
        interleaved_rotary: false,
        config: gguf_config,
        names: &[FUSED_IN_GGUF, GGUF_NAMES],
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

const FUSED_IN_GGUF: &[(Part, &str)] =
    &[(Part::Query, "blk.{}.attn_qkv"), (Part::Key, "blk.{}.attn_qkv"), (Part::Value, "blk.{}.attn_qkv")];

/// q, k and v are one tensor; Hugging Face's Conv1D stores matrices as (in, out).
fn transform(config: &Config, spec: &TensorSpec, naming: Naming) -> Transform {
    let attention = spec.layer.and_then(|layer| config.layers[layer].attention());
    Transform {
        transposed: naming == Naming::HuggingFace && spec.layer.is_some() && matches!(spec.shape, Shape::Matrix(..)),
        slice: attention.and_then(|attention| Slice::of_fused_qkv(attention, spec.part)),
        ..Transform::default()
    }
}

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let dim = fields.required("n_embd")?;
    let n_layers = fields.required("n_layer")?;
    let n_heads = fields.required("n_head")?;
    let vocab_size = fields.required("vocab_size")?;
    let context_length = fields.required("n_positions")?;
    let norm_eps = fields.required_float("layer_norm_epsilon")? as f32;
    fields.check()?;
    fields.activation("activation_function", &["gelu_new", "gelu_pytorch_tanh"])?;
    for key in ["scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"] {
        if fields.bool(key, false)? {
            return Err(fields.error(key, "true is not supported"));
        }
    }
    if !fields.bool("scale_attn_weights", true)? {
        return Err(fields.error("scale_attn_weights", "false is not supported"));
    }
    if n_heads == 0 || !dim.is_multiple_of(n_heads) {
        return Err(fields.error("n_head", format!("{n_heads} does not divide n_embd {dim}")));
    }
    let network = Uniform {
        family: model::Family::Gpt2,
        dim,
        hidden_dim: fields.usize("n_inner")?.unwrap_or(dim.saturating_mul(4)),
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
    network.check().map(|()| network.config())
}

fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let network = keys.network(model::Family::Gpt2, "attention.layer_norm_epsilon")?;
    let network = Uniform { sliding_window: None, qkv_bias: true, output_bias: true, mlp_bias: true, ..network };
    network.check().map(|()| network.config())
}
