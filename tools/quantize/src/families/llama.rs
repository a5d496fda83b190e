//! Llama (Touvron et al. 2023) and what differs from it in little: Mistral, Qwen2, Qwen3.

use whit::error::Result;
use whit::model::spec::{NormKind, Part};
use whit::model::{self, Config, Layer, MlpKind, Uniform};

use super::family::{Family, GGUF_NAMES, Gguf, Names};
use super::transform::Transform;
use super::variant::{Variant, Window};
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;
use crate::source::rope::{self, Rotary};

/// What families share whose blocks are those of Llama.
pub(super) const SHARED: Family = Family {
    model_type: "",
    architectures: &[],
    config: |fields| config(fields, &Variant::LLAMA),
    prefix: "model.",
    ignored: &["rotary_emb.inv_freq"],
    names: &[NAMES],
    expert_names: &[],
    renamed: &[],
    gguf_renamed: &[],
    interleaved_rotary: false,
    backwards: false,
    fused_by_head: false,
    zeros: |_| false,
    gguf: None,
    gguf_also: &[],
    transform: |_, _, _| Transform::default(),
};
pub(super) const SHARED_GGUF_NAMES: Names = &[GGUF_NAMES];

pub(crate) static LLAMA: Family = Family {
    model_type: "llama",
    architectures: &["LlamaForCausalLM", "LlamaModel"],
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
    architectures: &["MistralForCausalLM", "MistralModel"],
    config: |fields| config(fields, &Variant::MISTRAL),
    ..SHARED
};

pub(super) static QWEN2: Family = Family {
    model_type: "qwen2",
    architectures: &["Qwen2ForCausalLM", "Qwen2Model"],
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
    architectures: &["Qwen3ForCausalLM", "Qwen3Model"],
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

/// The plan of a network like Llama, of this `variant`.
pub(super) fn config(fields: &mut Fields<'_>, variant: &Variant) -> Result<Config> {
    fields.also_called(variant.also_called);
    fields.defaults(variant.defaults);
    let dim = fields.required(&["hidden_size"])?;
    let hidden_dim = match variant.hidden_dim_times {
        Some(times) => fields.usize(variant.hidden_dim_field, None)?.unwrap_or(dim.saturating_mul(times)),
        None => fields.required(&[variant.hidden_dim_field])?,
    };
    let n_layers = fields.required(&["num_hidden_layers"])?;
    let n_heads = fields.required(&["num_attention_heads"])?;
    let vocab_size = fields.required(&["vocab_size"])?;
    fields.check()?;
    let context_default = variant.context_default;
    let context_length = fields.usize("max_position_embeddings", Some(context_default))?.unwrap_or(context_default);
    let norm_eps =
        variant.eps_field.map_or(Ok(variant.eps_default), |field| fields.float(field, variant.eps_default))?;
    let kind = fields.activation(variant.mlp_field, variant.mlp)?;
    let n_kv_heads = fields.usize("num_key_value_heads", variant.kv_heads_default)?.unwrap_or(n_heads);
    if n_heads == 0 || n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
        let message = format!("{n_kv_heads} does not divide num_attention_heads {n_heads}");
        let error = fields.error("num_key_value_heads", message);
        return Err(error.hint("where config.json names no number, transformers assumes this one: name the right one"));
    }
    let head_dim = head_dim(fields, variant, dim, n_heads)?;
    let attention_bias = match variant.attention_bias_field {
        Some((field, default)) => fields.bool(field, default)?,
        None => false,
    };
    let turns = variant.positions_field.map_or(Ok(true), |field| fields.is(field, "rope"))?;
    let rotary = match turns {
        true => fields.rotary(variant.rotary, (head_dim, context_length))?,
        false => Rotary::of_part(head_dim, head_dim, variant.rotary.theta, context_length),
    };
    let network = Uniform {
        family: model::Family::Llama,
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size,
        context_length: rotary.context_length,
        norm_eps: norm_eps as f32,
        sliding_window: None,
        tied: fields.tied(variant.tied_default)?,
        qkv_bias: attention_bias || variant.qkv_bias,
        output_bias: (attention_bias && variant.output_bias) || variant.o_bias,
        mlp_bias: variant.mlp_bias
            || variant.mlp_bias_field.map_or(Ok(false), |(field, default)| fields.bool(field, default))?,
        qk_norm: false,
        rope_freqs: rotary.freqs.clone(),
    };
    network.check()?;
    let mut config = network.config();
    variant.shape(&mut config, kind);
    let (slides, window) = windows(fields, variant.window, n_layers, config.context_length)?;
    if let Some(local) = variant.local_rotary {
        config.rotary_tables.push(fields.local_rotary((local.field, local.theta), head_dim, variant.rotary)?);
    }
    let table = |slides: bool| match (slides, variant.local_rotary) {
        _ if !turns => None,
        (true, Some(_)) => Some(1),
        (false, _) if window.is_some() && !variant.full_turns => None,
        _ => Some(0),
    };
    let by_first: Vec<bool> = slides.iter().map(|slides| table(*slides) == Some(0)).collect();
    fields.turn(&rotary, &by_first);
    slide(&mut config, &slides, window, table);
    Ok(config)
}

impl Variant {
    /// Gives the layers of a plan like Llama's what this variant has differently.
    pub(super) fn shape(&self, config: &mut Config, mlp: MlpKind) {
        config.norm = self.norm;
        config.unembedding_bias = self.unembedding_bias && !config.tied;
        for layer in &mut config.layers {
            layer.parallel = self.parallel;
            [layer.mixer_norms, layer.mlp_norms] = self.norms;
            (layer.mlp.kind, layer.mlp.inner_norm) = (mlp, self.inner_norms);
            if let Some(attention) = layer.attention_mut() {
                (attention.qk_norm, attention.inner_norm) = (self.qk_norm, self.inner_norms);
            }
        }
    }
}

