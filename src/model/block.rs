//! A block: a mixer of positions, then an MLP, each a branch whose output is added to the residual stream.

use super::attend::AttentionWeights;
use super::attention::Attention;
use super::conv::{ShortConv, ShortConvWeights};
use super::delta_net::{DeltaNet, DeltaNetWeights};
use super::fields::{FieldWriter, Fields};
use super::layer_inputs::{self, LayerInputWeights};
use super::mlp::{Mlp, MlpWeights};
use super::op::{Observer, Op};
use super::place::Place;
use super::spec::{BranchNorms, Part, Table};
use super::stage::{Branch, Stage};
use super::state::{LayerState, Memory, Span, StateKind, StateOptions};
use crate::error::Result;
use crate::ops::{KvDtype, scale};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The row of a block in the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// What carries information between positions.
    pub mixer: Mixer,
    /// The norms of that branch.
    pub mixer_norms: BranchNorms,
    /// What works on each position by itself.
    pub mlp: Mlp,
    /// The norms of that branch.
    pub mlp_norms: BranchNorms,
    /// Both branches read the residual stream before the block (Wang and Komatsuzaki 2021); otherwise the MLP reads what the mixer
    /// has added to.
    pub parallel: bool,
    /// After both branches the residual stream is multiplied by a weight.
    pub scaled: bool,
}

/// What carries information between positions.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// Attention to earlier positions.
    Attention(Attention),
    /// A gated convolution over the last few positions.
    ShortConv(ShortConv),
    /// Heads that remember keys and values in matrices.
    DeltaNet(DeltaNet),
}

/// Tags of the fields of a layer that its branches do not describe.
mod tag {
    pub(super) const MIXER: u16 = 1;
    pub(super) const MIXER_NORMS: u16 = 2;
    pub(super) const MLP_NORMS: u16 = 3;
    pub(super) const PARALLEL: u16 = 4;
    pub(super) const SCALED: u16 = 5;
}

/// The values of the field of a mixer.
const ATTENTION: usize = 0;
const SHORT_CONV: usize = 1;
const DELTA_NET: usize = 2;

/// The weights of a block.
pub(super) struct Block<'a> {
    mixer: MixerWeights<'a>,
    mlp: MlpWeights<'a>,
    inputs: Option<LayerInputWeights<'a>>,
    /// What the residual stream is multiplied by.
    scale: Option<f32>,
}

/// The weights of a mixer.
enum MixerWeights<'a> {
    Attention(AttentionWeights<'a>),
    ShortConv(ShortConvWeights<'a>),
    DeltaNet(DeltaNetWeights<'a>),
}

impl Block<'_> {
    /// The score of each head that has no value, (n_heads), or none.
    pub(super) fn sinks(&self) -> &[f32] {
        match &self.mixer {
            MixerWeights::Attention(w) => w.sinks,
            MixerWeights::ShortConv(_) | MixerWeights::DeltaNet(_) => &[],
        }
    }
}

impl Mixer {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Mixer::Attention(_) => "attention",
            Mixer::ShortConv(_) => "short convolution",
            Mixer::DeltaNet(_) => "delta net",
        }
    }
}

impl Layer {
    /// The attention of a block that mixes by it.
    pub fn attention(&self) -> Option<&Attention> {
        match &self.mixer {
            Mixer::Attention(attention) => Some(attention),
            Mixer::ShortConv(_) | Mixer::DeltaNet(_) => None,
        }
    }

    /// The short convolution of a block that mixes by it.
    pub fn short_conv(&self) -> Option<&ShortConv> {
        match &self.mixer {
            Mixer::ShortConv(conv) => Some(conv),
            Mixer::Attention(_) | Mixer::DeltaNet(_) => None,
        }
    }

    /// The gated delta net of a block that mixes by it.
    pub fn delta_net(&self) -> Option<&DeltaNet> {
        match &self.mixer {
            Mixer::DeltaNet(delta) => Some(delta),
            Mixer::Attention(_) | Mixer::ShortConv(_) => None,
        }
    }

    /// The op that reads what the block remembers of a text.
    pub fn state_op(&self) -> Op {
        match &self.mixer {
            Mixer::Attention(_) => Op::Attention,
            Mixer::ShortConv(_) => Op::Conv,
            Mixer::DeltaNet(_) => Op::Delta,
        }
    }

