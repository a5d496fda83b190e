//! Llama (Touvron et al. 2023) and what differs from it in little: Mistral, Qwen2, Qwen3.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{self, Config, Uniform};

use super::family::{Family, GGUF_NAMES, Gguf, Names, Prefix};
use super::transform::Transform;
use crate::source::gguf_keys::Keys;
use crate::source::hf_fields::Fields;

/// What the families below share.
const SHARED: Family = Family {
    model_type: "",
    architectures: &[],
    config: |fields| config(fields, &Variant::LLAMA),
    prefix: Prefix::Added { prefix: "model.", before: &["layers.", "embed_tokens.", "norm."] },
    ignored: &["rotary_emb.inv_freq"],
    names: &[NAMES],
    gguf: None,
    transform: |_, _, _| Transform::default(),
};
const SHARED_GGUF_NAMES: Names = &[GGUF_NAMES];

pub(crate) static LLAMA: Family = Family {
    model_type: "llama",
    architectures: &["LlamaForCausalLM"],
    gguf: Some(Gguf {
        architecture: "llama",
        label: "llama (also Mistral)",
        interleaved_rotary: true,
        config: |keys| gguf_config(keys, &Variant::LLAMA),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

pub(super) static MISTRAL: Family = Family {
    model_type: "mistral",
    architectures: &["MistralForCausalLM"],
    config: |fields| config(fields, &Variant::MISTRAL),
    ..SHARED
};

pub(super) static QWEN2: Family = Family {
    model_type: "qwen2",
    architectures: &["Qwen2ForCausalLM"],
    config: |fields| config(fields, &Variant::QWEN2),
    gguf: Some(Gguf {
        architecture: "qwen2",
        label: "qwen2",
        interleaved_rotary: false,
        config: |keys| gguf_config(keys, &Variant::QWEN2),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

pub(super) static QWEN3: Family = Family {
    model_type: "qwen3",
    architectures: &["Qwen3ForCausalLM"],
    config: |fields| config(fields, &Variant::QWEN3),
    gguf: Some(Gguf {
        architecture: "qwen3",
        label: "qwen3",
        interleaved_rotary: false,
        config: |keys| gguf_config(keys, &Variant::QWEN3),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

pub(super) const NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "model.embed_tokens"),
    (Part::AttentionNorm, "model.layers.{}.input_layernorm"),
    (Part::Query, "model.layers.{}.self_attn.q_proj"),
    (Part::Key, "model.layers.{}.self_attn.k_proj"),
    (Part::Value, "model.layers.{}.self_attn.v_proj"),
    (Part::QueryNorm, "model.layers.{}.self_attn.q_norm"),
    (Part::KeyNorm, "model.layers.{}.self_attn.k_norm"),
    (Part::Output, "model.layers.{}.self_attn.o_proj"),
    (Part::MlpNorm, "model.layers.{}.post_attention_layernorm"),
    (Part::Gate, "model.layers.{}.mlp.gate_proj"),
    (Part::Up, "model.layers.{}.mlp.up_proj"),
    (Part::Down, "model.layers.{}.mlp.down_proj"),
    (Part::FinalNorm, "model.norm"),
    (Part::Unembedding, "lm_head"),
];

/// What one of the families has that another lacks.
#[derive(Debug)]
pub(super) struct Variant {
    /// config.json may leave the number of key and value heads out: as many as query heads.
    kv_heads_default: bool,
    /// The width of heads that config.json leaves out; `None`: the heads share the width of the residual stream.
    head_dim_default: Option<usize>,
    /// `attention_bias` says whether q, k, v and the output have biases.
    attention_bias_field: bool,
    /// q, k and v have biases, whatever else is said.
    qkv_bias: bool,
    /// `mlp_bias` says whether the MLP has biases.
    mlp_bias_field: bool,
    qk_norm: bool,
    window: Window,
}

/// What config.json says of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    /// Nothing.
    Never,
    /// `sliding_window` counts.
    Always,
    /// `sliding_window` counts where `use_sliding_window` is true, from layer `max_window_layers` on.
    Asked,
}

impl Variant {
    pub(super) const LLAMA: Variant = Variant {
        kv_heads_default: true,
        head_dim_default: None,
        attention_bias_field: true,
        qkv_bias: false,
        mlp_bias_field: true,
        qk_norm: false,
        window: Window::Never,
    };
    pub(super) const MISTRAL: Variant = Variant {
        kv_heads_default: false,
        attention_bias_field: false,
        mlp_bias_field: false,
        window: Window::Always,
        ..Variant::LLAMA
    };
    pub(super) const QWEN2: Variant = Variant { qkv_bias: true, window: Window::Asked, ..Variant::MISTRAL };
    /// transformers' default for heads is 128.
    pub(super) const QWEN3: Variant = Variant {
        head_dim_default: Some(128),
        attention_bias_field: true,
        qkv_bias: false,
        qk_norm: true,
        ..Variant::QWEN2
    };
}

/// The plan of a network like Llama, of this `variant`.
pub(super) fn config(fields: &mut Fields<'_>, variant: &Variant) -> Result<Config> {
    let dim = fields.required("hidden_size")?;
    let hidden_dim = fields.required("intermediate_size")?;
    let n_layers = fields.required("num_hidden_layers")?;
    let n_heads = fields.required("num_attention_heads")?;
    let n_kv_heads = match variant.kv_heads_default {
        true => fields.usize("num_key_value_heads")?.unwrap_or(n_heads),
        false => fields.required("num_key_value_heads")?,
    };
    let vocab_size = fields.required("vocab_size")?;
    let context_length = fields.required("max_position_embeddings")?;
    let norm_eps = fields.required_float("rms_norm_eps")? as f32;
    fields.check()?;
    fields.activation("hidden_act", &["silu", "swish"])?;
    if n_heads == 0 || n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
        let message = format!("{n_kv_heads} does not divide num_attention_heads {n_heads}");
        return Err(fields.error("num_key_value_heads", message));
    }
    let head_dim = head_dim(fields, variant, dim, n_heads)?;
    let attention_bias = variant.attention_bias_field && fields.bool("attention_bias", false)?;
    let network = Uniform {
        family: model::Family::Llama,
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size,
        context_length,
        norm_eps,
        sliding_window: sliding_window(fields, variant.window, n_layers, context_length)?,
        tied: fields.bool("tie_word_embeddings", false)?,
        qkv_bias: attention_bias || variant.qkv_bias,
        output_bias: attention_bias,
        mlp_bias: variant.mlp_bias_field && fields.bool("mlp_bias", false)?,
        qk_norm: variant.qk_norm,
        rope_freqs: fields.rope_freqs(head_dim, context_length)?,
    };
    network.check().map(|()| network.config())
}

fn head_dim(fields: &Fields<'_>, variant: &Variant, dim: usize, n_heads: usize) -> Result<usize> {
    let head_dim = match fields.usize("head_dim")?.or(variant.head_dim_default) {
        Some(head_dim) => head_dim,
        None if dim.is_multiple_of(n_heads) => dim / n_heads,
        None => {
            let message = format!("{n_heads} does not divide hidden_size {dim}, and there is no head_dim");
            return Err(fields.error("num_attention_heads", message));
        }
    };
    if !head_dim.is_multiple_of(2) || !(2..=4096).contains(&head_dim) {
        return Err(fields.error("head_dim", format!("{head_dim}, expected an even number from 2 to 4096")));
    }
    Ok(head_dim)
}

/// The window of all layers; layers that differ are refused.
fn sliding_window(fields: &mut Fields<'_>, rule: Window, n_layers: usize, context: usize) -> Result<Option<usize>> {
    let key = "sliding_window";
    if rule == Window::Never || (rule == Window::Asked && !fields.bool("use_sliding_window", false)?) {
        return Ok(None);
    }
    let Some(window) = fields.usize(key)? else { return Ok(None) };
    if window == 0 {
        return Err(fields.error(key, "0 positions"));
    }
    let sliding = match fields.layer_types(n_layers)? {
        Some(types) => types.iter().filter(|slides| **slides).count(),
        None if rule == Window::Asked => n_layers.saturating_sub(fields.usize("max_window_layers")?.unwrap_or(28)),
        None => n_layers,
    };
    if sliding != 0 && sliding != n_layers {
        let message = format!("{sliding} of {n_layers} layers have a window: only all or none is supported");
        return Err(fields.error(key, message));
    }
    if sliding > 0 && window >= context {
        fields.note(format!("sliding_window {window} spans the whole context of {context}: ignored"));
        return Ok(None);
    }
    Ok(Some(window).filter(|_| sliding > 0))
}

/// As [`config`], of a GGUF file.
pub(super) fn gguf_config(keys: &mut Keys<'_, '_>, variant: &Variant) -> Result<Config> {
    let network = keys.network(model::Family::Llama, "attention.layer_norm_rms_epsilon")?;
    let network = Uniform {
        qkv_bias: variant.qkv_bias || keys.has("blk.0.attn_q.bias"),
        output_bias: keys.has("blk.0.attn_output.bias"),
        mlp_bias: keys.has("blk.0.ffn_up.bias"),
        qk_norm: variant.qk_norm,
        rope_freqs: keys.rope_freqs(network.head_dim)?,
        ..network
    };
    network.check().map(|()| network.config())
}
