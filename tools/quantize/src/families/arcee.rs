//! AFM (Arcee AI 2025): Llama whose MLP has the square of ReLU and no gate.

use whit::model::{Activation, MlpKind};

use super::family::{Family, Gguf};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES};
use super::variant::Variant;

pub(super) static ARCEE: Family = Family {
    model_type: "arcee",
    architectures: &["ArceeForCausalLM", "ArceeModel"],
    config: |fields| llama::config(fields, &VARIANT),
    gguf: Some(Gguf {
        architecture: "arcee",
        label: "arcee",
        interleaved_rotary: true,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    context_default: 4096,
    eps_default: 1e-5,
    mlp: MlpKind::plain(Activation::ReluSquared),
    ..Variant::LLAMA
};
