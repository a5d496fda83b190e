//! Gemma 4 (Google 2026), the language models: layers with a window and layers without have heads of different widths, the last
//! layers read the keys and values of earlier ones, values are normed, scores are not scaled, and each block of the smaller models
//! (E2B, E4B) is told of its token once more.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{Activation, BranchNorms, Config, MlpKind, QkNorm};

use super::family::{Family, GGUF_NAMES, Gguf};
use super::gemma::NORMS_AROUND;
use super::llama::{self, NAMES, SHARED, keep_used_tables};
use super::transform::Transform;
use super::variant::Variant;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;
use crate::source::rope;

pub(super) static GEMMA4: Family = Family {
    model_type: "gemma4_text",
    architectures: &["Gemma4ForCausalLM", "Gemma4TextModel"],
    config,
    names: &[OF_LAYERS, NORMS_AROUND, NAMES],
    renamed: &[(".layer_scalar", ".layer_scalar.weight")],
    // The norm of values has no weights.
    zeros: |spec| spec.part == Part::ValueNorm,
    transform: |_, spec, _| Transform { plus_one: spec.part == Part::ValueNorm, ..Transform::default() },
    gguf: Some(Gguf {
        architecture: "gemma4",
        label: "gemma4",
        interleaved_rotary: false,
        config: gguf_config,
        names: &[GGUF_OF_LAYERS, GGUF_NAMES],
    }),
    ..SHARED
};

const OF_LAYERS: &[(Part, &str)] = &[
    (Part::ValueNorm, "model.layers.{}.self_attn.v_norm"),
    (Part::LayerEmbedding, "model.embed_tokens_per_layer"),
    (Part::LayerProjection, "model.per_layer_model_projection"),
    (Part::LayerInputNorm, "model.per_layer_projection_norm"),
    (Part::LayerGate, "model.layers.{}.per_layer_input_gate"),
    (Part::LayerOutput, "model.layers.{}.per_layer_projection"),
    (Part::LayerOutputNorm, "model.layers.{}.post_per_layer_input_norm"),
    (Part::LayerScale, "model.layers.{}.layer_scalar"),
];

const GGUF_OF_LAYERS: &[(Part, &str)] = &[
    (Part::ValueNorm, "blk.{}.attn_v_norm"),
    (Part::LayerEmbedding, "per_layer_token_embd"),
    (Part::LayerProjection, "per_layer_model_proj"),
    (Part::LayerInputNorm, "per_layer_proj_norm"),
    (Part::LayerGate, "blk.{}.inp_gate"),
    (Part::LayerOutput, "blk.{}.proj"),
    (Part::LayerOutputNorm, "blk.{}.post_norm"),
    (Part::LayerScale, "blk.{}.layer_output_scale"),
];

