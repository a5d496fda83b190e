//! What the metadata of a GGUF file say: the family, the settings of generation and the chat template.

use whit::error::Result;
use whit::model::GenerationDefaults;

use super::meta::{Metadata, shown};
use crate::families::{FAMILIES, Family, Gguf, missing};

/// Bytes of a chat template, at most.
pub(in crate::source) const MAX_TEMPLATE: usize = 1 << 20;

/// The family that the metadata name, what it is in such files, and the name.
pub(in crate::source) fn family(metadata: &Metadata<'_>) -> Result<(&'static Family, &'static Gguf, &'static str)> {
    let key = "general.architecture";
    let Some(name) = metadata.str(key)? else { return Err(metadata.error(key, "missing")) };
    Family::in_gguf(name).ok_or_else(|| {
        let labels: Vec<_> = FAMILIES.iter().filter_map(|family| Some(family.gguf.as_ref()?.label)).collect();
        let error = metadata.error(key, format!("architecture \"{}\" is not supported", shown(name)));
        let lacks = missing(name).map_or(String::new(), |what| format!("whit lacks {what}; "));
        error.hint(format!("{lacks}supported: {}", labels.join(", ")))
    })
}

/// The tokens that end a text, and the sampling settings of newer files.
pub(in crate::source) fn generation(metadata: &Metadata<'_>, vocab_size: usize) -> Result<GenerationDefaults> {
    let mut eos = Vec::new();
    for name in ["eos", "eot", "eom"] {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = metadata.integer(&key)? else { continue };
        if id >= vocab_size as u64 {
            return Err(metadata.error(&key, format!("token {id} of a vocabulary of {vocab_size}")));
        }
        if !eos.contains(&(id as u32)) {
            eos.push(id as u32);
        }
    }
    let float = |key: &str| -> Result<Option<f32>> {
        let key = format!("general.sampling.{key}");
        match metadata.float(&key)? {
            Some(value) if !(value.is_finite() && value >= 0.0) => {
                Err(metadata.error(&key, format!("{value}, expected 0 or more")))
            }
            value => Ok(value.map(|v| v as f32)),
        }
    };
    let top_k = metadata.integer("general.sampling.top_k")?.and_then(|k| u32::try_from(k).ok());
    Ok(GenerationDefaults {
        temperature: float("temp")?,
        top_k: top_k.filter(|k| *k > 0),
        top_p: float("top_p")?,
        min_p: float("min_p")?,
        repeat_penalty: float("penalty_repeat")?,
        eos,
    })
}

/// The chat template.
pub(in crate::source) fn chat_template(metadata: &Metadata<'_>) -> Result<Option<String>> {
    let key = "tokenizer.chat_template";
    match metadata.str(key)? {
        Some(text) if text.len() > MAX_TEMPLATE => {
            Err(metadata.error(key, format!("{} bytes, the limit is {MAX_TEMPLATE}", text.len())))
        }
        text => Ok(text.filter(|t| !t.is_empty()).map(str::to_string)),
    }
}
