//! What a network is, as data: a plan of layers, each a row that says what its block does.

use super::attention::Attention;
use super::block::Layer;
use super::fields::in_limit;
use super::spec::NormKind;
use super::state::{StateOptions, note_bytes};
use crate::error::{Error, Result};
use crate::format::check_name;
use crate::ops::KvDtype;
use alloc::string::String;
use alloc::vec::Vec;

/// A network: what stands before and after the blocks, and a row for each block.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name of the architecture family, for people: nothing depends on it. At most 256 bytes; may be empty.
    pub family: String,
    /// Width of the residual stream.
    pub dim: usize,
    /// Number of tokens.
    pub vocab_size: usize,
    /// Positions the model was made for.
    pub context_length: usize,
    /// Positions are learned vectors that are added to those of the tokens (Radford et al. 2019).
    pub learned_positions: bool,
    /// What enters the first block is normed, positions included.
    pub embedding_norm: bool,
    /// Rotary frequencies, radians per position, of each table that layers refer to: `head_dim / 2` of them, pair i being
    /// elements i and i + head_dim / 2. Scaling of any kind is already in them.
    pub rotary_tables: Vec<Vec<f32>>,
    /// What the norms of the residual stream are.
    pub norm: NormKind,
    /// What is added to the mean square or variance of every norm.
    pub norm_eps: f32,
    /// The blocks, in their order.
    pub layers: Vec<Layer>,
    /// Each block is told of its token once more, in vectors of this width, made for it (Gemma 3n, Gemma 4); `None`: it is not.
    pub layer_inputs: Option<usize>,
    /// The unembedding is the embedding.
    pub tied: bool,
    /// The logits have a bias; never where the unembedding is the embedding.
    pub unembedding_bias: bool,
    /// A logit l becomes `cap * tanh(l / cap)` (Bello et al. 2016; Gemma 2); `None`: it stays.
    pub logit_cap: Option<f32>,
}

impl Config {
    /// Number of blocks.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// The attentions of the blocks that have one, in their order.
    pub fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.layers.iter().filter_map(Layer::attention)
    }

    /// The heads of all attentions: block and query head.
    pub fn heads(&self) -> impl Iterator<Item = (usize, usize)> {
        let layers = self.layers.iter().enumerate();
        layers.flat_map(|(i, layer)| (0..layer.attention().map_or(0, |a| a.n_heads)).map(move |head| (i, head)))
    }

    /// Elements of what all blocks are told of a token once more.
    pub(super) fn all_layer_inputs(&self) -> usize {
        self.layer_inputs.map_or(0, |width| self.n_layers() * width)
    }

    /// The largest of what `of` says about the blocks.
    pub fn widest(&self, of: impl Fn(&Layer) -> usize) -> usize {
        self.layers.iter().map(of).max().unwrap_or(0)
    }

    /// The inner width of the widest MLP.
    pub fn hidden_dim(&self) -> usize {
        self.widest(|layer| layer.mlp.hidden_dim)
    }

    /// Bytes of what all blocks remember of a text.
    pub fn state_bytes(&self, options: StateOptions) -> u64 {
        let options = self.layer_options(options);
        self.layers.iter().map(|layer| layer.state_bytes(options)).fold(0, u64::saturating_add)
    }

    /// Bytes of what [`State::note`](super::State::note) notes of a text; 0 where no block goes back to marks alone.
    pub fn note_bytes(&self) -> u64 {
        let kinds = self.layers.iter().flat_map(|layer| layer.state_kinds(KvDtype::F16));
        note_bytes(kinds) as u64
    }

    /// What each layer has room for: a text that is taken back by `slack` tokens goes back to the mark before them.
    pub(super) fn layer_options(&self, options: StateOptions) -> StateOptions {
        let step = self.widest(|layer| layer.state_kinds(options.kv).map(|kind| kind.step).max().unwrap_or(1));
        StateOptions { slack: options.slack.saturating_add(step.saturating_sub(1)), ..options }
    }

    /// Refuses keys and values that block `layer` cannot share.
    fn check_shared(&self, layer: usize) -> Result<()> {
        let Some(attention) = self.layers[layer].attention() else { return Ok(()) };
        let Some(from) = attention.shares else { return Ok(()) };
        let wrong = |message: String| Err(Error::data(message).field("shares"));
        let earlier = self.layers[..layer].get(from).and_then(Layer::attention);
        let Some(other) = earlier.filter(|other| other.shares.is_none()) else {
            return wrong(format!(
                "layer {layer} shares those of {from}, which is no earlier layer with keys of its own"
            ));
        };
        let alike = |a: &Attention| (a.n_kv_heads, a.head_dim, a.window);
        if alike(attention) != alike(other) {
            return wrong(format!("layer {layer} has other heads of keys or another window than {from}"));
        }
        Ok(())
    }

    /// Refuses dimensions that are zero, beyond the limits or do not fit each other, and tables that no layer needs.
    pub fn check(&self) -> Result<()> {
        if !self.family.is_empty() {
            check_name(self.family.as_bytes()).map_err(|message| Error::data(message).field("family"))?;
        }
        in_limit("dim", self.dim, 1 << 16)?;
        in_limit("n_layers", self.layers.len(), 1024)?;
        in_limit("vocab_size", self.vocab_size, 1 << 20)?;
        in_limit("context_length", self.context_length, 1 << 20)?;
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(Error::data(format!("{} is outside (0, 1)", self.norm_eps)).field("norm_eps"));
        }
        if self.unembedding_bias && self.tied {
            return Err(Error::data("token vectors that are tied have none").field("unembedding_bias"));
        }
        for table in &self.rotary_tables {
            if let Some(i) = table.iter().position(|f| !(f.is_finite() && *f >= 0.0)) {
                return Err(Error::data(format!("element {i} is {}", table[i])).field("rope_freqs"));
            }
        }
        if let Some(width) = self.layer_inputs {
            in_limit("layer_inputs", width, 1 << 12)?;
        }
        self.layers.iter().try_for_each(|layer| layer.check(&self.rotary_tables))?;
        (0..self.layers.len()).try_for_each(|layer| self.check_shared(layer))?;
        // A table costs memory for each token of a pass, and its length is checked by the layers that refer to it.
        let is_used = |table: usize| self.attentions().any(|attention| attention.rotary == Some(table));
        match (0..self.rotary_tables.len()).find(|table| !is_used(*table)) {
            Some(table) => Err(Error::data(format!("no layer refers to table {table}")).field("rotary tables")),
            None => Ok(()),
        }
    }
}
