//! The weights of an attention, what it remembers of a text, and its pass.

use super::attention::{Attention, Gate};
use super::op::{Observer, Op, Point};
use super::place::{Norms, Place};
use super::spec::Part;
use super::stage::{Branch, Scratch, Stage};
use super::state::{Memory, Span, StateOptions};
use crate::compute::Compute;
use crate::error::Result;
use crate::ops::{
    Activation, HeadScoring, KvCache, KvSpan, Linear, Norm, attention, gated, linear, rms_norm_in_place, rope,
};
use alloc::boxed::Box;
use core::ops::Range;

/// The weights of an attention.
pub(super) struct AttentionWeights<'a> {
    norms: Norms<'a>,
    q: Linear<'a>,
    q_norm: Option<Norm<'a>>,
    /// Of keys and values, where it has its own.
    kv: Option<KvWeights<'a>>,
    gate: Option<Linear<'a>>,
    /// (n_heads), or none.
    pub(super) sinks: &'a [f32],
    /// Of what the heads give.
    inner_norm: Option<Norm<'a>>,
    o: Linear<'a>,
}

/// The weights of keys and values.
struct KvWeights<'a> {
    k: Linear<'a>,
    v: Linear<'a>,
    k_norm: Option<Norm<'a>>,
    v_norm: Option<Norm<'a>>,
}

/// What an attention remembers that reads the keys and values of another: nothing.
struct Shared;

