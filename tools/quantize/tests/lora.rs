//! Low-rank adapters: what PEFT makes of them (tests/fixtures/lora), or a refusal with names. Rows are those of docs/bad-inputs.md.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use quantize::source::{Checkpoint, OpenOptions};
use support::{json, renamed, root, shared, write_safetensors};
use whit::error::{Error, Kind, Result};

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/lora").join(name)
}

fn open(base: &Path, adapters: &[(&Path, f64)]) -> Result<Checkpoint> {
    let lora = adapters.iter().map(|(dir, scale)| (dir.to_path_buf(), *scale)).collect();
    Checkpoint::open(base, &OpenOptions { lora, ..OpenOptions::default() })
}

type Values = BTreeMap<String, (Vec<u64>, Vec<f32>)>;

fn values(source: &Checkpoint) -> Values {
    let read = |i: usize| {
        let tensor = &source.tensors[i];
        let mut values = vec![0.0; tensor.elements() as usize];
        source.read(i, 0, &mut values).expect("values");
        (tensor.name.clone(), (tensor.shape.clone(), values))
    };
    (0..source.tensors.len()).map(read).collect()
}

/// The model that PEFT made of the base and the adapter.
fn merged(base: &str, adapter: &str) -> Values {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(fixture(base).join("config.json"), folder.path().join("config.json")).expect("copied");
    let from = fixture(adapter).join("merged.safetensors");
    std::fs::copy(from, folder.path().join("model.safetensors")).expect("copied");
    values(&open(folder.path(), &[]).expect("a model"))
}

fn assert_same(got: &Values, want: &Values, what: &str) {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{what}");
    for (name, (shape, values)) in got {
        assert_eq!(*shape, want[name].0, "{what}: {name}");
        let worst = values.iter().zip(&want[name].1).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-6, "{what}: {name} is off by {worst}");
    }
}

#[test]
fn merged_models_are_those_of_peft() {
    let cases = [
        ("llama", "plain", "plain"),
        ("llama", "pickled", "plain"),
        ("llama", "patterns", "patterns"),
        ("llama", "head", "head"),
        ("llama", "embedding", "embedding"),
        ("gpt2", "conv1d", "conv1d"),
        ("llama", "dora", "dora"),
        ("gpt2", "dora_conv1d", "dora_conv1d"),
    ];
    for (base, adapter, like) in cases {
        let source = open(&fixture(base), &[(&fixture(adapter), 1.0)]).unwrap_or_else(|e| panic!("{adapter}: {e}"));
        assert_same(&values(&source), &merged(base, like), adapter);
        let without = values(&open(&fixture(base), &[]).expect("the base"));
        assert!(values(&source) != without, "{adapter} changes something");
        let names: Vec<&str> = source.files.iter().map(|file| file.name.as_str()).collect();
        assert!(names.contains(&"adapter_config.json"), "{names:?}");
        assert!(names.iter().any(|name| name.starts_with("adapter_model.")), "{names:?}");
    }
}

/// Of any part of a matrix, and of several adapters with their scales: the product in f64.
#[test]
fn adapters_add_up_in_their_order() {
    let base = values(&open(&fixture("llama"), &[]).expect("the base"));
    let one = values(&open(&fixture("llama"), &[(&fixture("plain"), 1.0)]).expect("merged"));
    let other = values(&open(&fixture("llama"), &[(&fixture("patterns"), 1.0)]).expect("merged"));
    let both = open(&fixture("llama"), &[(&fixture("plain"), 0.5), (&fixture("patterns"), -2.0)]).expect("merged");
    for (i, tensor) in both.tensors.iter().enumerate() {
        let n = tensor.elements() as usize;
        let want = |k: usize| {
            let of = |values: &Values| f64::from(values[&tensor.name].1[k]);
            of(&base) + 0.5 * (of(&one) - of(&base)) - 2.0 * (of(&other) - of(&base))
        };
        for (start, length) in [(0, n), (n / 3, n / 2), (n - 1, 1)] {
            let mut got = vec![0.0; length];
            both.read(i, start as u64, &mut got).expect("values");
            for (k, got) in got.iter().enumerate() {
                assert!((f64::from(*got) - want(start + k)).abs() < 1e-5, "{} element {}", tensor.name, start + k);
            }
        }
    }
}

/// The adapter `name`, its settings and the names of its tensors changed.
fn changed(
    name: &str,
    settings: &[(&str, serde_json::Value)],
    rename: impl Fn(&str) -> Option<String>,
) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = json(&fixture(name).join("adapter_config.json"));
    settings.iter().for_each(|(key, value)| config[*key] = value.clone());
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).expect("written");
    let weights = std::fs::read(fixture(name).join("adapter_model.safetensors")).expect("the fixture");
    std::fs::write(folder.path().join("adapter_model.safetensors"), renamed(&weights, rename)).expect("written");
    folder
}

