//! nanochat (Karpathy 2025): norms without weights, of the token vectors, too, and of queries and keys after they turned, which they
//! do the other way. There are no GGUF files of it.

use whit::error::Result;
use whit::model::spec::{Part, Role};
use whit::model::{Activation, Config, HeadNorm, MlpKind, QkNorm};

use super::family::Family;
use super::llama::{self, NAMES, SHARED};
use super::transform::Transform;
use super::variant::Variant;
use crate::source::hf::fields::Fields;

pub(super) static NANOCHAT: Family = Family {
    model_type: "nanochat",
    architectures: &["NanoChatForCausalLM", "NanoChatModel"],
    config,
    names: &[OWN, NAMES],
    backwards: true,
    zeros: |spec| spec.role == Role::Norm,
    transform: |_, spec, _| Transform { plus_one: spec.role == Role::Norm, ..Transform::default() },
    ..SHARED
};

const VARIANT: Variant = Variant {
    mlp_bias_field: None,
    mlp: MlpKind::plain(Activation::ReluSquared),
    qk_norm: Some(QkNorm { kind: HeadNorm::Each, after_rotation: true }),
    ..Variant::LLAMA
};

const OWN: &[(Part, &str)] = &[
    (Part::EmbeddingNorm, "model.embedding_norm"),
    (Part::Up, "model.layers.{}.mlp.fc1"),
    (Part::Down, "model.layers.{}.mlp.fc2"),
];

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let mut config = llama::config(fields, &VARIANT)?;
    config.embedding_norm = true;
    let key = "final_logit_softcapping";
    config.logit_cap = match fields.has(key) || !fields.names(key) {
        true => Some(fields.positive(key, 15.0)? as f32),
        false => None,
    };
    Ok(config)
}
