//! What the ops of a network read and multiply, counted from the tensors and the shape of the cache.

use crate::format::TensorEntry;
use crate::model::{Config, Op};
use crate::ops::{KvCache, KvDtype};
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
    /// Counts the `tensors` of the network that `config` describes.
    pub fn new(config: &Config, tensors: &[TensorEntry<'_>]) -> Self {
        let mut costs = Costs {
            config: config.clone(),
            ops: vec![Default::default(); config.n_layers + 1],
            dtype: Dtype::F32,
            parameters: tensors.iter().map(elements).sum(),
        };
        for tensor in tensors {
            costs.add(tensor);
        }
        let bytes_of = |dtype: &Dtype| tensors.iter().filter(|t| t.dtype == *dtype).map(|t| t.bytes).sum::<u64>();
        costs.dtype = Dtype::ALL.into_iter().max_by_key(bytes_of).unwrap_or(Dtype::F32);
        costs
    }

    fn add(&mut self, tensor: &TensorEntry<'_>) {
        let row = match tensor.dims() {
            [rows, _] => tensor.bytes / (*rows).max(1),
            _ => tensor.bytes,
        };
        let whole = Cost { bytes: tensor.bytes, macs: if tensor.dims().len() == 2 { elements(tensor) } else { 0 } };
        let looked_up = Cost { bytes: row, macs: 0 };
        match tensor.name {
            "embedding" => {
                self.put(None, Op::Embedding, looked_up);
                if self.config.tied {
                    self.put(None, Op::Unembedding, whole);
                }
            }
            "positions" => self.put(None, Op::Embedding, looked_up),
            "unembedding" => self.put(None, Op::Unembedding, whole),
            "final_norm" | "final_norm.bias" => self.put(None, Op::FinalNorm, whole),
            name => {
                let part = name.strip_prefix("blocks.").and_then(|name| name.split_once('.'));
                if let Some((layer, op)) = part.and_then(|(layer, part)| Some((layer.parse().ok()?, op_of(part)?))) {
                    self.put(Some(layer), op, whole);
                }
            }
        }
    }

    fn put(&mut self, layer: Option<usize>, op: Op, cost: Cost) {
        let place = layer.unwrap_or(self.config.n_layers);
        if let Some(ops) = self.ops.get_mut(place) {
            let sum = &mut ops[op as usize];
            *sum = Cost { bytes: sum.bytes + cost.bytes, macs: sum.macs + cost.macs };
        }
    }

    /// The dimensions of the network.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What `op` of block `layer`, or outside of the blocks, does with its weights.
    pub fn of(&self, layer: Option<usize>, op: Op) -> Cost {
        self.ops.get(layer.unwrap_or(self.config.n_layers)).map_or(Cost::default(), |ops| ops[op as usize])
    }

    /// The dtype that most bytes of weights have.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Elements of all tensors.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Multiply-adds with weights of a prefill of `n_tokens`, of which only the last is unembedded.
    pub fn prefill_macs(&self, n_tokens: usize) -> u64 {
        let all: u64 = self.ops.iter().flatten().map(|cost| cost.macs).sum();
        let last = self.of(None, Op::Unembedding).macs;
        (all - last) * n_tokens as u64 + last
    }

    /// Bytes of weights that a pass reads.
    pub fn weight_bytes(&self) -> u64 {
        self.ops.iter().flatten().map(|cost| cost.bytes).sum()
    }

    /// Bytes of keys and values of `n_layers` blocks that the tokens at `positions`, one after the other, read: whole
    /// blocks of 32 positions, as the cache keeps them.
    pub fn kv_bytes(&self, kv: KvDtype, n_layers: usize, positions: Range<usize>) -> u64 {
        let (heads, head_dim) = (self.config.n_kv_heads, self.config.head_dim);
        self.seen(positions).map(|seen| KvCache::bytes(kv, n_layers, heads, head_dim, seen)).sum()
    }

    /// Multiply-adds of the attention of one block for the tokens at `positions`, scores and weighted sums.
    pub fn attention_macs(&self, positions: Range<usize>) -> u64 {
        2 * (self.config.n_heads * self.config.head_dim * self.seen(positions).sum::<usize>()) as u64
    }

    /// The number of positions that each of the tokens at `positions` sees.
    fn seen(&self, positions: Range<usize>) -> impl Iterator<Item = usize> {
        let window = self.config.sliding_window.unwrap_or(usize::MAX);
        positions.map(move |position| (position + 1).min(window))
    }
}

fn elements(tensor: &TensorEntry<'_>) -> u64 {
    tensor.dims().iter().product()
}

/// The op that reads the tensor `part` of a block.
fn op_of(part: &str) -> Option<Op> {
    Some(match part.strip_suffix(".bias").unwrap_or(part) {
        "attn_norm" => Op::AttentionNorm,
        "q" | "k" | "v" => Op::Qkv,
        "q_norm" | "k_norm" => Op::Rope,
        "o" => Op::Output,
        "mlp_norm" => Op::MlpNorm,
        "gate" | "up" => Op::GateUp,
        "down" => Op::Down,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::File;
    use crate::model::Model;

    fn story() -> Option<(Costs, u64)> {
        let file = File::open(crate::default_model()?).expect("the story model");
        let model = Model::open(&file).expect("the story model");
        Some((Costs::new(model.config(), file.tensors()), model.bytes_per_token()))
    }

    #[test]
    fn every_tensor_belongs_to_an_op() {
        let Some((costs, bytes_per_token)) = story() else { return };
        let looked_up = costs.of(None, Op::Embedding);
        assert!(looked_up.macs == 0 && (1..1000).contains(&looked_up.bytes));
        assert_eq!(costs.weight_bytes(), bytes_per_token + looked_up.bytes);
        for op in [Op::AttentionNorm, Op::Qkv, Op::Output, Op::MlpNorm, Op::GateUp, Op::Down] {
            for layer in 0..costs.config.n_layers {
                assert!(costs.of(Some(layer), op).bytes > 0, "{} of block {layer}", op.name());
            }
            assert_eq!(costs.of(None, op), Cost::default());
        }
        let c = &costs.config;
        let qkv = c.dim * (c.n_heads + 2 * c.n_kv_heads) * c.head_dim;
        assert_eq!(costs.of(Some(0), Op::Qkv).macs, qkv as u64);
        assert_eq!(costs.of(None, Op::Unembedding).macs, (c.dim * c.vocab_size) as u64);
    }

    #[test]
    fn a_prefill_unembeds_once_and_a_window_ends_what_is_seen() {
        let Some((mut costs, _)) = story() else { return };
        let last = costs.of(None, Op::Unembedding).macs;
        let one = costs.prefill_macs(1);
        assert_eq!(costs.prefill_macs(3), 3 * (one - last) + last);
        costs.config.sliding_window = None;
        let block = costs.kv_bytes(KvDtype::F16, 1, 0..1);
        assert_eq!(costs.kv_bytes(KvDtype::F16, 2, 30..34), 2 * (1 + 1 + 2 + 2) * block);
        costs.config.sliding_window = Some(3);
        assert_eq!(costs.kv_bytes(KvDtype::F16, 1, 30..34), 4 * block);
        let each = costs.attention_macs(0..1);
        assert_eq!(costs.attention_macs(1..5), 11 * each);
    }
}