    /// Elements of a token that the wider branch computes between its first and its last matrix.
    pub(super) fn inner_width(&self, dim: usize) -> usize {
        let mixer = match &self.mixer {
            Mixer::Attention(attention) => attention.inner_width(),
            Mixer::ShortConv(conv) => conv.inner_width(),
            Mixer::DeltaNet(delta) => delta.inner_width(),
        };
        mixer.max(self.mlp.inner_width(dim))
    }

    /// Columns of the widest matrix whose input is not the residual stream.
    pub(super) fn max_cols(&self) -> usize {
        let mixer = match &self.mixer {
            Mixer::Attention(attention) => attention.width(),
            Mixer::ShortConv(conv) => conv.channels,
            Mixer::DeltaNet(delta) => delta.width_of_values(),
        };
        mixer.max(self.mlp.max_cols())
    }

    /// The attention of a block that mixes by it, to be changed.
    pub fn attention_mut(&mut self) -> Option<&mut Attention> {
        match &mut self.mixer {
            Mixer::Attention(attention) => Some(attention),
            Mixer::ShortConv(_) | Mixer::DeltaNet(_) => None,
        }
    }

    /// Refuses dimensions that do not fit each other or the `rotary_tables` of the plan.
    pub(super) fn check(&self, rotary_tables: &[Vec<f32>]) -> Result<()> {
        match &self.mixer {
            Mixer::Attention(attention) => attention.check(rotary_tables)?,
            Mixer::ShortConv(conv) => conv.check()?,
            Mixer::DeltaNet(delta) => delta.check()?,
        }
        self.mlp.check()
    }

    pub(super) fn encode(&self) -> FieldWriter {
        let mut fields = FieldWriter::default();
        let mixer = match &self.mixer {
            Mixer::Attention(_) => ATTENTION,
            Mixer::ShortConv(_) => SHORT_CONV,
            Mixer::DeltaNet(_) => DELTA_NET,
        };
        fields.number(tag::MIXER, mixer);
        fields.number(tag::MIXER_NORMS, self.mixer_norms.encode());
        fields.number(tag::MLP_NORMS, self.mlp_norms.encode());
        fields.flag(tag::PARALLEL, self.parallel);
        fields.flag(tag::SCALED, self.scaled);
        match &self.mixer {
            Mixer::Attention(attention) => attention.encode(&mut fields),
            Mixer::ShortConv(conv) => conv.encode(&mut fields),
            Mixer::DeltaNet(delta) => delta.encode(&mut fields),
        }
        self.mlp.encode(&mut fields);
        fields
    }

    pub(super) fn decode(mut fields: Fields<'_>) -> Result<Self> {
        let mixer = match fields.value(tag::MIXER, "mixer", |value| (value <= DELTA_NET).then_some(value))? {
            SHORT_CONV => Mixer::ShortConv(ShortConv::decode(&mut fields)?),
            DELTA_NET => Mixer::DeltaNet(DeltaNet::decode(&mut fields)?),
            _ => Mixer::Attention(Attention::decode(&mut fields)?),
        };
        let mixer_norms = fields.value(tag::MIXER_NORMS, "mixer_norms", BranchNorms::decode)?;
        let mlp_norms = fields.value(tag::MLP_NORMS, "mlp_norms", BranchNorms::decode)?;
        let parallel = fields.flag(tag::PARALLEL, "parallel")?;
        let scaled = fields.flag(tag::SCALED, "scaled")?;
        let layer = Layer { mixer, mixer_norms, mlp: Mlp::decode(&mut fields)?, mlp_norms, parallel, scaled };
        fields.finish().map(|()| layer)
    }

