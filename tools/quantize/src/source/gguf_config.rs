//! The configuration of a GGUF file: keys under the architecture's name, the rest read off the tensors.

use whit::error::{Error, Result};
use whit::model::{Config, Family, GenerationDefaults};

use super::gguf_meta::{Metadata, shown};
use super::{SourceTensor, rope};

/// Bytes of a chat template, at most.
pub(super) const MAX_TEMPLATE: usize = 1 << 20;

/// The architectures that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    Gpt2,
    Llama,
    Qwen2,
    Qwen3,
}

impl Architecture {
    /// The architecture that the metadata name.
    pub(super) fn of(metadata: &Metadata<'_>) -> Result<Self> {
        let key = "general.architecture";
        match metadata.str(key)? {
            Some("gpt2") => Ok(Architecture::Gpt2),
            Some("llama") => Ok(Architecture::Llama),
            Some("qwen2") => Ok(Architecture::Qwen2),
            Some("qwen3") => Ok(Architecture::Qwen3),
            Some(other) => {
                let error = metadata.error(key, format!("architecture \"{}\" is not supported", shown(other)));
                Err(error.hint("supported: gpt2, llama (also Mistral), qwen2, qwen3"))
            }
            None => Err(metadata.error(key, "missing")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Architecture::Gpt2 => "gpt2",
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }

    /// Rows of q and k were permuted for neighbouring rotary pairs when the file was made.
    pub(super) fn interleaved_rope(self) -> bool {
        self == Architecture::Llama
    }
}

/// Reads keys of one architecture and remembers those that are missing.
struct Keys<'m, 'a> {
    metadata: &'m Metadata<'a>,
    prefix: &'static str,
    missing: Vec<String>,
}

impl Keys<'_, '_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn required<T: Default>(&mut self, key: &str, value: Option<T>) -> T {
        if value.is_none() {
            self.missing.push(self.key(key));
        }
        value.unwrap_or_default()
    }

    /// A dimension, as an integer that may be given per layer.
    fn dimension(&mut self, key: &str, n_layers: usize) -> Result<Option<usize>> {
        let key = self.key(key);
        match self.metadata.per_layer(&key, n_layers)? {
            Some(n) if n > 1 << 31 => Err(self.metadata.error(&key, format!("{n} is beyond every limit"))),
            value => Ok(value.map(|n| n as usize)),
        }
    }

    fn float(&self, key: &str) -> Result<Option<f64>> {
        self.metadata.float(&self.key(key))
    }

    fn error(&self, key: &str, message: impl Into<String>) -> Error {
        self.metadata.error(&self.key(key), message)
    }

    fn check(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(Error::data(format!("missing: {}", self.missing.join(", "))).field("metadata"))
    }
}

/// The configuration of the network. `factors` divide the rotary frequencies.
pub(super) fn config(
    metadata: &Metadata<'_>,
    architecture: Architecture,
    tensors: &[SourceTensor],
    factors: Option<Vec<f32>>,
) -> Result<Config> {
    let mut keys = Keys { metadata, prefix: architecture.name(), missing: Vec::new() };
    let family = if architecture == Architecture::Gpt2 { Family::Gpt2 } else { Family::Llama };
    let n_layers = keys.dimension("block_count", 0)?;
    let n_layers = keys.required("block_count", n_layers);
    let mut dimension = |key: &str| -> Result<usize> {
        let value = keys.dimension(key, n_layers)?;
        Ok(keys.required(key, value))
    };
    let dim = dimension("embedding_length")?;
    let hidden_dim = dimension("feed_forward_length")?;
    let context_length = dimension("context_length")?;
    let n_heads = dimension("attention.head_count")?;
    let eps = match family {
        Family::Gpt2 => "attention.layer_norm_epsilon",
        Family::Llama => "attention.layer_norm_rms_epsilon",
    };
    let norm_eps = keys.float(eps)?;
    let norm_eps = keys.required(eps, norm_eps) as f32;
    let n_kv_heads = keys.dimension("attention.head_count_kv", n_layers)?.unwrap_or(n_heads);
    let sliding_window = keys.dimension("attention.sliding_window", n_layers)?.filter(|w| *w > 0);
    keys.check()?;
    if keys.dimension("expert_count", n_layers)?.is_some_and(|n| n > 0) {
        return Err(keys.error("expert_count", "a mixture of experts is not supported"));
    }
    if n_heads == 0 {
        return Err(keys.error("attention.head_count", "0 heads"));
    }
    if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
        let message = format!("{n_kv_heads} does not divide {n_heads} query heads");
        return Err(keys.error("attention.head_count_kv", message));
    }
    let head_dim = head_dim(&mut keys, dim, n_heads)?;
    check_layers(&keys, n_layers, tensors)?;
    let rope_freqs = match family {
        Family::Gpt2 => Vec::new(),
        Family::Llama => rope_freqs(&mut keys, head_dim, factors)?,
    };
    let has = |name: &str| tensors.iter().any(|t| t.name == name);
    let gpt2 = family == Family::Gpt2;
    let config = Config {
        family,
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size: vocab_size(&mut keys, tensors)?,
        context_length,
        norm_eps,
        sliding_window: sliding_window.filter(|w| !gpt2 && *w < context_length),
        tied: !has("output.weight"),
        qkv_bias: gpt2 || architecture == Architecture::Qwen2 || has("blk.0.attn_q.bias"),
        output_bias: gpt2 || has("blk.0.attn_output.bias"),
        mlp_bias: gpt2 || has("blk.0.ffn_up.bias"),
        qk_norm: architecture == Architecture::Qwen3,
        rope_freqs,
    };
    config.check()?;
    Ok(config)
}

