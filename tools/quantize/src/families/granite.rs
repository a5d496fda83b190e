//! Granite 3 and 4 (IBM): Llama with multipliers of the embedding, the branches, the scores and the logits. Models of Granite 4 may have
//! state spaces in the place of most attentions, and experts beside the MLP. Granite-SWA has sinks, windows, and rotary positions by layer.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{self, Config, Experts, Layer, Mixer, SharedExpert, Uniform};

use super::experts;
use super::factors::Multipliers;
use super::family::{Family, GGUF_NAMES, Gguf, Names};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES, keep_used_tables};
use super::state_space::{self, BESIDE_OTHERS};
use super::variant::Variant;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static GRANITE: Family = Family {
    model_type: "granite",
    architectures: &["GraniteForCausalLM", "GraniteModel"],
    config: |fields| config(fields, &Variant::LLAMA),
    gguf: Some(Gguf {
        architecture: "granite",
        label: "granite",
        interleaved_rotary: true,
        config: gguf_config,
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

pub(super) static GRANITE4: Family = Family {
    model_type: "granitemoehybrid",
    architectures: &["GraniteMoeHybridForCausalLM", "GraniteMoeHybridModel"],
    config: granite4,
    names: &[ROUTER, SHARED_MLP, SHARED_EXPERT, state_space::HUB_NAMES, NAMES],
    expert_names: EXPERTS,
    gguf: Some(Gguf {
        architecture: "granitehybrid",
        label: "granitehybrid",
        interleaved_rotary: true,
        config: gguf_granite4,
        names: &[state_space::GGUF_NAMES, GGUF_NAMES],
    }),
    transform: state_space::transform,
    ..SHARED
};

pub(super) static GRANITE_MOE: Family = Family {
    model_type: "granitemoe",
    architectures: &["GraniteMoeForCausalLM", "GraniteMoeModel"],
    config: |fields| {
        let mut config = config(fields, &Variant::LLAMA)?;
        let n_experts = fields.required_or("num_local_experts", 8)?;
        let n_active = fields.required_or("num_experts_per_tok", 2)?;
        experts::mix(&mut config, Experts { n_experts, ..experts::softmax(n_active, true) })?;
        Ok(config)
    },
    names: &[ROUTER, NAMES],
    expert_names: EXPERTS,
    gguf: Some(Gguf {
        architecture: "granitemoe",
        label: "granitemoe",
        interleaved_rotary: true,
        config: |keys| {
            keys.mixes();
            let mut config = gguf_config(keys)?;
            let (n_experts, n_active) = keys.experts()?;
            experts::mix(&mut config, Experts { n_experts, ..experts::softmax(n_active, true) })?;
            Ok(config)
        },
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

pub(super) static GRANITE_SWA: Family = Family {
    model_type: "granite_swa",
    architectures: &["GraniteSWAForCausalLM", "GraniteSWAModel"],
    config: |fields| {
        let config = config(fields, &SWA_VARIANT)?;
        with_sinks(fields, config)
    },
    names: &[&[(Part::Sinks, "model.layers.{}.self_attn.sinks")], NAMES],
    renamed: &[("self_attn.sinks", "self_attn.sinks.weight")],
    ..SHARED
};

const SWA_VARIANT: Variant = Variant {
    kv_heads_default: Some(4),
    context_default: 8192,
    eps_default: 1e-5,
    tied_default: true,
    ..Variant::LLAMA
};
const ROUTER: &[(Part, &str)] = &[(Part::Router, "model.layers.{}.block_sparse_moe.router.layer")];

const EXPERTS: Names = &[&[
    (Part::Gate, "model.layers.{}.block_sparse_moe.input_linear"),
    (Part::Up, "model.layers.{}.block_sparse_moe.input_linear"),
    (Part::Down, "model.layers.{}.block_sparse_moe.output_linear"),
]];

const GRANITE4_VARIANT: Variant = Variant {
    also_called: &[("layer_types", "layers_block_type")],
    hidden_dim_field: "shared_intermediate_size",
    mlp_bias_field: None,
    positions_field: Some("position_embedding_type"),
    ..Variant::LLAMA
};

/// The MLP.
const SHARED_MLP: &[(Part, &str)] = &[
    (Part::Gate, "model.layers.{}.shared_mlp.input_linear"),
    (Part::Up, "model.layers.{}.shared_mlp.input_linear"),
    (Part::Down, "model.layers.{}.shared_mlp.output_linear"),
];

/// The same where there are experts, which it is beside.
const SHARED_EXPERT: &[(Part, &str)] = &[
    (Part::SharedGate, "model.layers.{}.shared_mlp.input_linear"),
    (Part::SharedUp, "model.layers.{}.shared_mlp.input_linear"),
    (Part::SharedDown, "model.layers.{}.shared_mlp.output_linear"),
];

/// The types of layers that transformers knows, the first two of them attention.
const TYPES: [&str; 4] = ["full_attention", "attention", "linear_attention", "mamba"];

/// The plan of Granite 4: where config.json names no types, no layer is attention.
fn granite4(fields: &mut Fields<'_>) -> Result<Config> {
    let mut config = config(fields, &GRANITE4_VARIANT)?;
    let n_layers = config.n_layers();
    let types = fields.types_among(TYPES, n_layers)?;
    let attends = types.map_or(vec![false; n_layers], |types| types.into_iter().map(|kind| kind < 2).collect());
    if attends.contains(&false) {
        state_space::check_activation(fields, config.layers[0].mlp.kind.activation)?;
        let inner_dim = fields.number("mamba_expand")?.unwrap_or(2).saturating_mul(config.dim);
        let mixer = Mixer::Mamba2(state_space::read(fields, &BESIDE_OTHERS, inner_dim)?);
        mix(&mut config, &attends, &mixer);
    }
    let n_experts = fields.usize("num_local_experts", Some(8))?.unwrap_or(0);
    if n_experts > 0 {
        let hidden_dim = fields.required_or("intermediate_size", 11_008)?;
        share(&mut config, (n_experts, fields.required_or("num_experts_per_tok", 2)?), hidden_dim)?;
    }
    config.check().map(|()| config)
}

/// Gives the layers that do not attend the `mixer`.
fn mix(config: &mut Config, attends: &[bool], mixer: &Mixer) {
    for (layer, _) in config.layers.iter_mut().zip(attends).filter(|(_, attends)| !**attends) {
        layer.mixer = mixer.clone();
    }
    keep_used_tables(config);
}

/// Gives each layer experts of `hidden_dim`, of which a token uses a few; every token uses the MLP, too.
fn share(config: &mut Config, (n_experts, n_active): (usize, usize), hidden_dim: usize) -> Result<()> {
    let shared = SharedExpert { hidden_dim: config.hidden_dim(), gate: false };
    let experts = Experts { n_experts, shared: Some(shared), ..experts::softmax(n_active, true) };
    experts::mix_some(config, experts, Some(hidden_dim), |_| true)
}

fn config(fields: &mut Fields<'_>, variant: &Variant) -> Result<Config> {
    let multipliers = Multipliers {
        embedding: fields.positive("embedding_multiplier", 1.0)?,
        residual: fields.positive("residual_multiplier", 1.0)?,
        attention: Some(fields.positive("attention_multiplier", 1.0)?),
        logits: fields.positive("logits_scaling", 1.0)?,
    };
    let config = llama::config(fields, variant)?;
    fields.multiply(&config, multipliers);
    Ok(config)
}

/// The plan with sinks, a window in layers that `layer_types` names, where it is left out all but each fourth, and the rotary
/// table of each layer's own base in `layer_rope_theta`; a base of 0 is none.
fn with_sinks(fields: &mut Fields<'_>, mut config: Config) -> Result<Config> {
    let n_layers = config.n_layers();
    let slides = fields.layer_types(n_layers)?;
    let slides = slides.unwrap_or_else(|| (0..n_layers).map(|layer| !layer.is_multiple_of(4)).collect());
    let window = fields.required_or("sliding_window", 128)?;
    let context = config.context_length;
    for (attention, slides) in config.layers.iter_mut().filter_map(Layer::attention_mut).zip(slides) {
        attention.sinks = true;
        attention.window = Some(window).filter(|window| slides && *window < context);
    }
    let bases = fields.floats("layer_rope_theta")?;
    if bases.is_empty() {
        return Ok(config);
    }
    if bases.len() != n_layers {
        let error = fields.error("layer_rope_theta", format!("{} elements for {n_layers} layers", bases.len()));
        return Err(error.hint("name the base of each layer, 0 where it does not turn, or remove the list"));
    }
    let made_for = fields.required_or("max_position_embeddings", SWA_VARIANT.context_default)?;
    let mut read: Vec<f64> = Vec::new();
    let mut still = vec![1.0; n_layers];
    config.rotary_tables.clear();
    for (i, base) in bases.into_iter().enumerate() {
        let Some(head_dim) = config.layers[i].attention().map(|attention| attention.head_dim) else { continue };
        let table = match read.iter().position(|known| *known == base) {
            _ if base == 0.0 => None,
            Some(table) => Some(table),
            None => {
                let kind = RotaryKind { base: Some(base), ..SWA_VARIANT.rotary };
                let rotary = fields.rotary(kind, (head_dim, made_for))?;
                config.rotary_tables.push(rotary.freqs);
                read.push(base);
                Some(read.len() - 1)
            }
        };
        config.layers[i].attention_mut().into_iter().for_each(|attention| attention.rotary = table);
        if table.is_none() {
            // Queries that do not turn are not multiplied by the factor of a scaling.
            let rotary = fields.rotary(SWA_VARIANT.rotary, (head_dim, made_for))?;
            still[i] = rotary.attention_factor.powi(-2) as f32;
        }
    }
    fields.scale(Part::Query, still);
    keep_used_tables(&mut config);
    Ok(config)
}

fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let config = llama::gguf_config(keys, &Variant::LLAMA)?;
    multiply(keys, &config)?;
    Ok(config)
}

/// The plan of a file of Granite 4. Attention turns where the file says that it was trained so.
fn gguf_granite4(keys: &mut Keys<'_, '_>) -> Result<Config> {
    keys.mixes();
    let (network, attends) = keys.attending(model::Family::Llama, "attention.layer_norm_rms_epsilon")?;
    let rotary = keys.rotary((network.head_dim, network.context_length), network.n_layers)?;
    let n_experts = keys.length("expert_count")?.unwrap_or(0);
    let experts_dim = network.hidden_dim;
    let network = Uniform {
        context_length: rotary.context_length,
        rope_freqs: rotary.freqs,
        hidden_dim: keys.length("expert_shared_feed_forward_length")?.unwrap_or(experts_dim),
        ..network
    };
    network.check()?;
    let mut config = network.config();
    if !keys.bool("rope.scaling.finetuned")?.unwrap_or(false) {
        config.layers.iter_mut().filter_map(|layer| layer.attention_mut()).for_each(|a| a.rotary = None);
        keep_used_tables(&mut config);
    }
    if let Some(first) = attends.iter().position(|attends| !attends) {
        let mixer = Mixer::Mamba2(state_space::gguf(keys, first)?);
        mix(&mut config, &attends, &mixer);
    }
    if n_experts > 0 {
        share(&mut config, keys.experts()?, experts_dim)?;
    }
    multiply(keys, &config)?;
    config.check().map(|()| config)
}

fn multiply(keys: &mut Keys<'_, '_>, config: &Config) -> Result<()> {
    let multipliers = Multipliers {
        embedding: keys.positive("embedding_scale")?.unwrap_or(1.0),
        residual: keys.positive("residual_scale")?.unwrap_or(1.0),
        attention: keys.positive("attention.scale")?,
        logits: keys.positive("logit_scale")?.unwrap_or(1.0),
    };
    keys.multiply(config, multipliers);
    Ok(())
}
