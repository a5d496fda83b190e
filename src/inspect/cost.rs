//! What the ops of a network read and multiply, counted from the table of its tensors and the shape of its caches.

use crate::model::spec::{Reading, Shape};
use crate::model::{Config, Layer, Model, Op, tensors};
use crate::ops::KvDtype;
use crate::quant::Dtype;
use core::ops::Range;

/// What one op of one block does with its weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of weights read, once a pass however many tokens it has; of a table of rows, those of a token.
    pub bytes: u64,
    /// Multiply-adds with weights, for each token.
    pub macs: u64,
}

/// The costs of all ops of a network.
#[derive(Debug, Clone)]
pub struct Costs {
    config: Config,
    /// Ops of each block, then those outside of the blocks.
    ops: Vec<[Cost; Op::ALL.len()]>,
    dtype: Dtype,
    parameters: u64,
}

impl Costs {
    /// Counts what the table of `model`'s tensors says.
    pub fn new(model: &Model) -> Self {
        let (config, file) = (model.config(), model.file());
        let mut costs = Costs {
            config: config.clone(),
            ops: vec![Default::default(); config.n_layers() + 1],
            dtype: Dtype::F32,
            parameters: 0,
        };
        for spec in tensors(config) {
            costs.parameters += spec.shape.elements();
            let bytes = file.tensor(&spec.name).map_or(0, |entry| spec.used(entry.bytes));
            for (op, reading) in spec.reads {
                let cost = match (reading, spec.shape) {
                    (Reading::Row, Shape::Matrix(rows, _)) => Cost { bytes: bytes / rows as u64, macs: 0 },
                    (Reading::Whole, Shape::Matrix(..)) => Cost { bytes, macs: spec.used(spec.shape.elements()) },
                    (_, Shape::Vector(_)) => Cost { bytes, macs: 0 },
                };
                let sum = &mut costs.ops[spec.layer.unwrap_or(config.n_layers())][*op as usize];
                *sum = Cost { bytes: sum.bytes + cost.bytes, macs: sum.macs + cost.macs };
            }
        }
        let bytes_of =
            |dtype: &Dtype| file.tensors().iter().filter(|t| t.dtype == *dtype).map(|t| t.bytes).sum::<u64>();
        costs.dtype = Dtype::ALL.into_iter().max_by_key(bytes_of).unwrap_or(Dtype::F32);
        costs
    }

    /// The dimensions of the network.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What `op` of block `layer`, or outside of the blocks, does with its weights.
    pub fn of(&self, layer: Option<usize>, op: Op) -> Cost {
        self.ops.get(layer.unwrap_or(self.config.n_layers())).map_or(Cost::default(), |ops| ops[op as usize])
    }

    /// For how many tokens `op` runs in a pass of `n_tokens`, of which the last is to have logits: all, but after the mixer of the
    /// last block that one alone.
    pub fn tokens(&self, layer: Option<usize>, op: Op, n_tokens: usize) -> u64 {
        let is_last = match layer {
            Some(layer) => layer + 1 == self.config.n_layers() && op >= Op::MlpNorm,
            None => op >= Op::FinalNorm,
        };
        if is_last { n_tokens.min(1) as u64 } else { n_tokens as u64 }
    }

    /// The dtype that most bytes of weights have.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Elements of all tensors.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Multiply-adds with weights of a pass of `n_tokens`, of which the last is to have logits.
    pub fn prefill_macs(&self, n_tokens: usize) -> u64 {
        let layers = (0..self.config.n_layers()).map(Some).chain([None]);
        layers.flat_map(|layer| Op::ALL.map(|op| self.of(layer, op).macs * self.tokens(layer, op, n_tokens))).sum()
    }

    /// Bytes of weights that a pass reads.
    pub fn weight_bytes(&self) -> u64 {
        self.ops.iter().flatten().map(|cost| cost.bytes).sum()
    }

