//! Norms of the heads of queries and keys: what they are, as an attention's row says it, their tensors and their pass.

use super::spec::{Part, Table};
use crate::compute::Compute;
use crate::ops::{Norm, norm_of_each, rms_norm_in_place};

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QkNorm {
    /// What is normed together, and how.
    pub kind: HeadNorm,
    /// Of what has turned, not before it turns.
    pub after_rotation: bool,
}

/// A norm of the heads of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadNorm {
    /// RMSNorm of each head, all by the same weights, (head_dim).
    Each,
    /// One RMSNorm over all heads, by weights (heads * head_dim).
    All,
    /// LayerNorm of each head, by weights and biases of its own, (heads * head_dim).
    LayerOfEach,
}

impl QkNorm {
    /// Over each head, before it turns.
    pub const HEADS: QkNorm = QkNorm { kind: HeadNorm::Each, after_rotation: false };

    /// As the value of a field: 1, and 2 for all heads, 4 for after the rotation, 8 for LayerNorm.
    pub(super) fn encode(self) -> usize {
        let kind = match self.kind {
            HeadNorm::Each => 0,
            HeadNorm::All => 2,
            HeadNorm::LayerOfEach => 8,
        };
        1 + kind + 4 * usize::from(self.after_rotation)
    }

    /// The norms that the value of a field stands for.
    pub(super) fn decode(value: usize) -> Option<Self> {
        let all = [HeadNorm::Each, HeadNorm::All, HeadNorm::LayerOfEach];
        let all = all.into_iter().flat_map(|kind| [false, true].map(|after_rotation| QkNorm { kind, after_rotation }));
        all.into_iter().find(|norm| norm.encode() == value)
    }

    /// Adds the norm `part` of `heads` heads of `head_dim` to `table`.
    pub(super) fn tensors(self, table: &mut Table, part: Part, heads: usize, head_dim: usize) {
        match self.kind {
            HeadNorm::Each => table.vector(part, head_dim),
            HeadNorm::All => table.vector(part, heads * head_dim),
            HeadNorm::LayerOfEach => table.vector_with_bias(part, heads * head_dim),
        }
    }

    /// Norms `x` (T, heads, head_dim) by `w`; where a copy of it is needed, `room` has as many elements.
    pub(super) fn apply(self, compute: &Compute, x: &mut [f32], head_dim: usize, w: &Norm<'_>, room: &mut [f32]) {
        match self.kind {
            HeadNorm::Each | HeadNorm::All => rms_norm_in_place(compute, x, w.weight, w.eps),
            HeadNorm::LayerOfEach => {
                let room = &mut room[..x.len()];
                room.copy_from_slice(x);
                norm_of_each(compute, room, head_dim, w, x);
            }
        }
    }
}
