//! G-36: GGUF files that are parts of one model.

use std::path::PathBuf;

use super::gguf::{Gguf, u32_value};
use super::{Scratch, caught};
use whit::error::Error;

/// A part of the tiny model, of `count` parts: the first has all metadata, each has the tensors of `names`.
fn part(number: u32, count: u32, names: &[&str], n_tensors: u32) -> Vec<u8> {
    let part = Gguf::tiny().with(|part| {
        if number > 0 {
            part.pairs.clear();
        }
        let mut end = 0;
        part.tensors.retain(|(name, ..)| names.iter().any(|kept| name == kept.as_bytes()));
        for (_, shape, kind, offset) in &mut part.tensors {
            *offset = end;
            let bytes = shape.iter().product::<u64>() * if *kind == 0 { 4 } else { 2 };
            end = (end + bytes).next_multiple_of(32);
        }
        part.data = end as usize;
    });
    let part = part.set("split.no", u32_value(number)).set("split.count", u32_value(count));
    let (_, bytes) = part.set("split.tensors.count", u32_value(n_tensors)).files().remove(0);
    bytes
}

const NAMES: [&str; 3] = ["token_embd.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"];

fn whole() -> [Vec<u8>; 3] {
    [part(0, 3, &[], 3), part(1, 3, &NAMES[..1], 3), part(2, 3, &NAMES[1..], 3)]
}

fn name(i: usize) -> String {
    format!("tiny-{:05}-of-00003.gguf", i + 1)
}

fn write(scratch: &Scratch, parts: &[Vec<u8>]) -> Vec<PathBuf> {
    let write = |(i, bytes): (usize, &Vec<u8>)| {
        let path = scratch.0.join(name(i));
        std::fs::write(&path, bytes).expect("write");
        path
    };
    parts.iter().enumerate().map(write).collect()
}

#[test]
fn any_part_leads_to_all() {
    let scratch = Scratch::new();
    for path in write(&scratch, &whole()) {
        let source = caught("parts", &path).expect("a model");
        let names: Vec<&str> = source.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, NAMES, "{}", path.display());
        let files: Vec<&str> = source.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(files, [name(0), name(1), name(2)]);
        assert!(source.tokenizer_section().expect("a tokenizer").is_some());
    }
}

/// What becomes of parts that `change` changed, when the second is given.
fn refused(change: impl FnOnce(&Scratch, &mut [Vec<u8>; 3])) -> Error {
    let scratch = Scratch::new();
    let mut parts = whole();
    write(&scratch, &parts);
    change(&scratch, &mut parts);
    let path = scratch.0.join(name(1));
    parts.iter().enumerate().for_each(|(i, bytes)| {
        if scratch.0.join(name(i)).exists() {
            std::fs::write(scratch.0.join(name(i)), bytes).expect("write");
        }
    });
    let error = caught("parts", &path).expect_err("refused");
    assert!(error.named_field().is_some() && error.to_string().contains("tiny-0000"), "{error}");
    error
}

#[test]
fn what_is_not_one_model_is_refused() {
    let missing = refused(|scratch, _| std::fs::remove_file(scratch.0.join(name(2))).expect("removed"));
    assert!(missing.to_string().contains("a part is missing: tiny-00003-of-00003.gguf"), "{missing}");
    let two = refused(|scratch, _| {
        [0, 2].iter().for_each(|i| std::fs::remove_file(scratch.0.join(name(*i))).expect("removed"));
    });
    assert!(two.to_string().contains("parts are missing: tiny-00001-of-00003.gguf"), "{two}");
    let other = refused(|_, parts| parts[2] = part(1, 3, &NAMES[1..], 3));
    assert!(other.to_string().contains("not part 3 of 3, as its name says"), "{other}");
    let of_two = refused(|_, parts| parts[0] = part(0, 2, &[], 3));
    assert!(of_two.to_string().contains("not part 1 of 3"), "{of_two}");
    let twice = refused(|_, parts| parts[2] = part(2, 3, &NAMES[..2], 3));
    assert!(twice.to_string().contains("is in tiny-00002-of-00003.gguf and in tiny-00003-of-00003.gguf"), "{twice}");
    let fewer = refused(|_, parts| parts[2] = part(2, 3, &NAMES[1..2], 3));
    assert!(fewer.to_string().contains("3 tensors, the parts hold 2"), "{fewer}");
    let cut = refused(|_, parts| parts[2].truncate(90));
    assert!(cut.to_string().contains("tiny-00003-of-00003.gguf"), "{cut}");
}

#[cfg(unix)]
#[test]
fn a_part_that_is_a_link_out_of_the_directory_is_refused() {
    let outside = Scratch::new();
    std::fs::write(outside.0.join("x.gguf"), &whole()[2]).expect("write");
    let scratch = Scratch::new();
    let paths = write(&scratch, &whole());
    std::fs::remove_file(&paths[2]).expect("removed");
    std::os::unix::fs::symlink(outside.0.join("x.gguf"), &paths[2]).expect("a link");
    let error = caught("a link", &paths[0]).expect_err("a link");
    assert!(error.to_string().contains("a link out of the directory"), "{error}");
}