    /// Adds the tensors of the block to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table) {
        match &self.mixer {
            Mixer::Attention(attention) => attention.tensors(table, self.mixer_norms),
            Mixer::ShortConv(conv) => conv.tensors(table, self.mixer_norms),
            Mixer::DeltaNet(delta) => delta.tensors(table, self.mixer_norms),
        }
        self.mlp.tensors(table, self.mlp_norms);
        layer_inputs::tensors(table);
        if self.scaled {
            table.vector(Part::LayerScale, 1);
        }
    }

    /// The weights of the block at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<Block<'a>> {
        let mixer = match &self.mixer {
            Mixer::Attention(attention) => MixerWeights::Attention(attention.open(place)?),
            Mixer::ShortConv(conv) => MixerWeights::ShortConv(conv.open(place)?),
            Mixer::DeltaNet(delta) => MixerWeights::DeltaNet(delta.open(place)?),
        };
        let scale = if self.scaled { place.vector(Part::LayerScale)?.first().copied() } else { None };
        Ok(Block { mixer, mlp: self.mlp.open(place)?, inputs: LayerInputWeights::open(place)?, scale })
    }

    /// What the block remembers of an empty text.
    pub(super) fn state(&self, options: StateOptions) -> Result<LayerState> {
        let memory: Box<dyn Memory> = match &self.mixer {
            Mixer::Attention(attention) => attention.state(options)?,
            Mixer::ShortConv(conv) => Box::new(conv.state(options)?),
            Mixer::DeltaNet(delta) => Box::new(delta.state(options)?),
        };
        Ok(LayerState { kind: self.state_kind(options.kv), memory })
    }

    /// Bytes of what the block remembers of a text.
    pub fn state_bytes(&self, options: StateOptions) -> u64 {
        match &self.mixer {
            Mixer::Attention(attention) => attention.state_bytes(options),
            Mixer::ShortConv(conv) => conv.state_bytes(options),
            Mixer::DeltaNet(delta) => delta.state_bytes(options),
        }
    }

    /// What the block remembers of a text, as a saved one describes it.
    pub(super) fn state_kind(&self, kv: KvDtype) -> StateKind {
        match &self.mixer {
            Mixer::Attention(attention) => attention.state_kind(kv),
            Mixer::ShortConv(conv) => conv.state_kind(),
            Mixer::DeltaNet(delta) => delta.state_kind(),
        }
    }

    /// Bytes of what the block remembers of a text that the token at `position` reads.
    pub fn read_bytes(&self, kv: KvDtype, position: usize) -> u64 {
        match &self.mixer {
            Mixer::Attention(attention) => attention.read_bytes(kv, position),
            Mixer::ShortConv(conv) => conv.read_bytes(position),
            Mixer::DeltaNet(delta) => delta.read_bytes(),
        }
    }

    /// Multiply-adds of the mixer for the token at `position`, without those of its weights.
    pub fn mixer_macs(&self, position: usize) -> u64 {
        match &self.mixer {
            Mixer::Attention(attention) => attention.macs(position),
            Mixer::ShortConv(conv) => conv.macs(),
            Mixer::DeltaNet(delta) => delta.macs(),
        }
    }

    /// The mixer of the block, added to the rows `x` (T, dim) of the tokens of `spans`.
    pub(super) fn mix<O: Observer + ?Sized>(
        &self,
        w: &Block<'_>,
        stage: &mut Stage<'_, O>,
        spans: &mut [Span<'_>],
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        match (&self.mixer, &w.mixer) {
            (Mixer::Attention(attention), MixerWeights::Attention(w)) => attention.forward(w, stage, spans, x, b),
            (Mixer::ShortConv(conv), MixerWeights::ShortConv(w)) => conv.forward(w, stage, spans, x, b),
            (Mixer::DeltaNet(delta), MixerWeights::DeltaNet(w)) => delta.forward(w, stage, spans, x, b),
            (Mixer::Attention(_) | Mixer::ShortConv(_) | Mixer::DeltaNet(_), _) => {
                unreachable!("weights of another plan")
            }
        }
    }

    /// The MLP of the block, added to the rows `x` (T, dim). It reads them, or `before` (T, dim) where that is given.
    pub(super) fn transform<O: Observer + ?Sized>(
        &self,
        w: &Block<'_>,
        stage: &mut Stage<'_, O>,
        before: Option<&[f32]>,
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        self.mlp.forward(&w.mlp, stage, before, x, b);
    }

    /// What comes after both branches: what the block makes of its part of `inputs` (T, n_layers, width), its number being `layer`, and
    /// the factor of the rows `x` (T, dim).
    pub(super) fn finish<O: Observer + ?Sized>(
        &self,
        w: &Block<'_>,
        stage: &mut Stage<'_, O>,
        (layer, inputs): (usize, &[f32]),
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        if let Some(w) = &w.inputs {
            w.forward(stage, self.mlp.kind.activation, (layer, inputs), x, b);
        }
        if let Some(factor) = w.scale {
            stage.run(Op::LayerScale, |_| scale(x, factor));
        }
    }
}
