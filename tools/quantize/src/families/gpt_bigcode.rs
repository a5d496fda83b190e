//! GPT-BigCode, as StarCoder and SantaCoder (Ben Allal et al. 2023): GPT-2 with one head of keys and values.

use whit::error::Result;
use whit::model::Config;

use super::family::{Family, Gguf};
use super::gpt2::{self, GPT2};
use super::transform::Transform;
use crate::source::hf::fields::Fields;

pub(super) static GPT_BIGCODE: Family = Family {
    model_type: "gpt_bigcode",
    architectures: &["GPTBigCodeForCausalLM", "GPTBigCodeModel"],
    config,
    transform: |_, _, _| Transform::default(),
    gguf: Some(Gguf {
        architecture: "starcoder",
        label: "starcoder",
        interleaved_rotary: false,
        config: gpt2::gguf_config,
        names: gpt2::GGUF,
    }),
    ..GPT2
};

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    if !fields.bool("multi_query", true)? {
        let error = fields.error("multi_query", "false is not supported");
        return Err(error.hint("models are read that have one head of keys and values, as StarCoder has"));
    }
    gpt2::with_kv_heads(gpt2::config(fields, gpt2::Variant::GPT2)?, 1)
}
