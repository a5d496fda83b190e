//! One table of tensors per architecture family, read by the converter and by the loader.
//!
//! The table names every tensor of a `.whit` file in order of use, with its shape, its role, the dtypes it may have and
//! the places in foreign checkpoints where it comes from.

use super::config::{Config, Family};
use crate::quant::Dtype;

/// What a tensor does; dtypes are chosen per role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Token vectors, (vocab_size, dim); also the unembedding where tied.
    Embedding,
    /// Learned position vectors, (context_length, dim).
    Position,
    /// Norm weights and biases, vectors.
    Norm,
    /// Biases of linear layers, vectors.
    Bias,
    /// Query projection, (n_heads * head_dim, dim).
    Query,
    /// Key projection, (n_kv_heads * head_dim, dim).
    Key,
    /// Value projection, (n_kv_heads * head_dim, dim).
    Value,
    /// Attention output projection, (dim, n_heads * head_dim).
    Output,
    /// Gate of the MLP, (hidden_dim, dim).
    Gate,
    /// Up-projection of the MLP, (hidden_dim, dim).
    Up,
    /// Down-projection of the MLP, (dim, hidden_dim).
    Down,
    /// Unembedding where not tied, (vocab_size, dim).
    Unembedding,
}

impl Role {
    /// The roles that are matrices, whose dtype can be chosen.
    pub const MATRICES: [Role; 10] = [
        Role::Embedding,
        Role::Position,
        Role::Query,
        Role::Key,
        Role::Value,
        Role::Output,
        Role::Gate,
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
            Role::Gate => "gate",
            Role::Up => "up",
            Role::Down => "down",
            Role::Unembedding => "unembedding",
        }
    }

    /// The fewest bits a weight of this role may have: vectors are f32, positions (added once, never multiplied) at least
    /// fp16.
    fn min_bits(self) -> u32 {
        match self {
            Role::Norm | Role::Bias => 32,
            Role::Position => 16,
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
}

/// A place in a foreign checkpoint that a tensor comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Name in the checkpoint, without a leading `transformer.`.
    pub name: String,
    /// Stored as (in, out): GPT-2's Conv1D.
    pub transposed: bool,
    /// The tensor is this third of the source's outputs: GPT-2's fused q, k and v.
    pub third: Option<usize>,
}

/// A tensor of the family's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in a `.whit` file.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its shape.
    pub shape: Shape,
    /// Rows belong to heads of rotary pairs: where a checkpoint interleaves the pairs (element 2i with 2i + 1), rows are
    /// reordered so that element i pairs with i + head_dim / 2.
    pub rotary: bool,
    /// Where it comes from; the first that the checkpoint has.
    pub origins: Vec<Origin>,
}

impl TensorSpec {
    /// The block that it belongs to; `None` outside of the blocks.
    pub fn layer(&self) -> Option<usize> {
        self.name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
    }
}

/// Tensors of a layer, at most: of the Llama family with all biases and norms.
const MAX_PER_LAYER: usize = 18;

/// The tensors of a network, in order of use.
pub fn tensors(config: &Config) -> Vec<TensorSpec> {
    let mut table = Vec::with_capacity(4 + MAX_PER_LAYER * config.n_layers);
    match config.family {
        Family::Gpt2 => gpt2(config, &mut table),
        Family::Llama => llama(config, &mut table),
    }
    table
}

fn plain(name: impl Into<String>) -> Origin {
    Origin { name: name.into(), transposed: false, third: None }
}

fn conv1d(name: String) -> Origin {
    Origin { name, transposed: true, third: None }
}

fn spec(name: String, role: Role, shape: Shape, origins: impl Into<Vec<Origin>>) -> TensorSpec {
    TensorSpec { name, role, shape, rotary: false, origins: origins.into() }
}

/// Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; source names as in Hugging Face and GGUF.
fn gpt2(c: &Config, table: &mut Vec<TensorSpec>) {
    use Shape::{Matrix, Vector};
    let width = c.n_heads * c.head_dim;
    let tokens = [plain("wte.weight"), plain("token_embd.weight")];
    table.push(spec("embedding".into(), Role::Embedding, Matrix(c.vocab_size, c.dim), tokens));
    let positions = [plain("wpe.weight"), plain("position_embd.weight")];
    table.push(spec("positions".into(), Role::Position, Matrix(c.context_length, c.dim), positions));
    for i in 0..c.n_layers {
        let vector = |name: &str, role, n, hf: &str, gguf: &str| {
            let origins = [plain(format!("h.{i}.{hf}")), plain(format!("blk.{i}.{gguf}"))];
            spec(format!("blocks.{i}.{name}"), role, Vector(n), origins)
        };
        let matrix = |name: &str, role, rows, cols, hf: &str, gguf: &str| {
            let origins = [conv1d(format!("h.{i}.{hf}.weight")), plain(format!("blk.{i}.{gguf}.weight"))];
            spec(format!("blocks.{i}.{name}"), role, Matrix(rows, cols), origins)
        };
        let third = |mut spec: TensorSpec, part| {
            spec.origins.iter_mut().for_each(|origin| origin.third = Some(part));
            spec
        };
        table.push(vector("attn_norm", Role::Norm, c.dim, "ln_1.weight", "attn_norm.weight"));
        table.push(vector("attn_norm.bias", Role::Norm, c.dim, "ln_1.bias", "attn_norm.bias"));
        for (part, (name, role)) in [("q", Role::Query), ("k", Role::Key), ("v", Role::Value)].into_iter().enumerate() {
            table.push(third(matrix(name, role, width, c.dim, "attn.c_attn", "attn_qkv"), part));
            let bias = vector(&format!("{name}.bias"), Role::Bias, width, "attn.c_attn.bias", "attn_qkv.bias");
            table.push(third(bias, part));
        }
        table.push(matrix("o", Role::Output, c.dim, width, "attn.c_proj", "attn_output"));
        table.push(vector("o.bias", Role::Bias, c.dim, "attn.c_proj.bias", "attn_output.bias"));
        table.push(vector("mlp_norm", Role::Norm, c.dim, "ln_2.weight", "ffn_norm.weight"));
        table.push(vector("mlp_norm.bias", Role::Norm, c.dim, "ln_2.bias", "ffn_norm.bias"));
        table.push(matrix("up", Role::Up, c.hidden_dim, c.dim, "mlp.c_fc", "ffn_up"));
        table.push(vector("up.bias", Role::Bias, c.hidden_dim, "mlp.c_fc.bias", "ffn_up.bias"));
        table.push(matrix("down", Role::Down, c.dim, c.hidden_dim, "mlp.c_proj", "ffn_down"));
        table.push(vector("down.bias", Role::Bias, c.dim, "mlp.c_proj.bias", "ffn_down.bias"));
    }
    let norm = [plain("ln_f.weight"), plain("output_norm.weight")];
    table.push(spec("final_norm".into(), Role::Norm, Vector(c.dim), norm));
    let bias = [plain("ln_f.bias"), plain("output_norm.bias")];
    table.push(spec("final_norm.bias".into(), Role::Norm, Vector(c.dim), bias));
    unembedding(c, table);
}

