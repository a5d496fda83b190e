//! Weights of three values: packed as transformers has them, and in the types of ggml, they are the weights of the checkpoint, and stored
//! as what they are; against values that transformers computed (tests/fixtures/ternary).

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use quantize::convert::{self, Dtypes, Texts};
use quantize::source::{Checkpoint, OpenOptions};
use serde_json::{Value, json};
use support::gguf::{self, Pair};
use support::{Converted, Run, floats, ids, root};
use whit::model::Model;
use whit::ops::KvDtype;
use whit::quant::Dtype;

/// A tensor of the fixture.
struct Tensor {
    name: String,
    shape: Vec<u64>,
    /// Those of weights of three values, and their scale.
    codes: Option<(Vec<i8>, f32)>,
    values: Vec<f32>,
}

struct Fixture {
    record: Value,
    tensors: Vec<Tensor>,
}

/// 32 bits for each of `n` elements of a tensor.
fn hashed(name: &str, n: u64) -> impl Iterator<Item = u32> {
    let seed = name.bytes().fold(2_166_136_261_u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(16_777_619));
    (0..n as u32).map(move |i| {
        let mut h = seed ^ i.wrapping_mul(0x9e37_79b9);
        h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
        h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
        h ^ h >> 16
    })
}

impl Tensor {
    fn read(entry: &Value) -> Self {
        let name = entry[0].as_str().expect("a name").to_string();
        let shape: Vec<u64> =
            entry[1].as_array().expect("a shape").iter().map(|n| n.as_u64().expect("a size")).collect();
        let hashed = hashed(&name, shape.iter().product());
        let number = entry[2].as_f64().expect("a number") as f32;
        let (codes, values) = match entry[3].as_i64() {
            Some(exponent) => {
                let scale = 2_f32.powi(exponent as i32 - 15);
                (None, hashed.map(|h| number + f32::from(h as u16 as i16) * scale).collect())
            }
            None => {
                let codes: Vec<i8> = hashed.map(|h| (h % 3) as i8 - 1).collect();
                let values = codes.iter().map(|code| f32::from(*code) * number).collect();
                (Some((codes, number)), values)
            }
        };
        Tensor { name, shape, codes, values }
    }

    /// The values with another scale.
    fn scaled(&self, scale: f32) -> Vec<f32> {
        self.codes
            .as_ref()
            .map_or(self.values.clone(), |(codes, _)| codes.iter().map(|code| f32::from(*code) * scale).collect())
    }
}

impl Fixture {
    fn read() -> Self {
        let record = support::json(&root().join("tests/fixtures/ternary/ternary.json"));
        let tensors = record["tensors"].as_array().expect("tensors").iter().map(Tensor::read).collect();
        Fixture { record, tensors }
    }

    fn text(&self) -> Vec<u32> {
        ids(&self.record["text"])
    }

    /// Writes config.json, with weights packed for a `linear_class`, or not.
    fn write_config(&self, folder: &Path, linear_class: Option<&str>) {
        let mut config = self.record["config"].clone();
        if let Some(class) = linear_class {
            config["quantization_config"] = json!({"quant_method": "bitnet", "linear_class": class});
        }
        std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
    }

    /// The checkpoint with weights of f32.
    fn dense(&self, folder: &Path, scale: impl Fn(f32) -> f32) {
        self.write_config(folder, None);
        let values = |t: &Tensor| t.codes.as_ref().map_or(t.values.clone(), |(_, s)| t.scaled(scale(*s)));
        let tensors: Vec<_> = self.tensors.iter().map(|t| (t.name.clone(), t.shape.clone(), values(t))).collect();
        support::write_safetensors(&folder.join("model.safetensors"), &tensors);
    }

    /// The checkpoint with weights packed for a `linear_class`.
    fn packed(&self, folder: &Path, linear_class: &str) {
        self.write_config(folder, Some(linear_class));
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        let mut put = |name: String, dtype: &str, shape: Vec<u64>, bytes: Vec<u8>| {
            let start = data.len();
            data.extend(bytes);
            let offsets = [start, data.len()];
            header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        };
        for t in &self.tensors {
            let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let Some((codes, scale)) = &t.codes else {
                put(t.name.clone(), "F32", t.shape.clone(), bytes(&t.values));
                continue;
            };
            let quarter = codes.len() / 4;
            let byte = |i: usize| (0..4).map(|part| ((codes[part * quarter + i] + 1) as u8) << (2 * part)).sum();
            put(t.name.clone(), "U8", vec![t.shape[0] / 4, t.shape[1]], (0..quarter).map(byte).collect());
            let scale = if linear_class == "bitlinear" { 1.0 / scale } else { *scale };
            put(format!("{}_scale", t.name), "F32", vec![1], bytes(&[scale]));
        }
        let header = Value::Object(header).to_string().into_bytes();
        let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
        std::fs::write(folder.join("model.safetensors"), file).expect("written");
    }

