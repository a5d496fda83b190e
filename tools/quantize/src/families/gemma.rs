//! Gemma 1 (Gemma Team 2024), 2 and 3: token vectors that grow with their width, norms of 1 + w, GELU with a gate. Gemma 2 norms what
//! branches add and caps scores and logits; Gemma 3 norms queries and keys, and most of its layers have a window and a rotary
//! table of their own.

use whit::error::Result;
use whit::model::spec::{Part, Role, TensorSpec};
use whit::model::{Activation, BranchNorms, Config, MlpKind, QkNorm};

use super::family::{Family, GGUF_NAMES, Gguf, Names, Naming};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::transform::Transform;
use super::variant::{LocalRotary, Variant, Window};
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

/// What they share: norms hold w, to which one is added; in GGUF files it is.
const GEMMA: Family = Family {
    transform: |_: &Config, spec: &TensorSpec, naming| Transform {
        plus_one: spec.role == Role::Norm && naming == Naming::HuggingFace,
        ..Transform::default()
    },
    ..SHARED
};

pub(super) static GEMMA1: Family = Family {
    model_type: "gemma",
    architectures: &["GemmaForCausalLM", "GemmaModel"],
    config: |fields| {
        let legacy = fields.is("hidden_act", "gelu")?;
        let mut config = config(fields, &VARIANT)?;
        if legacy {
            config.layers.iter_mut().for_each(|layer| layer.mlp.kind = VARIANT.mlp);
        }
        Ok(config)
    },
    gguf: Some(Gguf {
        architecture: "gemma",
        label: "gemma",
        interleaved_rotary: false,
        config: |keys| gguf_config(keys, &VARIANT, usize::MAX),
        names: SHARED_GGUF_NAMES,
    }),
    ..GEMMA
};

pub(super) static GEMMA2: Family = Family {
    model_type: "gemma2",
    architectures: &["Gemma2ForCausalLM", "Gemma2Model"],
    config: |fields| {
        let config = config(fields, &GEMMA2_VARIANT)?;
        capped(fields, config, [Some(50.0), Some(30.0)])
    },
    names: &[NORMS_AROUND, NAMES],
    gguf: Some(Gguf {
        architecture: "gemma2",
        label: "gemma2",
        interleaved_rotary: false,
        config: |keys| {
            let caps = [
                keys.positive("attn_logit_softcapping")?.or(Some(50.0)),
                keys.positive("final_logit_softcapping")?.or(Some(30.0)),
            ];
            Ok(with_caps(gguf_config(keys, &GEMMA2_VARIANT, 46)?, caps))
        },
        names: GGUF_NORMS_AROUND,
    }),
    ..GEMMA
};

pub(super) static GEMMA3: Family = Family {
    model_type: "gemma3_text",
    architectures: &["Gemma3ForCausalLM", "Gemma3TextModel"],
    config: gemma3,
    names: &[NORMS_AROUND, NAMES],
    gguf: Some(Gguf {
        architecture: "gemma3",
        label: "gemma3",
        interleaved_rotary: false,
        config: |keys| {
            let cap = keys.positive("final_logit_softcapping")?;
            Ok(with_caps(gguf_config(keys, &GEMMA3_VARIANT, 62)?, [None, cap]))
        },
        names: GGUF_NORMS_AROUND,
    }),
    ..GEMMA
};

const VARIANT: Variant = Variant {
    kv_heads_default: Some(16),
    head_dim_default: Some(256),
    context_default: 8192,
    tied_default: true,
    mlp_bias_field: None,
    mlp: MlpKind::gated(Activation::GeluTanh),
    ..Variant::LLAMA
};

const GEMMA2_VARIANT: Variant = Variant {
    also_called: &[("hidden_act", "hidden_activation")],
    kv_heads_default: Some(4),
    norms: [BranchNorms { input: true, output: true }; 2],
    window: Window::AllBut(2),
    ..VARIANT
};

const GEMMA3_VARIANT: Variant = Variant {
    // What google/gemma-3-4b-it leaves out.
    defaults: &[("num_attention_heads", 8), ("vocab_size", 262_208)],
    context_default: 131_072,
    qk_norm: Some(QkNorm::HEADS),
    window: Window::AllBut(6),
    rotary: RotaryKind { theta: 1e6, layer_type: Some("full_attention"), ..RotaryKind::WHOLE },
    local_rotary: Some(LocalRotary { field: Some("rope_local_base_freq"), theta: 10_000.0 }),
    ..GEMMA2_VARIANT
};

pub(super) const NORMS_AROUND: &[(Part, &str)] = &[
    (Part::OutputNorm, "model.layers.{}.post_attention_layernorm"),
    (Part::MlpNorm, "model.layers.{}.pre_feedforward_layernorm"),
    (Part::DownNorm, "model.layers.{}.post_feedforward_layernorm"),
];

const GGUF_NORMS_AROUND: Names = &[GGUF_NAMES];

pub(super) fn gemma3(fields: &mut Fields<'_>) -> Result<Config> {
    let config = config(fields, &GEMMA3_VARIANT)?;
    capped(fields, config, [None, None])
}

fn config(fields: &mut Fields<'_>, variant: &Variant) -> Result<Config> {
    if fields.bool("use_bidirectional_attention", false)? {
        let error = fields.error("use_bidirectional_attention", "true is not supported");
        return Err(error.hint("whit runs models that write, not those that embed"));
    }
    let config = llama::config(fields, variant)?;
    fields.scale(Part::Embedding, vec![(config.dim as f32).sqrt()]);
    Ok(config)
}

/// Gemma 2 and 3: what scores and logits are smaller than, and what scores are divided by the root of.
fn capped(fields: &mut Fields<'_>, config: Config, [scores, logits]: [Option<f64>; 2]) -> Result<Config> {
    let cap = |key: &str, default: Option<f64>| match (fields.has(key), default) {
        (true, _) => fields.positive(key, 1.0).map(Some),
        (false, default) => Ok(default.filter(|_| !fields.names(key))),
    };
    let caps = [cap("attn_logit_softcapping", scores)?, cap("final_logit_softcapping", logits)?];
    let divisor = fields.positive("query_pre_attn_scalar", 256.0)?;
    let scales = config.attentions().map(|attention| (attention.head_dim as f64 / divisor).sqrt() as f32).collect();
    fields.scale(Part::Query, scales);
    Ok(with_caps(config, caps))
}

fn with_caps(mut config: Config, [scores, logits]: [Option<f64>; 2]) -> Config {
    for layer in &mut config.layers {
        if let Some(attention) = layer.attention_mut() {
            attention.cap = scores.map(|cap| cap as f32);
        }
    }
    config.logit_cap = logits.map(|cap| cap as f32);
    config
}

/// Of a GGUF file. It does not say what the scores are divided by: in the largest model of a generation, which has so many
/// layers, the root of what the residual stream has for each head.
fn gguf_config(keys: &mut Keys<'_, '_>, variant: &Variant, largest: usize) -> Result<Config> {
    let config = llama::gguf_config(keys, variant)?;
    keys.scale(Part::Embedding, vec![(config.dim as f32).sqrt()]);
    if config.n_layers() == largest {
        let scale = |a: &whit::model::Attention| ((a.head_dim * a.n_heads) as f32 / config.dim as f32).sqrt();
        keys.scale(Part::Query, config.attentions().map(scale).collect());
    }
    Ok(config)
}
