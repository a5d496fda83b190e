//! Attention, which carries information between positions: its row of the plan, its tensors, how much it remembers. Its weights and its
//! pass are in [`attend`](super::attend).

use super::fields::{FieldWriter, Fields, in_limit, place_of};
use super::head_norm::QkNorm;
use super::spec::{Part, Table};
use super::state::{StateKind, StateOptions};
use crate::error::{Error, Result};
use crate::ops::{KV_BLOCK, KvDtype, KvShape, math};
use alloc::vec::Vec;
use core::ops::Range;

/// Causal attention with grouped queries (Ainslie et al. 2023).
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head; `n_heads * head_dim` need not equal `dim`.
    pub head_dim: usize,
    /// A token sees this many last positions, itself included; `None`: all.
    pub window: Option<usize>,
    /// The rotary table that queries and keys turn by (Su et al. 2021), by its place in the plan; `None`: they do not turn.
    pub rotary: Option<usize>,
    /// How q and k are normed; `None`: they are not.
    pub qk_norm: Option<QkNorm>,
    /// v is RMS-normed, each head by itself.
    pub v_norm: bool,
    /// There are no keys and values of its own, but those of an earlier block, of this number, are read; both have the same heads of
    /// keys and the same window.
    pub shares: Option<usize>,
    /// What scores are smaller than, see [`Scoring`](crate::kernels::Scoring); `None`: anything.
    pub cap: Option<f32>,
    /// What each head subtracts from a score for each position that a key is away (Press et al. 2022, ALiBi), (n_heads); empty:
    /// nothing.
    pub slopes: Vec<f32>,
    /// Each head has one more score, a weight, that takes its share of the softmax and has no value.
    pub sinks: bool,
    /// What the heads give is multiplied by the sigmoid of a product of the input; `None`: by nothing.
    pub gate: Option<Gate>,
    /// What the heads give is RMS-normed, all of a token together, before the output.
    pub inner_norm: bool,
    /// q, k and v have biases.
    pub qkv_bias: bool,
    /// The output has a bias.
    pub output_bias: bool,
}

/// How much of an output gate the heads share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Each element of each head has a gate.
    Elements,
    /// Each head has a gate.
    Heads,
}

impl Gate {
    /// All of them, in the order of the values of their field.
    const ALL: [Gate; 2] = [Gate::Elements, Gate::Heads];
}

/// Tags of the fields of a layer that describe an attention.
mod tag {
    pub(super) const N_HEADS: u16 = 16;
    pub(super) const N_KV_HEADS: u16 = 17;
    pub(super) const HEAD_DIM: u16 = 18;
    pub(super) const WINDOW: u16 = 19;
    pub(super) const ROTARY: u16 = 20;
    pub(super) const QK_NORM: u16 = 21;
    pub(super) const QKV_BIAS: u16 = 22;
    pub(super) const OUTPUT_BIAS: u16 = 23;
    pub(super) const CAP: u16 = 24;
    pub(super) const SLOPES: u16 = 25;
    pub(super) const GATE: u16 = 26;
    pub(super) const SINKS: u16 = 27;
    pub(super) const V_NORM: u16 = 28;
    pub(super) const SHARES: u16 = 29;
    pub(super) const INNER_NORM: u16 = 31;
}

impl Attention {
    /// Attention to all positions that do not turn, without norms of queries and keys, bounds, sinks, gates or biases.
    pub fn plain(n_heads: usize, n_kv_heads: usize, head_dim: usize) -> Self {
        Attention {
            n_heads,
            n_kv_heads,
            head_dim,
            window: None,
            rotary: None,
            qk_norm: None,
            v_norm: false,
            shares: None,
            cap: None,
            slopes: Vec::new(),
            sinks: false,
            gate: None,
            inner_norm: false,
            qkv_bias: false,
            output_bias: false,
        }
    }

    /// Width of all queries together, and of what the heads give.
    pub fn width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all keys together, and of all values.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// The KV head that query head `head` reads.
    pub fn kv_head(&self, head: usize) -> usize {
        head / (self.n_heads / self.n_kv_heads)
    }

