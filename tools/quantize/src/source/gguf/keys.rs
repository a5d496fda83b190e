//! The configuration of a GGUF file: keys under the architecture's name, the rest read off the tensors. What they mean is for the
//! families to say.

use whit::error::{Error, Result};
use whit::model::spec::Part;
use whit::model::{Config, Family, Uniform};

use super::divisors::Divisors;
use super::meta::Metadata;
use crate::families::{Factors, Multipliers};
use crate::source::tensor::SourceTensor;

/// Reads keys of one architecture, and remembers those that are missing.
pub(crate) struct Keys<'m, 'a> {
    pub(super) metadata: &'m Metadata<'a>,
    architecture: &'static str,
    tensors: &'m [SourceTensor],
    pub(super) divisors: Divisors,
    /// Positions that are wanted.
    pub(super) wanted: Option<usize>,
    pub(super) factors: Factors,
    pub(super) notes: Vec<String>,
    missing: Vec<String>,
    /// The architecture may have experts.
    mixes: bool,
    /// Heads of keys and widths of MLPs may differ from layer to layer.
    varies: bool,
}

impl<'m, 'a> Keys<'m, 'a> {
    /// Of a file with these `tensors`; `divisors` divide the rotary frequencies, so many positions are `wanted`.
    pub(in crate::source) fn new(
        metadata: &'m Metadata<'a>,
        architecture: &'static str,
        tensors: &'m [SourceTensor],
        (divisors, wanted): (Divisors, Option<usize>),
    ) -> Self {
        let (factors, notes, missing) = Default::default();
        Keys { metadata, architecture, tensors, divisors, wanted, factors, notes, missing, mixes: false, varies: false }
    }

    /// What the user is told, and what [`Keys::scale`] and its like were given.
    pub(in crate::source) fn into_told(self) -> (Vec<String>, Factors) {
        (self.notes, self.factors)
    }

    /// The network `config` is to be multiplied, see [`Factors::multiply`].
    pub(crate) fn multiply(&mut self, config: &Config, multipliers: Multipliers) {
        self.factors.multiply(config, multipliers);
    }

    /// A positive number; `None` where there is none.
    pub(crate) fn positive(&self, key: &str) -> Result<Option<f64>> {
        match self.float(key)? {
            Some(number) if !(number as f32 > 0.0 && (number as f32).is_finite()) => {
                Err(self.error(key, format!("{number}, expected a positive number")))
            }
            number => Ok(number),
        }
    }

