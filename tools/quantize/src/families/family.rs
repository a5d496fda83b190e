//! What is said of an architecture family, and what follows from it alone.

use whit::error::Result;
use whit::model::spec::{Expert, Part, TensorSpec};
use whit::model::{Config, Layer, Mamba2, Uniform};

use super::transform::{Heads, RotaryRows, Slice, Transform, Turning};
use crate::source::gguf::keys::Keys;
use crate::source::hf::fields::Fields;

/// An architecture family.
#[derive(Debug)]
pub struct Family {
    /// `model_type` in config.json.
    pub model_type: &'static str,
    /// Names of its classes, one of which `architectures` in config.json holds.
    pub(crate) architectures: &'static [&'static str],
    /// The plan that the fields of config.json describe.
    pub(crate) config: fn(&mut Fields<'_>) -> Result<Config>,
    /// What the names in Hugging Face checkpoints begin with in the family's table, but for the unembedding's.
    pub(crate) prefix: &'static str,
    /// Ends of the names of Hugging Face tensors that follow from the configuration, tables and masks; and what the names of modules
    /// begin with, a point behind it, that logits do not come from.
    pub(crate) ignored: &'static [&'static str],
    /// Names in Hugging Face checkpoints.
    pub(crate) names: Names,
    /// Names of the matrices of experts there, in which `{e}` is the number of the expert. Where it is not in a name, the tensor is that
    /// of all experts of the block, one after the other.
    pub(crate) expert_names: Names,
    /// What is replaced in the names of checkpoints that have others than the table's, in this order.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// Ends of names in GGUF files that are other than the table's, and what stands for them.
    pub(crate) gguf_renamed: &'static [(&'static str, &'static str)],
    /// Rows of q and k pair neighbours for the rotation in Hugging Face checkpoints.
    pub(crate) interleaved_rotary: bool,
    /// Pairs turn the other way than in other families.
    pub(crate) backwards: bool,
    /// Where q, k and v are one tensor in Hugging Face checkpoints, all rows of a head follow one another there.
    pub(crate) fused_by_head: bool,
    /// Tensors that its checkpoints do not have: their elements are 0 before they are transformed.
    pub(crate) zeros: fn(&TensorSpec) -> bool,
    /// What it is in GGUF files; `None` where such files are of another family's architecture.
    pub(crate) gguf: Option<Gguf>,
    /// Other names of that architecture, which other programs give it.
    pub(crate) gguf_also: &'static [&'static str],
    /// How a tensor of its checkpoints is transformed, apart from which rows of a fused tensor it is and from their order.
    pub(crate) transform: fn(&Config, &TensorSpec, Naming) -> Transform,
}

/// A family in GGUF files.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// `general.architecture`, and what the keys of the configuration begin with.
    pub(crate) architecture: &'static str,
    /// Its name in messages.
    pub(crate) label: &'static str,
    /// Rows of q and k were reordered for rotary pairs of neighbours when the file was made.
    pub(crate) interleaved_rotary: bool,
    /// The plan that the keys of the file describe.
    pub(crate) config: fn(&mut Keys<'_, '_>) -> Result<Config>,
    /// Names of tensors.
    pub(crate) names: Names,
}

/// Tables of names. The first table that names a part decides. A name is what stands before `.weight` or `.bias`, or before a `=`,
/// behind which nothing stands; `{}` in it is the number of the block; a name with `{h}` in it is that of a vector for each head. Parts of a block that have one name in one table are one tensor: their rows follow one another, in
/// the order of the table; those of queries and of their gates do so in each head.
pub(crate) type Names = &'static [&'static [(Part, &'static str)]];

/// Who named the tensors of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Hugging Face transformers.
    HuggingFace,
    /// llama.cpp.
    Gguf,
}

/// How the tensors of a checkpoint are named and their rotary rows ordered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layout {
    /// Who named them.
    pub naming: Naming,
    /// Rows of q and k pair neighbours (2i, 2i + 1) for the rotation, not halves (i, i + head_dim / 2).
    pub interleaved_rotary: bool,
    /// What part of each head turns; `None`: all of it.
    pub turning: Option<Turning>,
}