    /// The positions that a token at `position` sees.
    pub fn seen(&self, position: usize) -> Range<usize> {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))..position + 1
    }

    /// The score of the key that is `distance` positions before the query, whose product, divided by the root of head_dim, is
    /// `product`; in f64, for those who look.
    pub fn score(&self, head: usize, product: f64, distance: usize) -> f64 {
        let tanh = |x: f64| 1.0 - 2.0 / (math::exp_f64(2.0 * x) + 1.0);
        let capped = self.cap.map(f64::from).map_or(product, |cap| cap * tanh(product / cap));
        capped - self.slopes.get(head).map_or(0.0, |slope| f64::from(*slope) * distance as f64)
    }

    /// Gates of a token.
    pub(super) fn gates(&self) -> usize {
        match self.gate {
            None => 0,
            Some(Gate::Elements) => self.width(),
            Some(Gate::Heads) => self.n_heads,
        }
    }

    /// Width of the keys that it makes, and of the values: none where it reads those of another.
    pub(super) fn own_kv_width(&self) -> usize {
        if self.shares.is_some() { 0 } else { self.kv_width() }
    }

    /// Elements of a token between the first and the last matrix: queries, keys, values, what the heads give, and gates, which
    /// are spread over the elements of their heads.
    pub(super) fn inner_width(&self) -> usize {
        let spread = if self.gate.is_some() { self.gates() + self.width() } else { 0 };
        2 * (self.width() + self.own_kv_width()) + spread
    }

    /// Refuses dimensions that are beyond the limits or do not fit each other or the `rotary_tables` of the plan.
    pub(super) fn check(&self, rotary_tables: &[Vec<f32>]) -> Result<()> {
        in_limit("n_heads", self.n_heads, 1024)?;
        in_limit("n_kv_heads", self.n_kv_heads, 1024)?;
        in_limit("head_dim", self.head_dim, 1 << 12)?;
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let message = format!("{} does not divide n_heads {}", self.n_kv_heads, self.n_heads);
            return Err(Error::data(message).field("n_kv_heads"));
        }
        if let Some(window) = self.window {
            // As much as a file can say.
            in_limit("window", window, u32::MAX as usize)?;
        }
        if self.shares.is_some() && self.v_norm {
            return Err(Error::data("a layer that reads those of another has no values to norm").field("v_norm"));
        }
        if !self.slopes.is_empty() && self.slopes.len() != self.n_heads {
            let message = format!("{} for {} heads", self.slopes.len(), self.n_heads);
            return Err(Error::data(message).field("slopes"));
        }
        if let Some(i) = self.slopes.iter().position(|slope| !slope.is_finite()) {
            return Err(Error::data(format!("element {i} is {}", self.slopes[i])).field("slopes"));
        }
        let Some(table) = self.rotary else { return Ok(()) };
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::data(format!("{} is odd", self.head_dim)).field("head_dim"));
        }
        match rotary_tables.get(table) {
            None => Err(Error::data(format!("table {table} of {}", rotary_tables.len())).field("rotary")),
            Some(freqs) if freqs.len() != self.head_dim / 2 => {
                let message = format!("{} for head_dim {}", freqs.len(), self.head_dim);
                Err(Error::data(message).field("rope_freqs"))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn encode(&self, fields: &mut FieldWriter) {
        fields.number(tag::N_HEADS, self.n_heads);
        fields.number(tag::N_KV_HEADS, self.n_kv_heads);
        fields.number(tag::HEAD_DIM, self.head_dim);
        fields.optional(tag::WINDOW, self.window);
        fields.optional(tag::ROTARY, self.rotary);
        fields.optional(tag::QK_NORM, self.qk_norm.map(QkNorm::encode));
        fields.flag(tag::QKV_BIAS, self.qkv_bias);
        fields.flag(tag::OUTPUT_BIAS, self.output_bias);
        fields.optional_float(tag::CAP, self.cap);
        fields.optional_floats(tag::SLOPES, &self.slopes);
        fields.optional(tag::GATE, self.gate.map(|gate| place_of(&Gate::ALL, gate)));
        fields.flag(tag::SINKS, self.sinks);
        fields.flag(tag::V_NORM, self.v_norm);
        fields.optional(tag::SHARES, self.shares);
        fields.flag(tag::INNER_NORM, self.inner_norm);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Attention {
            n_heads: fields.number(tag::N_HEADS, "n_heads")?,
            n_kv_heads: fields.number(tag::N_KV_HEADS, "n_kv_heads")?,
            head_dim: fields.number(tag::HEAD_DIM, "head_dim")?,
            window: fields.optional(tag::WINDOW, "window")?,
            rotary: fields.optional(tag::ROTARY, "rotary")?,
            qk_norm: fields.optional_value(tag::QK_NORM, "qk_norm", QkNorm::decode)?,
            qkv_bias: fields.flag(tag::QKV_BIAS, "qkv_bias")?,
            output_bias: fields.flag(tag::OUTPUT_BIAS, "output_bias")?,
            cap: fields.optional_float(tag::CAP, "cap")?,
            slopes: fields.optional_floats(tag::SLOPES, "slopes")?,
            gate: fields.optional_value(tag::GATE, "gate", |value| Gate::ALL.get(value).copied())?,
            sinks: fields.flag(tag::SINKS, "sinks")?,
            v_norm: fields.flag(tag::V_NORM, "v_norm")?,
            shares: fields.optional(tag::SHARES, "shares")?,
            inner_norm: fields.flag(tag::INNER_NORM, "inner_norm")?,
        })
    }

    /// Adds the tensors of the branch to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table) {
        table.linear(Part::Query, self.width(), table.dim, self.qkv_bias);
        let has_kv = self.shares.is_none();
        if has_kv {
            table.linear(Part::Key, self.kv_width(), table.dim, self.qkv_bias);
            table.linear(Part::Value, self.kv_width(), table.dim, self.qkv_bias);
        }
        if self.gate.is_some() {
            table.linear(Part::OutputGate, self.gates(), table.dim, false);
        }
        if let Some(norm) = self.qk_norm {
            norm.tensors(table, Part::QueryNorm, self.n_heads, self.head_dim);
            if has_kv {
                norm.tensors(table, Part::KeyNorm, self.n_kv_heads, self.head_dim);
            }
        }
        if self.v_norm && has_kv {
            table.vector(Part::ValueNorm, self.head_dim);
        }
        if self.sinks {
            table.vector(Part::Sinks, self.n_heads);
        }
        if self.inner_norm {
            table.vector(Part::HeadsNorm, self.width());
        }
        table.linear(Part::Output, table.dim, self.width(), self.output_bias);
    }

    /// The cache of a text: of its whole context, or a ring that holds what the window needs.
    pub(super) fn kv_shape(&self, options: StateOptions) -> KvShape {
        let all = options.context_length.div_ceil(KV_BLOCK);
        // So many positions in a row touch one block more than they fill.
        let ring = |window: usize| window.saturating_add(options.slack).div_ceil(KV_BLOCK).saturating_add(1);
        KvShape {
            dtype: options.kv,
            n_kv_heads: self.n_kv_heads,
            head_dim: self.head_dim,
            n_blocks: self.window.map_or(all, |window| all.min(ring(window))),
        }
    }

    /// Bytes of what it remembers of a text.
    pub(super) fn state_bytes(&self, options: StateOptions) -> u64 {
        if self.shares.is_some() { 0 } else { self.kv_shape(options).bytes() }
    }

    /// What it remembers of a text, as a saved one describes it.
    pub(super) fn state_kind(&self, kv: KvDtype) -> StateKind {
        if self.shares.is_some() {
            return StateKind { numbers: [0; 4], block_bytes: 0, window: None, step: 1 };
        }
        let numbers = [0, self.n_kv_heads, self.head_dim, self.window.unwrap_or(0)].map(|number| number as u32);
        let shape = self.kv_shape(StateOptions { context_length: KV_BLOCK, kv, slack: KV_BLOCK });
        StateKind { numbers, block_bytes: shape.block_bytes(), window: self.window, step: 1 }
    }

    /// Bytes of keys and values that the token at `position` reads: whole blocks of 32 positions, as the cache keeps them.
    pub(super) fn read_bytes(&self, kv: KvDtype, position: usize) -> u64 {
        let n_blocks = self.seen(position).len().div_ceil(KV_BLOCK);
        KvShape { dtype: kv, n_kv_heads: self.n_kv_heads, head_dim: self.head_dim, n_blocks }.bytes()
    }

    /// Multiply-adds of the scores and the weighted sums of the token at `position`.
    pub(super) fn macs(&self, position: usize) -> u64 {
        2 * self.width() as u64 * self.seen(position).len() as u64
    }
}