    /// The checkpoint as a GGUF file whose weights of three values are of the ggml type `kind`, and its path.
    fn gguf(&self, folder: &Path, kind: Kind) -> PathBuf {
        let architecture = if kind == Kind::I2S { "bitnet-b1.58" } else { "bitnet" };
        let number = |key: &str| self.record["config"][key].as_u64().expect("a number") as u32;
        let mut pairs =
            vec![Pair::text("general.architecture", architecture), Pair::text("tokenizer.ggml.model", "no_vocab")];
        for (key, field) in [
            ("block_count", "num_hidden_layers"),
            ("context_length", "max_position_embeddings"),
            ("embedding_length", "hidden_size"),
            ("feed_forward_length", "intermediate_size"),
            ("attention.head_count", "num_attention_heads"),
            ("attention.head_count_kv", "num_key_value_heads"),
        ] {
            pairs.push(Pair::number(format!("{architecture}.{key}"), number(field)));
        }
        for (key, value) in [("rope.freq_base", 500_000.0), ("attention.layer_norm_rms_epsilon", 1e-5)] {
            pairs.push(Pair::float(format!("{architecture}.{key}"), value));
        }
        if kind != Kind::I2S {
            pairs.push(Pair::text(format!("{architecture}.hidden_act"), "relu2"));
        }
        let tensors = self.tensors.iter().map(|t| match &t.codes {
            Some((codes, scale)) => gguf::Tensor {
                name: in_gguf(&t.name),
                shape: t.shape.clone(),
                kind: kind as u32,
                bytes: kind.encode(codes, *scale),
            },
            None => gguf::Tensor::floats(in_gguf(&t.name), t.shape.clone(), &t.values),
        });
        let out = gguf::file(&pairs, &tensors.collect::<Vec<_>>());
        let path = folder.join("model.gguf");
        std::fs::write(&path, out).expect("written");
        path
    }
}

/// The name that llama.cpp gives a tensor.
fn in_gguf(name: &str) -> String {
    let names = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.attn_sub_norm", "attn_sub_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.ffn_sub_norm", "ffn_sub_norm"),
        ("self_attn.", "attn_"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
    ];
    names.iter().fold(name.to_string(), |name, (from, to)| name.replace(from, to))
}

/// A ggml type of weights of three values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tq1 = 34,
    Tq2 = 35,
    I2S = 36,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Tq1, Kind::Tq2, Kind::I2S];

    /// What a scale is stored as.
    fn scale(self, scale: f32) -> f32 {
        if self == Kind::I2S { scale } else { f16::from_f32(scale).to_f32() }
    }

    fn encode(self, codes: &[i8], scale: f32) -> Vec<u8> {
        let digit = |code: i8| (code + 1) as u8;
        let mut out = Vec::new();
        match self {
            Kind::I2S => {
                for block in codes.chunks_exact(128) {
                    out.extend(
                        (0..32).map(|i| (0..4).map(|part| digit(block[32 * part + i]) << (6 - 2 * part)).sum::<u8>()),
                    );
                }
                out.extend(scale.to_le_bytes());
                out.extend([0; 28]);
            }
            Kind::Tq2 => {
                for block in codes.chunks_exact(256) {
                    for half in block.chunks_exact(128) {
                        out.extend(
                            (0..32).map(|i| (0..4).map(|part| digit(half[32 * part + i]) << (2 * part)).sum::<u8>()),
                        );
                    }
                    out.extend(f16::from_f32(scale).to_le_bytes());
                }
            }
            Kind::Tq1 => {
                for block in codes.chunks_exact(256) {
                    let mut first = 0;
                    for (bytes, digits) in [(32, 5), (16, 5), (4, 4)] {
                        out.extend((0..bytes).map(|i| {
                            let code = |n: usize| if n < digits { digit(block[first + n * bytes + i]) } else { 0 };
                            let number = (0..5).fold(0_u16, |sum, n| 3 * sum + u16::from(code(n)));
                            (number * 256).div_ceil(243) as u8
                        }));
                        first += bytes * digits;
                    }
                    out.extend(f16::from_f32(scale).to_le_bytes());
                }
            }
        }
        out
    }
}

/// The logits after a text.
fn after(model: &Arc<Model>, text: &[u32]) -> Vec<f32> {
    Run::reference().logits(model, text).pop().expect("a token")
}

/// How far the logarithms of probabilities are from `want`.
fn apart(logits: &[f32], want: &[f32]) -> f64 {
    let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    let differences = logits.iter().zip(want).map(|(l, w)| (f64::from(*l) - sum.ln() - f64::from(*w)).abs());
    differences.fold(0.0, f64::max)
}