fn as_it_is(name: &str) -> Option<String> {
    Some(name.into())
}

#[test]
fn names_may_have_more_or_less_before_them() {
    let want = merged("llama", "plain");
    let shorter = |name: &str| Some(name.replace("base_model.model.model.", "base_model.model."));
    let bare = |name: &str| Some(name.replace("base_model.model.", ""));
    let named = |name: &str| Some(name.replace(".weight", ".default.weight"));
    let longer = |name: &str| Some(name.replace("base_model.model.model", "base_model.model.x.y.model"));
    let renames: [fn(&str) -> Option<String>; 4] = [shorter, bare, named, longer];
    for rename in renames {
        let adapter = changed("plain", &[], rename);
        assert_same(&values(&open(&fixture("llama"), &[(adapter.path(), 1.0)]).expect("merged")), &want, "renamed");
    }
}

fn refused(adapter: &Path) -> Error {
    refused_by("llama", adapter)
}

fn refused_by(base: &str, adapter: &Path) -> Error {
    let error = open(&fixture(base), &[(adapter, 1.0)]).expect_err("refused");
    assert!(error.kind() == Kind::Data && error.has_place() && error.named_hint().is_some(), "{error}");
    assert!(error.named_file().is_some_and(|file| file.contains("adapter")), "{error}");
    error
}

/// A-01: what is no plain low-rank adapter.
#[test]
fn other_adapters_are_refused_in_words() {
    let off_and_on = [
        ("lora_bias", true.into()),
        ("trainable_token_indices", vec![1, 2].into()),
        ("layer_replication", vec![vec![0, 2]].into()),
        ("use_qalora", true.into()),
    ];
    for (field, value) in off_and_on {
        let error = refused(changed("plain", &[(field, value)], as_it_is).path()).to_string();
        assert!(error.contains("is not merged by quantize") && error.contains(field), "{error}");
    }
    let half = open(&fixture("llama"), &[(&fixture("dora"), 0.5)]).expect_err("refused").to_string();
    assert!(half.contains("use_dora") && half.contains("merge_and_unload"), "{half}");
    let without = refused(changed("plain", &[("use_dora", true.into())], as_it_is).path()).to_string();
    assert!(without.contains("has no lora_magnitude_vector"), "{without}");
    let hidden = refused(changed("dora", &[("use_dora", false.into())], as_it_is).path()).to_string();
    assert!(hidden.contains("is of no low-rank adapter") && hidden.contains("lora_magnitude_vector"), "{hidden}");
    let other = refused(changed("plain", &[("peft_type", "IA3".into())], as_it_is).path()).to_string();
    assert!(other.contains("an adapter of the type IA3: LORA is merged"), "{other}");
    let pissa =
        refused(changed("plain", &[("init_lora_weights", "pissa_niter_4".into())], as_it_is).path()).to_string();
    assert!(pissa.contains("changes the base model, too"), "{pissa}");
}

/// A-02: adapters of another model.
#[test]
fn what_does_not_fit_is_refused_by_its_name() {
    let rank = refused(changed("plain", &[("r", 5.into())], as_it_is).path()).to_string();
    assert!(rank.contains("adapter_config.json says rank 5") && rank.contains("self_attn.q_proj.lora_A"), "{rank}");
    let pattern = [("rank_pattern", serde_json::json!({"layers.1.self_attn.v_proj": 2}))];
    let pattern = refused(changed("plain", &pattern, as_it_is).path()).to_string();
    assert!(pattern.contains("says rank 2") && pattern.contains("layers.1.self_attn.v_proj.lora_A"), "{pattern}");
    let regular = [("alpha_pattern", serde_json::json!({".*q_proj": 2}))];
    let regular = refused(changed("plain", &regular, as_it_is).path()).to_string();
    assert!(regular.contains("is a regular expression"), "{regular}");
    let beyond = |name: &str| Some(name.replace("layers.1.", "layers.7."));
    let beyond = refused(changed("plain", &[], beyond).path()).to_string();
    assert!(
        beyond.contains("the base model has no") && beyond.contains("layers.7.self_attn.q_proj.weight"),
        "{beyond}"
    );
    let alone = |name: &str| (!name.ends_with("layers.0.self_attn.q_proj.lora_B.weight")).then(|| name.to_string());
    let alone = refused(changed("plain", &[], alone).path()).to_string();
    assert!(alone.contains("A and B belong together"), "{alone}");
    let swapped = |name: &str| Some(name.replace("q_proj", "x").replace("v_proj", "q_proj").replace(".x.", ".v_proj."));
    let swapped = refused(changed("plain", &[], swapped).path()).to_string();
    assert!(swapped.contains("A and B have shapes [4, 8] and"), "{swapped}");
    let other = refused_by("gpt2", &fixture("plain")).to_string();
    assert!(other.contains("the base model has no"), "{other}");
    let whole = |name: &str| (name.contains("up_proj")).then(|| name.to_string());
    let whole = changed("head", &[], whole);
    let file = whole.path().join("adapter_model.safetensors");
    write_safetensors(&file, &[("base_model.model.lm_head.weight".into(), vec![11, 8], vec![0.0; 88])]);
    let larger = refused(whole.path()).to_string();
    assert!(larger.contains("has shape [11, 8]") && larger.contains("[10, 8]"), "{larger}");
}

