//! StarCoder 2 (Lozhkov et al. 2024): LayerNorm, biases and an MLP without a gate.

use whit::model::spec::{NormKind, Part};
use whit::model::{Activation, MlpKind};

use super::family::{Family, Gguf};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::variant::{Variant, Window};

pub(super) static STARCODER2: Family = Family {
    model_type: "starcoder2",
    architectures: &["Starcoder2ForCausalLM", "Starcoder2Model"],
    config: |fields| llama::config(fields, &VARIANT),
    names: &[MLP, NAMES],
    gguf: Some(Gguf {
        architecture: "starcoder2",
        label: "starcoder2",
        interleaved_rotary: false,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    kv_heads_default: Some(2),
    context_default: 4096,
    eps_field: Some("norm_epsilon"),
    eps_default: 1e-5,
    tied_default: true,
    attention_bias_field: Some(("use_bias", true)),
    mlp_bias_field: Some(("use_bias", true)),
    mlp: MlpKind::plain(Activation::GeluTanh),
    norm: NormKind::Layer,
    window: Window::Always(None),
    ..Variant::LLAMA
};

const MLP: &[(Part, &str)] = &[(Part::Up, "model.layers.{}.mlp.c_fc"), (Part::Down, "model.layers.{}.mlp.c_proj")];