/// The matrices of three values of a model that was converted, with their types.
fn stored(model: &Arc<Model>) -> Vec<Dtype> {
    let specs = whit::model::tensors(model.config());
    let matrices = specs.iter().filter(|spec| spec.layer.is_some() && spec.shape.dims().len() == 2);
    matrices.map(|spec| model.file().matrix(&spec.name).expect("a matrix").dtype()).collect()
}

#[test]
fn every_form_of_a_checkpoint_has_its_weights() {
    let fixture = Fixture::read();
    let (text, dense) = (fixture.text(), floats(&fixture.record["dense"]));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    fixture.dense(path, |scale| scale);
    let exact = after(&Converted::new(path, Dtype::F32).model(), &text);
    let off = apart(&exact, &dense);
    assert!(off < 1e-4, "off by {off}");
    for (class, same_bits) in [("autobitlinear", true), ("bitlinear", false)] {
        fixture.packed(path, class);
        let logits = after(&Converted::new(path, Dtype::F32).model(), &text);
        assert!(apart(&logits, &dense) < 1e-4, "{class}");
        assert!(!same_bits || logits == exact, "{class}");
    }
    for kind in Kind::ALL {
        fixture.dense(path, |scale| kind.scale(scale));
        let exact = after(&Converted::new(path, Dtype::F32).model(), &text);
        let file = fixture.gguf(path, kind);
        assert_eq!(after(&Converted::new(&file, Dtype::F32).model(), &text), exact, "{kind:?}");
    }
}

#[test]
fn weights_of_three_values_are_stored_as_they_are() {
    let fixture = Fixture::read();
    let (text, dense) = (fixture.text(), floats(&fixture.record["dense"]));
    // transformers rounds the inputs of a matrix by the largest of a token, not of 32 of it.
    let allowed = apart(&floats(&fixture.record["autobitlinear"]), &dense);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    fixture.packed(path, "autobitlinear");
    let packed = Converted::new(path, Dtype::Int8).model();
    assert!(stored(&packed).iter().all(|dtype| *dtype == Dtype::T2));
    for t in fixture.tensors.iter().filter(|t| t.name.ends_with("layers.1.mlp.down_proj.weight")) {
        let matrix = packed.file().matrix("blocks.1.down").expect("a matrix");
        let mut row = vec![f32::NAN; matrix.cols()];
        for (r, want) in t.values.chunks(matrix.cols()).enumerate() {
            matrix.read_row(r, &mut row);
            assert_eq!(row, want, "row {r}");
        }
    }
    let logits = after(&packed, &text);
    let off = apart(&logits, &dense);
    assert!(off < allowed, "off by {off}, transformers by {allowed}");

    // The same of any other form, and with the weights as floats.
    fixture.dense(path, |scale| scale);
    assert_eq!(after(&Converted::new(path, Dtype::Int8).model(), &text), logits);
    for kind in Kind::ALL {
        let file = fixture.gguf(path, kind);
        let model = Converted::new(&file, Dtype::Int8).model();
        assert!(stored(&model).iter().all(|dtype| *dtype == Dtype::T2), "{kind:?}");
        assert!(kind != Kind::I2S || after(&model, &text) == logits);
    }
}

#[test]
fn bits_are_the_same_with_all_kernels_threads_and_batches() {
    let fixture = Fixture::read();
    let folder = tempfile::tempdir().expect("a folder");
    fixture.packed(folder.path(), "autobitlinear");
    let (model, text) = (Converted::new(folder.path(), Dtype::Int8).model(), fixture.text());
    let want = Run { kv: KvDtype::Int8, ..Run::reference() }.logits(&model, &text);
    for kernels in whit::kernels::available() {
        for (threads, batch) in [(1, 1), (2, 7), (3, 64)] {
            let got = Run { kernels, threads, batch, kv: KvDtype::Int8 }.logits(&model, &text);
            assert!(got == want, "{}, {threads} threads, batches of {batch}", kernels.name);
        }
    }
}

#[test]
fn a_role_that_is_named_keeps_its_type() {
    let fixture = Fixture::read();
    let folder = tempfile::tempdir().expect("a folder");
    fixture.packed(folder.path(), "bitlinear");
    let source = Checkpoint::open(folder.path(), &OpenOptions::default()).expect("opened");
    let output = folder.path().join("model.whit");
    let dtypes = Dtypes { weights: Dtype::Int8, keep: BTreeMap::from([("gate", Dtype::Int8)]) };
    let written =
        convert::convert(&source, &output, &dtypes, Texts::default(), false, &mut |_, _| Ok(())).expect("converted");
    for tensor in written.tensors.iter().filter(|t| t.dims.len() == 2) {
        let inner = tensor.name.starts_with("blocks.");
        let dtype = if inner && !tensor.name.ends_with(".gate") { Dtype::T2 } else { Dtype::Int8 };
        assert_eq!(tensor.dtype, dtype, "{}", tensor.name);
        assert!(tensor.dtype != Dtype::T2 || tensor.errors.max == 0.0, "{}", tensor.name);
    }
}
