//! Attention, which carries information between positions: its row of the plan, its tensors, what it remembers, its pass.

use super::fields::{FieldWriter, Fields, in_limit};
use super::op::{Observer, Op, Point};
use super::place::{Norms, Place};
use super::spec::{BranchNorms, Part, Table};
use super::stage::{Branch, Stage};
use super::state::{Memory, Span, StateKind, StateOptions};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::ops::{KV_BLOCK, KvCache, KvDtype, KvShape, KvSpan, Linear, attention, linear, rms_norm_in_place, rope};
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
    /// q and k are RMS-normed per head.
    pub qk_norm: bool,
    /// q, k and v have biases.
    pub qkv_bias: bool,
    /// The output has a bias.
    pub output_bias: bool,
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
}

/// The weights of an attention.
pub(super) struct AttentionWeights<'a> {
    norms: Norms<'a>,
    q: Linear<'a>,
    k: Linear<'a>,
    v: Linear<'a>,
    /// (head_dim) each.
    qk_norm: Option<QkNorm<'a>>,
    o: Linear<'a>,
}

/// Norms of the queries and of the keys of each head.
struct QkNorm<'a> {
    q: &'a [f32],
    k: &'a [f32],
    eps: f32,
}

impl Attention {
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

    /// Elements of a token between the first and the last matrix: queries, keys, values, and what the heads give.
    pub(super) fn inner_width(&self) -> usize {
        2 * (self.width() + self.kv_width())
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
        fields.flag(tag::QK_NORM, self.qk_norm);
        fields.flag(tag::QKV_BIAS, self.qkv_bias);
        fields.flag(tag::OUTPUT_BIAS, self.output_bias);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(Attention {
            n_heads: fields.number(tag::N_HEADS, "n_heads")?,
            n_kv_heads: fields.number(tag::N_KV_HEADS, "n_kv_heads")?,
            head_dim: fields.number(tag::HEAD_DIM, "head_dim")?,
            window: fields.optional(tag::WINDOW, "window")?,
            rotary: fields.optional(tag::ROTARY, "rotary")?,
            qk_norm: fields.flag(tag::QK_NORM, "qk_norm")?,
            qkv_bias: fields.flag(tag::QKV_BIAS, "qkv_bias")?,
            output_bias: fields.flag(tag::OUTPUT_BIAS, "output_bias")?,
        })
    }

    /// Adds the tensors of the branch to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table, norms: BranchNorms) {
        if norms.input {
            table.norm(Part::AttentionNorm);
        }
        table.linear(Part::Query, self.width(), table.dim, self.qkv_bias);
        table.linear(Part::Key, self.kv_width(), table.dim, self.qkv_bias);
        table.linear(Part::Value, self.kv_width(), table.dim, self.qkv_bias);
        if self.qk_norm {
            table.vector(Part::QueryNorm, self.head_dim);
            table.vector(Part::KeyNorm, self.head_dim);
        }
        table.linear(Part::Output, table.dim, self.width(), self.output_bias);
        if norms.output {
            table.norm(Part::OutputNorm);
        }
    }

    /// The weights of the branch at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<AttentionWeights<'a>> {
        let qk_norm = match self.qk_norm {
            true => {
                Some(QkNorm { q: place.vector(Part::QueryNorm)?, k: place.vector(Part::KeyNorm)?, eps: place.norm_eps })
            }
            false => None,
        };
        Ok(AttentionWeights {
            norms: place.norms(Part::AttentionNorm, Part::OutputNorm)?,
            q: place.linear(Part::Query)?,
            k: place.linear(Part::Key)?,
            v: place.linear(Part::Value)?,
            qk_norm,
            o: place.linear(Part::Output)?,
        })
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

    /// What it remembers of a text, as a saved one describes it.
    pub(super) fn state_kind(&self, kv: KvDtype) -> StateKind {
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

    /// `x += o(attention(q, k, v of norm(x)))` for the tokens of `spans`, whose rows `x` (T, dim) are, one span after the other.
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        w: &AttentionWeights<'_>,
        stage: &mut Stage<'_, O>,
        spans: &mut [Span<'_>],
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        let n_tokens: usize = spans.iter().map(|span| span.tokens.len()).sum();
        let layer = stage.layer.unwrap_or(0);
        let angles = self.rotary.map(|table| b.angles_of(table, n_tokens));
        let (q, rest) = b.inner.split_at_mut(n_tokens * self.width());
        let (k, rest) = rest.split_at_mut(n_tokens * self.kv_width());
        let (v, rest) = rest.split_at_mut(n_tokens * self.kv_width());
        let attended = &mut rest[..n_tokens * self.width()];

        let input = stage.read(
            [Op::AttentionNorm, Op::Qkv],
            x,
            &w.norms,
            b.scratch.normed,
            b.scratch.activations,
            [&w.q, &w.k, &w.v],
        );
        stage.run(Op::Qkv, |c| linear(c, [(&w.q, &mut *q), (&w.k, &mut *k), (&w.v, &mut *v)], &input));
        if angles.is_some() || w.qk_norm.is_some() {
            stage.run(Op::Rope, |c| {
                if let Some(norm) = &w.qk_norm {
                    rms_norm_in_place(c, q, norm.q, norm.eps);
                    rms_norm_in_place(c, k, norm.k, norm.eps);
                }
                if let Some(angles) = angles {
                    rope(c, q, angles, self.n_heads, self.head_dim);
                    rope(c, k, angles, self.n_kv_heads, self.head_dim);
                }
            });
        }
        stage.run(Op::Store, |c| {
            let (mut k, mut v): (&[f32], &[f32]) = (k, v);
            for Span { state, tokens, .. } in spans.iter_mut() {
                let position = state.position();
                let cache: &mut KvCache = state.memory_mut(layer);
                let n = tokens.len() * self.kv_width();
                cache.store(c, position, &k[..n], &v[..n]);
                (k, v) = (&k[n..], &v[n..]);
            }
        });
        stage.see(Point::Keys, k);
        stage.see(Point::Queries, q);
        stage.run(Op::Attention, |c| {
            let spans = spans.iter().map(|span| KvSpan {
                cache: span.state.memory(layer),
                start: span.state.position(),
                n_tokens: span.tokens.len(),
            });
            attention(c, q, self.n_heads, spans, self.window, attended);
        });
        stage.add([Op::Output, Op::OutputNorm], &w.o, &w.norms, attended, x, &mut b.scratch);
        stage.see(Point::Attended, x);
    }
}

impl Memory for KvCache {
    fn n_blocks(&self) -> usize {
        self.shape().n_blocks
    }

    fn save_block(&self, block: usize, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.block(block).try_for_each(write)
    }

    fn restore_block(&mut self, block: usize, bytes: &[u8]) {
        self.put_block(block, bytes);
    }

    fn clear(&mut self, compute: &Compute, positions: Range<usize>) {
        self.zero(compute, positions);
    }
}
