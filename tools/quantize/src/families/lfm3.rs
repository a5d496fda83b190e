//! LFM3 (Liquid AI): as LFM2, with norms of what branches add, and a gate for what each head of an attention gives. Of its attentions
//! most have a window; the others turn by half of the pairs.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{self, BranchNorms, Config, Gate, Uniform};

use super::family::Family;
use super::lfm2::{self, LFM2};
use super::llama::keep_used_tables;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static LFM3: Family = Family {
    model_type: "lfm3",
    architectures: &["Lfm3ForCausalLM", "Lfm3Model"],
    config,
    names: &[NAMES, lfm2::NAMES],
    gguf: None,
    ..LFM2
};

const NAMES: &[(Part, &str)] = &[
    (Part::QueryNorm, "model.layers.{}.self_attn.q_norm"),
    (Part::KeyNorm, "model.layers.{}.self_attn.k_norm"),
    (Part::Output, "model.layers.{}.self_attn.o_proj"),
    (Part::OutputGate, "model.layers.{}.self_attn.gate_proj"),
    (Part::OutputNorm, "model.layers.{}.post_operator_norm"),
    (Part::DownNorm, "model.layers.{}.post_ffn_norm"),
];

/// The types of layers that transformers knows.
const TYPES: [&str; 3] = ["conv", "sliding_attention", "full_attention"];
const CONV: usize = 0;
const SLIDING: usize = 1;
const FULL: usize = 2;

/// The plan that config.json describes; defaults are those of transformers.
fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let dim = fields.required(&["hidden_size"])?;
    let hidden_dim = fields.required(&["intermediate_size"])?;
    let n_layers = fields.required(&["num_hidden_layers"])?;
    let n_heads = fields.required(&["num_attention_heads"])?;
    let vocab_size = fields.required(&["vocab_size"])?;
    fields.check()?;
    fields.one_of(&["rope_parameters"])?;
    let context = fields.required_or("max_position_embeddings", 128_000)?;
    let head_dim = fields.required_or("head_dim", 128)?;
    let bias = fields.bool("attention_bias", false)?;
    let kind = RotaryKind { theta: 1e6, layer_type: Some("full_attention"), ..RotaryKind::WHOLE };
    let rotary = fields.rotary(kind, (head_dim, context))?;
    let local = fields.local_rotary((None, 10_000.0), head_dim, kind)?;
    let network = Uniform {
        family: model::Family::Llama,
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads: fields.required_or("num_key_value_heads", 4)?,
        head_dim,
        vocab_size,
        context_length: rotary.context_length,
        norm_eps: fields.float("norm_eps", 1e-5)? as f32,
        sliding_window: None,
        tied: fields.tied(true)?,
        qkv_bias: bias,
        output_bias: bias,
        mlp_bias: false,
        qk_norm: true,
        rope_freqs: rotary.freqs.clone(),
    };
    network.check()?;
    let types = fields.types_among(TYPES, n_layers)?.unwrap_or_else(|| (0..n_layers).map(default_type).collect());
    let of_type = |wanted: usize| types.iter().map(|kind| *kind == wanted).collect::<Vec<_>>();
    fields.turn(&rotary, &of_type(FULL));
    let attends: Vec<bool> = types.iter().map(|kind| *kind != CONV).collect();
    let conv = lfm2::short_conv(fields, dim, 7)?;
    let mut config = lfm2::with_convolutions(&network, &attends, &conv);
    config.rotary_tables = vec![rotary.freqs, local];
    let window = fields.required_or("sliding_window", 256)?;
    let gate = fields.bool("use_attention_gate", true)?.then_some(Gate::Heads);
    let norms = BranchNorms { input: true, output: fields.bool("use_sandwich_norm", true)? };
    for (layer, kind) in config.layers.iter_mut().zip(types) {
        (layer.mixer_norms, layer.mlp_norms) = (norms, norms);
        if let Some(attention) = layer.attention_mut() {
            let slides = kind == SLIDING;
            attention.gate = gate;
            attention.window = Some(window).filter(|window| slides && *window < config.context_length);
            attention.rotary = Some(usize::from(slides));
        }
    }
    keep_used_tables(&mut config);
    config.check().map(|()| config)
}

/// The type of a layer where config.json has no list.
fn default_type(layer: usize) -> usize {
    match layer % 4 {
        2 => FULL,
        0 if layer > 0 => SLIDING,
        _ => CONV,
    }
}
