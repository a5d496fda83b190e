//! LFM2 (Liquid AI 2025): short convolutions in the place of most attentions. Some models have experts, in all but the first layers.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{self, Config, Experts, Mixer, Routing, Scores, ShortConv, Uniform};

use super::experts;
use super::family::{Family, GGUF_NAMES, Gguf, Naming};
use super::llama::SHARED;
use super::transform::Transform;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) const LFM2: Family = Family {
    model_type: "lfm2",
    architectures: &["Lfm2ForCausalLM", "Lfm2Model"],
    config: |fields| read(fields, true),
    ignored: &["rotary_emb.inv_freq", "pos_emb.inv_freq"],
    names: &[NAMES],
    gguf: Some(Gguf {
        architecture: "lfm2",
        label: "lfm2",
        interleaved_rotary: false,
        config: gguf_config,
        names: &[LFM2_GGUF_NAMES, GGUF_NAMES],
    }),
    transform: |_, spec, naming| Transform {
        depthwise: naming == Naming::HuggingFace && spec.part == Part::ConvKernel && !spec.is_bias,
        ..Transform::default()
    },
    ..SHARED
};

pub(super) static LFM2_MOE: Family = Family {
    model_type: "lfm2_moe",
    architectures: &["Lfm2MoeForCausalLM", "Lfm2MoeModel"],
    config: |fields| {
        let mut config = read(fields, false)?;
        let routing = Routing {
            n_active: fields.required_or("num_experts_per_tok", 4)?,
            scores: Scores::Sigmoid,
            normalized: fields.bool("norm_topk_prob", true)?,
            scale: fields.positive("routed_scaling_factor", 1.0)? as f32,
        };
        let n_experts = fields.required_or("num_experts", 32)?;
        let experts = Experts { n_experts, routing, bias: fields.bool("use_expert_bias", true)?, shared: None };
        let dense = fields.number("num_dense_layers")?.unwrap_or(2);
        let hidden_dim = fields.required_or("moe_intermediate_size", 1792)?;
        experts::mix_some(&mut config, experts, Some(hidden_dim), |layer| layer >= dense)?;
        Ok(config)
    },
    names: &[EXPERTS, NAMES],
    renamed: &[("feed_forward.expert_bias", "feed_forward.expert_bias.bias")],
    expert_names: &[&[
        (Part::Gate, "model.layers.{}.feed_forward.experts.{e}.w1"),
        (Part::Up, "model.layers.{}.feed_forward.experts.{e}.w3"),
        (Part::Down, "model.layers.{}.feed_forward.experts.{e}.w2"),
    ]],
    gguf: Some(Gguf {
        architecture: "lfm2moe",
        label: "lfm2moe",
        interleaved_rotary: false,
        config: gguf_experts,
        names: &[LFM2_GGUF_NAMES, GGUF_NAMES],
    }),
    ..LFM2
};

const EXPERTS: &[(Part, &str)] = &[
    (Part::Router, "model.layers.{}.feed_forward.gate"),
    (Part::RouterBias, "model.layers.{}.feed_forward.expert_bias"),
];

pub(super) const NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "model.embed_tokens"),
    (Part::AttentionNorm, "model.layers.{}.operator_norm"),
    (Part::Query, "model.layers.{}.self_attn.q_proj"),
    (Part::Key, "model.layers.{}.self_attn.k_proj"),
    (Part::Value, "model.layers.{}.self_attn.v_proj"),
    (Part::QueryNorm, "model.layers.{}.self_attn.q_layernorm"),
    (Part::KeyNorm, "model.layers.{}.self_attn.k_layernorm"),
    (Part::Output, "model.layers.{}.self_attn.out_proj"),
    (Part::ConvInput, "model.layers.{}.conv.in_proj"),
    (Part::ConvKernel, "model.layers.{}.conv.conv"),
    (Part::ConvOutput, "model.layers.{}.conv.out_proj"),
    (Part::MlpNorm, "model.layers.{}.ffn_norm"),
    (Part::Gate, "model.layers.{}.feed_forward.w1"),
    (Part::Up, "model.layers.{}.feed_forward.w3"),
    (Part::Down, "model.layers.{}.feed_forward.w2"),
    (Part::FinalNorm, "model.embedding_norm"),
    (Part::Unembedding, "lm_head"),
];

