//! PyTorch's files hold what the safetensors beside them do: tests/fixtures/torch, written by PyTorch in every way that it has.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quantize::source::{Checkpoint, OpenOptions};
use support::{Converted, Run, root};
use whit::quant::Dtype;

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/torch/llama").join(name)
}

/// A directory of the fixture's configuration and of its `files`, each under its new name.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, name) in [("config.json", "config.json")].iter().chain(files) {
        std::fs::copy(fixture(file), folder.path().join(name)).expect("copied");
    }
    folder
}

fn open(folder: &Path) -> Checkpoint {
    Checkpoint::open(folder, &OpenOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// All tensors with their shapes and values.
fn values(source: &Checkpoint) -> BTreeMap<String, (Vec<u64>, Vec<f32>)> {
    let read = |i: usize| {
        let tensor = &source.tensors[i];
        let mut values = vec![0.0; tensor.elements() as usize];
        source.read(i, 0, &mut values).expect("values");
        (tensor.name.clone(), (tensor.shape.clone(), values))
    };
    (0..source.tensors.len()).map(read).collect()
}

#[test]
fn every_form_has_the_values_of_safetensors() {
    let want = values(&open(directory(&[("model.safetensors", "model.safetensors")]).path()));
    assert_eq!(want.len(), 11);
    for file in ["state_dict.bin", "legacy.bin", "parameters.bin", "training.bin", "strided.bin"] {
        for name in ["pytorch_model.bin", "model.pth", "checkpoint.pt"] {
            let source = open(directory(&[(file, name)]).path());
            assert_eq!(values(&source), want, "{file} as {name}");
            let told = source.notes.iter().any(|note| note.contains("is taken for the weights"));
            assert_eq!(told, name != "pytorch_model.bin", "{file} as {name}: {:?}", source.notes);
        }
    }
    let mixed = values(&open(directory(&[("mixed.safetensors", "model.safetensors")]).path()));
    let source = open(directory(&[("mixed.bin", "pytorch_model.bin")]).path());
    assert_eq!(values(&source), mixed);
    assert!(source.notes.iter().any(|note| note.contains("left out: _extra_state")), "{:?}", source.notes);
}

#[test]
fn parts_of_a_tensor_that_lies_by_columns_are_its_values() {
    let source = open(directory(&[("strided.bin", "pytorch_model.bin")]).path());
    let i = source.tensors.iter().position(|tensor| tensor.name.contains("gate_proj")).expect("a tensor");
    let mut whole = vec![0.0; source.tensors[i].elements() as usize];
    source.read(i, 0, &mut whole).expect("values");
    for (start, n) in [(0, 1), (5, 20), (95, 1), (17, 40)] {
        let mut part = vec![0.0; n];
        source.read(i, start as u64, &mut part).expect("values");
        assert_eq!(part, whole[start..start + n]);
    }
    assert!(source.read(i, 95, &mut [0.0; 2]).is_err());
}

const SHARDS: [(&str, &str); 3] = [
    ("pytorch_model.bin.index.json", "pytorch_model.bin.index.json"),
    ("pytorch_model-00001-of-00002.bin", "pytorch_model-00001-of-00002.bin"),
    ("pytorch_model-00002-of-00002.bin", "pytorch_model-00002-of-00002.bin"),
];

#[test]
fn shards_are_read_and_held_against_their_index() {
    let want = values(&open(directory(&[("model.safetensors", "model.safetensors")]).path()));
    assert_eq!(values(&open(directory(&SHARDS).path())), want);
    let error = Checkpoint::open(directory(&SHARDS[..2]).path(), &OpenOptions::default()).expect_err("a shard less");
    assert!(error.to_string().contains("shard pytorch_model-00002-of-00002.bin is missing"), "{error}");
}

#[test]
fn safetensors_go_first_and_several_files_are_named() {
    let both = directory(&[("model.safetensors", "model.safetensors"), ("mixed.bin", "pytorch_model.bin")]);
    let told = "both model.safetensors and pytorch_model.bin are present: model.safetensors is used";
    assert!(open(both.path()).notes.contains(&told.to_string()));
    let several = directory(&[("mixed.bin", "a.pt"), ("strided.bin", "b.pth")]);
    let error = Checkpoint::open(several.path(), &OpenOptions::default()).expect_err("which?").to_string();
    assert!(error.contains("several files that may be the weights: a.pt") && error.contains("b.pth"), "{error}");
    // What training programs write beside the weights is none of them.
    let trained =
        directory(&[("strided.bin", "model.pt"), ("mixed.bin", "optimizer.pt"), ("mixed.bin", "rng_state.pth")]);
    open(trained.path());
}

#[test]
fn a_model_of_pytorch_computes_what_that_of_safetensors_does() {
    let logits = |files: &[(&str, &str)]| {
        Run::reference().logits(&Converted::new(directory(files).path(), Dtype::Int8).model(), &[1, 2, 3])
    };
    assert_eq!(
        logits(&[("state_dict.bin", "pytorch_model.bin")]),
        logits(&[("model.safetensors", "model.safetensors")])
    );
}
