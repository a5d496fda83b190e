//! What is said of an architecture family, and what follows from it alone.

use whit::error::Result;
use whit::model::Config;
use whit::model::spec::{Part, TensorSpec};

use super::transform::Transform;
use crate::source::gguf_keys::Keys;
use crate::source::hf_fields::Fields;

/// An architecture family.
#[derive(Debug)]
pub struct Family {
    /// `model_type` in config.json.
    pub model_type: &'static str,
    /// Names of its classes, one of which `architectures` in config.json holds.
    pub(crate) architectures: &'static [&'static str],
    /// The plan that the fields of config.json describe.
    pub(crate) config: fn(&mut Fields<'_>) -> Result<Config>,
    /// The prefix that names of its tensors have in some Hugging Face checkpoints.
    pub(crate) prefix: Prefix,
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

/// A prefix of names of tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Prefix {
    /// Some checkpoints have it before the names that the family's table has.
    Dropped(&'static str),
    /// Some checkpoints lack it, which the names of the family's table have.
    Added {
        /// The prefix.
        prefix: &'static str,
        /// What names begin with that lack it.
        before: &'static [&'static str],
    },
}

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// The name in the family's table of a tensor that a Hugging Face checkpoint names `name`.
    pub(crate) fn normal_name(&self, name: String) -> String {
        match self.prefix {
            Prefix::Dropped(prefix) => name.strip_prefix(prefix).map_or(name.clone(), str::to_string),
            Prefix::Added { prefix, before } if before.iter().any(|start| name.starts_with(start)) => {
                format!("{prefix}{name}")
            }
            Prefix::Added { .. } => name,
        }
    }

    /// A Hugging Face tensor that follows from the configuration.
    pub(crate) fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|end| name.ends_with(end))
    }
}
