//! safetensors files and the index of shards.

use super::config::directory;
use super::{Case, Files, Scratch, case, caught, run, sweep};

/// The header `json` before `data` bytes.
pub(crate) fn file(json: &str, data: usize) -> Vec<u8> {
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(json.as_bytes());
    out.resize(out.len() + data, 0);
    out
}

/// Tensors that fill 2048 bytes, as most rows have them.
fn two(second: &str) -> Vec<u8> {
    file(&format!(r#"{{"a":{{"dtype":"F32","shape":[256],"data_offsets":[0,1024]}},{second}}}"#), 2048)
}

/// A valid file of the tensor `name`.
pub(crate) fn one(name: &str) -> Vec<u8> {
    file(&format!(r#"{{"{name}":{{"dtype":"F32","shape":[8,32],"data_offsets":[0,1024]}}}}"#), 1024)
}

fn row(name: &'static str, bytes: Vec<u8>, expected: &'static str, field: &'static str) -> Case {
    case(name, directory(&[("model.safetensors", &bytes)]), expected, field)
}

#[test]
fn header() {
    let length = |n: u64| [&n.to_le_bytes()[..], &two("")[8..]].concat();
    let nested = |n: usize| format!(r#"{{"__metadata__":{{"a":{}{}}}}}"#, "[".repeat(n), "]".repeat(n));
    let valid = r#""b":{"dtype":"F32","shape":[256],"data_offsets":[1024,2048]}"#;
    run(vec![
        row("S-01 1 byte", vec![0; 1], "8 bytes", "header length"),
        row("S-01 7 bytes", vec![0; 7], "8 bytes", "header length"),
        row("S-01 8 zeros", vec![0; 8], "at least 2", "header length"),
        row("S-02 length 1", length(1), "at least 2", "header length"),
        row("S-02 length 2", length(2), "", "header"),
        row("S-02 length of file - 8 + 1", length(two("").len() as u64 - 7), "cut short", "header length"),
        row("S-02 length past the end", length(3000), "cut short", "header length"),
        row("S-02 length 100,000,001", length(100_000_001), "limit", "header length"),
        row("S-02 length 2^63", length(1 << 63), "limit", "header length"),
        row("S-02 length u64::MAX", length(u64::MAX), "limit", "header length"),
        row(
            "S-02 nearly only header",
            file(&format!("{{{}}}", valid.replace("1024,2048", "0,1024")), 1024)[..1000].to_vec(),
            "missing",
            "tensor",
        ),
        row(
            "S-02 more than half",
            file(&format!("{}{}", r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, " ".repeat(70_000)), 4),
            "half",
            "header length",
        ),
        row("S-04 cut JSON", file(r#"{"a":{"dtype":"F32","#, 2048), "ends", "header"),
        row("S-04 text after the object", file("{} x", 2048), "unexpected", "header"),
        row("S-04 an array", file("[1]", 2048), "an object", "document"),
        row("S-04 no tensors", file("{}", 0), "no tensors", "header"),
        row("S-05 129 deep", file(&nested(129), 2048), "deep", "header"),
        row("S-05 10^6 deep", file(&nested(1_000_000), 4_000_000), "deep", "header"),
        row(
            "S-07 a tensor twice",
            two(r#""a":{"dtype":"F32","shape":[1],"data_offsets":[1024,2048]}"#),
            "twice",
            "key \"a\"",
        ),
        row(
            "S-08 dtype twice",
            two(&valid.replace("\"shape\"", "\"dtype\":\"F16\",\"shape\"")),
            "twice",
            "key \"dtype\"",
        ),
        row(
            "S-08 an unknown key",
            two(&valid.replace("\"shape\"", "\"stride\":1,\"shape\"")),
            "stride",
            "tensor \"b\"",
        ),
        row("S-08 no shape", two(&valid.replace("\"shape\":[256],", "")), "no shape", "tensor \"b\""),
        row("S-10 an empty name", two(&valid.replace("\"b\"", "\"\"")), "empty", "tensor"),
        row("S-10 a name with a newline", two(&valid.replace("\"b\"", "\"b\\n\"")), "control", "tensor"),
        row("S-10 a name from the right", two(&valid.replace("\"b\"", "\"\\u202eb\"")), "direction", "tensor"),
        row("S-10 a long name", two(&valid.replace("\"b\"", &format!("\"{}\"", "b".repeat(257)))), "limit", "tensor"),
        row("S-10 metadata as a tensor", two(&valid.replace("\"b\"", "\"__metadata__\"")), "a string", "__metadata__"),
        row("S-14 one byte too few", two(valid)[..two(valid).len() - 1].to_vec(), "1 bytes missing", "tensor \"b\""),
        row("S-14 one byte too many", [two(valid), vec![0]].concat(), "1 unexpected", "data"),
        row("S-28 cut at 91 %", two(valid)[..two(valid).len() * 91 / 100].to_vec(), "missing", "tensor \"b\""),
    ]);
}

#[test]
fn shapes_offsets_and_types() {
    let shaped = |shape: &str| two(&format!(r#""b":{{"dtype":"F32","shape":{shape},"data_offsets":[1024,2048]}}"#));
    let at = |offsets: &str| two(&format!(r#""b":{{"dtype":"F32","shape":[256],"data_offsets":{offsets}}}"#));
    let typed =
        |dtype: &str, n: u32| two(&format!(r#""b":{{"dtype":{dtype},"shape":[{n}],"data_offsets":[1024,2048]}}"#));
    let b = "tensor \"b\"";
    let many: Vec<String> = (0..8_u64)
        .map(|i| {
            let n = (1_u64 << 61) - 1;
            format!(r#""{i}":{{"dtype":"U8","shape":[{n}],"data_offsets":[{},{}]}}"#, i * n, (i + 1) * n)
        })
        .collect();
    run(vec![
        row("S-11 shape -1", shaped("[-1]"), "-1", b),
        row("S-11 shape 1.0", shaped("[256.0]"), "256.0", b),
        row("S-11 shape as text", shaped("[\"256\"]"), "whole number", b),
        row("S-11 shape 1e3", shaped("[1e3]"), "1e3", b),
        row("S-11 shape 2^64", shaped("[18446744073709551616]"), "whole number", b),
        row("S-11 shape null", shaped("null"), "an array", b),
        row("S-11 shape of 2^32 x 2^32", shaped("[4294967296,4294967296]"), "overflow", b),
        row("S-11 another size", shaped("[255]"), "1020 bytes", b),
        row(
            "S-11 no dimensions",
            two(r#""b":{"dtype":"F32","shape":[],"data_offsets":[1024,1028]}"#)[..].to_vec(),
            "unexpected",
            "data",
        ),
        row("S-11 five dimensions", shaped("[1,1,1,1,256]"), "5 dimensions", b),
        row(
            "S-11 a dimension of 0",
            two(r#""b":{"dtype":"F32","shape":[0],"data_offsets":[1024,1024]}"#)[..].to_vec(),
            "unexpected",
            "data",
        ),
        row("S-13 reversed", at("[2048,1024]"), "reversed", b),
        row("S-13 negative", at("[-1024,2048]"), "-1024", b),
        row("S-13 a gap of 1", at("[1025,2049]"), "a gap", b),
        row("S-13 an overlap of 1", at("[1023,2047]"), "overlap", b),
        row(
            "S-13 not from 0",
            file(r#"{"b":{"dtype":"F32","shape":[255],"data_offsets":[4,1024]}}"#, 1024),
            "a gap",
            b,
        ),
        row("S-13 three offsets", at("[1024,2048,2048]"), "3 data_offsets", b),
        row(
            "S-13 odd for F16",
            file(
                r#"{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"F16","shape":[511],"data_offsets":[3,1025]}}"#,
                2048,
            ),
            "a gap",
            b,
        ),
        row("S-16 sizes that wrap", file(&format!("{{{}}}", many.join(",")), 64), "", "tensor"),
        row("S-17 dtype BF17", typed("\"BF17\"", 256), "BF17", b),
        row("S-17 dtype f32", typed("\"f32\"", 256), "unknown dtype", b),
        row("S-17 dtype 7", typed("7", 256), "a string", b),
        row("S-17 half a byte", typed("\"F4\"", 2047), "", b),
        row("S-17 F6", typed("\"F6_E2M3\"", 1365), "", b),
        row("S-17 C64", typed("\"C64\"", 128), "supported: F32", b),
        row("S-17 F8", typed("\"F8_E4M3\"", 1024), "supported: F32", b),
        row("S-20 F64", typed("\"F64\"", 128), "not supported", b),
        row("S-20 I64", typed("\"I64\"", 128), "not supported", b),
        row("S-20 BOOL", typed("\"BOOL\"", 1024), "not supported", b),
    ]);
}

/// An index that places `a` in `shard`, and shards.
fn sharded(index: &str, shards: &[(&'static str, &'static str)]) -> Files {
    let bytes: Vec<_> = shards.iter().map(|(file, tensor)| (*file, one(tensor))).collect();
    let mut files = directory(&[("model.safetensors.index.json", index.as_bytes())]);
    files.retain(|(name, _)| *name != "model.safetensors");
    files.extend(bytes);
    files
}

#[test]
fn index() {
    let to = |shard: &str| sharded(&format!(r#"{{"weight_map":{{"a":"{shard}"}}}}"#), &[]);
    let field = "weight_map";
    let one_shard: Vec<String> = (0..10_000).map(|i| format!(r#""t{i}":"a.safetensors""#)).collect();
    let thousands: Vec<String> = (0..10_000).map(|i| format!(r#""t{i}":"{i}.safetensors""#)).collect();
    let (a, b) = ("a.safetensors", "b.safetensors");
    run(vec![
        case("S-23 a shard is missing", to(a), "a.safetensors is missing", field).nowhere(),
        case(
            "S-23 a tensor is missing",
            sharded(r#"{"weight_map":{"x":"a.safetensors"}}"#, &[(a, "a")]),
            "\"x\" is not in a.safetensors; a.safetensors holds \"a\"",
            field,
        )
        .nowhere(),
        case(
            "S-23 a tensor in two shards",
            sharded(r#"{"weight_map":{"a":"a.safetensors","c":"b.safetensors"}}"#, &[(a, "a"), (b, "a")]),
            "is in a.safetensors and in b.safetensors",
            field,
        )
        .nowhere(),
        case(
            "S-25 10,000 shards",
            sharded(&format!(r#"{{"weight_map":{{{}}}}}"#, thousands.join(",")), &[]),
            "1024 shards",
            field,
        ),
        case(
            "S-25 a shard for 10,000 tensors that it lacks",
            sharded(&format!(r#"{{"weight_map":{{{}}}}}"#, one_shard.join(",")), &[(a, "a")]),
            "is not in a.safetensors",
            field,
        )
        .nowhere(),
        case("no map", sharded("{}", &[]), "missing", field),
        case("an empty map", sharded(r#"{"weight_map":{}}"#, &[]), "no tensors", field),
        case(
            "no weights at all",
            vec![("config.json", super::config::LLAMA.into()), ("LICENSE", b"MIT".to_vec())],
            "neither",
            "model.safetensors",
        )
        .no_input(),
    ]);
}

/// S-22: names that are not those of a file beside the index, as JSON writes them.
const OUTSIDE: [&str; 30] = [
    "",
    ".",
    "..",
    "...",
    "/",
    "../x.safetensors",
    "../../x.safetensors",
    "./x.safetensors",
    "a/b.safetensors",
    "a/../b.safetensors",
    "a//b.safetensors",
    "/etc/passwd",
    "/etc/passwd.safetensors",
    "//srv/x.safetensors",
    "/proc/self/mem",
    "x.safetensors/",
    "x.safetensors/..",
    r"C:\\x.safetensors",
    "C:x.safetensors",
    r"..\\x.safetensors",
    r"\\\\srv\\x.safetensors",
    r"a\u0000.safetensors",
    r"a.safetensors\u0000",
    r"a\n.safetensors",
    r"a\u2028.safetensors",
    r"\u202ea.safetensors",
    r"\u001b[2J.safetensors",
    "config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
];

#[test]
fn shards_outside_are_refused() {
    let to = |shard: &str| sharded(&format!(r#"{{"weight_map":{{"a":"{shard}"}}}}"#), &[]);
    run(OUTSIDE.map(|shard| case(shard, to(shard), "this directory", "weight_map")).into());
}

#[cfg(unix)]
#[test]
fn a_shard_that_is_a_link_or_a_pipe_is_refused() {
    let scratch = Scratch::new();
    let outside = Scratch::new();
    std::fs::write(outside.0.join("a.safetensors"), one("a")).expect("write");
    let path = scratch.write(&sharded(r#"{"weight_map":{"a":"a.safetensors"}}"#, &[]));
    let shard = scratch.0.join("a.safetensors");
    let link = |target: std::path::PathBuf, words: &str| {
        std::os::unix::fs::symlink(target, &shard).expect("link");
        let error = caught("S-22 link", &path).expect_err("a link");
        assert!(error.to_string().contains(words), "{error}");
        std::fs::remove_file(&shard).expect("removed");
    };
    link(outside.0.join("a.safetensors"), "a link out of the directory");
    link(shard.clone(), "cannot open");
    assert!(std::process::Command::new("mkfifo").arg(&shard).status().expect("mkfifo").success());
    let error = caught("S-22 FIFO", &path).expect_err("a pipe");
    assert!(error.to_string().contains("a pipe"), "{error}");
}

#[test]
fn shards_are_read_and_a_single_file_goes_first() {
    let scratch = Scratch::new();
    let index = r#"{"metadata":{},"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}"#;
    let path = scratch.write(&sharded(index, &[("a.safetensors", "a"), ("b.safetensors", "b")]));
    let source = caught("shards", &path).expect("valid");
    assert_eq!(source.tensors.len(), 2);
    std::fs::write(scratch.0.join("model.safetensors"), one("c")).expect("write");
    let source = caught("S-26 both", &path).expect("valid");
    assert_eq!(source.tensors.len(), 1);
    assert!(source.notes.iter().any(|n| n.contains("model.safetensors is used")), "{:?}", source.notes);
}

#[test]
fn no_byte_of_a_header_panics() {
    let bytes = two(r#""b":{"dtype":"F16","shape":[2,256],"data_offsets":[1024,2048]}"#);
    let header = bytes.len() - 2048;
    sweep("safetensors", &directory(&[("model.safetensors", &bytes)]), "model.safetensors", header);
}