/// Where a tensor of a plan comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Name of the tensor in the checkpoint.
    pub name: String,
    /// How its elements lie in that tensor.
    pub transform: Transform,
}

/// Names of tensors that all architectures of GGUF share.
pub(crate) const GGUF_NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "token_embd"),
    (Part::EmbeddingNorm, "token_embd_norm"),
    (Part::Positions, "position_embd"),
    (Part::AttentionNorm, "blk.{}.attn_norm"),
    (Part::Query, "blk.{}.attn_q"),
    (Part::Key, "blk.{}.attn_k"),
    (Part::Value, "blk.{}.attn_v"),
    (Part::QueryNorm, "blk.{}.attn_q_norm"),
    (Part::KeyNorm, "blk.{}.attn_k_norm"),
    (Part::Sinks, "blk.{}.attn_sinks"),
    (Part::HeadsNorm, "blk.{}.attn_sub_norm"),
    (Part::Output, "blk.{}.attn_output"),
    (Part::OutputNorm, "blk.{}.post_attention_norm"),
    (Part::MlpNorm, "blk.{}.ffn_norm"),
    (Part::Gate, "blk.{}.ffn_gate"),
    (Part::Up, "blk.{}.ffn_up"),
    (Part::HiddenNorm, "blk.{}.ffn_sub_norm"),
    (Part::Down, "blk.{}.ffn_down"),
    (Part::Router, "blk.{}.ffn_gate_inp"),
    (Part::RouterBias, "blk.{}.exp_probs_b"),
    (Part::SharedGate, "blk.{}.ffn_gate_shexp"),
    (Part::SharedUp, "blk.{}.ffn_up_shexp"),
    (Part::SharedDown, "blk.{}.ffn_down_shexp"),
    (Part::SharedRouter, "blk.{}.ffn_gate_inp_shexp"),
    (Part::DownNorm, "blk.{}.post_ffw_norm"),
    (Part::FinalNorm, "output_norm"),
    (Part::Unembedding, "output"),
];

/// Names of the matrices of experts that all architectures of GGUF share.
const GGUF_EXPERT_NAMES: Names =
    &[&[(Part::Gate, "blk.{}.ffn_gate_exps"), (Part::Up, "blk.{}.ffn_up_exps"), (Part::Down, "blk.{}.ffn_down_exps")]];

impl Family {
    /// The plan with the name of the family, for people: but a plan that the first form of the configuration can say keeps the name by
    /// which every reader knows it.
    pub(crate) fn name_plan(&self, mut config: Config) -> Config {
        if Uniform::of(&config).is_none() {
            config.family = self.model_type.into();
        }
        config
    }

    /// Where the tensor `spec` of the plan `config` comes from, in a checkpoint of this `layout`. `None` where the family has no
    /// name for it there.
    pub fn origin(&self, config: &Config, spec: &TensorSpec, layout: Layout) -> Option<Origin> {
        let name = match spec.expert {
            None => self.tensor_name(spec.part, spec.layer, spec.is_bias, layout.naming)?,
            Some(expert) => {
                let (_, name) = named(self.expert_names_of(layout.naming), spec.part)?;
                let name = name.replace("{}", &spec.layer?.to_string()).replace("{e}", &expert.number.to_string());
                format!("{name}.weight")
            }
        };
        let mut transform = (self.transform)(config, spec, layout.naming);
        transform.slice = transform.slice.or(self.slice(config, spec, layout.naming));
        let rows = layout.rows(config, spec).map(|rows| RotaryRows { backwards: self.backwards, ..rows });
        transform.rotary = rows.filter(|rows| !rows.are_halves());
        Some(Origin { name, transform })
    }

