//! The architecture families that are read. A file each says how a checkpoint of the family becomes a plan of layers, and where
//! each tensor of that plan comes from. A new family is such a file and its rows in [`FAMILIES`].

mod arcee;
mod bitnet;
mod bloom;
mod cohere;
mod ernie4_5;
mod exaone;
mod exaone4;
mod experts;
mod factors;
mod falcon_h1;
mod family;
mod gemma;
mod gemma4;
mod glm;
mod gpt2;
mod gpt_bigcode;
mod gpt_neo;
mod gpt_neox;
mod gptj;
mod granite;
mod helium;
mod hunyuan;
mod hyperclovax;
mod internlm3;
mod lfm2;
mod lfm3;
mod llama;
mod mamba;
mod minicpm;
mod ministral3;
mod missing;
mod mobilellm;
mod nanochat;
mod nemotron;
mod olmo;
mod olmoe;
mod opt;
mod phi2;
mod phi3;
mod qwen3_5;
mod qwen3_vl;
mod qwen_moe;
mod smollm3;
mod stablelm;
mod starcoder2;
mod state_space;
mod transform;
mod variant;
mod wrapper;

pub(crate) use factors::{Factors, Multipliers};
pub(crate) use family::Gguf;
pub use family::{Family, Layout, Naming, Origin};
pub(crate) use llama::LLAMA;
pub(crate) use missing::missing;
pub use transform::{Heads, RotaryRows, RowFactors, Slice, Tiled, Transform, Turning};
pub(crate) use wrapper::Wrapper;

/// All families, in the order in which messages list them.
pub static FAMILIES: &[&Family] = &[
    &gpt2::GPT2,
    &gpt_bigcode::GPT_BIGCODE,
    &llama::LLAMA,
    &llama::MISTRAL,
    &ministral3::MINISTRAL3,
    &llama::QWEN2,
    &llama::QWEN3,
    &qwen3_vl::QWEN3_VL,
    &granite::GRANITE,
    &granite::GRANITE4,
    &granite::GRANITE_MOE,
    &granite::GRANITE_SWA,
    &phi3::PHI3,
    &ernie4_5::ERNIE4_5,
    &helium::HELIUM,
    &glm::GLM,
    &exaone::EXAONE,
    &internlm3::INTERNLM3,
    &minicpm::MINICPM,
    &gemma::GEMMA1,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &gemma4::GEMMA4,
    &smollm3::SMOLLM3,
    &olmo::OLMO1,
    &olmo::OLMO2,
    &olmo::OLMO3,
    &olmoe::OLMOE,
    &qwen_moe::QWEN2_MOE,
    &qwen_moe::QWEN3_MOE,
    &exaone4::EXAONE4,
    &hunyuan::HUNYUAN,
    &hyperclovax::HYPERCLOVAX,
    &arcee::ARCEE,
    &mobilellm::MOBILELLM,
    &stablelm::STABLELM,
    &starcoder2::STARCODER2,
    &nemotron::NEMOTRON,
    &nanochat::NANOCHAT,
    &phi2::PHI2,
    &gpt_neox::GPT_NEOX,
    &gptj::GPTJ,
    &cohere::COHERE1,
    &cohere::COHERE2,
    &gpt_neo::GPT_NEO,
    &opt::OPT,
    &bloom::BLOOM,
    &bitnet::BITNET,
    &lfm2::LFM2,
    &lfm2::LFM2_MOE,
    &lfm3::LFM3,
    &qwen3_5::QWEN3_5,
    &mamba::MAMBA1,
    &mamba::MAMBA2,
    &falcon_h1::FALCON_H1,
];

