//! Which bytes of a file an op multiplies with, in the order in which a token uses them.

use super::op::Op;
use super::spec::{Reading, Shape, TensorSpec};
use crate::error::Result;
use crate::format::File;
use alloc::vec::Vec;
use core::ops::Range;

/// The weights that one op multiplies with. Vectors, tables of which rows are looked up, and experts, of which a token uses a few, are
/// nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightUse {
    /// The block; `None` for the unembedding.
    pub layer: Option<usize>,
    /// The op.
    pub op: Op,
    /// Where they lie in the file.
    pub bytes: Range<usize>,
}

/// The place of an op in the order of a pass: what is outside of the blocks is before them or after them.
fn place(layer: Option<usize>, op: Op) -> (usize, Op) {
    let outside = if op < Op::AttentionNorm { 0 } else { usize::MAX };
    (layer.unwrap_or(outside), op)
}

impl WeightUse {
    /// The place in the order of use, which [`place`] gives.
    fn order(&self) -> (usize, Op) {
        place(self.layer, self.op)
    }

    /// The place of an op in `uses`; `None` for one that multiplies with no weights.
    pub fn index(uses: &[WeightUse], layer: Option<usize>, op: Op) -> Option<usize> {
        uses.binary_search_by_key(&place(layer, op), WeightUse::order).ok()
    }

    /// Those of the network whose tensors are `table` in `file`, in the order of use.
    pub(super) fn all(file: &File<'_>, table: &[TensorSpec]) -> Result<Vec<WeightUse>> {
        let mut uses: Vec<WeightUse> = Vec::new();
        for spec in table.iter().filter(|spec| matches!(spec.shape, Shape::Matrix(..)) && spec.expert.is_none()) {
            let Some(entry) = file.tensor(&spec.name) else { continue };
            let bytes = file.span(entry)?;
            for (op, _) in spec.reads.iter().filter(|(_, reading)| *reading == Reading::Whole) {
                // The table is in order of use, so that what an op reads stands together.
                match uses.last_mut() {
                    Some(known) if (known.layer, known.op) == (spec.layer, *op) => {
                        known.bytes = known.bytes.start.min(bytes.start)..known.bytes.end.max(bytes.end);
                    }
                    _ => uses.push(WeightUse { layer: spec.layer, op: *op, bytes: bytes.clone() }),
                }
            }
        }
        uses.sort_by_key(WeightUse::order);
        Ok(uses)
    }
}