/// Touvron et al. 2023, "LLaMA", and the variants that [`Config`] names; source names as in Hugging Face and GGUF.
fn llama(c: &Config, table: &mut Vec<TensorSpec>) {
    use Shape::{Matrix, Vector};
    let (width, kv_width) = (c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim);
    let tokens = [plain("model.embed_tokens.weight"), plain("token_embd.weight")];
    table.push(spec("embedding".into(), Role::Embedding, Matrix(c.vocab_size, c.dim), tokens));
    for i in 0..c.n_layers {
        let origins = |hf: &str, gguf: &str, kind: &str| {
            [plain(format!("model.layers.{i}.{hf}.{kind}")), plain(format!("blk.{i}.{gguf}.{kind}"))]
        };
        let norm = |name: &str, n, hf: &str, gguf: &str| {
            spec(format!("blocks.{i}.{name}"), Role::Norm, Vector(n), origins(hf, gguf, "weight"))
        };
        let linear = |table: &mut Vec<TensorSpec>, name: &str, role, rows, cols, bias, [hf, gguf]: [&str; 2]| {
            let rotary = matches!(role, Role::Query | Role::Key);
            let weight = spec(format!("blocks.{i}.{name}"), role, Matrix(rows, cols), origins(hf, gguf, "weight"));
            table.push(TensorSpec { rotary, ..weight });
            if bias {
                let name = format!("blocks.{i}.{name}.bias");
                let bias = spec(name, Role::Bias, Vector(rows), origins(hf, gguf, "bias"));
                table.push(TensorSpec { rotary, ..bias });
            }
        };
        let qkv = c.qkv_bias;
        table.push(norm("attn_norm", c.dim, "input_layernorm", "attn_norm"));
        linear(table, "q", Role::Query, width, c.dim, qkv, ["self_attn.q_proj", "attn_q"]);
        linear(table, "k", Role::Key, kv_width, c.dim, qkv, ["self_attn.k_proj", "attn_k"]);
        linear(table, "v", Role::Value, kv_width, c.dim, qkv, ["self_attn.v_proj", "attn_v"]);
        if c.qk_norm {
            table.push(norm("q_norm", c.head_dim, "self_attn.q_norm", "attn_q_norm"));
            table.push(norm("k_norm", c.head_dim, "self_attn.k_norm", "attn_k_norm"));
        }
        linear(table, "o", Role::Output, c.dim, width, c.output_bias, ["self_attn.o_proj", "attn_output"]);
        table.push(norm("mlp_norm", c.dim, "post_attention_layernorm", "ffn_norm"));
        linear(table, "gate", Role::Gate, c.hidden_dim, c.dim, c.mlp_bias, ["mlp.gate_proj", "ffn_gate"]);
        linear(table, "up", Role::Up, c.hidden_dim, c.dim, c.mlp_bias, ["mlp.up_proj", "ffn_up"]);
        linear(table, "down", Role::Down, c.dim, c.hidden_dim, c.mlp_bias, ["mlp.down_proj", "ffn_down"]);
    }
    let norm = [plain("model.norm.weight"), plain("output_norm.weight")];
    table.push(spec("final_norm".into(), Role::Norm, Vector(c.dim), norm));
    unembedding(c, table);
}

fn unembedding(c: &Config, table: &mut Vec<TensorSpec>) {
    if !c.tied {
        let origins = [plain("lm_head.weight"), plain("output.weight")];
        table.push(spec("unembedding".into(), Role::Unembedding, Shape::Matrix(c.vocab_size, c.dim), origins));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(family: Family) -> Config {
        Config {
            family,
            dim: 8,
            hidden_dim: 12,
            n_layers: 2,
            n_heads: 2,
            n_kv_heads: 2,
            head_dim: 4,
            vocab_size: 5,
            context_length: 6,
            norm_eps: 1e-5,
            sliding_window: None,
            tied: true,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            rope_freqs: if family == Family::Llama { vec![1.0, 0.1] } else { vec![] },
        }
    }

    #[test]
    fn names_are_unique_and_counts_are_the_families() {
        for (family, n) in [(Family::Gpt2, 2 + 2 * 16 + 2), (Family::Llama, 1 + 2 * 9 + 1)] {
            let table = tensors(&config(family));
            assert_eq!(table.len(), n);
            let names: std::collections::HashSet<_> = table.iter().map(|t| &t.name).collect();
            assert_eq!(names.len(), n);
        }
        let all = Config {
            tied: false,
            qkv_bias: true,
            output_bias: true,
            mlp_bias: true,
            qk_norm: true,
            ..config(Family::Llama)
        };
        assert_eq!(tensors(&all).len(), 1 + 2 * MAX_PER_LAYER + 2);
    }

    #[test]
    fn vectors_stay_f32_and_positions_at_least_fp16() {
        assert!(Role::Norm.allows(Dtype::F32) && !Role::Bias.allows(Dtype::F16));
        assert!(Role::Position.allows(Dtype::F16) && !Role::Position.allows(Dtype::Int8));
        assert!(Role::Down.allows(Dtype::Int8));
    }
}