/// What is alike in all layers.
const VARIANT: Variant = Variant {
    also_called: &[("hidden_act", "hidden_activation")],
    kv_heads_default: Some(4),
    head_dim_default: Some(256),
    context_default: 131_072,
    tied_default: true,
    mlp_bias_field: None,
    mlp: MlpKind::gated(Activation::GeluTanh),
    norms: [BranchNorms { input: true, output: true }; 2],
    qk_norm: Some(QkNorm::HEADS),
    rotary: RotaryKind { layer_type: Some("sliding_attention"), ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};
const FULL_ROTARY: RotaryKind = RotaryKind { theta: 1e6, layer_type: Some("full_attention"), ..RotaryKind::WHOLE };

/// What differs from layer to layer, and what stands beside the blocks.
struct Layers {
    /// Which have the window.
    slides: Vec<bool>,
    window: usize,
    /// Heads of keys and values, and the width of heads.
    heads: Vec<(usize, usize)>,
    hidden_dims: Vec<usize>,
    /// So many of the last share keys and values.
    n_shared: usize,
    /// Width of what each block is told of its token once more; 0: of nothing.
    layer_inputs: usize,
    /// Rotary frequencies of layers without a window, and of those with one.
    rotary: [Vec<f32>; 2],
    cap: Option<f64>,
}

impl Layers {
    /// Gives the layers of the plan what they have; `None` where a layer would share the keys of no layer.
    fn shape(self, mut config: Config) -> Option<Config> {
        let first_shared = config.n_layers().checked_sub(self.n_shared)?;
        let context = config.context_length;
        for (i, layer) in config.layers.iter_mut().enumerate() {
            layer.scaled = true;
            layer.mlp.hidden_dim = self.hidden_dims[i];
            let attention = layer.attention_mut()?;
            let slides = self.slides[i];
            (attention.n_kv_heads, attention.head_dim) = self.heads[i];
            attention.window = Some(self.window).filter(|window| slides && *window < context);
            attention.rotary = Some(usize::from(slides));
            if i >= first_shared {
                attention.shares = Some(self.slides[..first_shared].iter().rposition(|other| *other == slides)?);
            }
            attention.v_norm = attention.shares.is_none();
        }
        config.rotary_tables = self.rotary.into();
        keep_used_tables(&mut config);
        config.layer_inputs = Some(self.layer_inputs).filter(|width| *width > 0);
        config.logit_cap = self.cap.map(|cap| cap as f32);
        Some(config)
    }
}

/// What parts are multiplied by: the token vectors by the root of their width, the queries so that scores are not divided, what each
/// block is told by factors of its width and of two.
fn factors(config: &Config) -> Vec<(Part, Vec<f32>)> {
    let root = |n: usize| (n as f64).sqrt();
    let scores = config.attentions().map(|attention| root(attention.head_dim) as f32).collect();
    let mut out = vec![(Part::Embedding, vec![root(config.dim) as f32]), (Part::Query, scores)];
    if let Some(width) = config.layer_inputs {
        out.push((Part::LayerProjection, vec![(1.0 / root(config.dim)) as f32]));
        out.push((Part::LayerInputNorm, vec![0.5_f64.sqrt() as f32]));
        out.push((Part::LayerEmbedding, vec![(root(width) * 0.5_f64.sqrt()) as f32]));
    }
    out
}

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    refuse_others(fields)?;
    let config = llama::config(fields, &VARIANT)?;
    let (n_layers, context) = (config.n_layers(), config.context_length);
    let slides = fields.layer_types(n_layers)?;
    let mut slides = slides.unwrap_or_else(|| (1..=n_layers).map(|layer| !layer.is_multiple_of(6)).collect());
    slides.last_mut().into_iter().for_each(|last| *last = false);
    let heads = heads(fields, &config, &slides)?;
    let full = (0..n_layers).find(|layer| !slides[*layer]).map_or(0, |layer| heads[layer].1);
    let hidden_dim = config.hidden_dim();
    let n_shared = fields.number("num_kv_shared_layers")?.unwrap_or(0);
    let doubled = fields.bool("use_double_wide_mlp", false)?;
    let width = |layer: usize| if doubled && layer + n_shared >= n_layers { 2 * hidden_dim } else { hidden_dim };
    let (full, local) = (fields.rotary(FULL_ROTARY, (full, context))?, config.rotary_tables[0].clone());
    if full.attention_factor != 1.0 {
        let error = fields.error("rope_parameters", "a scaling with a factor of attention is not supported");
        return Err(error.hint("Gemma 4 has the types proportional and default"));
    }
    let layers = Layers {
        window: fields.required_or("sliding_window", 512)?,
        heads,
        hidden_dims: (0..n_layers).map(width).collect(),
        n_shared,
        layer_inputs: layer_inputs(fields, config.vocab_size)?,
        rotary: [full.freqs, local],
        cap: fields
            .has("final_logit_softcapping")
            .then(|| fields.positive("final_logit_softcapping", 1.0))
            .transpose()?,
        slides,
    };
    let Some(config) = layers.shape(config) else {
        let error = fields.error("num_kv_shared_layers", format!("{n_shared} of {n_layers} layers"));
        return Err(error.hint("before the layers that share, there must be one of each of their types"));
    };
    for (part, factors) in factors(&config) {
        fields.scale(part, factors);
    }
    config.check().map(|()| config)
}