    /// Bytes of what block `layer`, or all, remember of a text that the tokens at `positions`, one after the other, read; of
    /// keys and values whole blocks of 32 positions, as the cache keeps them.
    pub fn kv_bytes(&self, kv: KvDtype, layer: Option<usize>, positions: Range<usize>) -> u64 {
        let of = |layer: &Layer| positions.clone().map(|position| layer.read_bytes(kv, position)).sum::<u64>();
        self.layers(layer).map(of).sum()
    }

    /// Multiply-adds without weights of the mixer of block `layer`, or of all, for the tokens at `positions`: scores and weighted
    /// sums of attentions, gates of convolutions.
    pub fn mixer_macs(&self, layer: Option<usize>, positions: Range<usize>) -> u64 {
        let of = |layer: &Layer| positions.clone().map(|position| layer.mixer_macs(position)).sum::<u64>();
        self.layers(layer).map(of).sum()
    }

    /// Block `layer`, or all.
    fn layers(&self, layer: Option<usize>) -> impl Iterator<Item = &Layer> {
        let all = &self.config.layers;
        layer.map_or(&all[..], |layer| &all[layer..=layer]).iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story() -> Option<(Costs, u64)> {
        let model = Model::open(crate::default_model()?).expect("the story model");
        Some((Costs::new(&model), model.bytes_per_token()))
    }

    fn set_window(layer: &mut Layer, window: Option<usize>) {
        layer.attention_mut().expect("attention").window = window;
    }

    #[test]
    fn every_tensor_belongs_to_an_op() {
        let Some((costs, bytes_per_token)) = story() else { return };
        let looked_up = costs.of(None, Op::Embedding);
        assert!(looked_up.macs == 0 && (1..1000).contains(&looked_up.bytes));
        assert_eq!(costs.weight_bytes(), bytes_per_token + looked_up.bytes);
        for op in [Op::AttentionNorm, Op::Qkv, Op::Output, Op::MlpNorm, Op::GateUp, Op::Down] {
            for layer in 0..costs.config.n_layers() {
                assert!(costs.of(Some(layer), op).bytes > 0, "{} of block {layer}", op.name());
            }
            assert_eq!(costs.of(None, op), Cost::default());
        }
        let c = &costs.config;
        let a = c.layers[0].attention().expect("attention");
        let qkv = c.dim * (a.n_heads + 2 * a.n_kv_heads) * a.head_dim;
        assert_eq!(costs.of(Some(0), Op::Qkv).macs, qkv as u64);
        assert_eq!(costs.of(None, Op::Unembedding).macs, (c.dim * c.vocab_size) as u64);
    }

    #[test]
    fn a_prefill_ends_with_one_token_and_a_window_ends_what_is_seen() {
        let Some((mut costs, _)) = story() else { return };
        let n_layers = costs.config.n_layers();
        let mlp = [Op::GateUp, Op::Down].map(|op| costs.of(Some(n_layers - 1), op).macs).iter().sum::<u64>();
        let last = mlp + costs.of(None, Op::Unembedding).macs;
        let one = costs.prefill_macs(1);
        assert_eq!(costs.prefill_macs(3), 3 * (one - last) + last);
        costs.config.layers.iter_mut().for_each(|layer| set_window(layer, None));
        let block = costs.kv_bytes(KvDtype::F16, Some(0), 0..1);
        assert_eq!(costs.kv_bytes(KvDtype::F16, Some(0), 30..34), (1 + 1 + 2 + 2) * block);
        assert_eq!(costs.kv_bytes(KvDtype::F16, None, 0..1), n_layers as u64 * block);
        set_window(&mut costs.config.layers[0], Some(3));
        assert_eq!(costs.kv_bytes(KvDtype::F16, Some(0), 30..34), 4 * block);
        let each = costs.mixer_macs(Some(0), 0..1);
        assert_eq!(costs.mixer_macs(Some(0), 1..5), 11 * each);
    }
}