/// Gives the layers that slide the `window`, where it is shorter than the context, and each the rotary table that `rotary` names;
/// tables that no layer has are left out.
pub(super) fn slide(
    config: &mut Config,
    slides: &[bool],
    window: Option<usize>,
    rotary: impl Fn(bool) -> Option<usize>,
) {
    let window = window.filter(|window| *window < config.context_length);
    for (layer, slides) in config.layers.iter_mut().zip(slides) {
        if let Some(attention) = layer.attention_mut() {
            attention.window = window.filter(|_| *slides);
            attention.rotary = rotary(*slides);
        }
    }
    keep_used_tables(config);
}

/// Leaves out the rotary tables that no layer has.
pub(super) fn keep_used_tables(config: &mut Config) {
    for table in (0..config.rotary_tables.len()).rev() {
        if config.attentions().any(|attention| attention.rotary == Some(table)) {
            continue;
        }
        config.rotary_tables.remove(table);
        let attentions = config.layers.iter_mut().filter_map(Layer::attention_mut);
        attentions.filter_map(|a| a.rotary.as_mut()).filter(|n| **n > table).for_each(|n| *n -= 1);
    }
}

fn head_dim(fields: &mut Fields<'_>, variant: &Variant, dim: usize, n_heads: usize) -> Result<usize> {
    let head_dim = match fields.usize("head_dim", variant.head_dim_default)? {
        Some(head_dim) => head_dim,
        None if dim.is_multiple_of(n_heads) => dim / n_heads,
        None => {
            let message = format!("{n_heads} does not divide hidden_size {dim}, and there is no head_dim");
            return Err(fields.error("num_attention_heads", message).hint("name the width of heads, head_dim"));
        }
    };
    if !head_dim.is_multiple_of(2) || !(2..=4096).contains(&head_dim) {
        let error = fields.error("head_dim", format!("{head_dim}, expected an even number from 2 to 4096"));
        return Err(error.hint("name the width that the matrices of this model have"));
    }
    Ok(head_dim)
}

/// Which layers have the window, and the window.
fn windows(
    fields: &mut Fields<'_>,
    rule: Window,
    n_layers: usize,
    context: usize,
) -> Result<(Vec<bool>, Option<usize>)> {
    let key = "sliding_window";
    let none = (vec![false; n_layers], None);
    if rule == Window::Never {
        return Ok(none);
    }
    let types = fields.layer_types(n_layers)?;
    let (asked, default) = match rule {
        Window::Always(default) => (true, default),
        Window::Asked => (fields.bool("use_sliding_window", false)?, Some(4096)),
        Window::Listed => (fields.bool("use_sliding_window", false)?, None),
        _ => (true, Some(4096)),
    };
    let Some(window) = (if asked { fields.usize(key, default)? } else { None }) else {
        if types.is_some_and(|types| types.contains(&true)) {
            let error = fields.error("layer_types", "sliding_attention, but there is no sliding_window in use");
            return Err(error.hint("set use_sliding_window and sliding_window, or write full_attention"));
        }
        return Ok(none);
    };
    if window == 0 {
        return Err(fields.error(key, "0 positions").hint("write null where layers have no window"));
    }
    let slides: Box<dyn Fn(usize) -> bool> = match rule {
        Window::Asked => {
            let first = fields.usize("max_window_layers", Some(28))?.unwrap_or(28);
            Box::new(move |layer| layer >= first)
        }
        Window::AllBut(period) => {
            let period = fields.number("sliding_window_pattern")?.unwrap_or(period);
            Box::new(move |layer| !(layer + 1).is_multiple_of(period))
        }
        Window::Listed => Box::new(|_| false),
        _ => Box::new(|_| true),
    };
    let slides = types.unwrap_or_else(|| (0..n_layers).map(slides).collect());
    if window >= context && slides.contains(&true) {
        fields.note(format!("sliding_window {window} spans the whole context of {context}: ignored"));
    }
    Ok((slides, Some(window)))
}

/// As [`config`], of a GGUF file.
pub(super) fn gguf_config(keys: &mut Keys<'_, '_>, variant: &Variant) -> Result<Config> {
    let eps = match variant.norm {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    };
    let network = keys.network(model::Family::Llama, eps)?;
    let (head_dim, n_layers, window) = (network.head_dim, network.n_layers, network.sliding_window);
    let rotary = keys.rotary((head_dim, network.context_length), n_layers)?;
    let network = Uniform {
        context_length: rotary.context_length,
        sliding_window: None,
        qkv_bias: variant.qkv_bias || keys.has("blk.0.attn_q.bias") || keys.has("blk.0.attn_qkv.bias"),
        output_bias: keys.has("blk.0.attn_output.bias"),
        mlp_bias: keys.has("blk.0.ffn_up.bias"),
        rope_freqs: rotary.freqs,
        ..network
    };
    network.check()?;
    let mut config = network.config();
    variant.shape(&mut config, variant.mlp);
    let slides = keys.slides(n_layers)?.unwrap_or_else(|| match variant.window {
        Window::AllBut(period) => (1..=n_layers).map(|layer| !layer.is_multiple_of(period)).collect(),
        _ => vec![true; n_layers],
    });
    let local = variant.local_rotary.filter(|_| window.is_some());
    if let Some(local) = local {
        let theta = keys.positive("rope.freq_base_swa")?.unwrap_or(local.theta);
        config.rotary_tables.push(rope::frequencies(head_dim, theta));
    }
    slide(&mut config, &slides, window, |slides| match (slides, local) {
        (true, Some(_)) => Some(1),
        (false, _) if window.is_some() && !variant.full_turns => None,
        _ => Some(0),
    });
    Ok(config)
}
