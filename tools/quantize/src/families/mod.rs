//! The architecture families that are read. A file each says how a checkpoint of the family becomes a plan of layers, and where
//! each tensor of that plan comes from. A new family is such a file and its rows in [`FAMILIES`].

mod gpt2;
mod llama;
mod transform;

use whit::error::Result;
use whit::model::Config;
use whit::model::spec::{Part, TensorSpec};

use crate::source::gguf_config::Keys;
use crate::source::hf_config::Fields;

pub(crate) use llama::LLAMA;
pub use transform::{Slice, Transform};

/// All families, in the order in which messages list them.
pub static FAMILIES: [&Family; 5] = [&gpt2::GPT2, &llama::LLAMA, &llama::MISTRAL, &llama::QWEN2, &llama::QWEN3];

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

/// Tables of names; of those with a part the first counts. A name is what stands before `.weight` or `.bias`, and `{}` in it is
/// the number of the block.
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
    /// The family whose `model_type` is `name`.
    pub fn named(name: &str) -> Option<&'static Family> {
        FAMILIES.into_iter().find(|family| family.model_type == name)
    }

    /// The family that has the class `name`.
    pub(crate) fn with_architecture(name: &str) -> Option<&'static Family> {
        FAMILIES.into_iter().find(|family| family.architectures.contains(&name))
    }

    /// The family of GGUF files of `architecture`, and what it is there.
    pub(crate) fn in_gguf(architecture: &str) -> Option<(&'static Family, &'static Gguf)> {
        let families = FAMILIES.into_iter().filter_map(|family| Some((family, family.gguf.as_ref()?)));
        families.into_iter().find(|(_, gguf)| gguf.architecture == architecture)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use whit::model::{self, Uniform};

    #[test]
    fn names_are_found_by_part_and_the_first_table_counts() {
        let name = |family: &str, part, layer, is_bias, naming| {
            Family::named(family).expect("a family").tensor_name(part, layer, is_bias, naming)
        };
        let (hub, gguf) = (Naming::HuggingFace, Naming::Gguf);
        let some = |name: &str| Some(name.to_string());
        assert_eq!(name("gpt2", Part::Key, Some(3), true, hub), some("h.3.attn.c_attn.bias"));
        assert_eq!(name("gpt2", Part::Key, Some(3), true, gguf), some("blk.3.attn_qkv.bias"));
        assert_eq!(name("gpt2", Part::Positions, None, false, gguf), some("position_embd.weight"));
        assert_eq!(name("qwen2", Part::Key, Some(12), true, gguf), some("blk.12.attn_k.bias"));
        assert_eq!(
            name("llama", Part::MlpNorm, Some(0), false, hub),
            some("model.layers.0.post_attention_layernorm.weight")
        );
        assert_eq!(name("llama", Part::Positions, None, false, hub), None);
        assert_eq!(
            name("mistral", Part::Embedding, None, false, gguf),
            None,
            "such files are of the architecture llama"
        );
    }

    #[test]
    fn every_tensor_of_a_plan_has_a_name_wherever_the_family_is_found() {
        for family in FAMILIES {
            let gpt2 = family.model_type == "gpt2";
            let network = Uniform {
                family: if gpt2 { model::Family::Gpt2 } else { model::Family::Llama },
                dim: 16,
                hidden_dim: 24,
                n_layers: 2,
                n_heads: 4,
                n_kv_heads: if gpt2 { 4 } else { 2 },
                head_dim: 4,
                vocab_size: 10,
                context_length: 8,
                norm_eps: 1e-5,
                sliding_window: None,
                tied: false,
                qkv_bias: true,
                output_bias: true,
                mlp_bias: true,
                qk_norm: !gpt2,
                rope_freqs: if gpt2 { vec![] } else { vec![1.0, 0.1] },
            };
            let config = network.config();
            let namings = [Some(Naming::HuggingFace), family.gguf.as_ref().map(|_| Naming::Gguf)];
            for naming in namings.into_iter().flatten() {
                let layout = Layout { naming, interleaved_rotary: true };
                for spec in model::tensors(&config) {
                    let origin = family.origin(&config, &spec, layout).expect(&spec.name);
                    let turns = !gpt2 && matches!(spec.part, Part::Query | Part::Key);
                    assert_eq!(origin.transform.interleaved, turns.then_some(4), "{}", spec.name);
                    let fused = gpt2 && matches!(spec.part, Part::Query | Part::Key | Part::Value);
                    assert_eq!(origin.transform.slice.map(|slice| slice.total), fused.then_some(48), "{}", spec.name);
                    let conv1d = gpt2 && naming == Naming::HuggingFace && spec.shape.dims().len() == 2;
                    assert_eq!(origin.transform.transposed, conv1d && spec.layer.is_some(), "{}", spec.name);
                }
            }
        }
    }

    #[test]
    fn no_two_families_share_a_name() {
        let types = FAMILIES.iter().map(|family| family.model_type);
        let architectures = FAMILIES.iter().flat_map(|family| family.architectures).copied();
        let gguf = FAMILIES.iter().filter_map(|family| Some(family.gguf.as_ref()?.architecture));
        for mut names in [types.collect::<Vec<_>>(), architectures.collect(), gguf.collect()] {
            let n = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), n, "{names:?}");
        }
    }

    #[test]
    fn prefixes_come_and_go() {
        let normal = |family: &str, name: &str| Family::named(family).expect("a family").normal_name(name.into());
        assert_eq!(normal("gpt2", "transformer.wte.weight"), "wte.weight");
        assert_eq!(normal("gpt2", "wte.weight"), "wte.weight");
        assert_eq!(normal("llama", "layers.0.mlp.up_proj.weight"), "model.layers.0.mlp.up_proj.weight");
        assert_eq!(normal("llama", "model.norm.weight"), "model.norm.weight");
        assert_eq!(normal("llama", "lm_head.weight"), "lm_head.weight");
    }
}
