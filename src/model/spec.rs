//! The table of tensors: which ones a plan of layers has, of what shapes, and which op reads each. Converter, loader, forward
//! pass and everything that counts bytes or work read this one table.

use super::op::Op;
use crate::quant::Dtype;
use alloc::string::String;
use alloc::vec::Vec;

/// What a tensor does; dtypes are chosen per role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Token vectors, (vocab_size, dim); also the unembedding where tied.
    Embedding,
    /// Learned position vectors, (context_length, dim).
    Position,
    /// Norm weights and biases, vectors.
    Norm,
    /// Biases of linear layers, and sinks of attention, vectors.
    Bias,
    /// Query projection, (n_heads * head_dim, dim).
    Query,
    /// Key projection, (n_kv_heads * head_dim, dim).
    Key,
    /// Value projection, (n_kv_heads * head_dim, dim).
    Value,
    /// Attention output projection, (dim, n_heads * head_dim).
    Output,
    /// Gates and input of a short convolution, (3 * channels, dim).
    ConvInput,
    /// Kernel of a convolution, (channels, width).
    ConvKernel,
    /// Output projection of a short convolution, (dim, channels).
    ConvOutput,
    /// Queries, keys and values, gates, strengths and decays of a delta net, each (rows, dim).
    DeltaInput,
    /// Logarithms of the rates of a delta net, a vector.
    DeltaRate,
    /// Output projection of a delta net, (dim, n_heads * value_dim).
    DeltaOutput,
    /// Vectors of tokens for each block, (vocab_size, n_layers * width).
    LayerEmbedding,
    /// The other matrices of what each block is told of its token once more.
    LayerInput,
    /// Gate, input and steps of a state space, (rows, dim); of one of channels also (rows, channels) and (channels, step_rank).
    ScanInput,
    /// Rates and skips of a state space, vectors; rates of channels (channels, state_dim).
    ScanRate,
    /// Output projection of a state space, (dim, inner width).
    ScanOutput,
    /// Gate of the MLP, (hidden_dim, dim).
    Gate,
    /// What a token chooses experts by, (n_experts, dim).
    Router,
    /// Up-projection of the MLP, (hidden_dim, dim).
    Up,
    /// Down-projection of the MLP, (dim, hidden_dim).
    Down,
    /// Unembedding where not tied, (vocab_size, dim).
    Unembedding,
}

impl Role {
    /// The roles that are matrices, whose dtype can be chosen.
    pub const MATRICES: [Role; 19] = [
        Role::Embedding,
        Role::Position,
        Role::Query,
        Role::Key,
        Role::Value,
        Role::Output,
        Role::ConvInput,
        Role::ConvOutput,
        Role::DeltaInput,
        Role::DeltaOutput,
        Role::LayerEmbedding,
        Role::LayerInput,
        Role::ScanInput,
        Role::ScanOutput,
        Role::Gate,
        Role::Router,
        Role::Up,
        Role::Down,
        Role::Unembedding,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::Embedding => "embedding",
            Role::Position => "position",
            Role::Norm => "norm",
            Role::Bias => "bias",
            Role::Query => "query",
            Role::Key => "key",
            Role::Value => "value",
            Role::Output => "output",
            Role::ConvInput => "conv-input",
            Role::ConvKernel => "conv-kernel",
            Role::ConvOutput => "conv-output",
            Role::DeltaInput => "delta-input",
            Role::DeltaRate => "delta-rate",
            Role::DeltaOutput => "delta-output",
            Role::LayerEmbedding => "layer-embedding",
            Role::LayerInput => "layer-input",
            Role::ScanInput => "scan-input",
            Role::ScanRate => "scan-rate",
            Role::ScanOutput => "scan-output",
            Role::Gate => "gate",
            Role::Router => "router",
            Role::Up => "up",
            Role::Down => "down",
            Role::Unembedding => "unembedding",
        }
    }

    /// The fewest bits a weight of this role may have: vectors and kernels of convolutions are f32, positions (added once, never
    /// multiplied) at least fp16.
    fn min_bits(self) -> u32 {
        match self {
            Role::Norm | Role::Bias | Role::ConvKernel | Role::DeltaRate | Role::ScanRate => 32,
            Role::Position | Role::Router => 16,
            _ => 0,
        }
    }

    /// The smallest dtype this role may have.
    pub fn min_dtype(self) -> Dtype {
        let allowed = Dtype::ALL.into_iter().filter(|dtype| self.allows(*dtype));
        allowed.min_by_key(|dtype| dtype.format().bits).unwrap_or(Dtype::F32)
    }

    /// Whether this role may be stored as `dtype`.
    pub fn allows(self, dtype: Dtype) -> bool {
        dtype.format().bits >= self.min_bits()
    }
}