/// The norm after the last block has the name that its module has in transformers, the norm of the embedding.
const LFM2_GGUF_NAMES: &[(Part, &str)] = &[
    (Part::ConvInput, "blk.{}.shortconv.in_proj"),
    (Part::ConvKernel, "blk.{}.shortconv.conv"),
    (Part::ConvOutput, "blk.{}.shortconv.out_proj"),
    (Part::FinalNorm, "token_embd_norm"),
];

/// The types of layers that transformers knows.
const TYPES: [&str; 2] = ["full_attention", "conv"];

/// The plan that config.json describes; the width of MLPs may be adjusted. Defaults are those of transformers.
fn read(fields: &mut Fields<'_>, adjusted: bool) -> Result<Config> {
    let dim = fields.required(&["hidden_size"])?;
    let inner = fields.required(&["block_ff_dim", "intermediate_size"])?;
    let n_layers = fields.required(&["num_hidden_layers"])?;
    let n_heads = fields.required(&["num_attention_heads"])?;
    let vocab_size = fields.required(&["vocab_size"])?;
    fields.check()?;
    let context_length = fields.usize("max_position_embeddings", Some(128_000))?.unwrap_or(128_000);
    let norm_eps = fields.float("norm_eps", 1e-5)? as f32;
    let n_kv_heads = fields.usize("num_key_value_heads", Some(8))?.unwrap_or(n_heads);
    if n_heads == 0 || n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
        let message = format!("{n_kv_heads} does not divide num_attention_heads {n_heads}");
        let error = fields.error("num_key_value_heads", message);
        return Err(error.hint("where config.json names no number, transformers assumes 8: name the right one"));
    }
    let head_dim = fields.usize("head_dim", None)?.unwrap_or(dim / n_heads);
    if !head_dim.is_multiple_of(2) || !(2..=4096).contains(&head_dim) {
        let error = fields.error("head_dim", format!("{head_dim}, expected an even number from 2 to 4096"));
        return Err(error.hint("name the width that the matrices of this model have"));
    }
    let rotary = fields.rotary(RotaryKind { theta: 1e6, ..RotaryKind::WHOLE }, (head_dim, context_length))?;
    let network = Uniform {
        family: model::Family::Llama,
        dim,
        hidden_dim: if adjusted { hidden_dim(fields, inner)? } else { inner },
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size,
        context_length: rotary.context_length,
        norm_eps,
        sliding_window: None,
        tied: fields.bool("tie_embedding", fields.tied(true)?)?,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: true,
        rope_freqs: rotary.freqs.clone(),
    };
    network.check()?;
    let attends = attends(fields, n_layers)?;
    fields.turn(&rotary, &attends);
    let conv = short_conv(fields, dim, 3)?;
    let config = with_convolutions(&network, &attends, &conv);
    config.check().map(|()| config)
}

/// The convolution of the layers that have one, in a residual stream of `dim`; its kernel has `width` positions where config.json does
/// not say.
pub(super) fn short_conv(fields: &mut Fields<'_>, dim: usize, width: usize) -> Result<ShortConv> {
    let width = fields.usize("conv_L_cache", Some(width))?.unwrap_or(width);
    if !(1..=ShortConv::MAX_WIDTH).contains(&width) {
        let error = fields.error("conv_L_cache", format!("{width} positions, expected 1 to {}", ShortConv::MAX_WIDTH));
        return Err(error.hint("name as many as the kernels of this model have"));
    }
    Ok(ShortConv { channels: dim, width, bias: fields.bool("conv_bias", false)? })
}

