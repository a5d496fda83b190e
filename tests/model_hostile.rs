//! Files whose sections are sound and do not make a model together: refused with the field, before numbers of the
//! configuration cost memory.

mod flat;
#[path = "flat/hostile.rs"]
mod hostile;
mod support;

use hostile::Hostile;
use support::{Folder, TinyModel};
use whit::error::Kind;
use whit::format::{Bytes, File};
use whit::model::Model;

/// What the tiny Llama is refused with after `change`.
fn refused(name: &str, change: impl FnOnce(&mut Hostile)) -> String {
    refused_of(&TinyModel::llama(), name, change)
}

/// What `model` is refused with after `change`.
fn refused_of(model: &TinyModel, name: &str, change: impl FnOnce(&mut Hostile)) -> String {
    let folder = Folder::new(name);
    let path = folder.path("model.whit");
    model.write(&path);
    let mut file = Hostile::of(&std::fs::read(&path).expect("written"));
    change(&mut file);
    file.seal();
    File::open(&file.bytes).expect("sections that are sound");
    let error = Model::open(Bytes::copy(&file.bytes)).err().expect("no model");
    assert_eq!(error.kind(), Kind::Data, "{error}");
    assert!(error.has_place(), "{error}");
    error.to_string()
}

#[test]
fn layers_that_are_not_there_make_no_table() {
    let told = refused("layers", |f| f.put_u32(f.section(b"CONF") + 12, 1024));
    assert!(told.contains("20 tensors for 1024 layers"), "{told}");
    let told = refused("one-layer", |f| f.put_u32(f.section(b"CONF") + 12, 3));
    assert!(told.contains("blocks.2.attn_norm is missing"), "{told}");
}

#[test]
fn dimensions_that_differ_are_told_with_the_tensor() {
    let told = refused("dim", |f| f.put_u32(f.section(b"CONF") + 4, 41));
    assert!(told.contains("embedding has shape [259, 40], not [259, 41]"), "{told}");
    assert!(told.len() < 1500, "{} bytes: {told}", told.len());
}

/// Gives the tensor `from` the name `to`, of the same length.
fn rename(f: &mut Hostile, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let directory = f.section(b"TDIR");
    let at = f.content(b"TDIR").windows(from.len()).position(|w| w == from.as_bytes()).expect("the tensor");
    f.put(directory + at, to.as_bytes());
}

/// M-23
#[test]
fn tensors_that_do_not_belong_together_are_all_told() {
    let told = refused("missing", |f| {
        rename(f, "blocks.0.up", "blocks.0.xx");
        rename(f, "blocks.1.q", "blocks.1.x");
    });
    for part in
        ["blocks.0.up is missing", "blocks.1.q is missing", "blocks.0.xx belongs to no layer", "blocks.1.x belongs"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = refused("swapped", |f| {
        rename(f, "blocks.0.q", "blocks.0.x");
        rename(f, "blocks.0.k", "blocks.0.q");
        rename(f, "blocks.0.x", "blocks.0.k");
    });
    assert!(told.contains("blocks.0.q has shape [20, 40], not [40, 40]"), "{told}");
    assert!(told.contains("blocks.0.k has shape [40, 40], not [20, 40]"), "{told}");
}

/// M-25
#[test]
fn more_tokens_than_vectors_are_refused_with_both_numbers() {
    let mut model = TinyModel::llama();
    model.config.vocab_size = 258;
    let told = refused_of(&model, "vocabulary", |_| ());
    assert!(told.contains("259 tokens") && told.contains("258"), "{told}");
}
