//! What the whole-way tests share: convert a checkpoint into a temporary file, open it, run it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

pub mod gguf;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quantize::convert::{self, Dtypes, Texts};
use quantize::families::{Family, Layout, Naming};
use quantize::source::{Checkpoint, OpenOptions};
use serde_json::Value;
use whit::compute::Compute;
use whit::error::Result;
use whit::format::Bytes;
use whit::kernels::Kernels;
use whit::model::spec::Shape;
use whit::model::{Model, Session, SessionOptions, Uniform};
use whit::ops::KvDtype;
use whit::os::Mapping;
use whit::quant::Dtype;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `relative` in the folder of shared models, or `None`, loudly, where that folder is absent. With `WHIT_REQUIRE_SHARED`
/// set its absence is a failure.
pub fn shared(relative: &str) -> Option<PathBuf> {
    let path = root().join("../shared").join(relative);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("WHIT_REQUIRE_SHARED").is_none(), "{} is required", path.display());
    eprintln!("SKIPPED: {} is absent", path.display());
    None
}

/// A JSON file.
pub fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// An array of numbers.
pub fn floats(value: &Value) -> Vec<f32> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

/// An array of token ids.
pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("an array").iter().map(|v| v.as_u64().expect("an id") as u32).collect()
}

/// A converted checkpoint in a temporary folder that goes with it.
pub struct Converted {
    pub bytes: Bytes,
    _folder: tempfile::TempDir,
}

impl Converted {
    /// Converts `input` with all weights as `dtype`.
    pub fn new(input: &Path, dtype: Dtype) -> Self {
        Self::try_new(input, dtype).unwrap_or_else(|e| panic!("{}: {e}", input.display()))
    }

    /// Converts `input` with all weights as `dtype`, or says why not.
    pub fn try_new(input: &Path, dtype: Dtype) -> Result<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = folder.path().join("model.whit");
        let source = Checkpoint::open(input, &OpenOptions::default())?;
        let dtypes = Dtypes { weights: dtype, keep: BTreeMap::new() };
        convert::convert(&source, &output, &dtypes, Texts::default(), false, &mut |_, _| Ok(()))?;
        let mapping = Mapping::open(&output).expect("the file just written");
        Ok(Converted { bytes: Bytes::new(mapping), _folder: folder })
    }

    /// The model.
    pub fn model(&self) -> Arc<Model> {
        Arc::new(Model::open(self.bytes.clone()).expect("a valid model"))
    }

    /// Opens the model and hands it to `body`.
    pub fn with<T>(&self, body: impl FnOnce(&Arc<Model>) -> T) -> T {
        body(&self.model())
    }
}

/// How a text is run; every choice must give the same bits but `kv`.
#[derive(Clone, Copy)]
pub struct Run {
    pub kernels: &'static Kernels,
    pub threads: usize,
    pub batch: usize,
    pub kv: KvDtype,
}

impl Run {
    /// The best kernels, two threads, batches of 64, exact cache.
    pub fn reference() -> Self {
        Run { kernels: whit::kernels::detect(), threads: 2, batch: 64, kv: KvDtype::F32 }
    }

    /// Logits after every token, (T, vocab_size).
    pub fn logits(&self, model: &Arc<Model>, tokens: &[u32]) -> Vec<Vec<f32>> {
        let compute = Arc::new(Compute::new(self.kernels, self.threads).expect("threads"));
        let mut session = Session::new(model, &compute, self.options(tokens.len())).expect("a session");
        let mut out = Vec::new();
        session.extend_each(tokens, &mut |_, row| out.push(row.to_vec())).expect("tokens fit");
        out
    }

    /// `steps` tokens of greatest logit after `tokens`.
    pub fn greedy(&self, model: &Arc<Model>, tokens: &[u32], steps: usize) -> Vec<u32> {
        let compute = Arc::new(Compute::new(self.kernels, self.threads).expect("threads"));
        let mut session = Session::new(model, &compute, self.options(tokens.len() + steps)).expect("a session");
        let mut next = argmax(session.extend(tokens).expect("tokens fit"));
        let mut out = vec![next];
        while out.len() < steps {
            next = argmax(session.extend(&[next]).expect("tokens fit"));
            out.push(next);
        }
        out
    }

