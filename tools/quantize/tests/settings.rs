//! Every field of config.json, absent, null, at its default, under its old and its new name: what a claimed family gives is what
//! transformers gives (tests/fixtures/settings/make_settings.py), or a refusal that says what to do.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use quantize::convert::{self, Dtypes, Texts};
use quantize::source::{Checkpoint, OpenOptions};
use serde_json::Value;
use support::{Run, floats, json, renamed, root};
use whit::error::Result;
use whit::format::Bytes;
use whit::model::Model;
use whit::os::Mapping;
use whit::quant::Dtype;

/// What transformers runs and this program does not, by the beginning of the variant's name, with words of the refusal.
const REFUSED: [(&str, &str); 6] = [
    ("activation_function \"mish\"", "cannot be converted yet"),
    ("activation_function \"sigmoid\"", "cannot be converted yet"),
    ("sliding_window 0", "write null where layers have no window"),
    ("rope_parameters: by type of layer", "write them into rope_parameters itself"),
    ("rope_scaling: by type of layer", "write them into rope_scaling itself"),
    ("rope by type of layer, with types", "write them into rope_parameters itself"),
];

/// What transformers refuses and this program reads as if the field were absent or off, by the variant's name.
const READ: [&str; 31] = [
    "model_type absent",
    "model_type null",
    "tie_word_embeddings null",
    "use_cache null",
    "quantization_config {}",
    "attn_pdrop null",
    "summary_type null",
    "attention_dropout null",
    "hidden_size null",
    "num_hidden_layers null",
    "num_attention_heads null",
    "max_position_embeddings null",
    "max_position_embeddings 32",
    "activation_function null",
    "hidden_act null",
    "layer_norm_epsilon null",
    "rms_norm_eps null",
    "scale_attn_weights null",
    "scale_attn_by_inverse_layer_idx null",
    "reorder_and_upcast_attn null",
    "add_cross_attention null",
    "attention_bias null",
    "mlp_bias null",
    "head_dim null",
    "use_sliding_window null",
    "max_window_layers null",
    "rope_parameters: null type",
    "rope_scaling: null type",
    "null theta",
    "tied null, no lm_head.weight",
    "tied null, no transformer.wte.weight",
];

/// The fixture of a family with some fields of config.json changed and some tensors taken away, in `folder`.
fn write_variant(family: &str, variant: &Value, folder: &Path) {
    let fixture = root().join("tests/fixtures/settings").join(family);
    let mut config = json(&fixture.join("config.json"));
    let fields = config.as_object_mut().expect("an object");
    for (key, value) in variant["set"].as_object().into_iter().flatten() {
        fields.insert(key.clone(), value.clone());
    }
    let names = |key: &str| -> Vec<&str> {
        variant[key].as_array().into_iter().flatten().map(|name| name.as_str().expect("a name")).collect()
    };
    names("absent").iter().for_each(|key| drop(fields.remove(*key)));
    std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
    let weights = std::fs::read(fixture.join("model.safetensors")).expect("the fixture");
    let taken = names("without");
    let kept = renamed(&weights, |name| (!taken.contains(&name)).then(|| name.to_string()));
    std::fs::write(folder.join("model.safetensors"), kept).expect("written");
}

fn convert(folder: &Path) -> Result<Arc<Model>> {
    let source = Checkpoint::open(folder, &OpenOptions::default())?;
    let dtypes = Dtypes { weights: Dtype::F32, keep: BTreeMap::new() };
    let output = folder.join("model.whit");
    convert::convert(&source, &output, &dtypes, Texts::default(), false, &mut |_, _| Ok(()))?;
    Ok(Arc::new(Model::open(Bytes::new(Mapping::open(&output)?))?))
}

/// Whether a variant is converted with the logits that transformers has; or what is wrong with its outcome.
fn check(family: &str, variant: &Value, want: Option<&[f32]>) -> std::result::Result<bool, String> {
    let name = variant["name"].as_str().expect("a name");
    let folder = tempfile::tempdir().expect("a folder");
    write_variant(family, variant, folder.path());
    let refusal = REFUSED.iter().find(|(start, _)| name.starts_with(start)).map(|(_, words)| *words);
    match (convert(folder.path()), want) {
        (Ok(model), Some(want)) => {
            let tokens = variant["tokens"].as_u64().expect("a number") as u32;
            let vocab_size = model.config().vocab_size as u32;
            let ids: Vec<u32> = (0..tokens).map(|i| (7 * i + i / 5 + 3) % vocab_size).collect();
            let run = Run { threads: 1, ..Run::reference() };
            let got = run.logits(&model, &ids).pop().expect("a token");
            let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
            let equal = got.len() == want.len() && worst <= 1e-3 && got.iter().all(|logit| logit.is_finite());
            if equal { Ok(true) } else { Err(format!("off by {worst}")) }
        }
        (Ok(_), None) if READ.contains(&name) => Ok(false),
        (Ok(_), None) => Err(format!("is read, but transformers says {}", variant["refused"])),
        (Err(error), _) if error.named_hint().is_none() => {
            Err(format!("is refused with no word on what to do: {error}"))
        }
        (Err(error), Some(_)) if !refusal.is_some_and(|words| error.to_string().contains(words)) => {
            Err(format!("is refused: {error}"))
        }
        (Err(_), _) => Ok(false),
    }
}

#[test]
fn every_field_gives_what_transformers_gives_or_a_refusal() {
    let record = json(&root().join("tests/fixtures/settings/settings.json"));
    let mut complaints = Vec::new();
    let (mut seen, mut equal) = (0, 0);
    for (family, variants) in record.as_object().expect("an object") {
        let variants = variants.as_array().expect("an array");
        let logits: BTreeMap<&str, Vec<f32>> = variants
            .iter()
            .filter(|variant| variant["logits"].is_array())
            .map(|variant| (variant["name"].as_str().expect("a name"), floats(&variant["logits"])))
            .collect();
        for variant in variants {
            let name = variant["name"].as_str().expect("a name");
            let want = logits.get(variant["like"].as_str().unwrap_or(name)).map(Vec::as_slice);
            seen += 1;
            match check(family, variant, want) {
                Ok(same) => equal += usize::from(same),
                Err(what) => complaints.push(format!("{family}: {name}: {what}")),
            }
        }
    }
    assert!(complaints.is_empty(), "{} of {seen}:\n{}", complaints.len(), complaints.join("\n"));
    assert!(seen >= 1000 && equal >= 700, "{seen} variants, {equal} of them with the logits of transformers");
}
