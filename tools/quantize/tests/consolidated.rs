//! Models as Mistral and Meta publish them compute what they do as transformers has them. Rows are those of docs/bad-inputs.md.

mod support;

use std::path::{Path, PathBuf};

use quantize::source::{Checkpoint, OpenOptions};
use serde_json::{Value, json};
use support::{Converted, Run, assert_close, root, write_safetensors};
use whit::error::Error;
use whit::quant::Dtype;

const IDS: [u32; 12] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];

fn logits(folder: &Path) -> Vec<f32> {
    let logits = Run::reference().logits(&Converted::new(folder, Dtype::F32).model(), &IDS);
    logits.last().expect("logits").clone()
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// Mistral's name of a tensor.
fn renamed(name: &str) -> String {
    let pairs = [
        ("model.embed_tokens", "tok_embeddings"),
        ("model.norm", "norm"),
        ("lm_head", "output"),
        ("model.layers", "layers"),
        ("self_attn.q_proj", "attention.wq"),
        ("self_attn.k_proj", "attention.wk"),
        ("self_attn.v_proj", "attention.wv"),
        ("self_attn.o_proj", "attention.wo"),
        ("mlp.gate_proj", "feed_forward.w1"),
        ("mlp.down_proj", "feed_forward.w2"),
        ("mlp.up_proj", "feed_forward.w3"),
        ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attention_norm"),
    ];
    pairs.iter().fold(name.to_string(), |name, (theirs, ours)| name.replace(theirs, ours))
}

/// A fixture of transformers' with heads of 8 as Mistral would publish it; fields of params.json set, tensors changed.
fn published(
    family: &str,
    set: &[(&str, Value)],
    change: impl Fn(&mut Vec<(String, Vec<u64>, Vec<f32>)>),
) -> tempfile::TempDir {
    let source = Checkpoint::open(&fixture("settings").join(family), &OpenOptions::default()).expect("the fixture");
    let mut tensors: Vec<_> = source
        .tensors
        .iter()
        .enumerate()
        .map(|(i, tensor)| {
            let mut values = vec![0.0; tensor.elements() as usize];
            source.read(i, 0, &mut values).expect("values");
            if tensor.name.contains("q_proj") || tensor.name.contains("k_proj") {
                let cols = tensor.shape[1] as usize;
                let rows: Vec<&[f32]> = values.chunks_exact(cols).collect();
                let heads = rows.chunks_exact(8).flat_map(|head| (0..8).map(|i| head[i / 2 + i % 2 * 4]));
                values = heads.flatten().copied().collect();
            }
            (renamed(&tensor.name), tensor.shape.clone(), values)
        })
        .collect();
    change(&mut tensors);
    let folder = tempfile::tempdir().expect("a folder");
    write_safetensors(&folder.path().join("consolidated.safetensors"), &tensors);
    let mut params = json!({
        "dim": 32, "n_layers": 2, "head_dim": 8, "hidden_dim": 20, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-6,
        "vocab_size": 24, "max_seq_len": 64,
    });
    set.iter().for_each(|(key, value)| params[*key] = value.clone());
    std::fs::write(folder.path().join("params.json"), params.to_string()).expect("written");
    folder
}

#[test]
fn models_of_mistral_are_those_of_transformers() {
    assert_close(&logits(published("llama", &[], |_| {}).path()), &logits(&fixture("settings/llama")), 1e-5, "llama");
    let window = [("sliding_window", json!(9))];
    let want = logits(&fixture("settings/mistral"));
    assert_close(&logits(published("mistral", &window, |_| {}).path()), &want, 1e-5, "mistral");
    // What says nothing, and tables that follow from the configuration.
    let set =
        [("vocab_size", json!(-1)), ("moe", Value::Null), ("use_biases", json!(false)), ("max_batch_size", json!(8))];
    let table = |tensors: &mut Vec<_>| tensors.push(("rope.freqs".into(), vec![4], vec![1.0; 4]));
    assert_close(&logits(published("llama", &set, table).path()), &logits(&fixture("settings/llama")), 1e-5, "table");
}

#[test]
fn models_of_meta_are_those_of_transformers() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["params.json", "consolidated.00.pth"] {
        std::fs::copy(fixture("torch/llama").join(name), folder.path().join(name)).expect("copied");
    }
    let other = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("torch/llama").join(name), other.path().join(name)).expect("copied");
    }
    assert_close(&logits(folder.path()), &logits(other.path()), 1e-5, "meta");
    let source = Checkpoint::open(folder.path(), &OpenOptions::default()).expect("a model");
    assert!(source.config.tied && source.config.context_length == 4096);
    assert!(source.notes.iter().any(|note| note.contains("4096 is assumed")), "{:?}", source.notes);
    // A second part of a model that is divided among several files.
    std::fs::write(folder.path().join("consolidated.01.pth"), b"x").expect("written");
    let error = refused(folder.path()).to_string();
    assert!(error.contains("one part of several, between which matrices are divided"), "{error}");
}

fn refused(folder: &Path) -> Error {
    let error = Checkpoint::open(folder, &OpenOptions::default()).expect_err("refused");
    assert!(error.has_place() && error.named_hint().is_some(), "{error}");
    error
}

/// S-32: what params.json says beyond what is known.
#[test]
fn other_networks_are_refused_in_words() {
    let unknown = [
        ("moe", json!({"num_experts": 8})),
        ("use_scaled_rope", json!(true)),
        ("quantization", json!({"qformat_weight": "fp8_e4m3"})),
        ("vision_encoder", json!({"hidden_size": 1})),
    ];
    for (key, value) in unknown {
        let error = refused(published("llama", &[(key, value)], |_| {}).path()).to_string();
        assert!(error.contains("what this means for the network is not known here") && error.contains(key), "{error}");
        assert!(error.contains("the directory with config.json"), "{error}");
    }
    for (key, value, words) in [
        ("n_heads", json!(3), "does not divide"),
        ("n_heads", json!(0), "missing: n_heads"),
        ("head_dim", json!(7), "an even number"),
        ("dim", json!("x"), "whole number"),
        ("norm_eps", Value::Null, "missing: norm_eps"),
        ("rope_theta", json!(-5.0), "a positive number"),
        ("n_layers", json!(2000), "1..=1024"),
    ] {
        let folder = published("llama", &[(key, value)], |_| {});
        let error = Checkpoint::open(folder.path(), &OpenOptions::default()).expect_err(words).to_string();
        assert!(error.contains(words), "{key}: {error}");
    }
    let empty = tempfile::tempdir().expect("a folder");
    std::fs::write(empty.path().join("params.json"), "{}").expect("written");
    let error = Checkpoint::open(empty.path(), &OpenOptions::default()).expect_err("no weights").to_string();
    assert!(error.contains("neither consolidated.safetensors"), "{error}");
}