    /// The rows that the tensor is of one that several parts of its block are fused in.
    fn slice(&self, config: &Config, spec: &TensorSpec, naming: Naming) -> Option<Slice> {
        let tables = match spec.expert {
            None => self.names_of(naming)?,
            Some(_) => self.expert_names_of(naming),
        };
        let table = tables.iter().find(|table| table.iter().any(|(part, _)| *part == spec.part))?;
        let (_, name) = named(tables, spec.part)?;
        let layer = config.layers.get(spec.layer?)?;
        let gate = layer.attention().is_some_and(|attention| attention.gate.is_some());
        let fused = || {
            let parts = table.iter().filter(|(_, other)| other == name).map(|(part, _)| *part);
            parts.filter(move |part| *part != Part::OutputGate || gate)
        };
        let rows = |part| match (part, layer.attention()) {
            (Part::Query | Part::OutputGate, Some(attention)) => attention.width(),
            (Part::Key | Part::Value, Some(attention)) => attention.kv_width(),
            (Part::Down, _) => config.dim,
            (Part::SharedGate | Part::SharedUp, _) => {
                let shared = layer.mlp.experts.as_ref().and_then(|experts| experts.shared);
                shared.map_or(0, |shared| shared.hidden_dim)
            }
            (Part::ScanGate | Part::ScanInner | Part::ScanStep | Part::ScanRank | Part::ScanSelect, _) => {
                scan_rows(layer, part)
            }
            _ => layer.mlp.hidden_dim,
        };
        let before: usize = fused().take_while(|part| *part != spec.part).map(rows).sum();
        let together: usize = fused().map(rows).sum();
        let one = Slice { first: before, total: together, matrices: 1, heads: None };
        if let Some(Expert { number, n_experts, .. }) = spec.expert.filter(|_| !name.contains("{e}")) {
            let first = number * together + before;
            return Some(Slice { first, total: n_experts * together, matrices: n_experts, ..one });
        }
        if fused().count() < 2 {
            return None;
        }
        // The gates of heads alone stay beside them in GGUF files.
        if !self.fused_by_head || (naming == Naming::Gguf && !gate) {
            return Some(one);
        }
        // A gate stands beside the queries of each head, keys and values beside those that share them.
        let n = layer.attention().map(|a| if a.gate.is_some() { a.n_heads } else { a.n_kv_heads })?;
        let heads = Heads { rows: rows(spec.part) / n, period: together / n };
        Some(Slice { first: before / n, heads: Some(heads), ..one })
    }

    /// The name of the weight or bias of a part, in the block `layer` or outside of the blocks.
    pub(crate) fn tensor_name(
        &self,
        part: Part,
        layer: Option<usize>,
        is_bias: bool,
        naming: Naming,
    ) -> Option<String> {
        let (_, name) = named(self.names_of(naming)?, part)?;
        let block = layer.map(|layer| layer.to_string()).unwrap_or_default();
        let name = name.replace("{}", &block);
        Some(match name.strip_suffix('=') {
            Some(whole) => whole.into(),
            None if is_bias || part == Part::RouterBias => format!("{name}.bias"),
            None => format!("{name}.weight"),
        })
    }

    fn expert_names_of(&self, naming: Naming) -> Names {
        match naming {
            Naming::HuggingFace => self.expert_names,
            Naming::Gguf => GGUF_EXPERT_NAMES,
        }
    }

    fn names_of(&self, naming: Naming) -> Option<Names> {
        match naming {
            Naming::HuggingFace => Some(self.names),
            Naming::Gguf => Some(self.gguf.as_ref()?.names),
        }
    }

    /// Gives the tensors of a Hugging Face checkpoint, all of whose `names` are given, the names of the family's table. What
    /// stands before the name of the first block's norm stands before all others too, whatever it is. The unembedding is found
    /// at any beginning of it.
    pub(crate) fn normalize(&self, names: Vec<String>) -> Vec<String> {
        let renamed = |name: String| self.renamed.iter().fold(name, |name, (from, to)| name.replace(from, to));
        let names: Vec<_> = names.into_iter().map(|name| renamed(unwrapped(&name))).collect();
        let anchors = [(Part::AttentionNorm, Some(0)), (Part::Embedding, None), (Part::FinalNorm, None)];
        let Some(prefix) = anchors.into_iter().find_map(|(part, layer)| self.prefix_of(&names, part, layer)) else {
            return names;
        };
        let unembedding = self.tensor_name(Part::Unembedding, None, false, Naming::HuggingFace);
        let normal = |name: String| match (name.strip_prefix(&prefix), &unembedding) {
            (_, Some(unembedding)) if parent(&name, unembedding).is_some_and(|at| prefix.starts_with(at)) => {
                unembedding.clone()
            }
            (Some(rest), _) => format!("{}{rest}", self.prefix),
            _ => name,
        };
        names.into_iter().map(normal).collect()
    }

