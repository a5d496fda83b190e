//! Watching a forward pass: which op of which block begins, and what it leaves behind. The default, `()`, watches nothing
//! and costs nothing.

/// Told of every op of a forward pass as it begins (the op before it has then ended) and shown what some of them computed.
pub trait Observer {
    /// `op` begins in block `layer`, or outside of the blocks.
    fn op(&mut self, layer: Option<usize>, op: Op) {
        let _ = (layer, op);
    }

    /// `values` stand at `point` of block `layer`, or outside of the blocks.
    #[inline(always)]
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        let _ = (layer, point, values);
    }
}

impl Observer for () {
    #[inline(always)]
    fn op(&mut self, _layer: Option<usize>, _op: Op) {}
}

/// Places of a forward pass that can be looked at, in their order; T tokens of a prefill step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The residual stream before the first block, (T, dim).
    Embedded,
    /// Queries as they meet the keys, (T, n_heads, head_dim).
    Queries,
    /// The residual stream after a block's attention, (T, dim).
    Attended,
    /// The MLP's inner activations, (T, hidden_dim).
    Hidden,
    /// The residual stream after a block, (T, dim).
    BlockOutput,
}

/// The parts of a forward pass, in their order. Additions to the residual stream belong to what they add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Token vectors, and position vectors where they are learned.
    Embedding,
    /// The norm before attention.
    AttentionNorm,
    /// Queries, keys and values.
    Qkv,
    /// Norms of queries and keys where there are any, and their rotation.
    Rope,
    /// Keys and values into the cache.
    Store,
    /// Scores, softmax and weighted sum over the cache.
    Attention,
    /// The attention's output projection.
    Output,
    /// The norm before the MLP.
    MlpNorm,
    /// The MLP's first layer with its activation.
    GateUp,
    /// The MLP's second layer.
    Down,
    /// The norm after the last block.
    FinalNorm,
    /// The logits.
    Unembedding,
}

impl Op {
    /// Every op, in order.
    pub const ALL: [Op; 12] = [
        Op::Embedding,
        Op::AttentionNorm,
        Op::Qkv,
        Op::Rope,
        Op::Store,
        Op::Attention,
        Op::Output,
        Op::MlpNorm,
        Op::GateUp,
        Op::Down,
        Op::FinalNorm,
        Op::Unembedding,
    ];

    /// The name, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Op::Embedding => "embedding",
            Op::AttentionNorm => "attention norm",
            Op::Qkv => "q/k/v",
            Op::Rope => "rope",
            Op::Store => "kv store",
            Op::Attention => "attention",
            Op::Output => "output",
            Op::MlpNorm => "mlp norm",
            Op::GateUp => "gate/up",
            Op::Down => "down",
            Op::FinalNorm => "final norm",
            Op::Unembedding => "unembedding",
        }
    }
}