    /// A truth value; `None` where there is none.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.metadata.bool(&self.key(key))
    }

    /// A text; `None` where there is none.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.metadata.str(&self.key(key))
    }

    /// The name of the architecture in the file.
    pub(crate) fn architecture(&self) -> &'static str {
        self.architecture
    }

    /// A positive number that must be there.
    pub(crate) fn positive_required(&self, key: &str) -> Result<f64> {
        self.positive(key)?.ok_or_else(|| self.error(key, "missing"))
    }

    /// Of each layer whether its attention has a window, where the file says so: for each layer, or the period of those without.
    pub(crate) fn slides(&self, n_layers: usize) -> Result<Option<Vec<bool>>> {
        let key = "attention.sliding_window_pattern";
        if !self.metadata.is_array(&self.key(key)) {
            let period = self.dimension(key, n_layers)?.filter(|period| *period > 0);
            return Ok(period.map(|period| (1..=n_layers).map(|layer| !layer.is_multiple_of(period)).collect()));
        }
        match self.metadata.bools(&self.key(key))? {
            Some(slides) if slides.len() != n_layers => {
                Err(self.error(key, format!("{} elements for {n_layers} layers", slides.len())))
            }
            slides => Ok(slides),
        }
    }

    /// Of each layer whether it is a recurrent one, where the file says so. It also says so of blocks that are left out.
    pub(crate) fn recurs(&self, n_layers: usize) -> Result<Option<Vec<bool>>> {
        let key = "attention.recurrent_layers";
        let n_blocks = self.dimension("block_count", 0)?.unwrap_or(n_layers);
        match self.metadata.bools(&self.key(key))? {
            Some(recurs) if recurs.len() != n_blocks => {
                Err(self.error(key, format!("{} elements for {n_blocks} blocks", recurs.len())))
            }
            recurs => Ok(recurs.map(|recurs| recurs.into_iter().take(n_layers).collect())),
        }
    }

    /// A part is to be multiplied, see [`Factors::scale`].
    pub(crate) fn scale(&mut self, part: Part, factors: Vec<f32>) {
        self.factors.scale(part, factors);
    }

    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn required<T: Default>(&mut self, key: &str, value: Option<T>) -> T {
        if value.is_none() {
            self.missing.push(self.key(key));
        }
        value.unwrap_or_default()
    }

    /// A dimension, as an integer that may be given per layer.
    pub(super) fn dimension(&self, key: &str, n_layers: usize) -> Result<Option<usize>> {
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

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.metadata.float(&self.key(key))
    }

    /// An error in the key `key` of the architecture.
    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> Error {
        self.metadata.error(&self.key(key), message)
    }

    fn check(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(Error::data(format!("missing: {}", self.missing.join(", "))).field("metadata"))
    }

    /// The architecture may have experts, of whose inner width the key `expert_feed_forward_length` tells.
    pub(crate) fn mixes(&mut self) {
        self.mixes = true;
    }

    /// Heads of keys and widths of MLPs may differ from layer to layer: [`Keys::network`] has those of the first.
    pub(crate) fn varies(&mut self) {
        self.varies = true;
    }

    /// A dimension of all layers; of the first, where they may differ.
    fn of_first(&self, key: &str, n_layers: usize) -> Result<Option<usize>> {
        if !self.varies {
            return self.dimension(key, n_layers);
        }
        Ok(self.each_layer(key, n_layers)?.first().copied())
    }

    /// A dimension that may be left out.
    pub(crate) fn length(&self, key: &str) -> Result<Option<usize>> {
        Ok(self.dimension(key, 0)?.filter(|n| *n > 0))
    }

    /// The number of experts of a layer, and how many of them a token uses.
    pub(crate) fn experts(&self) -> Result<(usize, usize)> {
        let number = |key: &str| match self.dimension(key, 0)? {
            Some(n) if n > 0 => Ok(n),
            _ => Err(self.error(key, "expected a positive number")),
        };
        Ok((number("expert_count")?, number("expert_used_count")?))
    }

    /// The file has a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.iter().any(|t| t.name == name)
    }

    /// What all architectures say alike: dimensions and the epsilon of the norms, which stands under the key `eps`. There are no
    /// biases, norms of q and k or rotary frequencies in it, and no blocks that guess several tokens at once, which are the last.
    pub(crate) fn network(&mut self, family: Family, eps: &str) -> Result<Uniform> {
        self.network_with(family, eps, |keys, n_layers| keys.of_first("attention.head_count_kv", n_layers))
    }

    /// The same, the heads of keys and values being read by `kv_heads`, which is given the number of layers.
    pub(crate) fn network_with(
        &mut self,
        family: Family,
        eps: &str,
        kv_heads: impl FnOnce(&Self, usize) -> Result<Option<usize>>,
    ) -> Result<Uniform> {
        let n_blocks = self.dimension("block_count", 0)?;
        let n_blocks = self.required("block_count", n_blocks);
        let key = "nextn_predict_layers";
        let guessing = self.dimension(key, 0)?.unwrap_or(0);
        if guessing > 0 && guessing >= n_blocks {
            return Err(self.error(key, format!("{guessing} of {n_blocks} blocks")));
        }
        let n_layers = n_blocks - guessing;
        let mut dimension = |key: &str| -> Result<usize> {
            let value = self.of_first(key, n_layers)?;
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
        if !self.mixes && self.dimension("expert_count", n_layers)?.is_some_and(|n| n > 0) {
            return Err(self.error("expert_count", "a mixture of experts is not supported in this architecture"));
        }
        if n_heads == 0 {
            return Err(self.error("attention.head_count", "0 heads"));
        }
        if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
            let message = format!("{n_kv_heads} does not divide {n_heads} query heads");
            return Err(self.error("attention.head_count_kv", message));
        }
        let head_dim = self.head_dim(dim, n_heads)?;
        self.check_layers(n_blocks)?;
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

    /// The same of networks in which layers without heads of keys and values are no attention; and of each layer whether it is one.
    pub(crate) fn attending(&mut self, family: Family, eps: &str) -> Result<(Uniform, Vec<bool>)> {
        let key = "attention.head_count_kv";
        let mut kv_heads = Vec::new();
        let network = self.network_with(family, eps, |keys, n_layers| {
            kv_heads = keys.each_layer(key, n_layers)?;
            let mut attending = kv_heads.iter().copied().filter(|heads| *heads > 0);
            let first = attending.next();
            if attending.any(|heads| Some(heads) != first) {
                return Err(keys.error(key, "layers with different numbers of heads: not supported"));
            }
            Ok(first)
        })?;
        let heads = |layer: usize| kv_heads.get(layer).or(kv_heads.first()).copied();
        let attends = (0..network.n_layers).map(|layer| heads(layer).is_none_or(|heads| heads > 0)).collect();
        Ok((network, attends))
    }

    /// The number of tokens, and whether the unembedding is the embedding; the file has to have `n_layers` blocks.
    pub(crate) fn ends(&self, n_layers: usize) -> Result<(usize, bool)> {
        self.check_layers(n_layers)?;
        Ok((self.vocab_size()?, !self.has("output.weight")))
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
        let found = self.tensors.iter().filter_map(block_of).max().map_or(0, |last| last.saturating_add(1));
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
}

/// The number of the block that a tensor is of.
pub(super) fn block_of(tensor: &SourceTensor) -> Option<usize> {
    tensor.name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}
