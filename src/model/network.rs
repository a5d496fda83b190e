//! The table of a whole network's tensors, and their weights in a file.

use super::block::{Block, Layer};
use super::config::Config;
use super::layer_inputs::{self, LayerInputs};
use super::place::Place;
use super::spec::{Part, Shape, TIED, Table, TensorSpec};
use crate::error::{Error, Result, listed, printable};
use crate::format::File;
use crate::ops::{Linear, Norm};
use crate::quant::Matrix;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Tensors that are outside of the blocks, at most.
const MAX_OUTSIDE: usize = 11;

/// Number of tensors of all blocks together, counted without a table of them: a file may say more than it holds.
pub(super) fn n_of_blocks(config: &Config) -> usize {
    let mut table = table_of(config, Vec::new());
    table.layer = Some(0);
    let of_block = |layer: &Layer| {
        table.rows.clear();
        layer.tensors(&mut table);
        table.rows.len()
    };
    config.layers.iter().map(of_block).sum()
}

/// A table of the network of `config`, outside of the blocks, with these rows.
fn table_of(config: &Config, rows: Vec<TensorSpec>) -> Table {
    let Config { dim, norm, layer_inputs, .. } = *config;
    Table { rows, layer: None, expert: None, dim, norm, layer_inputs }
}

/// The tensors of a network, in order of use.
pub fn tensors(config: &Config) -> Vec<TensorSpec> {
    let rows = Vec::with_capacity(MAX_OUTSIDE + n_of_blocks(config));
    let mut table = table_of(config, rows);
    table.linear(Part::Embedding, config.vocab_size, config.dim, false);
    if config.tied {
        table.rows.iter_mut().for_each(|embedding| embedding.reads = TIED);
    }
    if config.learned_positions {
        table.linear(Part::Positions, config.context_length, config.dim, false);
    }
    if config.embedding_norm {
        table.norm(Part::EmbeddingNorm);
    }
    layer_inputs::tensors_outside(&mut table, config.vocab_size, config.n_layers());
    for (i, layer) in config.layers.iter().enumerate() {
        table.layer = Some(i);
        layer.tensors(&mut table);
    }
    table.layer = None;
    table.norm(Part::FinalNorm);
    if !config.tied {
        table.linear(Part::Unembedding, config.vocab_size, config.dim, config.unembedding_bias);
    }
    table.rows
}

/// All weights.
pub(super) struct Weights<'a> {
    /// (vocab_size, dim).
    pub(super) embedding: Matrix<'a>,
    /// (context_length, dim): learned positions.
    pub(super) positions: Option<Matrix<'a>>,
    pub(super) embedding_norm: Option<Norm<'a>>,
    pub(super) layer_inputs: Option<LayerInputs<'a>>,
    pub(super) blocks: Vec<Block<'a>>,
    pub(super) final_norm: Norm<'a>,
    /// (vocab_size, dim); the embedding itself where tied.
    pub(super) unembedding: Linear<'a>,
}

impl<'a> Weights<'a> {
    /// The weights in `file` of the network of `config`, whose tensors are `table`; refuses missing, left-over, misshapen
    /// tensors and dtypes that a role does not allow, all in one message.
    pub(super) fn open(file: &File<'a>, config: &Config, table: &[TensorSpec]) -> Result<Self> {
        check(file, table)?;
        let norm_eps = config.norm_eps;
        let mut blocks = Vec::with_capacity(config.n_layers());
        let mut rest = table.iter().position(|spec| spec.layer.is_some()).map_or(&[][..], |first| &table[first..]);
        for (i, layer) in config.layers.iter().enumerate() {
            let n = rest.iter().take_while(|spec| spec.layer == Some(i)).count();
            let rows;
            (rows, rest) = rest.split_at(n);
            blocks.push(layer.open(&Place { file, rows, layer: Some(i), expert: None, norm_eps })?);
        }
        let outside = Place { file, rows: table, layer: None, expert: None, norm_eps };
        let embedding = outside.matrix(Part::Embedding)?;
        Ok(Weights {
            embedding,
            positions: config.learned_positions.then(|| outside.matrix(Part::Positions)).transpose()?,
            embedding_norm: config.embedding_norm.then(|| outside.norm(Part::EmbeddingNorm)).transpose()?,
            layer_inputs: config.layer_inputs.map(|_| LayerInputs::open(&outside)).transpose()?,
            blocks,
            final_norm: outside.norm(Part::FinalNorm)?,
            unembedding: match config.tied {
                true => Linear { weight: embedding, bias: None },
                false => outside.linear(Part::Unembedding)?,
            },
        })
    }
}