/// The shape of a tensor, (out, in) for a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `n` elements.
    Vector(usize),
    /// (rows, cols).
    Matrix(usize, usize),
}

impl Shape {
    /// The dimensions, outermost first.
    pub fn dims(self) -> Vec<u64> {
        match self {
            Shape::Vector(n) => vec![n as u64],
            Shape::Matrix(rows, cols) => vec![rows as u64, cols as u64],
        }
    }

    /// Number of elements.
    pub fn elements(self) -> u64 {
        self.dims().iter().product()
    }
}

/// A part of a network that has a weight, and maybe a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Token vectors.
    Embedding,
    /// Learned position vectors.
    Positions,
    /// The norm of what enters the first block.
    EmbeddingNorm,
    /// Vectors of tokens for each block.
    LayerEmbedding,
    /// What makes vectors for each block of what enters the first.
    LayerProjection,
    /// The norm of each of these vectors.
    LayerInputNorm,
    /// The norm of what the mixer reads.
    AttentionNorm,
    /// Query projection.
    Query,
    /// Key projection.
    Key,
    /// Value projection.
    Value,
    /// What the gates of the heads' outputs are made by.
    OutputGate,
    /// The norm of the queries.
    QueryNorm,
    /// The norm of the keys.
    KeyNorm,
    /// The norm of the values.
    ValueNorm,
    /// The score of each head that has no value.
    Sinks,
    /// The norm of what all heads give together.
    HeadsNorm,
    /// Attention output projection.
    Output,
    /// What makes the gates and the input of a short convolution.
    ConvInput,
    /// The kernel of a convolution.
    ConvKernel,
    /// Output projection of a short convolution.
    ConvOutput,
    /// Query, key and value projection of a delta net.
    DeltaQkv,
    /// Gate of what the heads of a delta net give.
    DeltaGate,
    /// How much a token corrects what a head of a delta net remembers.
    DeltaStrength,
    /// How fast a head of a delta net forgets.
    DeltaDecay,
    /// The logarithm of the rate at which a head forgets.
    DeltaRate,
    /// The norm of what each head of a delta net gives.
    DeltaNorm,
    /// Output projection of a delta net.
    DeltaOutput,
    /// Gate of what the heads of a state space give.
    ScanGate,
    /// What the heads of a state space read, and by what they store and find it.
    ScanInner,
    /// How far a token goes in a state space.
    ScanStep,
    /// What is added to that.
    ScanStepBias,
    /// What the steps of a state space of channels are made of.
    ScanRank,
    /// By what a state space of channels stores and finds.
    ScanSelect,
    /// How far a token goes in each channel.
    ScanSpread,
    /// The rate at which a state space forgets, below 0.
    ScanRate,
    /// How much of what it reads a state space gives.
    ScanSkip,
    /// The norm of what the heads of a state space give.
    ScanNorm,
    /// Output projection of a state space.
    ScanOutput,
    /// The norm of what the mixer adds.
    OutputNorm,
    /// The norm of what the MLP reads.
    MlpNorm,
    /// Gate of the MLP.
    Gate,
    /// Up-projection of the MLP.
    Up,
    /// The norm of what is between the matrices of the MLP.
    HiddenNorm,
    /// Down-projection of the MLP.
    Down,
    /// What a token chooses its experts by.
    Router,
    /// What is added to the scores that it chooses by.
    RouterBias,
    /// Gate of the expert that every token uses.
    SharedGate,
    /// Its up-projection.
    SharedUp,
    /// Its down-projection.
    SharedDown,
    /// What it is multiplied by the sigmoid of.
    SharedRouter,
    /// The norm of what the MLP adds.
    DownNorm,
    /// What a block's own vector of its token is gated by.
    LayerGate,
    /// What makes an addition to the residual stream of that vector.
    LayerOutput,
    /// The norm of that addition.
    LayerOutputNorm,
    /// What the residual stream is multiplied by after the block.
    LayerScale,
    /// The norm after the last block.
    FinalNorm,
    /// The directions of the logits, where they are not the token vectors.
    Unembedding,
}

