//! What the converter refuses after a checkpoint was read: tensors that do not fit the network, values that no weight has.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use quantize::convert::{self, Conversion, Dtypes, Texts};
use quantize::source::{Checkpoint, OpenOptions, WordVectors};
use support::root;
use whit::error::{Kind, Result};
use whit::format::TensorErrors;
use whit::quant::Dtype;

/// Converts the f32 fixture, in `folder`, after `change` was made to its safetensors file.
fn converted(folder: &Path, weights: Dtype, change: impl Fn(&mut Vec<u8>)) -> Result<Conversion> {
    let fixture = root().join("tests/fixtures/llama-headdim");
    std::fs::copy(fixture.join("config.json"), folder.join("config.json")).expect("copied");
    let mut bytes = std::fs::read(fixture.join("model.safetensors")).expect("the fixture");
    change(&mut bytes);
    std::fs::write(folder.join("model.safetensors"), bytes).expect("written");
    let source = Checkpoint::open(folder, &OpenOptions::default()).expect("a readable checkpoint");
    let dtypes = Dtypes { weights, keep: BTreeMap::new() };
    convert::convert(&source, &folder.join("out.whit"), &dtypes, Texts::default(), false, &mut |_, _| Ok(()))
}

/// The text of the error after `change`; no file is left.
fn refused(weights: Dtype, change: impl Fn(&mut Vec<u8>)) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let error = converted(folder.path(), weights, change).expect_err("refused");
    assert_eq!(error.kind(), Kind::Data, "{error}");
    assert!(left(folder.path()) == ["config.json", "model.safetensors"], "{:?}", left(folder.path()));
    error.to_string()
}

fn left(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder");
    let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Puts `value` into element `index` of an f32 tensor.
fn put(bytes: &mut [u8], tensor: &str, index: usize, value: f32) {
    let header_bytes = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_bytes]).expect("a header");
    let start = header[tensor]["data_offsets"][0].as_u64().expect("an offset") as usize;
    let at = 8 + header_bytes + start + 4 * index;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Replaces the first `from` in the header by `to`, of the same length.
fn rename(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("the text");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}

const DOWN: &str = "model.layers.0.mlp.down_proj.weight";

/// S-19: each kind of tensor, with values that no weight has and values that only look so.
#[test]
fn values_that_are_no_numbers_are_named_by_tensor_and_index() {
    let kinds = [
        ("model.embed_tokens.weight", "embedding"),
        ("model.layers.0.input_layernorm.weight", "blocks.0.attn_norm"),
        ("model.layers.0.self_attn.q_proj.weight", "blocks.0.q"),
        ("model.layers.0.self_attn.k_proj.weight", "blocks.0.k"),
        ("model.layers.0.self_attn.v_proj.weight", "blocks.0.v"),
        ("model.layers.0.self_attn.o_proj.weight", "blocks.0.o"),
        ("model.layers.0.post_attention_layernorm.weight", "blocks.0.mlp_norm"),
        ("model.layers.0.mlp.gate_proj.weight", "blocks.0.gate"),
        ("model.layers.0.mlp.up_proj.weight", "blocks.0.up"),
        ("model.layers.0.mlp.down_proj.weight", "blocks.0.down"),
        ("model.norm.weight", "final_norm"),
        ("model.layers.1.mlp.down_proj.weight", "blocks.1.down"),
    ];
    for (source, name) in kinds {
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for weights in Dtype::ALL {
                let told = refused(weights, |bytes| put(bytes, source, 5, value));
                assert!(told.contains(&format!("tensor \"{name}\": element [0, 5] is ")), "{told}");
            }
        }
        for value in [1e-42, -0.0, 65504.0, -65504.0] {
            for weights in Dtype::ALL {
                let folder = tempfile::tempdir().expect("a folder");
                converted(folder.path(), weights, |bytes| put(bytes, source, 5, value)).expect("a weight");
            }
        }
    }
    let told = refused(Dtype::Int8, |bytes| put(bytes, DOWN, 46 * 17 + 5, f32::NAN));
    assert!(told.contains("element [17, 5]"), "{told}");
}