/// A-03: where the embedding is the unembedding, an adapter of one of both is of neither.
#[test]
fn one_matrix_is_not_two() {
    let error = refused_by("gpt2", &fixture("tied")).to_string();
    assert!(error.contains("which are one matrix in the base model"), "{error}");
    // Both of them whole: they are two from then on.
    let folder = changed("tied", &[], as_it_is);
    let file = folder.path().join("adapter_model.safetensors");
    let tensor = |name: &str, value: f32| (format!("base_model.model.{name}.weight"), vec![10, 8], vec![value; 80]);
    write_safetensors(&file, &[tensor("transformer.wte", 1.0), tensor("lm_head", 2.0)]);
    let source = open(&fixture("gpt2"), &[(folder.path(), 1.0)]).expect("two matrices");
    assert!(!source.config.tied);
    assert_eq!(values(&source)["lm_head.weight"].1, [2.0; 80]);
    assert_eq!(values(&source)["wte.weight"].1, [1.0; 80]);
    write_safetensors(&file, &[tensor("transformer.wte", 1.0)]);
    let error = refused_by("gpt2", folder.path()).to_string();
    assert!(error.contains("which are one matrix in the base model"), "{error}");
}

/// A-04: an adapter is no model, and a model no adapter.
#[test]
fn an_adapter_alone_is_named() {
    let mut folders = vec![fixture("plain"), fixture("pickled")];
    folders.extend(shared("cases/34-lora-directory/model"));
    for folder in &folders {
        let error = open(folder, &[]).expect_err("an adapter").to_string();
        assert!(error.contains("a LoRA adapter") && error.contains("name this directory with --lora"), "{error}");
    }
    let with_config = changed("plain", &[("base_model_name_or_path", "a/b".into())], as_it_is);
    std::fs::copy(fixture("llama/config.json"), with_config.path().join("config.json")).expect("copied");
    let error = open(with_config.path(), &[]).expect_err("an adapter").to_string();
    assert!(error.contains("a LoRA adapter of \"a/b\", no model by itself"), "{error}");
    for (not, words) in [(fixture("llama"), "no adapter_config.json"), (fixture("none"), "no directory of an adapter")]
    {
        let error = open(&fixture("llama"), &[(&not, 1.0)]).expect_err("no adapter");
        assert!(error.kind() == Kind::NoInput && error.to_string().contains(words), "{error}");
    }
    let empty = changed("plain", &[], as_it_is);
    std::fs::remove_file(empty.path().join("adapter_model.safetensors")).expect("removed");
    let error = open(&fixture("llama"), &[(empty.path(), 1.0)]).expect_err("no tensors").to_string();
    assert!(error.contains("neither adapter_model.safetensors nor adapter_model.bin"), "{error}");
    let story = root().join("models/stories.whit");
    let error = open(&story, &[(&fixture("plain"), 1.0)]).expect_err("a file").to_string();
    assert!(error.contains("an adapter is merged into a Hugging Face directory"), "{error}");
}

/// From the command line to the file, whose provenance names the adapter's files.
#[test]
fn the_command_merges() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("model.whit");
    let run = Command::new(env!("CARGO_BIN_EXE_quantize"))
        .arg(fixture("llama"))
        .arg("--lora")
        .arg(format!("{}=0.5", fixture("plain").display()))
        .arg("--lora")
        .arg(fixture("patterns"))
        .args(["-w", "f32", "-o"])
        .arg(&output)
        .output()
        .expect("quantize starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let bytes = whit::format::Bytes::new(whit::os::Mapping::open(&output).expect("written"));
    let file = whit::File::open(&bytes).expect("a file");
    let provenance = file.provenance().expect("a section");
    let names: Vec<&str> = provenance.sources.iter().map(|source| source.name.as_str()).collect();
    let adapter = ["adapter_config.json", "adapter_model.safetensors"];
    assert_eq!(names, ["config.json", "model.safetensors", adapter[0], adapter[1], adapter[0], adapter[1]]);
}