/// How an op reads a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Every pass reads all of it, and every token multiplies with it where it is a matrix.
    Whole,
    /// Every token reads one row of it.
    Row,
}

/// The ops that read a tensor, in the order of the pass, and how.
pub type Reads = &'static [(Op, Reading)];

impl Part {
    /// The name in a file, behind that of its block; who reads it; what it does.
    const fn row(self) -> (&'static str, Reads, Role) {
        use Reading::{Row, Whole};
        match self {
            Part::Embedding => ("embedding", &[(Op::Embedding, Row)], Role::Embedding),
            Part::Positions => ("positions", &[(Op::Embedding, Row)], Role::Position),
            Part::EmbeddingNorm => ("embedding_norm", &[(Op::Embedding, Whole)], Role::Norm),
            Part::LayerEmbedding => ("layer_embedding", &[(Op::LayerInputs, Row)], Role::LayerEmbedding),
            Part::LayerProjection => ("layer_projection", &[(Op::LayerInputs, Whole)], Role::LayerInput),
            Part::LayerInputNorm => ("layer_input_norm", &[(Op::LayerInputs, Whole)], Role::Norm),
            Part::AttentionNorm => ("attn_norm", &[(Op::AttentionNorm, Whole)], Role::Norm),
            Part::Query => ("q", &[(Op::Qkv, Whole)], Role::Query),
            Part::Key => ("k", &[(Op::Qkv, Whole)], Role::Key),
            Part::Value => ("v", &[(Op::Qkv, Whole)], Role::Value),
            Part::OutputGate => ("o_gate", &[(Op::Qkv, Whole)], Role::Gate),
            Part::QueryNorm => ("q_norm", &[(Op::Rope, Whole)], Role::Norm),
            Part::KeyNorm => ("k_norm", &[(Op::Rope, Whole)], Role::Norm),
            Part::ValueNorm => ("v_norm", &[(Op::Rope, Whole)], Role::Norm),
            Part::Sinks => ("sinks", &[(Op::Attention, Whole)], Role::Bias),
            Part::HeadsNorm => ("heads_norm", &[(Op::Attention, Whole)], Role::Norm),
            Part::Output => ("o", &[(Op::Output, Whole)], Role::Output),
            Part::ConvInput => ("conv_in", &[(Op::ConvInput, Whole)], Role::ConvInput),
            Part::ConvKernel => ("conv", &[(Op::Conv, Whole)], Role::ConvKernel),
            Part::ConvOutput => ("conv_out", &[(Op::ConvOutput, Whole)], Role::ConvOutput),
            Part::DeltaQkv => ("delta_qkv", &[(Op::DeltaInput, Whole)], Role::DeltaInput),
            Part::DeltaGate => ("delta_gate", &[(Op::DeltaInput, Whole)], Role::DeltaInput),
            Part::DeltaStrength => ("delta_strength", &[(Op::DeltaInput, Whole)], Role::DeltaInput),
            Part::DeltaDecay => ("delta_decay", &[(Op::DeltaInput, Whole)], Role::DeltaInput),
            Part::DeltaRate => ("delta_rate", &[(Op::Delta, Whole)], Role::DeltaRate),
            Part::DeltaNorm => ("delta_norm", &[(Op::Delta, Whole)], Role::Norm),
            Part::DeltaOutput => ("delta_out", &[(Op::DeltaOutput, Whole)], Role::DeltaOutput),
            Part::ScanGate => ("scan_gate", &[(Op::ScanInput, Whole)], Role::ScanInput),
            Part::ScanInner => ("scan_in", &[(Op::ScanInput, Whole)], Role::ScanInput),
            Part::ScanStep => ("scan_step", &[(Op::ScanInput, Whole)], Role::ScanInput),
            Part::ScanStepBias => ("scan_step.bias", &[(Op::ScanInput, Whole)], Role::Bias),
            Part::ScanRank => ("scan_rank", &[(Op::ScanSelect, Whole)], Role::ScanInput),
            Part::ScanSelect => ("scan_select", &[(Op::ScanSelect, Whole)], Role::ScanInput),
            Part::ScanSpread => ("scan_spread", &[(Op::ScanSpread, Whole)], Role::ScanInput),
            Part::ScanRate => ("scan_rate", &[(Op::Scan, Whole)], Role::ScanRate),
            Part::ScanSkip => ("scan_skip", &[(Op::Scan, Whole)], Role::ScanRate),
            Part::ScanNorm => ("scan_norm", &[(Op::Scan, Whole)], Role::Norm),
            Part::ScanOutput => ("scan_out", &[(Op::ScanOutput, Whole)], Role::ScanOutput),
            Part::OutputNorm => ("o_norm", &[(Op::OutputNorm, Whole)], Role::Norm),
            Part::MlpNorm => ("mlp_norm", &[(Op::MlpNorm, Whole)], Role::Norm),
            Part::Gate => ("gate", &[(Op::GateUp, Whole)], Role::Gate),
            Part::Up => ("up", &[(Op::GateUp, Whole)], Role::Up),
            Part::HiddenNorm => ("hidden_norm", &[(Op::GateUp, Whole)], Role::Norm),
            Part::Down => ("down", &[(Op::Down, Whole)], Role::Down),
            Part::Router => ("router", &[(Op::Router, Whole)], Role::Router),
            Part::RouterBias => ("router_bias", &[(Op::Router, Whole)], Role::Bias),
            Part::SharedGate => ("shared_gate", &[(Op::GateUp, Whole)], Role::Gate),
            Part::SharedUp => ("shared_up", &[(Op::GateUp, Whole)], Role::Up),
            Part::SharedDown => ("shared_down", &[(Op::Down, Whole)], Role::Down),
            Part::SharedRouter => ("shared_router", &[(Op::GateUp, Whole)], Role::Router),
            Part::DownNorm => ("down_norm", &[(Op::DownNorm, Whole)], Role::Norm),
            Part::LayerGate => ("layer_gate", &[(Op::LayerGate, Whole)], Role::LayerInput),
            Part::LayerOutput => ("layer_out", &[(Op::LayerOutput, Whole)], Role::LayerInput),
            Part::LayerOutputNorm => ("layer_out_norm", &[(Op::LayerOutputNorm, Whole)], Role::Norm),
            Part::LayerScale => ("layer_scale", &[(Op::LayerScale, Whole)], Role::Norm),
            Part::FinalNorm => ("final_norm", &[(Op::FinalNorm, Whole)], Role::Norm),
            Part::Unembedding => ("unembedding", &[(Op::Unembedding, Whole)], Role::Unembedding),
        }
    }
}