/// Holds the file's directory against the table.
fn check(file: &File<'_>, table: &[TensorSpec]) -> Result<()> {
    let mut problems = Vec::new();
    for spec in table {
        let Some(entry) = file.tensor(&spec.name) else {
            problems.push(format!("{} is missing", spec.name));
            continue;
        };
        if entry.dims() != spec.shape.dims() {
            problems.push(format!("{} has shape {:?}, not {:?}", spec.name, entry.dims(), spec.shape.dims()));
        }
        if matches!(spec.shape, Shape::Matrix(..)) && !spec.role.allows(entry.dtype) {
            problems.push(format!("{} may not be {}", spec.name, entry.dtype.name()));
        }
    }
    let known: BTreeSet<_> = table.iter().map(|spec| spec.name.as_str()).collect();
    let extra = file.tensors().iter().filter(|entry| !known.contains(entry.name));
    problems.extend(extra.map(|entry| format!("{} belongs to no layer", printable(entry.name))));
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::data(listed(&problems)).field("tensors").hint("convert the checkpoint again"))
}

#[cfg(test)]
mod tests {
    use super::super::op::Op;
    use super::super::spec::{BranchNorms, NormKind, Reading, Role};
    use super::super::uniform::{Family, Uniform};
    use super::*;

    fn uniform(family: Family) -> Uniform {
        Uniform {
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
            qkv_bias: family == Family::Gpt2,
            output_bias: family == Family::Gpt2,
            mlp_bias: family == Family::Gpt2,
            qk_norm: false,
            rope_freqs: if family == Family::Llama { vec![1.0, 0.1] } else { vec![] },
        }
    }

    #[test]
    fn names_are_unique_and_counts_are_the_families() {
        for (family, n) in [(Family::Gpt2, 2 + 2 * 16 + 2), (Family::Llama, 1 + 2 * 9 + 1)] {
            let table = tensors(&uniform(family).config());
            assert_eq!(table.len(), n);
            let names: std::collections::HashSet<_> = table.iter().map(|t| &t.name).collect();
            assert_eq!(names.len(), n);
        }
        let all = Uniform {
            tied: false,
            qkv_bias: true,
            output_bias: true,
            mlp_bias: true,
            qk_norm: true,
            ..uniform(Family::Llama)
        };
        let mut all = all.config();
        let both = BranchNorms { input: true, output: true };
        all.layers.iter_mut().for_each(|layer| (layer.mixer_norms, layer.mlp_norms) = (both, both));
        all.norm = NormKind::Layer;
        all.learned_positions = true;
        (all.embedding_norm, all.unembedding_bias) = (true, true);
        assert_eq!(n_of_blocks(&all), 2 * 24);
        assert_eq!(tensors(&all).len(), MAX_OUTSIDE - 3 + 2 * 24);
        all.layer_inputs = Some(3);
        assert_eq!(n_of_blocks(&all), 2 * 28);
        assert_eq!(tensors(&all).len(), MAX_OUTSIDE + 2 * 28);
    }

    #[test]
    fn every_tensor_says_who_reads_it() {
        let table = tensors(&uniform(Family::Gpt2).config());
        let of = |name: &str| table.iter().find(|t| t.name == name).expect("in the table");
        assert_eq!(of("embedding").reads, [(Op::Embedding, Reading::Row), (Op::Unembedding, Reading::Whole)]);
        assert_eq!(of("blocks.1.k.bias").reads, [(Op::Qkv, Reading::Whole)]);
        let bias = of("blocks.1.mlp_norm.bias");
        assert_eq!((bias.layer, bias.part, bias.role, bias.is_bias), (Some(1), Part::MlpNorm, Role::Norm, true));
        assert_eq!(of("blocks.0.down.bias").role, Role::Bias);
    }
}
