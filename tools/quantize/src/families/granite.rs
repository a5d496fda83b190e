//! Granite 3 and 4 (IBM): Llama with multipliers of the embedding, the branches, the scores and the logits. Of Granite 4 those models
//! without experts all of whose layers are attention. Granite-SWA has sinks, windows, and rotary positions by layer.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{Config, Experts, Layer};

use super::experts;
use super::factors::Multipliers;
use super::family::{Family, Gguf};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES, keep_used_tables};
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
    config: |fields| {
        check_attention_alone(fields)?;
        config(fields, &GRANITE4_VARIANT)
    },
    names: &[SHARED_MLP, NAMES],
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
    names: &[&[(Part::Router, "model.layers.{}.block_sparse_moe.router.layer")], NAMES],
    expert_names: &[&[
        (Part::Gate, "model.layers.{}.block_sparse_moe.input_linear"),
        (Part::Up, "model.layers.{}.block_sparse_moe.input_linear"),
        (Part::Down, "model.layers.{}.block_sparse_moe.output_linear"),
    ]],
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

const GRANITE4_VARIANT: Variant = Variant {
    also_called: &[("layer_types", "layers_block_type")],
    hidden_dim_field: "shared_intermediate_size",
    mlp_bias_field: None,
    positions_field: Some("position_embedding_type"),
    ..Variant::LLAMA
};

/// The MLP, which is the shared expert where there are others.
const SHARED_MLP: &[(Part, &str)] = &[
    (Part::Gate, "model.layers.{}.shared_mlp.input_linear"),
    (Part::Up, "model.layers.{}.shared_mlp.input_linear"),
    (Part::Down, "model.layers.{}.shared_mlp.output_linear"),
];

/// Refuses experts and Mamba.
fn check_attention_alone(fields: &mut Fields<'_>) -> Result<()> {
    fields.also_called(GRANITE4_VARIANT.also_called);
    let experts = fields.usize("num_local_experts", Some(8))?.unwrap_or(0);
    if experts > 0 {
        let error = fields.error("num_local_experts", format!("{experts} experts are not supported"));
        return Err(error.hint("of Granite 4 those models are read that have no experts and no Mamba"));
    }
    fields.only("layer_types", &["attention", "full_attention"])
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
    let multipliers = Multipliers {
        embedding: keys.positive("embedding_scale")?.unwrap_or(1.0),
        residual: keys.positive("residual_scale")?.unwrap_or(1.0),
        attention: keys.positive("attention.scale")?,
        logits: keys.positive("logit_scale")?.unwrap_or(1.0),
    };
    let config = llama::gguf_config(keys, &Variant::LLAMA)?;
    keys.multiply(&config, multipliers);
    Ok(config)
}
