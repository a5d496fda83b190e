//! SmolLM3 (Hugging Face 2025): Llama, of which some layers do not turn (Yang et al. 2025, "RoPE to NoPE and back again").

use whit::error::Result;
use whit::model::Config;

use super::family::{Family, Gguf};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES, keep_used_tables};
use super::variant::{Variant, Window};
use crate::source::hf::fields::Fields;
use crate::source::hf::rope::RotaryKind;

pub(super) static SMOLLM3: Family = Family {
    model_type: "smollm3",
    architectures: &["SmolLM3ForCausalLM", "SmolLM3Model"],
    config,
    gguf: Some(Gguf {
        architecture: "smollm3",
        label: "smollm3",
        interleaved_rotary: true,
        config: |keys| {
            let config = llama::gguf_config(keys, &VARIANT)?;
            let turns = (1..=config.n_layers()).map(|layer| !layer.is_multiple_of(4)).collect();
            Ok(turning(config, turns))
        },
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    kv_heads_default: Some(4),
    context_default: 32_768,
    tied_default: true,
    rotary: RotaryKind { theta: 2_000_000.0, ..RotaryKind::WHOLE },
    ..Variant::LLAMA
};

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let window = Variant { window: Window::Listed, ..VARIANT };
    let config = llama::config(fields, &window)?;
    let turns = fields.turning_layers(config.n_layers())?;
    Ok(turning(config, turns))
}

/// The plan whose layers turn where `turns` says so.
pub(super) fn turning(mut config: Config, turns: Vec<bool>) -> Config {
    for (layer, turns) in config.layers.iter_mut().zip(turns) {
        if let Some(attention) = layer.attention_mut() {
            attention.rotary = attention.rotary.filter(|_| turns);
        }
    }
    keep_used_tables(&mut config);
    config
}
