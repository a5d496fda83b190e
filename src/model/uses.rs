//! Which bytes of a file an op multiplies with, in the order in which a token uses them.

use super::config::Config;
use super::observe::Op;
use super::spec::{self, Role};
use crate::error::Result;
use crate::format::File;
use alloc::vec::Vec;
use core::ops::Range;

/// The ops of a block that multiply with weights.
const OPS: [Op; 4] = [Op::Qkv, Op::Output, Op::GateUp, Op::Down];

/// The weights that one op multiplies with. Vectors, and tables of which rows are looked up, are nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightUse {
    /// The block; `None` for the unembedding.
    pub layer: Option<usize>,
    /// The op.
    pub op: Op,
    /// Where they lie in the file.
    pub bytes: Range<usize>,
}

impl WeightUse {
    /// The place of an op in the order of use; `None` for one that multiplies with no weights.
    pub fn index(n_layers: usize, layer: Option<usize>, op: Op) -> Option<usize> {
        match layer {
            Some(layer) => Some(layer * OPS.len() + OPS.iter().position(|with| *with == op)?),
            None => (op == Op::Unembedding).then_some(n_layers * OPS.len()),
        }
    }

    /// Those of `config`'s network in `file`, in the order of use.
    pub(super) fn all(file: &File<'_>, config: &Config) -> Result<Vec<WeightUse>> {
        let mut uses: Vec<WeightUse> = (0..config.n_layers)
            .flat_map(|layer| OPS.map(|op| WeightUse { layer: Some(layer), op, bytes: 0..0 }))
            .chain([WeightUse { layer: None, op: Op::Unembedding, bytes: 0..0 }])
            .collect();
        for tensor in spec::tensors(config) {
            let op = match tensor.role {
                Role::Query | Role::Key | Role::Value => Op::Qkv,
                Role::Output => Op::Output,
                Role::Gate | Role::Up => Op::GateUp,
                Role::Down => Op::Down,
                Role::Unembedding => Op::Unembedding,
                Role::Embedding if config.tied => Op::Unembedding,
                Role::Embedding | Role::Position | Role::Norm | Role::Bias => continue,
            };
            let (Some(index), Some(entry)) =
                (Self::index(config.n_layers, tensor.layer(), op), file.tensor(&tensor.name))
            else {
                continue;
            };
            let bytes = file.span(entry)?;
            let known = &mut uses[index].bytes;
            *known = match known.start == known.end {
                true => bytes,
                false => known.start.min(bytes.start)..known.end.max(bytes.end),
            };
        }
        Ok(uses)
    }
}