/// Who reads token vectors that are the directions of the logits, too.
pub(super) const TIED: Reads = &[(Op::Embedding, Reading::Row), (Op::Unembedding, Reading::Whole)];

/// One of the experts of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expert {
    /// Its number.
    pub number: usize,
    /// Experts that a token uses.
    pub n_active: usize,
    /// Experts of the block.
    pub n_experts: usize,
}

/// A tensor of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in a `.whit` file.
    pub name: String,
    /// The block that it belongs to; `None` outside of the blocks.
    pub layer: Option<usize>,
    /// The expert that it belongs to; `None` of what every token uses.
    pub expert: Option<Expert>,
    /// What it is a weight or bias of.
    pub part: Part,
    /// It is the bias, a vector.
    pub is_bias: bool,
    /// What it does.
    pub role: Role,
    /// Its shape.
    pub shape: Shape,
    /// The ops that read it, in the order of the pass, and how.
    pub reads: Reads,
}

impl TensorSpec {
    /// What a token uses of an `amount` of the tensor, be it bytes or weights, on average over the experts of its block.
    pub fn used(&self, amount: u64) -> u64 {
        self.expert.map_or(amount, |expert| amount * expert.n_active as u64 / expert.n_experts as u64)
    }
}

/// What a norm of the residual stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// RMSNorm (Zhang and Sennrich 2019): a weight.
    Rms,
    /// LayerNorm (Ba et al. 2016): a weight and a bias.
    Layer,
}

