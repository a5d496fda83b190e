//! The configuration of a GGUF file: keys under the architecture's name, the rest read off the tensors. What they mean is for the
//! families to say.

use whit::error::{Error, Result};
use whit::model::spec::Part;
use whit::model::{Family, Uniform};

use super::meta::{Metadata, shown};
use crate::families::Factors;
use crate::source::rope;
use crate::source::tensor::SourceTensor;

/// Reads keys of one architecture, and remembers those that are missing.
pub(crate) struct Keys<'m, 'a> {
    metadata: &'m Metadata<'a>,
    architecture: &'static str,
    tensors: &'m [SourceTensor],
    /// What the rotary frequencies are divided by.
    rope_divisors: Option<Vec<f32>>,
    factors: Factors,
    missing: Vec<String>,
}

impl<'m, 'a> Keys<'m, 'a> {
    /// Of a file with these `tensors`; `rope_divisors` divide the rotary frequencies.
    pub(in crate::source) fn new(
        metadata: &'m Metadata<'a>,
        architecture: &'static str,
        tensors: &'m [SourceTensor],
        rope_divisors: Option<Vec<f32>>,
    ) -> Self {
        Keys { metadata, architecture, tensors, rope_divisors, factors: Factors::default(), missing: Vec::new() }
    }

    /// What [`Keys::scale`] was given.
    pub(in crate::source) fn into_factors(self) -> Factors {
        self.factors
    }

    /// A part is to be multiplied, see [`Factors::scale`].
    pub(crate) fn scale(&mut self, part: Part, factors: Vec<f32>) {
        self.factors.scale(part, factors);
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn required<T: Default>(&mut self, key: &str, value: Option<T>) -> T {
        if value.is_none() {
            self.missing.push(self.key(key));
        }
        value.unwrap_or_default()
    }

    /// A dimension, as an integer that may be given per layer.
    fn dimension(&self, key: &str, n_layers: usize) -> Result<Option<usize>> {
        let key = self.key(key);
        match self.metadata.per_layer(&key, n_layers)? {
            Some(n) if n > 1 << 31 => Err(self.metadata.error(&key, format!("{n} is beyond every limit"))),
            value => Ok(value.map(|n| n as usize)),
        }
    }

    /// A dimension that must be there, one number.
    pub(crate) fn number(&mut self, key: &str) -> Result<usize> {
        let value = self.dimension(key, 0)?;
        let value = self.required(key, value);
        self.check().map(|()| value)
    }

    /// A dimension of all layers, or one of each; none where the file does not have the key.
    pub(crate) fn each_layer(&self, key: &str, n_layers: usize) -> Result<Vec<usize>> {
        let key = self.key(key);
        let dimension = |n| match n {
            0..=0x8000_0000 => Ok(n as usize),
            _ => Err(self.metadata.error(&key, format!("{n} is beyond every limit"))),
        };
        self.metadata.each_layer(&key, n_layers)?.into_iter().map(dimension).collect()
    }

    fn float(&self, key: &str) -> Result<Option<f64>> {
        self.metadata.float(&self.key(key))
    }

    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> Error {
        self.metadata.error(&self.key(key), message)
    }

    fn check(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(Error::data(format!("missing: {}", self.missing.join(", "))).field("metadata"))
    }

    /// The file has a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.iter().any(|t| t.name == name)
    }

    /// What all architectures say alike: dimensions and the epsilon of the norms, which stands under the key `eps`. There are no
    /// biases, norms of q and k or rotary frequencies in it.
    pub(crate) fn network(&mut self, family: Family, eps: &str) -> Result<Uniform> {
        self.network_with(family, eps, |keys, n_layers| keys.dimension("attention.head_count_kv", n_layers))
    }

