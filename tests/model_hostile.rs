//! Files whose sections are sound and do not make a model together: refused with the field, before numbers of the
//! configuration cost memory.

mod flat;
#[path = "flat/hostile.rs"]
mod hostile;
mod support;

use hostile::Hostile;
use support::{Folder, TinyModel};
use whit::error::Kind;
use whit::format::File;
use whit::model::Model;

/// What the tiny Llama is refused with after `change`.
fn refused(name: &str, change: impl FnOnce(&mut Hostile)) -> String {
    let folder = Folder::new(name);
    let path = folder.path("model.whit");
    TinyModel::llama().write(&path);
    let mut file = Hostile::of(&std::fs::read(&path).expect("written"));
    change(&mut file);
    file.seal();
    let opened = File::open(&file.bytes).expect("sections that are sound");
    let error = Model::open(&opened).err().expect("no model");
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
