//! Every family that is supported gives what transformers gives, and so does every setting of it (tests/fixtures/families).
//!
//! `WHIT_FAMILY=gemma3 cargo test -p quantize --test families` tests one family.

mod bits;
mod fixture;
mod gguf;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;

use fixture::{Fixture, fixtures, texts};
use support::{Converted, Run};
use whit::error::{Error, Result};
use whit::model::Model;
use whit::quant::Dtype;

/// Variants that transformers runs and this program refuses, by the names of the family and the variant, with words of the refusal.
const REFUSED: &[(&str, &str, &str)] = &[
    ("ministral3", "queries that grow", "the model is made for 32"),
    ("olmo1", "clip", "clip_qkv"),
    ("bloom", "residual after the norm", "true is not supported"),
];

/// Largest difference of logarithms of probabilities that rounding explains.
const TOLERANCE: f64 = 1e-4;

fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, logit| m.max(f64::from(*logit)));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
    logits.iter().map(|logit| f64::from(*logit) - largest - sum.ln()).collect()
}

/// How far the model is from what transformers gives after a text, unless that is longer than the context.
fn apart(model: &Arc<Model>, text: &[u32], want: &[f32]) -> Result<f64> {
    let context = model.config().context_length;
    if text.len() > context {
        let error = Error::usage(format!("{} tokens, the model is made for {context}", text.len()));
        return Err(error.hint("give a shorter text"));
    }
    let run = Run { threads: 1, ..Run::reference() };
    let logits = run.logits(model, text).pop().expect("a token");
    let got = log_probabilities(&logits);
    assert_eq!(got.len(), want.len(), "vocabularies");
    let differences = got.iter().zip(want).map(|(g, w)| (g - f64::from(*w)).abs());
    Ok(differences.fold(0.0, |worst, d| if d.is_finite() { worst.max(d) } else { f64::INFINITY }))
}

fn convert(input: &Path) -> Result<Arc<Model>> {
    Ok(Converted::try_new(input, Dtype::F32)?.model())
}

/// What is wrong with a family or a variant of it, if anything.
fn complaint(fixture: &Fixture, variant: &str, outcome: Result<f64>) -> Option<String> {
    let refusal = REFUSED.iter().find(|(family, name, _)| (*family, *name) == (fixture.name.as_str(), variant));
    let what = match (outcome, refusal) {
        (Ok(apart), None) if apart <= TOLERANCE => return None,
        (Ok(apart), None) => format!("off by {apart:.2e}"),
        (Ok(apart), Some(_)) => format!("is no longer refused, and off by {apart:.2e}"),
        (Err(error), Some((_, _, words))) if error.to_string().contains(words) && error.named_hint().is_some() => {
            return None;
        }
        (Err(error), _) => format!("is refused: {error}"),
    };
    Some(format!("{}: {variant}: {what}", fixture.name))
}

#[test]
fn every_family_gives_what_transformers_gives() {
    let texts = texts();
    let mut complaints = Vec::new();
    for fixture in &fixtures() {
        let folder = tempfile::tempdir().expect("a folder");
        fixture.write(folder.path());
        let family = convert(folder.path());
        for (text, want) in texts.iter().zip(&fixture.log_probabilities) {
            let outcome = family.clone().and_then(|model| apart(&model, text, want));
            complaints.extend(complaint(fixture, "as it is", outcome));
        }
        for variant in &fixture.variants {
            fixture.write_config(folder.path(), Some(variant));
            let want = variant.log_probabilities.as_ref().unwrap_or(&fixture.log_probabilities[1]);
            let outcome = convert(folder.path()).and_then(|model| apart(&model, &texts[1], want));
            complaints.extend(complaint(fixture, &variant.name, outcome));
        }
    }
    assert!(complaints.is_empty(), "{}:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn every_gguf_file_gives_what_transformers_gives() {
    let text = texts().pop().expect("a text");
    let mut complaints = Vec::new();
    for fixture in &fixtures() {
        let Some(file) = gguf::file(fixture) else { continue };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, file).expect("written");
        let outcome = convert(&path).and_then(|model| apart(&model, &text, fixture.of_gguf()));
        complaints.extend(complaint(fixture, "as GGUF", outcome));
    }
    assert!(complaints.is_empty(), "{}:\n{}", complaints.len(), complaints.join("\n"));
}

/// A converter that ignored the setting would be off by more than is allowed.
#[test]
fn every_variant_differs_from_its_family() {
    for fixture in fixtures() {
        for variant in &fixture.variants {
            let Some(changed) = &variant.log_probabilities else { continue };
            let differences = changed.iter().zip(&fixture.log_probabilities[1]).map(|(c, w)| (c - w).abs());
            let apart = differences.fold(0.0, f32::max);
            assert!(apart > 1e-3, "{}: {}: {apart}", fixture.name, variant.name);
        }
    }
}
