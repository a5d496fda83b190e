//! BitNet b1.58 (Microsoft 2025): norms before the last matrix of each branch, a gate of the square of ReLU, and weights of three
//! values, which checkpoints may have packed.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{Activation, Config, MlpKind};

use super::family::{Family, Gguf};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::variant::Variant;
use crate::source::gguf::keys::Keys;
use crate::source::hf::rope::RotaryKind;

pub(super) static BITNET: Family = Family {
    model_type: "bitnet",
    architectures: &["BitNetForCausalLM", "BitNetModel"],
    config: |fields| llama::config(fields, &VARIANT),
    names: &[INNER_NORMS, NAMES],
    gguf: Some(Gguf {
        architecture: FIRST,
        label: "bitnet (also bitnet-b1.58)",
        interleaved_rotary: false,
        config: gguf_config,
        names: SHARED_GGUF_NAMES,
    }),
    gguf_also: &["bitnet-b1.58", "bitnet-25"],
    ..SHARED
};

/// What llama.cpp calls the architecture. The other names are those of bitnet.cpp.
const FIRST: &str = "bitnet";

const INNER_NORMS: &[(Part, &str)] = &[
    (Part::HeadsNorm, "model.layers.{}.self_attn.attn_sub_norm"),
    (Part::HiddenNorm, "model.layers.{}.mlp.ffn_sub_norm"),
];

const VARIANT: Variant = Variant {
    kv_heads_default: Some(5),
    eps_default: 1e-5,
    mlp_bias_field: None,
    mlp: MlpKind::gated(Activation::ReluSquared),
    inner_norms: true,
    rotary: RotaryKind { theta: 5e5, ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

/// The activations that files of llama.cpp name.
const ACTIVATIONS: [(&str, Activation); 2] = [("silu", Activation::Silu), ("relu2", Activation::ReluSquared)];

/// Models before b1.58 2B4T have the gate of Llama; later ones say what theirs is, in files of the first name.
fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let key = "hidden_act";
    let named = keys.text(key)?;
    let activation = match named {
        _ if keys.architecture() != FIRST => Activation::ReluSquared,
        None => Activation::Silu,
        Some(name) => match ACTIVATIONS.iter().find(|(known, _)| *known == name) {
            Some((_, activation)) => *activation,
            None => {
                let error = keys.error(key, "this activation is not supported in this architecture");
                return Err(error.hint("supported: silu, relu2"));
            }
        },
    };
    llama::gguf_config(keys, &Variant { mlp: MlpKind::gated(activation), ..VARIANT })
}
