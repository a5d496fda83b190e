//! Checkpoints whose tensors have other names than transformers writes, or are fewer or more: the same logits.

mod support;

use std::path::Path;

use quantize::source::{Checkpoint, OpenOptions};
use support::{Converted, Run, json, renamed, root, shared};
use whit::quant::Dtype;

const IDS: [u32; 5] = [3, 1, 4, 1, 5];

/// Logits after each of [`IDS`].
fn logits(folder: &Path) -> Vec<Vec<f32>> {
    Run::reference().logits(&Converted::new(folder, Dtype::F32).model(), &IDS)
}

/// What is said of a checkpoint that is opened.
fn notes(folder: &Path) -> String {
    Checkpoint::open(folder, &OpenOptions::default()).expect("a checkpoint").notes.join("\n")
}

/// The fixture of a family with fields of config.json replaced and its tensors renamed.
fn variant(
    family: &str,
    fields: &[(&str, serde_json::Value)],
    rename: impl Fn(&str) -> Option<String>,
) -> tempfile::TempDir {
    let fixture = root().join("tests/fixtures/settings").join(family);
    let mut config = json(&fixture.join("config.json"));
    fields.iter().for_each(|(key, value)| config[*key] = value.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let weights = std::fs::read(fixture.join("model.safetensors")).expect("the fixture");
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    std::fs::write(folder.path().join("model.safetensors"), renamed(&weights, rename)).expect("written");
    folder
}

/// S-29: what training programs and larger models put in front.
#[test]
fn a_prefix_of_all_names_changes_nothing() {
    for (family, stem) in [("llama", "model."), ("qwen3", "model."), ("gpt2", "transformer.")] {
        let want = logits(variant(family, &[], |name| Some(name.into())).path());
        for prefix in ["", "x.", "_orig_mod.", "module.", "base_model.model.", "module._orig_mod.", "a.b.c."] {
            let before_all = |name: &str| Some(format!("{prefix}{name}"));
            assert_eq!(logits(variant(family, &[], before_all).path()), want, "{family}, {prefix} before all");
            for head in ["lm_head", &format!("{prefix}lm_head")] {
                let other_stem = |name: &str| match name.strip_prefix(stem) {
                    Some(rest) => Some(format!("{prefix}{rest}")),
                    None => Some(format!("{head}.weight")),
                };
                assert_eq!(logits(variant(family, &[], other_stem).path()), want, "{family}, {prefix}, {head}");
            }
        }
        let wrapped = |name: &str| Some(name.replace("mlp", "_orig_mod.mlp._fsdp_wrapped_module"));
        assert_eq!(logits(variant(family, &[], wrapped).path()), want, "{family}, modules within");
    }
}

/// S-29: names that are not all under one prefix are listed as they are.
#[test]
fn names_beside_the_prefix_are_left_over() {
    let stray = |name: &str| Some(name.replace("model.layers.1", "other.layers.1"));
    let folder = variant("llama", &[], stray);
    let source = Checkpoint::open(folder.path(), &OpenOptions::default()).expect("a readable checkpoint");
    assert!(source.tensors.iter().any(|tensor| tensor.name.starts_with("other.layers.1.")));
    let two_heads = |name: &str| match name {
        "model.norm.weight" => Some("lm_head.weight".into()),
        _ => Some(format!("base.{name}")),
    };
    let folder = variant("llama", &[], two_heads);
    let error = Checkpoint::open(folder.path(), &OpenOptions::default()).expect_err("two unembeddings");
    assert!(error.to_string().contains("appears twice, with and without prefix"), "{error}");
}

/// S-30: a configuration that counts fewer blocks than there are.
#[test]
fn later_blocks_are_left_out_and_told() {
    let whole = variant("llama", &[("num_hidden_layers", 1.into())], |name| Some(name.into()));
    let cut = variant("llama", &[("num_hidden_layers", 1.into())], |name| {
        (!name.starts_with("model.layers.1.")).then(|| name.into())
    });
    assert_eq!(logits(whole.path()), logits(cut.path()));
    assert!(notes(whole.path()).contains("9 tensors are of blocks beyond the 1 of the configuration: ignored"));
}

/// S-31: of a tied pair one is enough, and what differs is not tied.
#[test]
fn of_a_tied_pair_either_is_enough() {
    let tied = [("tie_word_embeddings", true.into())];
    for (family, embedding) in [("llama", "model.embed_tokens.weight"), ("gpt2", "transformer.wte.weight")] {
        let untied = logits(variant(family, &[("tie_word_embeddings", false.into())], |name| Some(name.into())).path());
        let differing = variant(family, &tied, |name| Some(name.into()));
        assert_eq!(logits(differing.path()), untied);
        assert!(notes(differing.path()).contains("both are used"));
        let only_head = variant(family, &tied, |name| (name != embedding).then(|| name.into()));
        assert!(notes(only_head.path()).contains("is stored as lm_head.weight"));
        let as_embedding = variant(family, &tied, |name| match name {
            "lm_head.weight" => Some(embedding.into()),
            _ => (name != embedding).then(|| name.into()),
        });
        assert_eq!(logits(only_head.path()), logits(as_embedding.path()));
    }
}

/// Real cases: a padding token beyond the embedding, an embedding that was saved as the unembedding, YaRN, the exact GELU.
#[test]
fn cases_that_once_failed_are_converted() {
    let cases = [
        ("17-pad-token-beyond-embedding", "left out: \"<pad>\""),
        ("18-embedding-saved-as-lm_head", "is stored as lm_head.weight"),
        ("31-yarn", ""),
        ("32-gpt2-gelu", ""),
    ];
    for (case, note) in cases {
        let Some(folder) = shared(&format!("cases/{case}/model")) else { return };
        assert!(notes(&folder).contains(note), "{case}: {}", notes(&folder));
        Converted::new(&folder, Dtype::F32).with(|model| {
            let tokenizer = model.tokenizer().expect("a tokenizer");
            assert_eq!(tokenizer.vocab_size(), model.config().vocab_size, "{case}");
            let got = Run::reference().logits(model, &IDS);
            assert!(got.iter().flatten().all(|logit| logit.is_finite()), "{case}");
        });
    }
}
