//! HyperCLOVA X SEED (NAVER 2025): Llama with multipliers, and with norms of what branches add.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{BranchNorms, Config};

use super::factors::Multipliers;
use super::family::Family;
use super::llama::{self, NAMES, SHARED};
use super::variant::Variant;
use crate::source::hf::fields::Fields;

pub(super) static HYPERCLOVAX: Family = Family {
    model_type: "hyperclovax",
    architectures: &["HyperCLOVAXForCausalLM", "HyperCLOVAXModel"],
    config,
    names: &[NORMS_AFTER, NAMES],
    ..SHARED
};

const NORMS_AFTER: &[(Part, &str)] =
    &[(Part::OutputNorm, "model.layers.{}.post_norm1"), (Part::DownNorm, "model.layers.{}.post_norm2")];

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let normed = fields.bool("use_post_norm", true)?;
    let norms = [BranchNorms { input: true, output: normed }; 2];
    let config = llama::config(fields, &Variant { norms, ..Variant::LLAMA })?;
    let attention =
        if fields.has("attention_multiplier") { Some(fields.positive("attention_multiplier", 1.0)?) } else { None };
    let residual = fields.positive("residual_multiplier", 1.0)?;
    // The logits are multiplied by what is called their scaling.
    let logits = 1.0 / fields.positive("logits_scaling", 1.0)?;
    let embedding = fields.positive("embedding_multiplier", 1.0)?;
    let multipliers = Multipliers { embedding, residual, attention, logits };
    fields.multiply(&config, multipliers);
    Ok(config)
}