/// The inner width of the MLPs: `inner`, or two thirds of it times a factor, rounded up.
fn hidden_dim(fields: &mut Fields<'_>, inner: usize) -> Result<usize> {
    if !fields.bool("block_auto_adjust_ff_dim", true)? {
        return Ok(inner);
    }
    let factor = fields.float("block_ffn_dim_multiplier", 1.0)?;
    let multiple = fields.usize("block_multiple_of", Some(256))?.unwrap_or(256);
    if multiple == 0 {
        return Err(fields
            .error("block_multiple_of", "0, expected 1 or more")
            .hint("256 is what transformers assumes"));
    }
    let adjusted = (factor * (2 * inner / 3) as f64) as usize;
    Ok(adjusted.div_ceil(multiple).saturating_mul(multiple))
}

/// Of each layer whether it is an attention.
fn attends(fields: &Fields<'_>, n_layers: usize) -> Result<Vec<bool>> {
    if let Some(types) = fields.types_among(TYPES, n_layers)? {
        return Ok(types.into_iter().map(|kind| kind == 0).collect());
    }
    let Some(places) = fields.numbers("full_attn_idxs")? else { return Ok(vec![true; n_layers]) };
    let mut attends = vec![false; n_layers];
    for place in places {
        if let Some(attends) = usize::try_from(place).ok().and_then(|place| attends.get_mut(place)) {
            *attends = true;
        }
    }
    Ok(attends)
}

/// The plan of `network`, in which layers that do not attend are convolutions.
pub(super) fn with_convolutions(network: &Uniform, attends: &[bool], conv: &ShortConv) -> Config {
    let mut config = network.config();
    config.family = "lfm2".into();
    for (layer, attends) in config.layers.iter_mut().zip(attends) {
        if !attends {
            layer.mixer = Mixer::ShortConv(conv.clone());
        }
    }
    if config.attentions().next().is_none() {
        config.rotary_tables.clear();
    }
    config
}

/// As [`read`], of a GGUF file: layers without heads of keys and values are convolutions.
fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let (network, attends) = keys.attending(model::Family::Llama, "attention.layer_norm_rms_epsilon")?;
    let rotary = keys.rotary((network.head_dim, network.context_length), network.n_layers)?;
    let network = Uniform { context_length: rotary.context_length, qk_norm: true, rope_freqs: rotary.freqs, ..network };
    network.check()?;
    let first = attends.iter().position(|attends| !attends).unwrap_or(0);
    let bias = keys.has(&format!("blk.{first}.shortconv.in_proj.bias"));
    let conv = ShortConv { channels: network.dim, width: keys.number("shortconv.l_cache")?, bias };
    let config = with_convolutions(&network, &attends, &conv);
    config.check().map(|()| config)
}

/// A GGUF file of a model with experts, whose scores are logistic functions and whose weights sum to one.
fn gguf_experts(keys: &mut Keys<'_, '_>) -> Result<Config> {
    keys.mixes();
    let mut config = gguf_config(keys)?;
    let (n_experts, n_active) = keys.experts()?;
    if keys.number("expert_gating_func")? != SIGMOID {
        let error = keys.error("expert_gating_func", "other scores than the logistic function are not supported");
        return Err(error.hint("files of this architecture that llama.cpp makes have 2"));
    }
    let scale = keys.positive("expert_weights_scale")?.unwrap_or(1.0) as f32;
    let routing = Routing { n_active, scores: Scores::Sigmoid, normalized: true, scale };
    let dense = keys.length("leading_dense_block_count")?.unwrap_or(0);
    let bias = keys.has(&format!("blk.{dense}.exp_probs_b.bias"));
    let hidden_dim = keys.length("expert_feed_forward_length")?;
    let experts = Experts { n_experts, routing, bias, shared: None };
    experts::mix_some(&mut config, experts, hidden_dim, |layer| layer >= dense)?;
    Ok(config)
}

/// The number of the logistic function among the scores of llama.cpp.
const SIGMOID: usize = 2;
