//! The parts of a forward pass, and watching it: which op of which block begins, and what it leaves behind.

/// The parts of a forward pass, in their order. Additions to the residual stream belong to what they add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Token vectors, and position vectors where they are learned.
    Embedding,
    /// What each block is told of its token once more.
    LayerInputs,
    /// The norm before the mixer.
    AttentionNorm,
    /// Queries, keys and values.
    Qkv,
    /// Norms of queries, keys and values where there are any, and their rotation.
    Rope,
    /// Keys and values into the cache.
    Store,
    /// Scores, softmax and weighted sum over the cache.
    Attention,
    /// The attention's output projection.
    Output,
    /// Queries, keys, values, gates, strengths and decays of a delta net.
    DeltaInput,
    /// Gates and input of a short convolution.
    ConvInput,
    /// Gate, input and steps of a state space.
    ScanInput,
    /// A convolution over what it remembers: a short convolution with its gates, or that of a delta net or a state space.
    Conv,
    /// What the heads of a delta net remember, corrected and asked.
    Delta,
    /// What the steps of a state space of channels are made of, and by what it stores and finds.
    ScanSelect,
    /// The steps of its channels.
    ScanSpread,
    /// What a state space remembers, with what it gives, its gate and its norm.
    Scan,
    /// The output projection of a delta net.
    DeltaOutput,
    /// The output projection of a state space.
    ScanOutput,
    /// The output projection of a short convolution.
    ConvOutput,
    /// The norm of what the mixer adds.
    OutputNorm,
    /// The norm before the MLP.
    MlpNorm,
    /// Which experts each token uses.
    Router,
    /// The MLP's first layer with its activation.
    GateUp,
    /// The MLP's second layer.
    Down,
    /// The norm of what the MLP adds.
    DownNorm,
    /// The gate of what the block is told of its token once more.
    LayerGate,
    /// The addition to the residual stream that is made of it.
    LayerOutput,
    /// The norm of that addition.
    LayerOutputNorm,
    /// The factor of the residual stream after a block.
    LayerScale,
    /// The norm after the last block.
    FinalNorm,
    /// The logits.
    Unembedding,
}

impl Op {
    /// Every op, in order.
    pub const ALL: [Op; 31] = [
        Op::Embedding,
        Op::LayerInputs,
        Op::AttentionNorm,
        Op::Qkv,
        Op::Rope,
        Op::Store,
        Op::Attention,
        Op::Output,
        Op::DeltaInput,
        Op::ConvInput,
        Op::ScanInput,
        Op::Conv,
        Op::Delta,
        Op::ScanSelect,
        Op::ScanSpread,
        Op::Scan,
        Op::DeltaOutput,
        Op::ScanOutput,
        Op::ConvOutput,
        Op::OutputNorm,
        Op::MlpNorm,
        Op::Router,
        Op::GateUp,
        Op::Down,
        Op::DownNorm,
        Op::LayerGate,
        Op::LayerOutput,
        Op::LayerOutputNorm,
        Op::LayerScale,
        Op::FinalNorm,
        Op::Unembedding,
    ];

    /// The name, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Op::Embedding => "embedding",
            Op::LayerInputs => "layer inputs",
            Op::AttentionNorm => "attention norm",
            Op::Qkv => "q/k/v",
            Op::Rope => "rope",
            Op::Store => "kv store",
            Op::Attention => "attention",
            Op::Output => "output",
            Op::DeltaInput => "delta input",
            Op::ConvInput => "conv input",
            Op::ScanInput => "scan input",
            Op::Conv => "convolution",
            Op::Delta => "delta rule",
            Op::ScanSelect => "scan select",
            Op::ScanSpread => "scan spread",
            Op::Scan => "scan",
            Op::DeltaOutput => "delta output",
            Op::ScanOutput => "scan output",
            Op::ConvOutput => "conv output",
            Op::OutputNorm => "output norm",
            Op::MlpNorm => "mlp norm",
            Op::Router => "router",
            Op::GateUp => "gate/up",
            Op::Down => "down",
            Op::DownNorm => "down norm",
            Op::LayerGate => "layer gate",
            Op::LayerOutput => "layer output",
            Op::LayerOutputNorm => "layer norm",
            Op::LayerScale => "layer scale",
            Op::FinalNorm => "final norm",
            Op::Unembedding => "unembedding",
        }
    }
}

/// Places of a forward pass that can be looked at, in their order; T tokens of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The residual stream before the first block, (T, dim).
    Embedded,
    /// Keys as they are stored, (T, n_kv_heads, head_dim).
    Keys,
    /// Queries as they meet the keys, (T, n_heads, head_dim).
    Queries,
    /// The residual stream after a block's mixer, (T, dim).
    Attended,
    /// What the matrices of an op multiply, (T, columns): of [`Op::Down`] the MLP's inner activations.
    Input(Op),
    /// The residual stream after a block, (T, dim).
    BlockOutput,
}

/// Someone who watches a forward pass. `()` watches nothing and costs nothing.
pub trait Observer {
    /// Whether every token is to go through the whole of the last block. Otherwise its MLP runs only on the tokens whose
    /// logits are asked for, as it does where nobody watches.
    fn sees_all(&self) -> bool {
        true
    }

    /// `op` begins in block `layer`, or outside of the blocks; the op before it has ended.
    fn op(&mut self, layer: Option<usize>, op: Op) {
        let _ = (layer, op);
    }

    /// `values` stand at `point` of block `layer`, or outside of the blocks.
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        let _ = (layer, point, values);
    }
}

impl Observer for () {
    #[inline(always)]
    fn sees_all(&self) -> bool {
        false
    }

    #[inline(always)]
    fn op(&mut self, _layer: Option<usize>, _op: Op) {}

    #[inline(always)]
    fn see(&mut self, _layer: Option<usize>, _point: Point, _values: &[f32]) {}
}

/// Someone who lets ops wait until what they read is there.
pub trait Pace {
    /// Returns when `op` of block `layer`, or outside of the blocks, may begin.
    fn wait(&mut self, layer: Option<usize>, op: Op);
}