    fn options(&self, context_length: usize) -> SessionOptions {
        SessionOptions {
            context_length,
            kv: self.kv,
            batch: self.batch,
            logit_rows: self.batch.min(16),
            hold_all: false,
        }
    }
}

/// The index of the greatest logit, the lowest of equals.
pub fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().fold(0, |best, (i, v)| if *v > logits[best] { i } else { best });
    best as u32
}

/// Asserts that all logits are within `tolerance`.
pub fn assert_close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance && got.iter().all(|g| g.is_finite()), "{what}: off by {worst}");
}

/// Writes a Llama-family model without scaled RoPE as a Hugging Face directory in f32, without a tokenizer.
pub fn write_hugging_face(model: &Converted, folder: &Path) {
    let opened = model.model();
    let (file, plan) = (opened.file(), opened.config());
    let c = Uniform::of(plan).expect("a uniform network");
    let theta = f64::from(c.rope_freqs[1]).powf(-(c.head_dim as f64) / 2.0).round();
    let config = serde_json::json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu",
        "hidden_size": c.dim, "intermediate_size": c.hidden_dim, "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads, "num_key_value_heads": c.n_kv_heads, "head_dim": c.head_dim,
        "vocab_size": c.vocab_size, "max_position_embeddings": c.context_length, "rms_norm_eps": c.norm_eps,
        "rope_theta": theta, "tie_word_embeddings": c.tied, "attention_bias": false, "mlp_bias": false,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
    let family = Family::named("llama").expect("a family");
    let layout = Layout { naming: Naming::HuggingFace, interleaved_rotary: false, turning: None };
    let specs = whit::model::tensors(plan);
    let tensors: Vec<_> = specs
        .iter()
        .map(|spec| {
            let values = match spec.shape {
                Shape::Vector(_) => file.vector(&spec.name).expect("a vector").to_vec(),
                Shape::Matrix(rows, cols) => {
                    let matrix = file.matrix(&spec.name).expect("a matrix");
                    let mut values = vec![0.0; rows * cols];
                    values.chunks_exact_mut(cols).enumerate().for_each(|(r, row)| matrix.read_row(r, row));
                    values
                }
            };
            (family.origin(plan, spec, layout).expect("a name").name, spec.shape.dims(), values)
        })
        .collect();
    write_safetensors(&folder.join("model.safetensors"), &tensors);
}

/// Writes tensors in f32: name, dimensions, values.
pub fn write_safetensors(path: &Path, tensors: &[(String, Vec<u64>, Vec<f32>)]) {
    use std::io::Write;
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, dims, values) in tensors {
        let start = end;
        end += 4 * values.len();
        let entry = serde_json::json!({"dtype": "F32", "shape": dims, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let output = std::fs::File::create(path).expect("created");
    let mut output = std::io::BufWriter::new(output);
    output.write_all(&(header.len() as u64).to_le_bytes()).expect("written");
    output.write_all(header.as_bytes()).expect("written");
    for value in tensors.iter().flat_map(|(_, _, values)| values) {
        output.write_all(&value.to_le_bytes()).expect("written");
    }
    output.flush().expect("written");
}

/// A safetensors file whose tensors have the names that `rename` gives them; those to which it gives none are left out.
pub fn renamed(file: &[u8], rename: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(&file[8..8 + length]).expect("a header");
    let (mut kept, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, mut tensor) in header {
        let Some(name) = rename(&name).filter(|_| name != "__metadata__") else { continue };
        let [start, end] = [0, 1].map(|i| tensor["data_offsets"][i].as_u64().expect("an offset") as usize);
        tensor["data_offsets"] = vec![data.len(), data.len() + end - start].into();
        data.extend(&file[8 + length + start..8 + length + end]);
        kept.insert(name, tensor);
    }
    let header = Value::Object(kept).to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}
