//! EXAONE 4 (LG AI Research 2025): norms of what branches add and none of what they read, norms of queries and keys. Where layers
//! have a window, those without one do not turn.

use whit::model::QkNorm;

use super::family::{Family, Gguf};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::olmo::{AFTER, NORMS_AFTER};
use super::variant::{Variant, Window};

pub(super) static EXAONE4: Family = Family {
    model_type: "exaone4",
    architectures: &["Exaone4ForCausalLM", "Exaone4Model"],
    config: |fields| llama::config(fields, &VARIANT),
    names: &[NORMS_AFTER, NAMES],
    gguf: Some(Gguf {
        architecture: "exaone4",
        label: "exaone4",
        interleaved_rotary: false,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    kv_heads_default: Some(32),
    eps_default: 1e-5,
    attention_bias_field: None,
    mlp_bias_field: None,
    norms: [AFTER; 2],
    qk_norm: Some(QkNorm::HEADS),
    window: Window::AllBut(4),
    full_turns: false,
    ..Variant::LLAMA
};