    /// What stands in some of `names` before that of the weight of a part; the shortest, where several do.
    fn prefix_of(&self, names: &[String], part: Part, layer: Option<usize>) -> Option<String> {
        let name = self.tensor_name(part, layer, false, Naming::HuggingFace)?;
        let name = name.strip_prefix(self.prefix)?;
        let prefixes = names.iter().filter_map(|n| parent(n, name));
        prefixes.min_by_key(|prefix| prefix.len()).map(str::to_string)
    }

    /// The number of the block that a tensor of a Hugging Face checkpoint is of, by its name in the family's table.
    pub(crate) fn block_of(&self, name: &str) -> Option<usize> {
        let (_, pattern) = self.names.iter().copied().flatten().find(|(part, _)| *part == Part::AttentionNorm)?;
        let (before, _) = pattern.split_once("{}")?;
        name.strip_prefix(before)?.split_once('.')?.0.parse().ok()
    }

    /// A Hugging Face tensor that follows from the configuration, or that logits do not come from.
    pub(crate) fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|part| if part.ends_with('.') { name.starts_with(part) } else { name.ends_with(part) })
    }
}

impl Layout {
    /// How the rows of a tensor of q or k lie, where its heads turn.
    fn rows(&self, config: &Config, spec: &TensorSpec) -> Option<RotaryRows> {
        if !matches!(spec.part, Part::Query | Part::QueryNorm | Part::Key | Part::KeyNorm) {
            return None;
        }
        let attention = config.layers.get(spec.layer?)?.attention().filter(|attention| attention.rotary.is_some())?;
        let head_dim = attention.head_dim;
        let turning = self.turning.unwrap_or(Turning { rows: head_dim, factor: 1.0 });
        // What the norm of queries is multiplied by, the queries are.
        let factor = match spec.part {
            Part::QueryNorm => turning.factor,
            Part::Query if attention.qk_norm.is_none() => turning.factor,
            _ => 1.0,
        };
        Some(RotaryRows {
            head_dim,
            turning: turning.rows,
            interleaved: self.interleaved_rotary,
            backwards: false,
            factor,
        })
    }
}

/// Rows of a matrix that makes what the state space of a block reads.
fn scan_rows(layer: &Layer, part: Part) -> usize {
    match (part, layer.mamba1(), layer.mamba2()) {
        (Part::ScanRank, Some(mamba), _) => mamba.step_rank,
        (Part::ScanSelect, Some(mamba), _) => 2 * mamba.state_dim,
        (_, Some(mamba), _) => mamba.channels,
        (Part::ScanInner, _, Some(mamba)) => mamba.channels(),
        (Part::ScanStep, _, Some(mamba)) => mamba.n_heads,
        (_, _, mamba) => mamba.map_or(0, Mamba2::inner_dim),
    }
}

/// The first row of the tables that is of `part`.
fn named(names: Names, part: Part) -> Option<&'static (Part, &'static str)> {
    names.iter().copied().flatten().find(|(named, _)| *named == part)
}

/// What stands in `name` before `end`: nothing, or modules with a point after each.
fn parent<'n>(name: &'n str, end: &str) -> Option<&'n str> {
    name.strip_suffix(end).filter(|parent| parent.is_empty() || parent.ends_with('.'))
}

/// A name without the modules that torch.compile, checkpointing and FSDP wrap others in.
fn unwrapped(name: &str) -> String {
    let wraps = |module: &&str| ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"].contains(module);
    name.split('.').filter(|module| !wraps(module)).collect::<Vec<_>>().join(".")
}
