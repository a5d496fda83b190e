//! MiniCPM (Hu et al. 2024): Llama with multipliers of the embedding, the branches and the logits.

use whit::error::Result;
use whit::model::Config;

use super::factors::Multipliers;
use super::family::{Family, Gguf};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES};
use super::variant::Variant;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;

pub(super) static MINICPM: Family = Family {
    model_type: "minicpm",
    architectures: &["MiniCPMForCausalLM", "MiniCPMModel"],
    config,
    gguf: Some(Gguf {
        architecture: "minicpm",
        label: "minicpm",
        interleaved_rotary: true,
        config: gguf_config,
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant { tied_default: true, mlp_bias_field: None, ..Variant::LLAMA };

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let hint = "of MiniCPM those models are read whose attention sees all positions and that have no experts";
    for (key, what) in [("num_experts", "experts are not supported"), ("sparse_config", "is not supported")] {
        if fields.has(key) {
            return Err(fields.error(key, what).hint(hint));
        }
    }
    let embedding = fields.positive("scale_emb", 1.0)?;
    let depth = fields.positive("scale_depth", 1.0)?;
    let base = fields.positive("dim_model_base", 1.0)?;
    let config = llama::config(fields, &VARIANT)?;
    let residual = depth / (config.n_layers() as f64).sqrt();
    let logits = config.dim as f64 / base;
    fields.multiply(&config, Multipliers { embedding, residual, attention: None, logits });
    Ok(config)
}

fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let multipliers = Multipliers {
        embedding: keys.positive_required("embedding_scale")?,
        residual: keys.positive_required("residual_scale")?,
        attention: None,
        logits: keys.positive_required("logit_scale")?,
    };
    let config = llama::gguf_config(keys, &VARIANT)?;
    keys.multiply(&config, multipliers);
    Ok(config)
}
