//! The checkpoints of tests/fixtures/families: their weights follow from the names of tensors.

use std::path::Path;

use serde_json::Value;

use crate::support::{floats, ids, json, root, write_safetensors};

/// A tensor of a checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    center: f32,
    exponent: i32,
}

impl Tensor {
    fn read(entry: &Value) -> Self {
        Tensor {
            name: entry[0].as_str().expect("a name").to_string(),
            shape: entry[1].as_array().expect("a shape").iter().map(|n| n.as_u64().expect("a size")).collect(),
            center: entry[2].as_f64().expect("a center") as f32,
            exponent: entry[3].as_i64().expect("an exponent") as i32,
        }
    }

    /// Its elements: 16 bits each of a hash of its name and their place, as a number in [-1, 1), times 2^exponent, plus the center.
    pub(crate) fn values(&self) -> Vec<f32> {
        let fnv = |seed: u32, byte| (seed ^ u32::from(byte)).wrapping_mul(16_777_619);
        let seed = self.name.bytes().fold(2_166_136_261, fnv);
        let element = |i: u64| {
            let mut h = seed ^ (i as u32).wrapping_mul(0x9e37_79b9);
            h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
            h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
            h ^= h >> 16;
            self.center + f32::from(h as u16 as i16) * 2_f32.powi(self.exponent - 15)
        };
        (0..self.shape.iter().product()).map(element).collect()
    }
}

/// A checkpoint with a setting changed, or the same setting spelled otherwise.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) name: String,
    set: serde_json::Map<String, Value>,
    absent: Vec<String>,
    /// What it gives after the second text; `None` where that is what the family gives.
    pub(crate) log_probabilities: Option<Vec<f32>>,
}

/// A family's checkpoint, and what transformers computes with it.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) name: String,
    config: Value,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) variants: Vec<Variant>,
    /// The logarithms of the probabilities of all tokens after the last of each text.
    pub(crate) log_probabilities: Vec<Vec<f32>>,
    /// What the checkpoint is as a GGUF file.
    pub(crate) gguf: Option<Value>,
}

impl Fixture {
    fn read(path: &Path) -> Self {
        let record = json(path);
        let list = |key: &str| record[key].as_array().unwrap_or_else(|| panic!("{}: {key}", path.display()));
        let variant = |entry: &Value| Variant {
            name: entry["name"].as_str().expect("a name").to_string(),
            set: entry["set"].as_object().expect("an object").clone(),
            absent: entry["absent"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|key| key.as_str().expect("a key").to_string())
                .collect(),
            log_probabilities: entry.get("log_probabilities").map(floats),
        };
        Fixture {
            name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
            config: record["config"].clone(),
            tensors: list("tensors").iter().map(Tensor::read).collect(),
            variants: list("variants").iter().map(variant).collect(),
            log_probabilities: list("log_probabilities").iter().map(floats).collect(),
            gguf: record.get("gguf").cloned(),
        }
    }

    /// Writes the checkpoint as a Hugging Face directory without a tokenizer.
    pub(crate) fn write(&self, folder: &Path) {
        self.write_config(folder, None);
        let tensors: Vec<_> = self.tensors.iter().map(|t| (t.name.clone(), t.shape.clone(), t.values())).collect();
        write_safetensors(&folder.join("model.safetensors"), &tensors);
    }

    /// What the checkpoint gives after the second text as a GGUF file, which some settings cannot be said in.
    pub(crate) fn of_gguf(&self) -> &[f32] {
        let like = self.gguf.as_ref().and_then(|file| file["like"].as_str());
        let variant = like.map(|name| self.variants.iter().find(|variant| variant.name == name).expect("a variant"));
        variant.and_then(|variant| variant.log_probabilities.as_ref()).unwrap_or(&self.log_probabilities[1])
    }

    /// Writes config.json, as a variant has it.
    pub(crate) fn write_config(&self, folder: &Path, variant: Option<&Variant>) {
        let mut config = self.config.clone();
        let fields = config.as_object_mut().expect("an object");
        if let Some(variant) = variant {
            fields.extend(variant.set.clone());
            variant.absent.iter().for_each(|key| drop(fields.remove(key)));
        }
        std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
    }
}

fn folder() -> std::path::PathBuf {
    root().join("tests/fixtures/families")
}

/// The family that alone is to be tested, whether it is supported yet or not.
fn only() -> Option<String> {
    std::env::var("WHIT_FAMILY").ok()
}

/// All families, or the one asked for.
pub(crate) fn fixtures() -> Vec<Fixture> {
    let entries = std::fs::read_dir(folder()).expect("the fixtures").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    paths.retain(|path| match &only() {
        Some(name) => path.file_stem().is_some_and(|stem| stem == name.as_str()),
        None => !path.ends_with("texts.json"),
    });
    paths.sort();
    assert!(!paths.is_empty(), "no such family: {:?}", only());
    paths.iter().map(|path| Fixture::read(path)).collect()
}

/// The two texts, the second of them longer than every window.
pub(crate) fn texts() -> Vec<Vec<u32>> {
    json(&folder().join("texts.json")).as_array().expect("texts").iter().map(ids).collect()
}
