//! The quality report: what it says is what f64 arithmetic with all logits says, and who gets one.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use support::{Converted, Run, root};
use whit::format::{Bytes, Quality};
use whit::inspect::{agreement, nll};
use whit::model::Model;
use whit::ops::KvDtype;
use whit::os::Mapping;
use whit::quant::Dtype;

/// Converts `input` and gives the model, exit code, standard output and standard error.
fn quantize(input: &Path, output: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
    let done = command.arg(input).arg("-o").arg(output).arg("--force").args(arguments).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (done.status.code(), text(done.stdout), text(done.stderr))
}

fn open(path: &Path) -> Arc<Model> {
    Arc::new(Model::open(Bytes::new(Mapping::open(path).expect("the output"))).expect("a model"))
}

fn report(path: &Path) -> Option<Quality> {
    open(path).file().quality().expect("a valid report")
}

#[test]
fn a_report_says_what_all_logits_say() {
    let stories = root().join("models/stories");
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("q4.whit");
    let (code, out, err) = quantize(&stories, &output, &["--weights", "q4"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let report = report(&output).expect("a report");
    assert!(out.contains(&format!("mean KL {:.6}", report.figures.mean_kl)), "{out}");

    let exact = Converted::new(&stories, Dtype::F32).model();
    let model = open(&output);
    let (mut kl, mut whole, mut ours, mut theirs, mut same) = (0.0, 0.0, 0.0, 0.0, 0);
    let mut index = 0;
    for window in report.tokens.chunks_exact(report.window) {
        let p = Run { kv: KvDtype::F32, ..Run::reference() }.logits(&exact, window);
        let q = Run { kv: KvDtype::F16, ..Run::reference() }.logits(&model, window);
        for i in Quality::scored(report.window) {
            let probability = |logits: &[f32]| {
                let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
                logits.iter().map(|l| f64::from(*l).exp() / sum).collect::<Vec<f64>>()
            };
            let [a, b] = [&p[i], &q[i]].map(|logits| probability(logits));
            let (ids, logs) = report.outcomes_at(index);
            let rest = |all: &[f64]| 1.0 - ids.iter().map(|id| all[*id as usize]).sum::<f64>();
            let term = |a: f64, b: f64| a * (a / b).ln();
            kl += ids.iter().map(|id| term(a[*id as usize], b[*id as usize])).sum::<f64>() + term(rest(&a), rest(&b));
            for (id, log) in ids.iter().zip(logs) {
                assert!((a[*id as usize].ln() - f64::from(*log)).abs() < 1e-6);
            }
            let smallest = a[ids[ids.len() - 1] as usize];
            assert!((0..a.len()).all(|id| ids.contains(&(id as u32)) || a[id] <= smallest + 1e-9));
            let pair = agreement(&p[i], &q[i]);
            whole += pair.kl;
            same += u32::from(pair.same_top);
            ours += nll(&q[i], window[i + 1]);
            theirs += nll(&p[i], window[i + 1]);
            index += 1;
        }
    }
    assert_eq!(index, report.positions());
    let n = index as f64;
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-5 * want, "{got}, not {want}");
    near(report.figures.mean_kl, kl / n);
    near(report.figures.perplexity, (ours / n).exp());
    near(report.figures.reference_perplexity, (theirs / n).exp());
    assert_eq!(report.figures.same_top, same);
    // Outcomes that are taken together hide some of the divergence, and not much.
    assert!(report.figures.mean_kl <= whole / n && report.figures.mean_kl > 0.7 * whole / n, "{} of {}", kl, whole);
}

#[test]
fn who_calibrates_or_asks_gets_a_report() {
    let stories = root().join("models/stories");
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.whit");
    let with = |arguments: &[&str]| {
        let (code, _, err) = quantize(&stories, &output, &[&["--quiet"], arguments].concat());
        assert_eq!(code, Some(0), "{err}");
        (std::fs::read(&output).expect("the output"), report(&output))
    };
    assert!(with(&["--weights", "int8"]).1.is_none());
    assert!(with(&["--weights", "q4", "--effort", "fast"]).1.is_none());
    assert!(with(&["--weights", "q4", "--no-quality"]).1.is_none());
    let int8 = with(&["--weights", "int8", "--quality"]);
    let ours = int8.1.expect("asked for").figures;
    assert!(ours.mean_kl > 0.0 && ours.mean_kl < 0.01, "{ours:?}");
    let exact = with(&["--weights", "f32", "--quality"]).1.expect("asked for").figures;
    assert!(exact.mean_kl < 1e-5 && exact.mean_kl < ours.mean_kl, "{exact:?}");

    // The end of a text of the user's own is held out, and calibrates nothing.
    let text = folder.path().join("text.txt");
    let sentences = ["One day a boy found a red stone.\n".repeat(60), "The cat was sad and went home.\n".repeat(20)];
    let named = |end: &str| {
        std::fs::write(&text, sentences.concat() + end).expect("written");
        with(&["--weights", "q4", "--calibrate", text.to_str().expect("a name")])
    };
    let (first, second) = (named(""), named("The cat was mad and ran home."));
    assert!(first.0 != second.0);
    let weights = |bytes: &[u8]| bytes[bytes.len() - 1_000_000..].to_vec();
    assert!(weights(&first.0) == weights(&second.0));
    assert_ne!(first.1.expect("a report").tokens, second.1.expect("a report").tokens);
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 2, "drafts are left");
}

/// M-46
#[test]
fn without_a_tokenizer_there_is_no_report_and_that_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let llama = Converted::new(&root().join("tests/fixtures/llama"), Dtype::F32);
    support::write_hugging_face(&llama, folder.path());
    let output = folder.path().join("out.whit");
    let (code, out, err) = quantize(folder.path(), &output, &["--weights", "q4"]);
    assert!(code == Some(0) && err.contains("note: no quality report") && !out.contains("mean KL"), "{err}");
    let (code, _, err) = quantize(folder.path(), &output, &["--quality"]);
    assert!(code == Some(65) && err.contains("no tokenizer to read a held-out text with"), "{err}");
    let words = folder.path().join("words.txt");
    std::fs::write(&words, "one 1 2\ntwo 3 4\n").expect("written");
    let (code, _, err) = quantize(&words, &output, &["--quality"]);
    assert!(code == Some(64) && err.contains("word vectors have no quality report"), "{err}");
}
