//! What is said of an architecture family, and what follows from it alone.

use whit::error::Result;
use whit::model::Config;
use whit::model::spec::{Part, TensorSpec};

use super::transform::Transform;
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
    /// Ends of the names of Hugging Face tensors that follow from the configuration: tables and masks.
    pub(crate) ignored: &'static [&'static str],
    /// Names in Hugging Face checkpoints.
    pub(crate) names: Names,
    /// What it is in GGUF files; `None` where such files are of another family's architecture.
    pub(crate) gguf: Option<Gguf>,
    /// How a tensor of its checkpoints is transformed, apart from the order of rotary rows.
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

/// Tables of names. The first table that names a part decides. A name is what stands before `.weight` or `.bias`, and `{}` in it
/// is the number of the block.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Who named them.
    pub naming: Naming,
    /// Rows of q and k pair neighbours (2i, 2i + 1) for the rotation, not halves (i, i + head_dim / 2).
    pub interleaved_rotary: bool,
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
    (Part::Positions, "position_embd"),
    (Part::AttentionNorm, "blk.{}.attn_norm"),
    (Part::Query, "blk.{}.attn_q"),
    (Part::Key, "blk.{}.attn_k"),
    (Part::Value, "blk.{}.attn_v"),
    (Part::QueryNorm, "blk.{}.attn_q_norm"),
    (Part::KeyNorm, "blk.{}.attn_k_norm"),
    (Part::Output, "blk.{}.attn_output"),
    (Part::OutputNorm, "blk.{}.post_attention_norm"),
    (Part::MlpNorm, "blk.{}.ffn_norm"),
    (Part::Gate, "blk.{}.ffn_gate"),
    (Part::Up, "blk.{}.ffn_up"),
    (Part::Down, "blk.{}.ffn_down"),
    (Part::DownNorm, "blk.{}.post_ffw_norm"),
    (Part::FinalNorm, "output_norm"),
    (Part::Unembedding, "output"),
];

impl Family {
    /// Where the tensor `spec` of the plan `config` comes from, in a checkpoint of this `layout`. `None` where the family has no
    /// name for it there.
    pub fn origin(&self, config: &Config, spec: &TensorSpec, layout: Layout) -> Option<Origin> {
        let name = self.tensor_name(spec.part, spec.layer, spec.is_bias, layout.naming)?;
        let mut transform = (self.transform)(config, spec, layout.naming);
        if layout.interleaved_rotary && matches!(spec.part, Part::Query | Part::Key) {
            let attention = config.layers.get(spec.layer?)?.attention();
            transform.interleaved = attention.filter(|a| a.rotary.is_some()).map(|a| a.head_dim);
        }
        Some(Origin { name, transform })
    }

    /// The name of the weight or bias of a part, in the block `layer` or outside of the blocks.
    pub(crate) fn tensor_name(
        &self,
        part: Part,
        layer: Option<usize>,
        is_bias: bool,
        naming: Naming,
    ) -> Option<String> {
        let names = match naming {
            Naming::HuggingFace => self.names,
            Naming::Gguf => self.gguf.as_ref()?.names,
        };
        let (_, name) = names.iter().copied().flatten().find(|(named, _)| *named == part)?;
        let block = layer.map(|layer| layer.to_string()).unwrap_or_default();
        Some(format!("{}.{}", name.replace("{}", &block), if is_bias { "bias" } else { "weight" }))
    }

    /// Gives the tensors of a Hugging Face checkpoint, all of whose `names` are given, the names of the family's table. What
    /// stands before the name of the first block's norm stands before all others too, whatever it is. The unembedding is found
    /// at any beginning of it.
    pub(crate) fn normalize(&self, names: Vec<String>) -> Vec<String> {
        let names: Vec<_> = names.into_iter().map(|name| unwrapped(&name)).collect();
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

    /// A Hugging Face tensor that follows from the configuration.
    pub(crate) fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|end| name.ends_with(end))
    }
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