    /// The same, the heads of keys and values being read by `kv_heads`, which is given the number of layers.
    pub(crate) fn network_with(
        &mut self,
        family: Family,
        eps: &str,
        kv_heads: impl FnOnce(&Self, usize) -> Result<Option<usize>>,
    ) -> Result<Uniform> {
        let n_layers = self.dimension("block_count", 0)?;
        let n_layers = self.required("block_count", n_layers);
        let mut dimension = |key: &str| -> Result<usize> {
            let value = self.dimension(key, n_layers)?;
            Ok(self.required(key, value))
        };
        let dim = dimension("embedding_length")?;
        let hidden_dim = dimension("feed_forward_length")?;
        let context_length = dimension("context_length")?;
        let n_heads = dimension("attention.head_count")?;
        let norm_eps = self.float(eps)?;
        let norm_eps = self.required(eps, norm_eps) as f32;
        let n_kv_heads = kv_heads(self, n_layers)?.unwrap_or(n_heads);
        let sliding_window = self.dimension("attention.sliding_window", n_layers)?.filter(|w| *w > 0);
        self.check()?;
        if self.dimension("expert_count", n_layers)?.is_some_and(|n| n > 0) {
            return Err(self.error("expert_count", "a mixture of experts is not supported"));
        }
        if n_heads == 0 {
            return Err(self.error("attention.head_count", "0 heads"));
        }
        if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
            let message = format!("{n_kv_heads} does not divide {n_heads} query heads");
            return Err(self.error("attention.head_count_kv", message));
        }
        let head_dim = self.head_dim(dim, n_heads)?;
        self.check_layers(n_layers)?;
        Ok(Uniform {
            family,
            dim,
            hidden_dim,
            n_layers,
            n_heads,
            n_kv_heads,
            head_dim,
            vocab_size: self.vocab_size()?,
            context_length,
            norm_eps,
            sliding_window: sliding_window.filter(|w| *w < context_length),
            tied: !self.has("output.weight"),
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            rope_freqs: Vec::new(),
        })
    }

    fn head_dim(&self, dim: usize, n_heads: usize) -> Result<usize> {
        let head_dim = match self.dimension("attention.key_length", 0)? {
            Some(head_dim) => head_dim,
            None if dim.is_multiple_of(n_heads) => dim / n_heads,
            None => {
                let message = format!("{n_heads} does not divide embedding_length {dim}");
                return Err(self.error("attention.head_count", message));
            }
        };
        match self.dimension("attention.value_length", 0)? {
            Some(value) if value != head_dim => {
                Err(self.error("attention.value_length", format!("{value} differs from the keys' {head_dim}")))
            }
            _ => Ok(head_dim),
        }
    }

    /// The highest block of any tensor has to be the last one announced.
    fn check_layers(&self, n_layers: usize) -> Result<()> {
        let block = |t: &SourceTensor| t.name.strip_prefix("blk.")?.split_once('.')?.0.parse::<usize>().ok();
        let found = self.tensors.iter().filter_map(block).max().map_or(0, |last| last.saturating_add(1));
        if found == n_layers {
            return Ok(());
        }
        Err(self.error("block_count", format!("{n_layers} blocks, the tensors are of {found}")))
    }

    fn vocab_size(&self) -> Result<usize> {
        let name = "token_embd.weight";
        let Some(embedding) = self.tensors.iter().find(|t| t.name == name) else {
            return Err(Error::data("missing").field(format!("tensor \"{name}\"")));
        };
        let rows = embedding.shape[0] as usize;
        match self.dimension("vocab_size", 0)? {
            Some(n) if n != rows => Err(self.error("vocab_size", format!("{n} tokens, {name} has {rows} rows"))),
            _ => Ok(rows),
        }
    }

    /// Rotary frequencies of heads of `head_dim`, scaled as the file says.
    pub(crate) fn rope_freqs(&self, head_dim: usize) -> Result<Vec<f32>> {
        let rotated = self.dimension("rope.dimension_count", 0)?.unwrap_or(head_dim);
        if rotated != head_dim || !head_dim.is_multiple_of(2) || !(2..=4096).contains(&head_dim) {
            let message = format!("{rotated} rotated dimensions of heads of {head_dim}: expected all, an even number");
            return Err(self.error("rope.dimension_count", message));
        }
        let theta = self.float("rope.freq_base")?.unwrap_or(10_000.0);
        if !(theta.is_finite() && theta > 0.0) {
            return Err(self.error("rope.freq_base", format!("{theta}, expected a positive number")));
        }
        let mut freqs = rope::frequencies(head_dim, theta);
        let kind = self.metadata.str(&self.key("rope.scaling.type"))?;
        match kind {
            None | Some("linear") => {
                let new = self.float("rope.scaling.factor")?.map(|factor| ("rope.scaling.factor", factor));
                let old = self.float("rope.scale_linear")?.map(|factor| ("rope.scale_linear", factor));
                match new.or(old) {
                    Some((_, factor)) if factor.is_finite() && factor > 0.0 => rope::scale_linear(&mut freqs, factor),
                    Some((key, factor)) => return Err(self.error(key, format!("{factor}, expected a positive number"))),
                    None => {}
                }
            }
            Some("none") => {}
            Some(other) => {
                let error = self.error("rope.scaling.type", format!("scaling \"{}\" is not supported", shown(other)));
                return Err(error.hint("supported: none, linear, and the factors of Llama 3"));
            }
        }
        let Some(divisors) = &self.rope_divisors else { return Ok(freqs) };
        if divisors.len() != freqs.len() {
            let message = format!("{} elements, heads of {head_dim} need {}", divisors.len(), freqs.len());
            return Err(Error::data(message).field("tensor \"rope_freqs.weight\""));
        }
        freqs.iter_mut().zip(divisors).for_each(|(f, divisor)| *f /= divisor);
        Ok(freqs)
    }
}
