//! Falcon-H1 (TII 2025): in each block a state space beside an attention, and multipliers of nearly every matrix.

use whit::error::Result;
use whit::model::spec::Part;
use whit::model::{Config, Mixer, ScanNorm};

use super::family::{Family, GGUF_NAMES, Gguf};
use super::llama::{self, NAMES, SHARED};
use super::state_space::{self, BESIDE_OTHERS, Named};
use super::transform::RowFactors;
use super::variant::Variant;
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;

pub(super) static FALCON_H1: Family = Family {
    model_type: "falcon_h1",
    architectures: &["FalconH1ForCausalLM", "FalconH1Model"],
    config,
    names: &[FALCON_NAMES, state_space::HUB_NAMES, NAMES],
    gguf: Some(Gguf {
        architecture: "falcon-h1",
        label: "falcon-h1",
        interleaved_rotary: false,
        config: gguf_config,
        names: &[&[(Part::MlpNorm, "blk.{}.ffn_norm=")], state_space::GGUF_NAMES, GGUF_NAMES],
    }),
    transform: state_space::transform,
    ..SHARED
};

const FALCON_NAMES: &[(Part, &str)] = &[
    (Part::MlpNorm, "model.layers.{}.pre_ff_layernorm"),
    (Part::Gate, "model.layers.{}.feed_forward.gate_proj"),
    (Part::Up, "model.layers.{}.feed_forward.up_proj"),
    (Part::Down, "model.layers.{}.feed_forward.down_proj"),
    (Part::FinalNorm, "model.final_layernorm"),
];

const VARIANT: Variant =
    Variant { kv_heads_default: Some(8), context_default: 8192, eps_default: 1e-5, ..Variant::LLAMA };

const NAMED: Named = Named { biases: &["mamba_proj_bias", "projectors_bias"], ..BESIDE_OTHERS };

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let mut config = llama::config(fields, &VARIANT)?;
    state_space::check_activation(fields, config.layers[0].mlp.kind.activation)?;
    let expanded = fields.number("mamba_expand")?.unwrap_or(2).saturating_mul(config.dim);
    let inner_dim = fields.usize("mamba_d_ssm", Some(1024))?.unwrap_or(expanded);
    let mut mamba = state_space::read(fields, &NAMED, inner_dim)?;
    let before_gate = fields.bool("mamba_norm_before_gate", true)?;
    let normed = fields.bool("mamba_rms_norm", false)?;
    mamba.norm = normed.then_some(ScanNorm { n_groups: mamba.n_groups, before_gate });
    let rows = [inner_dim, mamba.n_groups * mamba.state_dim, mamba.n_groups * mamba.state_dim];
    for layer in &mut config.layers {
        layer.beside = Some(Mixer::Mamba2(mamba.clone()));
    }
    config.check()?;
    multiply(fields, config.n_layers(), rows)?;
    Ok(config)
}

/// Multiplies every part by what stands before or behind it; `rows` are those of x, b and c.
fn multiply(fields: &mut Fields<'_>, n_layers: usize, rows: [usize; 3]) -> Result<()> {
    let attention = fields.positive("attention_in_multiplier", 1.0)?;
    if attention != 1.0 && fields.bool("attention_bias", false)? {
        let error = fields.error("attention_in_multiplier", format!("{attention} beside biases is not supported"));
        return Err(error.hint("supported: 1, or attention_bias false"));
    }
    let keys = fields.positive("key_multiplier", 1.0)?;
    let scan = fields.positive("ssm_in_multiplier", 1.0)?;
    let [gate, down] = fields.multipliers("mlp_multipliers")?;
    let [scan_gate, x, b, c, step] = fields.multipliers("ssm_multipliers")?.map(|factor| scan * factor);
    let parts = [
        (Part::Query, attention),
        (Part::Key, attention * keys),
        (Part::Value, attention),
        (Part::Output, fields.positive("attention_out_multiplier", 1.0)?),
        (Part::ScanGate, scan_gate),
        (Part::ScanStep, step),
        (Part::ScanOutput, fields.positive("ssm_out_multiplier", 1.0)?),
        (Part::Gate, gate),
        (Part::Down, down),
    ];
    for (part, factor) in parts {
        fields.scale(part, vec![factor as f32; n_layers]);
    }
    let [xs, bs, cs] = rows;
    fields.scale_rows(Part::ScanInner, RowFactors([(xs, x as f32), (bs, b as f32), (cs, c as f32)]));
    fields.scale(Part::Embedding, vec![fields.positive("embedding_multiplier", 1.0)? as f32]);
    fields.scale(Part::FinalNorm, vec![fields.positive("lm_head_multiplier", 1.0)? as f32]);
    Ok(())
}

/// The plan of a GGUF file, whose tensors are multiplied already.
fn gguf_config(keys: &mut Keys<'_, '_>) -> Result<Config> {
    let mut config = llama::gguf_config(keys, &VARIANT)?;
    let mixer = Mixer::Mamba2(state_space::gguf(keys, 0)?);
    for layer in &mut config.layers {
        layer.beside = Some(mixer.clone());
    }
    config.check().map(|()| config)
}