impl Attention {
    /// The weights of the branch at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<AttentionWeights<'a>> {
        let norm = |is: bool, part: Part| is.then(|| place.norm(part)).transpose();
        let kv = || {
            Ok(KvWeights {
                k: place.linear(Part::Key)?,
                v: place.linear(Part::Value)?,
                k_norm: norm(self.qk_norm.is_some(), Part::KeyNorm)?,
                v_norm: norm(self.v_norm, Part::ValueNorm)?,
            })
        };
        Ok(AttentionWeights {
            norms: place.norms(Part::AttentionNorm, Part::OutputNorm)?,
            q: place.linear(Part::Query)?,
            q_norm: norm(self.qk_norm.is_some(), Part::QueryNorm)?,
            kv: self.shares.is_none().then(kv).transpose()?,
            gate: self.gate.map(|_| place.linear(Part::OutputGate)).transpose()?,
            sinks: if self.sinks { place.vector(Part::Sinks)? } else { &[] },
            inner_norm: norm(self.inner_norm, Part::HeadsNorm)?,
            o: place.linear(Part::Output)?,
        })
    }

    /// What it remembers of an empty text.
    pub(super) fn state(&self, options: StateOptions) -> Result<Box<dyn Memory>> {
        match self.shares {
            None => Ok(Box::new(KvCache::new(self.kv_shape(options))?)),
            Some(_) => Ok(Box::new(Shared)),
        }
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
        let (k, rest) = rest.split_at_mut(n_tokens * self.own_kv_width());
        let (v, rest) = rest.split_at_mut(n_tokens * self.own_kv_width());
        let (attended, rest) = rest.split_at_mut(n_tokens * self.width());
        let (gates, spread) = rest.split_at_mut(n_tokens * self.gates());

        self.multiply(w, stage, x, &mut b.scratch, [&mut *q, &mut *k, &mut *v, &mut *gates]);
        if angles.is_some() || w.q_norm.is_some() || self.v_norm {
            stage.run(Op::Rope, |c| self.turn(c, w, angles, [&mut *q, &mut *k, &mut *v], attended));
        }
        if self.shares.is_none() {
            stage.run(Op::Store, |c| self.store(c, spans, layer, k, v));
            stage.see(Point::Keys, k);
        }
        stage.see(Point::Queries, q);
        stage.run(Op::Attention, |c| {
            let spans = spans.iter().map(|span| KvSpan {
                cache: span.state.memory(self.shares.unwrap_or(layer)),
                start: span.state.position(),
                n_tokens: span.tokens.len(),
            });
            let scoring = HeadScoring { cap: self.cap, slopes: &self.slopes, sinks: w.sinks };
            attention(c, q, self.n_heads, spans, self.window, scoring, attended);
        });
        let output = match self.gate {
            None => attended,
            Some(gate) => stage.run(Op::Attention, |c| {
                let gates = match gate {
                    Gate::Elements => gates,
                    Gate::Heads => {
                        let heads = spread.chunks_exact_mut(self.head_dim).zip(&*gates);
                        heads.for_each(|(head, gate)| head.fill(*gate));
                        &mut spread[..n_tokens * self.width()]
                    }
                };
                gated(c, Activation::Sigmoid, gates, attended);
                gates
            }),
        };
        if let Some(norm) = &w.inner_norm {
            stage.run(Op::Attention, |c| rms_norm_in_place(c, output, norm.weight, norm.eps));
        }
        stage.add([Op::Output, Op::OutputNorm], &w.o, &w.norms, output, x, &mut b.scratch);
    }

    /// The products of the input: queries, keys, values and gates (T, heads * head_dim), of keys and values where it has its own.
    fn multiply<O: Observer + ?Sized>(
        &self,
        w: &AttentionWeights<'_>,
        stage: &mut Stage<'_, O>,
        x: &[f32],
        scratch: &mut Scratch<'_>,
        [q, k, v, gates]: [&mut [f32]; 4],
    ) {
        let (wq, kv) = (&w.q, w.kv.as_ref());
        let (wk, wv, gate) = (kv.map_or(wq, |kv| &kv.k), kv.map_or(wq, |kv| &kv.v), w.gate.as_ref());
        let all = [wq, wk, wv, gate.unwrap_or(wq)];
        let ops = [Op::AttentionNorm, Op::Qkv];
        let input = stage.read(ops, x, &w.norms, scratch.normed, scratch.activations, all);
        stage.run(Op::Qkv, |c| match (kv, gate) {
            (Some(_), None) => linear(c, [(wq, q), (wk, k), (wv, v)], &input),
            (Some(_), Some(gate)) => linear(c, [(wq, q), (wk, k), (wv, v), (gate, gates)], &input),
            (None, None) => linear(c, [(wq, q)], &input),
            (None, Some(gate)) => linear(c, [(wq, q), (gate, gates)], &input),
        });
    }

    /// Norms of queries, keys and values where there are any, and the rotation of queries and keys by `angles`; `room` has as many
    /// elements as the queries.
    fn turn(
        &self,
        c: &Compute,
        w: &AttentionWeights<'_>,
        angles: Option<&[f32]>,
        [q, k, v]: [&mut [f32]; 3],
        room: &mut [f32],
    ) {
        let kv = w.kv.as_ref();
        let k_norm = kv.and_then(|kv| kv.k_norm.as_ref());
        for (x, heads, norm) in [(q, self.n_heads, w.q_norm.as_ref()), (k, self.n_kv_heads, k_norm)] {
            if x.is_empty() {
                continue;
            }
            let mut normed = |x: &mut [f32], after_rotation: bool| {
                if let (Some(norm), Some(kind)) = (norm, self.qk_norm)
                    && kind.after_rotation == after_rotation
                {
                    kind.apply(c, x, self.head_dim, norm, room);
                }
            };
            normed(x, false);
            if let Some(angles) = angles {
                rope(c, x, angles, heads, self.head_dim);
            }
            normed(x, true);
        }
        if let Some(norm) = kv.and_then(|kv| kv.v_norm.as_ref()) {
            rms_norm_in_place(c, v, norm.weight, norm.eps);
        }
    }

    /// Keys and values of the tokens of `spans`, (T, n_kv_heads * head_dim), into the caches of block `layer`.
    fn store(&self, c: &Compute, spans: &mut [Span<'_>], layer: usize, mut k: &[f32], mut v: &[f32]) {
        for Span { state, tokens, .. } in spans.iter_mut() {
            let position = state.position();
            let cache: &mut KvCache = state.memory_mut(layer);
            let n = tokens.len() * self.kv_width();
            cache.store(c, position, &k[..n], &v[..n]);
            (k, v) = (&k[n..], &v[n..]);
        }
    }
}

impl Memory for Shared {
    fn n_blocks(&self) -> usize {
        usize::MAX
    }

    fn save_block(&self, _block: usize, _write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        Ok(())
    }

    fn restore_block(&mut self, _block: usize, _bytes: &[u8]) {}

    fn clear(&mut self, _compute: &Compute, _positions: Range<usize>) {}
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
