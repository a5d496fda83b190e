//! The weights of a network: views into the mapped file, checked against the family's table.

use super::config::Config;
use super::spec::{self, Shape, TensorSpec};
use crate::error::{Error, Result, listed, printable};
use crate::format::File;
use crate::ops::{Linear, Norm};
use crate::quant::Matrix;
use alloc::vec::Vec;

/// One block.
pub(super) struct Block<'a> {
    pub(super) attn_norm: Norm<'a>,
    pub(super) q: Linear<'a>,
    pub(super) k: Linear<'a>,
    pub(super) v: Linear<'a>,
    /// (head_dim) each: q/k norms per head.
    pub(super) qk_norm: Option<(&'a [f32], &'a [f32])>,
    pub(super) o: Linear<'a>,
    pub(super) mlp_norm: Norm<'a>,
    /// Present in SwiGLU MLPs.
    pub(super) gate: Option<Linear<'a>>,
    pub(super) up: Linear<'a>,
    pub(super) down: Linear<'a>,
}

/// All weights.
pub(super) struct Weights<'a> {
    /// (vocab_size, dim).
    pub(super) embedding: Matrix<'a>,
    /// (context_length, dim): learned positions.
    pub(super) positions: Option<Matrix<'a>>,
    pub(super) blocks: Vec<Block<'a>>,
    pub(super) final_norm: Norm<'a>,
    /// (vocab_size, dim); the embedding itself where tied.
    pub(super) unembedding: Linear<'a>,
}

impl<'a> Weights<'a> {
    /// The weights of `config`'s network in `file`; refuses missing, left-over, misshapen tensors and dtypes that a role
    /// does not allow, all in one message.
    pub(super) fn open(file: &File<'a>, config: &Config) -> Result<Self> {
        // A layer has nine tensors or more: with four, the table of the family is not much longer than the directory.
        let n = file.tensors().len();
        if n / 4 < config.n_layers {
            let message = format!("{n} tensors for {} layers", config.n_layers);
            return Err(Error::data(message).field("tensors").hint("convert the checkpoint again"));
        }
        check(file, &spec::tensors(config))?;
        let blocks = (0..config.n_layers).map(|i| Self::block(file, config, i)).collect::<Result<_>>()?;
        let embedding = file.matrix("embedding")?;
        Ok(Weights {
            embedding,
            positions: optional(file, "positions", File::matrix)?,
            blocks,
            final_norm: norm(file, config, "final_norm")?,
            unembedding: Linear {
                weight: if config.tied { embedding } else { file.matrix("unembedding")? },
                bias: None,
            },
        })
    }

    fn block(file: &File<'a>, config: &Config, i: usize) -> Result<Block<'a>> {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let gate = name("gate");
        Ok(Block {
            attn_norm: norm(file, config, &name("attn_norm"))?,
            q: linear(file, &name("q"))?,
            k: linear(file, &name("k"))?,
            v: linear(file, &name("v"))?,
            qk_norm: if config.qk_norm {
                Some((file.vector(&name("q_norm"))?, file.vector(&name("k_norm"))?))
            } else {
                None
            },
            o: linear(file, &name("o"))?,
            mlp_norm: norm(file, config, &name("mlp_norm"))?,
            gate: optional(file, &gate, linear)?,
            up: linear(file, &name("up"))?,
            down: linear(file, &name("down"))?,
        })
    }
}

fn linear<'a>(file: &File<'a>, name: &str) -> Result<Linear<'a>> {
    Ok(Linear { weight: file.matrix(name)?, bias: optional(file, &format!("{name}.bias"), File::vector)? })
}

fn norm<'a>(file: &File<'a>, config: &Config, name: &str) -> Result<Norm<'a>> {
    let bias = optional(file, &format!("{name}.bias"), File::vector)?;
    Ok(Norm { weight: file.vector(name)?, bias, eps: config.norm_eps })
}

fn optional<'f, 'a, T>(
    file: &'f File<'a>,
    name: &str,
    read: impl Fn(&'f File<'a>, &str) -> Result<T>,
) -> Result<Option<T>> {
    file.tensor(name).map(|_| read(file, name)).transpose()
}

/// Holds the file's directory against the family's table.
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
    let known: alloc::collections::BTreeSet<_> = table.iter().map(|spec| spec.name.as_str()).collect();
    let extra = file.tensors().iter().filter(|entry| !known.contains(entry.name));
    problems.extend(extra.map(|entry| format!("{} belongs to no layer", printable(entry.name))));
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::data(listed(&problems)).field("tensors").hint("convert the checkpoint again"))
}