impl Family {
    /// The family whose `model_type` is `name`.
    pub fn named(name: &str) -> Option<&'static Family> {
        FAMILIES.iter().copied().find(|family| family.model_type == name)
    }

    /// The family that has the class `name`.
    pub(crate) fn with_architecture(name: &str) -> Option<&'static Family> {
        FAMILIES.iter().copied().find(|family| family.architectures.contains(&name))
    }

    /// The family of GGUF files of `architecture`, what it is there, and that name.
    pub(crate) fn in_gguf(architecture: &str) -> Option<(&'static Family, &'static Gguf, &'static str)> {
        let families = FAMILIES.iter().copied().filter_map(|family| Some((family, family.gguf.as_ref()?)));
        let named = |(family, gguf): (&'static Family, &'static Gguf)| {
            let mut names = [gguf.architecture].into_iter().chain(family.gguf_also.iter().copied());
            names.find(|name| *name == architecture).map(|name| (family, gguf, name))
        };
        families.into_iter().find_map(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whit::model::spec::Part;
    use whit::model::{self, BranchNorms, Mamba1, Mamba2, Mixer, Mlp, ScanNorm, Uniform};

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
            let names = |part: Part| family.names.iter().copied().flatten().any(|(named, _)| *named == part);
            let gpt2 = names(Part::Positions);
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
                qk_norm: names(Part::QueryNorm),
                rope_freqs: if gpt2 { vec![] } else { vec![1.0, 0.1] },
            };
            let mut config = network.config();
            config.layers.iter_mut().for_each(|layer| layer.mlp.kind.gated = names(Part::Gate));
            if !names(Part::Query) {
                let (n_heads, head_dim, state_dim, n_groups, width) = (4, 4, 8, 2, 4);
                let (norm, step_limits) = (Some(ScanNorm { n_groups, before_gate: false }), None);
                let mamba =
                    Mamba2 { n_heads, head_dim, state_dim, n_groups, width, conv_bias: true, step_limits, norm };
                let channels = Mamba1 { channels: 24, state_dim, step_rank: 3, width, conv_bias: true };
                for layer in &mut config.layers {
                    layer.mixer = match names(Part::ScanSpread) {
                        true => Mixer::Mamba1(channels.clone()),
                        false => Mixer::Mamba2(mamba.clone()),
                    };
                    (layer.mlp, layer.mlp_norms) = (Mlp::NONE, BranchNorms::NONE);
                }
            }
            let namings = [Some(Naming::HuggingFace), family.gguf.as_ref().map(|_| Naming::Gguf)];
            for naming in namings.into_iter().flatten() {
                let layout = Layout { naming, interleaved_rotary: true, turning: None };
                let origin = |spec| family.origin(&config, spec, layout).expect("a name");
                let mut specs = model::tensors(&config);
                // Positions are counted from another row in some.
                specs.retain(|spec| spec.part != Part::Positions);
                for spec in &specs {
                    let Origin { name, transform } = origin(spec);
                    let turns = [Part::Query, Part::Key, Part::QueryNorm, Part::KeyNorm].contains(&spec.part);
                    let rows = transform.rotary.map(|rows| (rows.head_dim, rows.turning, rows.interleaved));
                    assert_eq!(rows, (!gpt2 && turns).then_some((4, 4, true)), "{}", spec.name);
                    // The rows of one tensor follow one another, and all of them are there.
                    let of_one = specs.iter().filter(|other| origin(other).name == name);
                    let rows: Vec<u64> = of_one.clone().map(|spec| spec.shape.dims()[0]).collect();
                    let before =
                        of_one.take_while(|other| *other != spec).map(|spec| spec.shape.dims()[0]).sum::<u64>();
                    let (first, total) = (before as usize, rows.iter().sum::<u64>() as usize);
                    let by_head = family.fused_by_head && naming == Naming::HuggingFace;
                    let n = config.layers[0].attention().map_or(1, |attention| attention.n_kv_heads);
                    let heads = Heads { rows: spec.shape.dims()[0] as usize / n, period: total / n };
                    let slice = match by_head {
                        true => Slice { first: first / n, total, matrices: 1, heads: Some(heads) },
                        false => Slice { first, total, matrices: 1, heads: None },
                    };
                    let fused = (rows.len() > 1).then_some(slice);
                    assert_eq!(transform.slice, fused, "{} {}", family.model_type, spec.name);
                    let conv1d = family.model_type == "gpt2" && naming == Naming::HuggingFace;
                    let matrix = spec.layer.is_some() && spec.shape.dims().len() == 2;
                    assert_eq!(transform.transposed, conv1d && matrix, "{}", spec.name);
                }
            }
        }
    }

    #[test]
    fn no_two_families_share_a_name() {
        let types = FAMILIES.iter().map(|family| family.model_type).chain(Wrapper::model_types());
        let architectures = FAMILIES.iter().flat_map(|family| family.architectures).copied();
        // Those of other families of which transformers makes Llama are Llama's where nothing else names the family.
        let architectures = architectures.filter(|name| !LLAMA.architectures.contains(name));
        let gguf = FAMILIES.iter().filter_map(|family| Some(family.gguf.as_ref()?.architecture));
        let gguf = gguf.chain(FAMILIES.iter().flat_map(|family| family.gguf_also).copied());
        for mut names in [types.collect::<Vec<_>>(), architectures.collect(), gguf.collect()] {
            let n = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), n, "{names:?}");
        }
    }

    #[test]
    fn whatever_stands_before_all_names_is_taken_off() {
        let table = |family: &str| Family::named(family).expect("a family");
        let normal =
            |family: &str, names: &[&str]| table(family).normalize(names.iter().map(|n| n.to_string()).collect());
        let llama =
            ["layers.0.input_layernorm.weight", "layers.1.mlp.up_proj.weight", "embed_tokens.weight", "norm.weight"];
        let prefixes = [
            "",
            "model.",
            "transformer.",
            "model.language_model.",
            "_orig_mod.model.",
            "module.model.",
            "base_model.model.model.",
            "model.model.",
        ];
        for prefix in prefixes {
            for head in ["", &prefix[..prefix.find('.').map_or(0, |at| at + 1)], prefix] {
                let stored = llama.map(|name| format!("{prefix}{name}"));
                let mut stored: Vec<&str> = stored.iter().map(String::as_str).collect();
                let head = format!("{head}lm_head.weight");
                stored.push(&head);
                let mut want = llama.map(|name| format!("model.{name}")).to_vec();
                want.push("lm_head.weight".into());
                assert_eq!(normal("llama", &stored), want, "{prefix}, {head}");
            }
        }
        assert_eq!(
            normal(
                "gpt2",
                &["module.transformer.h.0.ln_1.weight", "module.transformer.wte.weight", "module.lm_head.weight"]
            ),
            ["h.0.ln_1.weight", "wte.weight", "lm_head.weight"]
        );
        assert_eq!(normal("gpt2", &["h.0.ln_1.weight", "wpe.weight"]), ["h.0.ln_1.weight", "wpe.weight"]);
        assert_eq!(
            normal(
                "llama",
                &["model.layers.0._orig_mod.input_layernorm.weight", "model._fsdp_wrapped_module.norm.weight"]
            ),
            ["model.layers.0.input_layernorm.weight", "model.norm.weight"]
        );
    }

    #[test]
    fn names_of_its_own_become_those_of_the_table() {
        let stored =
            ["transformer.h.3.attn.attention.out_proj.weight", "transformer.h.0.ln_1.weight", "lm_head.weight"];
        let exaone = Family::named("exaone").expect("a family");
        let want =
            ["model.layers.3.self_attn.o_proj.weight", "model.layers.0.input_layernorm.weight", "lm_head.weight"];
        assert_eq!(exaone.normalize(stored.map(String::from).to_vec()), want);
        assert_eq!(exaone.normalize(want.map(String::from).to_vec()), want);
    }

    #[test]
    fn a_part_of_each_head_turns() {
        let phi3 = Family::named("phi3").expect("a family");
        let network = Uniform {
            family: model::Family::Llama,
            dim: 16,
            hidden_dim: 24,
            n_layers: 1,
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 8,
            vocab_size: 10,
            context_length: 8,
            norm_eps: 1e-5,
            sliding_window: None,
            tied: false,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            rope_freqs: vec![1.0, 0.1, 0.01, 0.0],
        };
        let config = network.config();
        let turning = Some(Turning { rows: 6, factor: 1.5 });
        let layout = Layout { naming: Naming::HuggingFace, interleaved_rotary: false, turning };
        let rows = |part| {
            let spec = model::tensors(&config).into_iter().find(|spec| spec.part == part).expect("a tensor");
            phi3.origin(&config, &spec, layout).expect("a name").transform.rotary
        };
        let turned =
            |factor| Some(RotaryRows { head_dim: 8, turning: 6, interleaved: false, backwards: false, factor });
        assert_eq!((rows(Part::Query), rows(Part::Key), rows(Part::Value)), (turned(1.5), turned(1.0), None));
    }

    #[test]
    fn names_that_are_not_under_the_prefix_stay_as_they_are() {
        let names = ["model.layers.0.input_layernorm.weight", "norm.weight", "head.lm_head.weight", "x.layers.1.mlp"];
        let names = names.map(String::from).to_vec();
        let llama = Family::named("llama").expect("a family");
        assert_eq!(llama.normalize(names.clone()), names);
        assert_eq!(llama.normalize(vec!["embedding".into()]), ["embedding"]);
    }

    #[test]
    fn a_name_tells_its_block() {
        let block = |family: &str, name: &str| Family::named(family).expect("a family").block_of(name);
        assert_eq!(block("llama", "model.layers.12.mlp.up_proj.weight"), Some(12));
        assert_eq!(block("gpt2", "h.0.ln_1.weight"), Some(0));
        for name in ["model.norm.weight", "model.layers.x.mlp", "layers.1.mlp", "model.layers.1"] {
            assert_eq!(block("llama", name), None, "{name}");
        }
    }

    /// The rows of the first table of docs/models.md, as cells.
    fn rows_of_the_page() -> Vec<Vec<&'static str>> {
        let page = include_str!("../../../../docs/models.md");
        let table = page.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        table.skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
    }

    /// What stands between two `marks`, again and again.
    fn marked<'t>(text: &'t str, marks: &str) -> Vec<&'t str> {
        text.split(marks).skip(1).step_by(2).collect()
    }

    #[test]
    fn the_page_of_models_has_a_row_for_each_family() {
        let rows = rows_of_the_page();
        let mut types: Vec<&str> = rows.iter().flat_map(|row| marked(row[1], "`")).collect();
        for family in FAMILIES {
            let row = rows.iter().find(|row| marked(row[1], "`").contains(&family.model_type));
            let row = row.unwrap_or_else(|| panic!("{} has no row in docs/models.md", family.model_type));
            if let Some(gguf) = &family.gguf {
                let names = [&[gguf.architecture], family.gguf_also].concat();
                assert_eq!(marked(row[2], "`"), names, "{}", family.model_type);
            }
        }
        let mut want: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
        want.extend(Wrapper::model_types());
        types.sort_unstable();
        want.sort_unstable();
        assert_eq!(types, want);
        let unknown = |name: &&str| Family::in_gguf(name).is_none();
        let unknown: Vec<&str> = rows.iter().flat_map(|row| marked(row[2], "`")).filter(unknown).collect();
        assert!(unknown.is_empty(), "no family has the architectures {unknown:?}");
    }

    #[test]
    fn the_readme_lists_the_families_of_the_page() {
        let names: Vec<&str> = rows_of_the_page().into_iter().flat_map(|row| marked(row[0], "**")).collect();
        let readme: Vec<&str> = include_str!("../../../../README.md").split_whitespace().collect();
        let list = format!("are read: {}.", names.join(", "));
        assert!(readme.join(" ").contains(&list), "README.md lacks this list:\n{list}");
    }

    #[test]
    fn the_page_of_models_names_every_fixture() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/families");
        let named = marked(include_str!("../../../../docs/models.md"), "`");
        for file in std::fs::read_dir(folder).expect("the fixtures").flatten() {
            let file = file.file_name().into_string().expect("a name");
            let Some(fixture) = file.strip_suffix(".json").filter(|name| *name != "texts") else { continue };
            assert!(named.contains(&fixture), "docs/models.md does not name {fixture}");
        }
    }
}
