//! Files that are something else, and paths that are no files.

use super::{Case, Scratch, case, caught, run};
use whit::error::Kind;

fn row(name: &'static str, file: &'static str, bytes: &[u8], expected: &'static str) -> Case {
    case(name, vec![(file, bytes.to_vec())], expected, "magic")
}

#[test]
fn other_formats_are_named() {
    run(vec![
        row("G-01 ggml", "m.bin", b"lmgg\x01\0\0\0", "ggml"),
        row("G-01 ggjt", "m.bin", b"tjgg\x03\0\0\0", "ggjt"),
        row("G-01 big-endian GGUF", "m.gguf", b"FUGG\0\0\0\x03", "big-endian"),
        row("M-05 ZIP", "pytorch_model.bin", b"PK\x03\x04\0\0\0\0", "give the directory"),
        row("M-05 pickle", "m.pt", b"\x80\x02}q\0.", "pickle"),
        row("M-05 gzip", "m.gguf", b"\x1f\x8b\x08\0", "gzip"),
        row("M-05 git-lfs", "model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        row("M-05 HTML", "m.gguf", b"\n<!DOCTYPE html><html>", "HTML"),
        row("M-05 safetensors", "model.safetensors", b"\x02\0\0\0\0\0\0\0{}", "give the directory"),
        row("M-05 JSON", "config.json", b"{\"model_type\": \"llama\"}", "give the directory"),
        row("W-05 UTF-16", "vectors.txt", b"\xff\xfea\0 \x001\0", "a text in UTF-16"),
        row("M-05 text", "readme.txt", b"hello", "not a checkpoint"),
    ]);
}

#[test]
fn what_is_no_file_is_named() {
    let scratch = Scratch::new();
    let missing = caught("missing", &scratch.0.join("none")).expect_err("missing");
    assert_eq!(missing.kind(), Kind::NoInput);
    assert!(missing.to_string().contains("none"));
    let empty = caught("empty", &scratch.write(&vec![("m.gguf", vec![])])).expect_err("empty");
    assert!(empty.to_string().contains("empty"), "{empty}");
    #[cfg(unix)]
    assert_eq!(caught("device", std::path::Path::new("/dev/zero")).expect_err("device").kind(), Kind::NoInput);
}
