//! What carries information between positions in a block: one of the mixers, each of which has a file.

use super::attend::AttentionWeights;
use super::attention::Attention;
use super::conv::{ShortConv, ShortConvWeights};
use super::delta_net::{DeltaNet, DeltaNetWeights};
use super::fields::{FieldWriter, Fields};
use super::mamba1::{Mamba1, Mamba1Weights};
use super::mamba2::{Mamba2, Mamba2Weights};
use super::op::{Observer, Op};
use super::place::Place;
use super::spec::Table;
use super::stage::{Branch, Stage};
use super::state::{Memory, Span, StateKind, StateOptions};
use crate::error::Result;
use crate::ops::KvDtype;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What carries information between positions.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// Attention to earlier positions.
    Attention(Attention),
    /// A gated convolution over the last few positions.
    ShortConv(ShortConv),
    /// Heads that remember keys and values in matrices.
    DeltaNet(DeltaNet),
    /// Heads that are state spaces.
    Mamba2(Mamba2),
    /// Channels that are state spaces.
    Mamba1(Mamba1),
}

/// The weights of a mixer.
pub(super) enum MixerWeights<'a> {
    Attention(AttentionWeights<'a>),
    ShortConv(ShortConvWeights<'a>),
    DeltaNet(DeltaNetWeights<'a>),
    Mamba2(Mamba2Weights<'a>),
    Mamba1(Mamba1Weights<'a>),
}

impl Mixer {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Mixer::Attention(_) => "attention",
            Mixer::ShortConv(_) => "short convolution",
            Mixer::DeltaNet(_) => "delta net",
            Mixer::Mamba2(_) | Mixer::Mamba1(_) => "state space",
        }
    }

    /// The op that reads what it remembers of a text.
    pub fn state_op(&self) -> Op {
        match self {
            Mixer::Attention(_) => Op::Attention,
            Mixer::ShortConv(_) => Op::Conv,
            Mixer::DeltaNet(_) => Op::Delta,
            Mixer::Mamba2(_) | Mixer::Mamba1(_) => Op::Scan,
        }
    }

    /// Elements of a token between its first and its last matrix.
    pub(super) fn inner_width(&self) -> usize {
        match self {
            Mixer::Attention(attention) => attention.inner_width(),
            Mixer::ShortConv(conv) => conv.inner_width(),
            Mixer::DeltaNet(delta) => delta.inner_width(),
            Mixer::Mamba2(mamba) => mamba.inner_width(),
            Mixer::Mamba1(mamba) => mamba.inner_width(),
        }
    }

    /// Columns of its widest matrix whose input is not the residual stream.
    pub(super) fn max_cols(&self) -> usize {
        match self {
            Mixer::Attention(attention) => attention.width(),
            Mixer::ShortConv(conv) => conv.channels,
            Mixer::DeltaNet(delta) => delta.width_of_values(),
            Mixer::Mamba2(mamba) => mamba.inner_dim(),
            Mixer::Mamba1(mamba) => mamba.max_cols(),
        }
    }

    /// Refuses dimensions that do not fit each other or the `rotary_tables` of the plan.
    pub(super) fn check(&self, rotary_tables: &[Vec<f32>]) -> Result<()> {
        match self {
            Mixer::Attention(attention) => attention.check(rotary_tables),
            Mixer::ShortConv(conv) => conv.check(),
            Mixer::DeltaNet(delta) => delta.check(),
            Mixer::Mamba2(mamba) => mamba.check(),
            Mixer::Mamba1(mamba) => mamba.check(),
        }
    }

    /// The value of the field that says which one it is.
    pub(super) fn number(&self) -> usize {
        match self {
            Mixer::Attention(_) => 0,
            Mixer::ShortConv(_) => 1,
            Mixer::DeltaNet(_) => 2,
            Mixer::Mamba2(_) => 3,
            Mixer::Mamba1(_) => 4,
        }
    }

    pub(super) fn encode(&self, fields: &mut FieldWriter) {
        match self {
            Mixer::Attention(attention) => attention.encode(fields),
            Mixer::ShortConv(conv) => conv.encode(fields),
            Mixer::DeltaNet(delta) => delta.encode(fields),
            Mixer::Mamba2(mamba) => mamba.encode(fields),
            Mixer::Mamba1(mamba) => mamba.encode(fields),
        }
    }

    /// The mixer whose [`number`](Self::number) the field `tag` has.
    pub(super) fn decode(fields: &mut Fields<'_>, tag: u16) -> Result<Self> {
        Ok(match fields.value(tag, "mixer", |value| (value <= 4).then_some(value))? {
            0 => Mixer::Attention(Attention::decode(fields)?),
            1 => Mixer::ShortConv(ShortConv::decode(fields)?),
            2 => Mixer::DeltaNet(DeltaNet::decode(fields)?),
            3 => Mixer::Mamba2(Mamba2::decode(fields)?),
            _ => Mixer::Mamba1(Mamba1::decode(fields)?),
        })
    }

    /// Adds its tensors to `table`, in order of use, without the norms around it.
    pub(super) fn tensors(&self, table: &mut Table) {
        match self {
            Mixer::Attention(attention) => attention.tensors(table),
            Mixer::ShortConv(conv) => conv.tensors(table),
            Mixer::DeltaNet(delta) => delta.tensors(table),
            Mixer::Mamba2(mamba) => mamba.tensors(table),
            Mixer::Mamba1(mamba) => mamba.tensors(table),
        }
    }

    /// Its weights at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<MixerWeights<'a>> {
        Ok(match self {
            Mixer::Attention(attention) => MixerWeights::Attention(attention.open(place)?),
            Mixer::ShortConv(conv) => MixerWeights::ShortConv(conv.open(place)?),
            Mixer::DeltaNet(delta) => MixerWeights::DeltaNet(delta.open(place)?),
            Mixer::Mamba2(mamba) => MixerWeights::Mamba2(mamba.open(place)?),
            Mixer::Mamba1(mamba) => MixerWeights::Mamba1(mamba.open(place)?),
        })
    }

    /// What it remembers of an empty text.
    pub(super) fn state(&self, options: StateOptions) -> Result<Box<dyn Memory>> {
        Ok(match self {
            Mixer::Attention(attention) => attention.state(options)?,
            Mixer::ShortConv(conv) => Box::new(conv.state(options)?),
            Mixer::DeltaNet(delta) => Box::new(delta.state(options)?),
            Mixer::Mamba2(mamba) => Box::new(mamba.state(options)?),
            Mixer::Mamba1(mamba) => Box::new(mamba.state(options)?),
        })
    }

    /// Bytes of what it remembers of a text.
    pub(super) fn state_bytes(&self, options: StateOptions) -> u64 {
        match self {
            Mixer::Attention(attention) => attention.state_bytes(options),
            Mixer::ShortConv(conv) => conv.state_bytes(options),
            Mixer::DeltaNet(delta) => delta.state_bytes(options),
            Mixer::Mamba2(mamba) => mamba.state_bytes(options),
            Mixer::Mamba1(mamba) => mamba.state_bytes(options),
        }
    }

    /// What it remembers of a text, as a saved one describes it.
    pub(super) fn state_kind(&self, kv: KvDtype) -> StateKind {
        match self {
            Mixer::Attention(attention) => attention.state_kind(kv),
            Mixer::ShortConv(conv) => conv.state_kind(),
            Mixer::DeltaNet(delta) => delta.state_kind(),
            Mixer::Mamba2(mamba) => mamba.state_kind(),
            Mixer::Mamba1(mamba) => mamba.state_kind(),
        }
    }

    /// Bytes of what it remembers of a text that the token at `position` reads.
    pub fn read_bytes(&self, kv: KvDtype, position: usize) -> u64 {
        match self {
            Mixer::Attention(attention) => attention.read_bytes(kv, position),
            Mixer::ShortConv(conv) => conv.read_bytes(position),
            Mixer::DeltaNet(delta) => delta.read_bytes(),
            Mixer::Mamba2(mamba) => mamba.read_bytes(),
            Mixer::Mamba1(mamba) => mamba.read_bytes(),
        }
    }

    /// Multiply-adds for the token at `position`, without those of its weights.
    pub fn macs(&self, position: usize) -> u64 {
        match self {
            Mixer::Attention(attention) => attention.macs(position),
            Mixer::ShortConv(conv) => conv.macs(),
            Mixer::DeltaNet(delta) => delta.macs(),
            Mixer::Mamba2(mamba) => mamba.macs(),
            Mixer::Mamba1(mamba) => mamba.macs(),
        }
    }

    /// What it makes of the rows `x` (T, dim) of the tokens of `spans`, added to them. Where it stands `beside` another that has run,
    /// it reads what that one has read.
    pub(super) fn forward<O: Observer + ?Sized>(
        &self,
        w: &MixerWeights<'_>,
        stage: &mut Stage<'_, O>,
        spans: &mut [Span<'_>],
        beside: bool,
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        match (self, w) {
            (Mixer::Attention(attention), MixerWeights::Attention(w)) => attention.forward(w, stage, spans, x, b),
            (Mixer::ShortConv(conv), MixerWeights::ShortConv(w)) => conv.forward(w, stage, spans, x, b),
            (Mixer::DeltaNet(delta), MixerWeights::DeltaNet(w)) => delta.forward(w, stage, spans, x, b),
            (Mixer::Mamba2(mamba), MixerWeights::Mamba2(w)) => mamba.forward(w, stage, spans, beside, x, b),
            (Mixer::Mamba1(mamba), MixerWeights::Mamba1(w)) => mamba.forward(w, stage, spans, x, b),
            _ => unreachable!("weights of another plan"),
        }
    }
}