/// Refuses what larger models of the generation have, and models that do not write.
fn refuse_others(fields: &Fields<'_>) -> Result<()> {
    let written = "whit reads the models without: E2B and E4B";
    for (field, what) in [
        ("enable_moe_block", "experts beside the MLP are not supported"),
        ("attention_k_eq_v", "keys that are the values are not supported"),
    ] {
        if fields.bool(field, false)? {
            return Err(fields.error(field, what).hint(written));
        }
    }
    if fields.has("use_bidirectional_attention") && fields.is("use_bidirectional_attention", "all")? {
        let error = fields.error("use_bidirectional_attention", "\"all\" is not supported");
        return Err(error.hint("whit runs models that write, not those that embed"));
    }
    fields.one_of(&["rope_parameters"])
}

/// Heads of keys and values, and the width of heads, of each layer: `per_layer_config` names them, or `global_head_dim` that of layers
/// without a window.
fn heads(fields: &Fields<'_>, config: &Config, slides: &[bool]) -> Result<Vec<(usize, usize)>> {
    let all = config.attentions().next().map_or((0, 0), |attention| (attention.n_kv_heads, attention.head_dim));
    if fields.has("per_layer_config") {
        let [kv_heads, head_dim] =
            fields.of_layers("per_layer_config", ["num_key_value_heads", "head_dim"], [all.0, all.1], slides.len())?;
        return Ok(kv_heads.into_iter().zip(head_dim).collect());
    }
    let full = fields.required_or("global_head_dim", 512)?;
    Ok(slides.iter().map(|slides| if *slides { all } else { (all.0, full) }).collect())
}

/// Width of what each block is told of its token once more; 0: of nothing.
fn layer_inputs(fields: &Fields<'_>, vocab_size: usize) -> Result<usize> {
    let key = "hidden_size_per_layer_input";
    let width = if fields.names(key) { fields.number(key)?.unwrap_or(0) } else { 256 };
    let rows = fields.number("vocab_size_per_layer_input")?.unwrap_or(262_144);
    if width > 0 && rows != vocab_size {
        let error = fields.error("vocab_size_per_layer_input", format!("{rows} tokens, vocab_size is {vocab_size}"));
        return Err(error.hint("each token has a row of its own"));
    }
    Ok(width)
}

fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    keys.varies();
    let config = llama::gguf_config(keys, &VARIANT)?;
    let n_layers = config.n_layers();
    let all = config.attentions().next().map_or((0, 0), |attention| (attention.n_kv_heads, attention.head_dim));
    let slides = keys.slides(n_layers)?.unwrap_or_else(|| vec![false; n_layers]);
    let each = |values: Vec<usize>, i: usize| if values.len() == 1 { values[0] } else { values[i] };
    let (hidden, kv) =
        (keys.each_layer("feed_forward_length", n_layers)?, keys.each_layer("attention.head_count_kv", n_layers)?);
    let head_dim = keys.length("attention.key_length_swa")?.unwrap_or(all.1);
    let heads = |i: usize| {
        let n = if kv.is_empty() { all.0 } else { each(kv.clone(), i) };
        (n, if slides[i] { head_dim } else { all.1 })
    };
    let theta = keys.positive("rope.freq_base_swa")?.unwrap_or(10_000.0);
    // Pairs that stand still have a divisor without end.
    let full = config.rotary_tables[0].iter().map(|freq| if *freq < 1e-20 { 0.0 } else { *freq }).collect();
    let n_shared = keys.length("attention.shared_kv_layers")?.unwrap_or(0);
    let layers = Layers {
        window: keys.length("attention.sliding_window")?.unwrap_or(512),
        heads: (0..n_layers).map(heads).collect(),
        hidden_dims: (0..n_layers).map(|i| each(hidden.clone(), i)).collect(),
        n_shared,
        layer_inputs: keys.length("embedding_length_per_layer_input")?.unwrap_or(0),
        rotary: [full, rope::frequencies(head_dim, theta)],
        cap: keys.positive("final_logit_softcapping")?,
        slides,
    };
    let Some(config) = layers.shape(config) else {
        let message = format!("{n_shared} of {n_layers} layers, of which none before has keys of their type");
        return Err(keys.error("attention.shared_kv_layers", message));
    };
    for (part, factors) in factors(&config) {
        keys.scale(part, factors);
    }
    config.check().map(|()| config)
}
