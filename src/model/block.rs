//! A block: a mixer of positions, then an MLP, each a branch whose output is added to the residual stream.

use super::attention::Attention;
use super::conv::ShortConv;
use super::delta_net::DeltaNet;
use super::fields::{FieldWriter, Fields};
use super::layer_inputs::{self, LayerInputWeights};
use super::mamba1::Mamba1;
use super::mamba2::Mamba2;
use super::mixer::{Mixer, MixerWeights};
use super::mlp::{Mlp, MlpWeights};
use super::op::{Observer, Op, Point};
use super::place::Place;
use super::spec::{BranchNorms, Part, Table};
use super::stage::{Branch, Stage};
use super::state::{LayerState, Span, StateKind, StateOptions};
use crate::error::{Error, Result};
use crate::ops::{KvDtype, scale};
use alloc::vec::Vec;

/// The row of a block in the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// What carries information between positions.
    pub mixer: Mixer,
    /// A second mixer that reads what the first reads; what both give is added. It is a [`Mamba2`] beside an attention, their input is
    /// normed, and what they give is not.
    pub beside: Option<Mixer>,
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

/// Tags of the fields of a layer that its branches do not describe.
mod tag {
    pub(super) const MIXER: u16 = 1;
    pub(super) const MIXER_NORMS: u16 = 2;
    pub(super) const MLP_NORMS: u16 = 3;
    pub(super) const PARALLEL: u16 = 4;
    pub(super) const SCALED: u16 = 5;
    pub(super) const BESIDE: u16 = 7;
}

/// The weights of a block.
pub(super) struct Block<'a> {
    mixer: MixerWeights<'a>,
    beside: Option<MixerWeights<'a>>,
    mlp: MlpWeights<'a>,
    inputs: Option<LayerInputWeights<'a>>,
    /// What the residual stream is multiplied by.
    scale: Option<f32>,
}

impl Block<'_> {
    /// The score of each head that has no value, (n_heads), or none.
    pub(super) fn sinks(&self) -> &[f32] {
        match &self.mixer {
            MixerWeights::Attention(w) => w.sinks,
            _ => &[],
        }
    }
}

impl Layer {
    /// The mixers, in the order in which they run.
    pub fn mixers(&self) -> impl Iterator<Item = &Mixer> {
        core::iter::once(&self.mixer).chain(&self.beside)
    }