/// S-19: nothing is wrong with zeros.
#[test]
fn a_tensor_of_zeros_is_converted() {
    let folder = tempfile::tempdir().expect("a folder");
    let zeros = converted(folder.path(), Dtype::Int8, |bytes| (0..33 * 46).for_each(|i| put(bytes, DOWN, i, 0.0)));
    let tensor = zeros.expect("converted").tensors.into_iter().find(|tensor| tensor.name == "blocks.0.down");
    assert_eq!(tensor.expect("written").errors, TensorErrors { rms: 0.0, max: 0.0, signal_rms: 0.0 });
}

#[test]
fn values_beyond_the_range_of_a_dtype_are_refused() {
    let told = refused(Dtype::F16, |bytes| put(bytes, DOWN, 0, 65536.0));
    assert!(told.contains("beyond 65504 of fp16") && told.contains("--keep"), "{told}");
    let told = refused(Dtype::Int8, |bytes| put(bytes, DOWN, 0, -1e9));
    assert!(told.contains("of int8"), "{told}");
}

#[test]
fn missing_and_left_over_tensors_are_listed_together() {
    let told = refused(Dtype::Int8, |bytes| rename(bytes, "model.layers.0.mlp.up_proj", "../../../../../etc/shadow-"));
    assert!(told.contains("left over: ../../../../../etc/shadow-"), "S-10: {told}");
    let told = refused(Dtype::Int8, |bytes| {
        rename(bytes, "layers.0.mlp.up_proj", "layers.0.mlp.xx_proj");
        rename(bytes, "layers.1.self_attn.q_proj", "layers.1.self_attn.q_zzzz");
    });
    for part in [
        "missing model.layers.0.mlp.up_proj.weight",
        "mlp.xx_proj",
        "missing model.layers.1.self_attn.q_proj",
        "q_zzzz",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn a_thousand_missing_layers_do_not_fill_the_screen() {
    let folder = tempfile::tempdir().expect("a folder");
    let fixture = root().join("tests/fixtures/llama-headdim");
    let config = std::fs::read_to_string(fixture.join("config.json")).expect("a config");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    config["num_hidden_layers"] = 1024.into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let weights = folder.path().join("model.safetensors");
    std::fs::copy(fixture.join("model.safetensors"), weights).expect("copied");
    let source = Checkpoint::open(folder.path(), &OpenOptions::default()).expect("a readable checkpoint");
    let dtypes = Dtypes { weights: Dtype::Int8, keep: BTreeMap::new() };
    let output = folder.path().join("out.whit");
    let error =
        convert::convert(&source, &output, &dtypes, Texts::default(), false, &mut |_, _| Ok(())).expect_err("refused");
    let told = error.to_string();
    assert!(told.len() < 1500 && told.contains(" more (the checkpoint does not fit"), "{} bytes: {told}", told.len());
}

#[test]
fn misshapen_tensors_are_told_with_both_shapes() {
    let config = std::fs::read_to_string(root().join("tests/fixtures/llama-headdim/config.json")).expect("a config");
    let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    let (hidden, dim) = (&config["intermediate_size"], &config["hidden_size"]);
    let (was, is) = (format!("[{dim},{hidden}]"), format!("[{hidden},{dim}]"));
    let told = refused(Dtype::Int8, |bytes| rename(bytes, &was, &is));
    assert!(told.contains(&format!("has shape [{hidden}, {dim}], not [{dim}, {hidden}]")), "{told}");
}

/// Word vectors whose numbers a type does not hold.
#[test]
fn words_beyond_a_type_are_refused_by_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("words.txt");
    for (text, dtype, words) in [
        ("a 1 2\nb 3 -1e30\n", Dtype::F16, "element [1, 1] is -1000000000000000000000000000000, beyond 65504 of fp16"),
        ("a 1e9 2\nb 3 4\n", Dtype::Int8, "element [0, 0] is 1000000000, beyond"),
    ] {
        std::fs::write(&file, text).expect("written");
        let vectors = WordVectors::open(&file).expect("a file").expect("vectors");
        let output = folder.path().join("out.whit");
        let error = convert::convert_words(&vectors, &output, dtype, false, &mut |_, _| Ok(())).expect_err(words);
        assert!(error.named_field() == Some("tensor \"embedding\"") && error.to_string().contains(words), "{error}");
        assert_eq!(left(folder.path()), ["words.txt"]);
        convert::convert_words(&vectors, &output, Dtype::F32, false, &mut |_, _| Ok(())).expect("they fit into f32");
        std::fs::remove_file(output).expect("removed");
    }
}
