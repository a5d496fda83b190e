//! Command R (Cohere 2024) and Command R7B, which is Cohere 2: both branches read one LayerNorm without a bias, rotary pairs are
//! neighbours, logits are scaled. Of Cohere 2 most layers have a window, and the others do not turn.

use whit::error::Result;
use whit::model::Config;
use whit::model::spec::{NormKind, Part, Role};

use super::family::{Family, Gguf};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES};
use super::variant::{Variant, Window};
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

/// What both share.
const COHERE: Family =
    Family { interleaved_rotary: true, zeros: |spec| spec.role == Role::Norm && spec.is_bias, ..SHARED };

pub(super) static COHERE1: Family = Family {
    model_type: "cohere",
    architectures: &["CohereForCausalLM", "CohereModel"],
    config: |fields| {
        if fields.bool("use_qk_norm", false)? {
            let error = fields.error("use_qk_norm", "true is not supported");
            return Err(error.hint("Command R is read, but not Command R+, whose heads have norms of their own"));
        }
        config(fields, &VARIANT)
    },
    gguf: Some(Gguf {
        architecture: "command-r",
        label: "command-r",
        interleaved_rotary: true,
        config: |keys| gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..COHERE
};

pub(super) static COHERE2: Family = Family {
    model_type: "cohere2",
    architectures: &["Cohere2ForCausalLM", "Cohere2Model"],
    config: |fields| config(fields, &COHERE2_VARIANT),
    gguf: Some(Gguf {
        architecture: "cohere2",
        label: "cohere2",
        interleaved_rotary: true,
        config: |keys| gguf_config(keys, &COHERE2_VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..COHERE
};

const VARIANT: Variant = Variant {
    context_default: 8192,
    eps_field: Some("layer_norm_eps"),
    eps_default: 1e-5,
    tied_default: true,
    mlp_bias_field: None,
    norm: NormKind::Layer,
    parallel: true,
    rotary: RotaryKind { theta: 500_000.0, ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

const COHERE2_VARIANT: Variant =
    Variant { window: Window::AllBut(4), full_turns: false, rotary: RotaryKind::WHOLE, ..VARIANT };

fn config(fields: &mut Fields<'_>, variant: &Variant) -> Result<Config> {
    let scale = fields.positive("logit_scale", 0.0625)?;
    let config = llama::config(fields, variant)?;
    fields.scale(Part::FinalNorm, vec![scale as f32]);
    Ok(config)
}

fn gguf_config(keys: &mut Keys<'_, '_>, variant: &Variant) -> Result<Config> {
    let scale = keys.positive_required("logit_scale")?;
    let config = llama::gguf_config(keys, variant)?;
    keys.scale(Part::FinalNorm, vec![scale as f32]);
    Ok(config)
}