    /// The attention of a block that mixes by it.
    pub fn attention(&self) -> Option<&Attention> {
        match &self.mixer {
            Mixer::Attention(attention) => Some(attention),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn attention_mut(&mut self) -> Option<&mut Attention> {
        match &mut self.mixer {
            Mixer::Attention(attention) => Some(attention),
            _ => None,
        }
    }

    /// The short convolution of a block that mixes by it.
    pub fn short_conv(&self) -> Option<&ShortConv> {
        match &self.mixer {
            Mixer::ShortConv(conv) => Some(conv),
            _ => None,
        }
    }

    /// The gated delta net of a block that mixes by it.
    pub fn delta_net(&self) -> Option<&DeltaNet> {
        match &self.mixer {
            Mixer::DeltaNet(delta) => Some(delta),
            _ => None,
        }
    }

    /// The Mamba 2 of a block that mixes by it, be it beside another mixer.
    pub fn mamba2(&self) -> Option<&Mamba2> {
        self.mixers().find_map(|mixer| match mixer {
            Mixer::Mamba2(mamba) => Some(mamba),
            _ => None,
        })
    }

    /// The Mamba of a block that mixes by it.
    pub fn mamba1(&self) -> Option<&Mamba1> {
        match &self.mixer {
            Mixer::Mamba1(mamba) => Some(mamba),
            _ => None,
        }
    }

    /// Elements of a token that the widest branch computes between its first and its last matrix.
    pub(super) fn inner_width(&self, dim: usize) -> usize {
        self.mixers().map(Mixer::inner_width).fold(self.mlp.inner_width(dim), usize::max)
    }

    /// Columns of the widest matrix whose input is not the residual stream.
    pub(super) fn max_cols(&self) -> usize {
        self.mixers().map(Mixer::max_cols).fold(self.mlp.max_cols(), usize::max)
    }

    /// Refuses dimensions that do not fit each other or the `rotary_tables` of the plan.
    pub(super) fn check(&self, rotary_tables: &[Vec<f32>]) -> Result<()> {
        self.mixers().try_for_each(|mixer| mixer.check(rotary_tables))?;
        if let Some(second) = &self.beside {
            let pair = matches!((&self.mixer, second), (Mixer::Attention(_), Mixer::Mamba2(_)));
            if !pair || self.mixer_norms != BranchNorms::PRE {
                let message = "only Mamba 2 can stand beside an attention, behind one norm";
                return Err(Error::data(message).field("beside"));
            }
        }
        // A layer without an MLP has nothing of one.
        let has_none = (&self.mlp, self.mlp_norms, self.parallel) == (&Mlp::NONE, BranchNorms::NONE, false);
        if has_none { Ok(()) } else { self.mlp.check() }
    }

    pub(super) fn encode(&self) -> FieldWriter {
        let mut fields = FieldWriter::default();
        fields.number(tag::MIXER, self.mixer.number());
        fields.number(tag::MIXER_NORMS, self.mixer_norms.encode());
        fields.number(tag::MLP_NORMS, self.mlp_norms.encode());
        fields.flag(tag::PARALLEL, self.parallel);
        fields.flag(tag::SCALED, self.scaled);
        fields.flag(tag::BESIDE, self.beside.is_some());
        self.mixers().for_each(|mixer| mixer.encode(&mut fields));
        self.mlp.encode(&mut fields);
        fields
    }

    pub(super) fn decode(mut fields: Fields<'_>) -> Result<Self> {
        let mixer = Mixer::decode(&mut fields, tag::MIXER)?;
        let beside = match fields.flag(tag::BESIDE, "beside")? {
            true => Some(Mixer::Mamba2(Mamba2::decode(&mut fields)?)),
            false => None,
        };
        let mixer_norms = fields.value(tag::MIXER_NORMS, "mixer_norms", BranchNorms::decode)?;
        let mlp_norms = fields.value(tag::MLP_NORMS, "mlp_norms", BranchNorms::decode)?;
        let parallel = fields.flag(tag::PARALLEL, "parallel")?;
        let scaled = fields.flag(tag::SCALED, "scaled")?;
        let layer = Layer { mixer, beside, mixer_norms, mlp: Mlp::decode(&mut fields)?, mlp_norms, parallel, scaled };
        fields.finish().map(|()| layer)
    }

    /// Adds the tensors of the block to `table`, in order of use.
    pub(super) fn tensors(&self, table: &mut Table) {
        if self.mixer_norms.input {
            table.norm(Part::AttentionNorm);
        }
        self.mixers().for_each(|mixer| mixer.tensors(table));
        if self.mixer_norms.output {
            table.norm(Part::OutputNorm);
        }
        self.mlp.tensors(table, self.mlp_norms);
        layer_inputs::tensors(table);
        if self.scaled {
            table.vector(Part::LayerScale, 1);
        }
    }

    /// The weights of the block at `place`.
    pub(super) fn open<'a>(&self, place: &Place<'_, 'a>) -> Result<Block<'a>> {
        let beside = self.beside.as_ref().map(|mixer| mixer.open(place)).transpose()?;
        let scale = if self.scaled { place.vector(Part::LayerScale)?.first().copied() } else { None };
        let (mixer, mlp) = (self.mixer.open(place)?, self.mlp.open(place)?);
        Ok(Block { mixer, beside, mlp, inputs: LayerInputWeights::open(place)?, scale })
    }

    /// What the block, number `layer` of the plan, remembers of an empty text by each of its mixers.
    pub(super) fn states(&self, layer: usize, options: StateOptions) -> impl Iterator<Item = Result<LayerState>> {
        self.mixers().map(move |mixer| {
            Ok(LayerState { layer, kind: mixer.state_kind(options.kv), memory: mixer.state(options)? })
        })
    }

    /// Bytes of what the block remembers of a text.
    pub fn state_bytes(&self, options: StateOptions) -> u64 {
        self.mixers().map(|mixer| mixer.state_bytes(options)).fold(0, u64::saturating_add)
    }

    /// What the block remembers of a text by each of its mixers, as a saved one describes it.
    pub(super) fn state_kinds(&self, kv: KvDtype) -> impl Iterator<Item = StateKind> {
        self.mixers().map(move |mixer| mixer.state_kind(kv))
    }

    /// Bytes of what the block remembers of a text that the token at `position` reads.
    pub fn read_bytes(&self, kv: KvDtype, position: usize) -> u64 {
        self.mixers().map(|mixer| mixer.read_bytes(kv, position)).sum()
    }

    /// Multiply-adds of the mixers for the token at `position`, without those of their weights.
    pub fn mixer_macs(&self, position: usize) -> u64 {
        self.mixers().map(|mixer| mixer.macs(position)).sum()
    }

    /// The mixers of the block, added to the rows `x` (T, dim) of the tokens of `spans`.
    pub(super) fn mix<O: Observer + ?Sized>(
        &self,
        w: &Block<'_>,
        stage: &mut Stage<'_, O>,
        spans: &mut [Span<'_>],
        x: &mut [f32],
        b: &mut Branch<'_>,
    ) {
        self.mixer.forward(&w.mixer, stage, spans, false, x, b);
        if let (Some(mixer), Some(w)) = (&self.beside, &w.beside) {
            mixer.forward(w, stage, spans, true, x, b);
        }
        stage.see(Point::Attended, x);
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