/// Which norms a branch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BranchNorms {
    /// What the branch reads is normed.
    pub input: bool,
    /// What the branch adds to the residual stream is normed.
    pub output: bool,
}

impl BranchNorms {
    /// The input alone: pre-norm, as GPT-2 and Llama have it.
    pub const PRE: BranchNorms = BranchNorms { input: true, output: false };

    /// Neither.
    pub const NONE: BranchNorms = BranchNorms { input: false, output: false };

    /// As the value of a field: 1 the input, 2 the output.
    pub(super) fn encode(self) -> usize {
        usize::from(self.input) + 2 * usize::from(self.output)
    }

    /// The norms that the value of a field stands for.
    pub(super) fn decode(bits: usize) -> Option<Self> {
        (bits <= 3).then_some(BranchNorms { input: bits & 1 != 0, output: bits & 2 != 0 })
    }
}

/// A table that is being written, in order of use.
pub(super) struct Table {
    pub(super) rows: Vec<TensorSpec>,
    /// The block whose tensors come next; `None` outside of the blocks.
    pub(super) layer: Option<usize>,
    /// The expert whose tensors come next.
    pub(super) expert: Option<Expert>,
    /// Width of the residual stream.
    pub(super) dim: usize,
    /// What the norms of the residual stream are.
    pub(super) norm: NormKind,
    /// Width of what each block is told of its token once more; `None`: of nothing.
    pub(super) layer_inputs: Option<usize>,
}

impl Table {
    /// A norm of the residual stream.
    pub(super) fn norm(&mut self, part: Part) {
        match self.norm {
            NormKind::Rms => self.vector(part, self.dim),
            NormKind::Layer => self.vector_with_bias(part, self.dim),
        }
    }

    /// A matrix (rows, cols), and a bias (rows) where it has one.
    pub(super) fn linear(&mut self, part: Part, rows: usize, cols: usize, bias: bool) {
        self.push(part, false, Shape::Matrix(rows, cols));
        if bias {
            self.push(part, true, Shape::Vector(rows));
        }
    }

    /// A vector of `n` elements.
    pub(super) fn vector(&mut self, part: Part, n: usize) {
        self.push(part, false, Shape::Vector(n));
    }

    /// A vector of `n` elements, and a bias of as many.
    pub(super) fn vector_with_bias(&mut self, part: Part, n: usize) {
        self.vector(part, n);
        self.push(part, true, Shape::Vector(n));
    }

    fn push(&mut self, part: Part, is_bias: bool, shape: Shape) {
        let (name, reads, role) = part.row();
        let block = self.layer.map_or(String::new(), |layer| format!("blocks.{layer}."));
        let suffix = if is_bias { ".bias" } else { "" };
        let role = if is_bias && role != Role::Norm { Role::Bias } else { role };
        let expert = self.expert.map_or(String::new(), |expert| format!("experts.{}.", expert.number));
        let name = format!("{block}{expert}{name}{suffix}");
        self.rows.push(TensorSpec { name, layer: self.layer, expert: self.expert, part, is_bias, role, shape, reads });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_stay_f32_and_positions_at_least_fp16() {
        assert!(Role::Norm.allows(Dtype::F32) && !Role::Bias.allows(Dtype::F16));
        assert_eq!(Role::ConvKernel.min_dtype(), Dtype::F32);
        assert!(Role::Position.allows(Dtype::F16) && !Role::Position.allows(Dtype::Int8));
        assert!(Role::Down.allows(Dtype::Int8));
    }
}