fn head_dim(keys: &mut Keys<'_, '_>, dim: usize, n_heads: usize) -> Result<usize> {
    let head_dim = match keys.dimension("attention.key_length", 0)? {
        Some(head_dim) => head_dim,
        None if dim.is_multiple_of(n_heads) => dim / n_heads,
        None => {
            let message = format!("{n_heads} does not divide embedding_length {dim}");
            return Err(keys.error("attention.head_count", message));
        }
    };
    match keys.dimension("attention.value_length", 0)? {
        Some(value) if value != head_dim => {
            Err(keys.error("attention.value_length", format!("{value} differs from the keys' {head_dim}")))
        }
        _ => Ok(head_dim),
    }
}

/// The highest block of any tensor has to be the last one announced.
fn check_layers(keys: &Keys<'_, '_>, n_layers: usize, tensors: &[SourceTensor]) -> Result<()> {
    let block = |t: &SourceTensor| t.name.strip_prefix("blk.")?.split_once('.')?.0.parse::<usize>().ok();
    let found = tensors.iter().filter_map(block).max().map_or(0, |last| last.saturating_add(1));
    if found == n_layers {
        return Ok(());
    }
    Err(keys.error("block_count", format!("{n_layers} blocks, the tensors are of {found}")))
}

fn vocab_size(keys: &mut Keys<'_, '_>, tensors: &[SourceTensor]) -> Result<usize> {
    let name = "token_embd.weight";
    let Some(embedding) = tensors.iter().find(|t| t.name == name) else {
        return Err(Error::data("missing").field(format!("tensor \"{name}\"")));
    };
    let rows = embedding.shape[0] as usize;
    match keys.dimension("vocab_size", 0)? {
        Some(n) if n != rows => Err(keys.error("vocab_size", format!("{n} tokens, {name} has {rows} rows"))),
        _ => Ok(rows),
    }
}

fn rope_freqs(keys: &mut Keys<'_, '_>, head_dim: usize, factors: Option<Vec<f32>>) -> Result<Vec<f32>> {
    let rotated = keys.dimension("rope.dimension_count", 0)?.unwrap_or(head_dim);
    if rotated != head_dim || !head_dim.is_multiple_of(2) || !(2..=4096).contains(&head_dim) {
        let message = format!("{rotated} rotated dimensions of heads of {head_dim}: expected all, an even number");
        return Err(keys.error("rope.dimension_count", message));
    }
    let theta = keys.float("rope.freq_base")?.unwrap_or(10_000.0);
    if !(theta.is_finite() && theta > 0.0) {
        return Err(keys.error("rope.freq_base", format!("{theta}, expected a positive number")));
    }
    let mut freqs = rope::frequencies(head_dim, theta);
    let kind = keys.metadata.str(&keys.key("rope.scaling.type"))?;
    match kind {
        None | Some("linear") => {
            let new = keys.float("rope.scaling.factor")?.map(|factor| ("rope.scaling.factor", factor));
            let old = keys.float("rope.scale_linear")?.map(|factor| ("rope.scale_linear", factor));
            match new.or(old) {
                Some((_, factor)) if factor.is_finite() && factor > 0.0 => rope::scale_linear(&mut freqs, factor),
                Some((key, factor)) => return Err(keys.error(key, format!("{factor}, expected a positive number"))),
                None => {}
            }
        }
        Some("none") => {}
        Some(other) => {
            let error = keys.error("rope.scaling.type", format!("scaling \"{}\" is not supported", shown(other)));
            return Err(error.hint("supported: none, linear, and the factors of Llama 3"));
        }
    }
    let Some(factors) = factors else { return Ok(freqs) };
    if factors.len() != freqs.len() {
        let message = format!("{} elements, heads of {head_dim} need {}", factors.len(), freqs.len());
        return Err(Error::data(message).field("tensor \"rope_freqs.weight\""));
    }
    freqs.iter_mut().zip(factors).for_each(|(f, factor)| *f /= factor);
    Ok(freqs)
}

/// The tokens that end a text, and the sampling settings of newer files.
pub(super) fn generation(metadata: &Metadata<'_>, vocab_size: usize) -> Result<GenerationDefaults> {
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
pub(super) fn chat_template(metadata: &Metadata<'_>) -> Result<Option<String>> {
    let key = "tokenizer.chat_template";
    match metadata.str(key)? {
        Some(text) if text.len() > MAX_TEMPLATE => {
            Err(metadata.error(key, format!("{} bytes, the limit is {MAX_TEMPLATE}", text.len())))
        }
        text => Ok(text.filter(|t| !t.is_empty()).map(str::to_string)),
    }
}
