//! Files that keep to a size or to a bound of divergence: what was chosen fits, is better than one format for all, and the same everywhere.

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::root;
use whit::format::{Bytes, File, Quality};
use whit::os::Mapping;
use whit::quant::Dtype;

/// Exit code, what was reported and standard error.
fn quantize(input: &Path, output: &Path, threads: &str, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
    command.arg(input).arg("-o").arg(output).args(["--force", "--json"]).args(arguments);
    let done = command.env("RAYON_NUM_THREADS", threads).output().expect("quantize starts");
    let report = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
    (done.status.code(), report, String::from_utf8_lossy(&done.stderr).into_owned())
}

/// Bytes of the file, its report, and the format of its embedding.
fn written(path: &Path) -> (u64, Quality, Dtype) {
    let bytes = Bytes::new(Mapping::open(path).expect("the output"));
    let file = File::open(&bytes).expect("a file");
    file.verify(&mut |_| ()).expect("in order");
    let report = file.quality().expect("a valid report").expect("a report");
    (file.file_bytes(), report, file.tensor("embedding").expect("there").dtype)
}

#[test]
fn a_size_is_kept_and_used_and_nearer_than_one_format_for_all() {
    let (stories, folder) = (root().join("models/stories"), tempfile::tempdir().expect("a folder"));
    let output = folder.path().join("out.whit");
    let same = quantize(&stories, &output, "2", &["--weights", "q5"]);
    assert_eq!(same.0, Some(0), "{}", same.2);
    let (size, q5, _) = written(&output);
    let (code, told, err) = quantize(&stories, &output, "2", &["--max-size", &size.to_string()]);
    assert_eq!(code, Some(0), "{err}");
    let (bytes, mixed, embedding) = written(&output);
    assert!(bytes <= size && bytes > size - 30_000, "{bytes} of {size}");
    assert!(mixed.figures.mean_kl < q5.figures.mean_kl, "{:?}, {:?}", mixed.figures, q5.figures);
    assert!(embedding != Dtype::Q4);
    let chosen = told["chosen"].as_array().expect("a list");
    assert_eq!(chosen.len(), 37);
    for one in chosen {
        let [as_q4, predicted] = ["kl_as_q4", "kl_predicted"].map(|name| one[name].as_f64().expect("a number"));
        assert!(predicted <= as_q4 && predicted >= 0.0, "{one}");
    }
    let before = std::fs::read(&output).expect("the output");
    let (code, ..) = quantize(&stories, &output, "1", &["--max-size", &size.to_string()]);
    assert!(code == Some(0) && before == std::fs::read(&output).expect("the output"), "threads make a difference");
    let (code, ..) = quantize(&stories, &output, "2", &["--max-size", "1GB", "--keep", "embedding=q6"]);
    assert!(code == Some(0) && written(&output).2 == Dtype::Q6);
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "drafts are left");
}

#[test]
fn a_bound_of_divergence_is_measured_and_kept() {
    let (stories, folder) = (root().join("models/stories"), tempfile::tempdir().expect("a folder"));
    let output = folder.path().join("out.whit");
    let mut before = u64::MAX;
    for kl in ["0.004", "0.02"] {
        let (code, _, err) = quantize(&stories, &output, "2", &["--max-kl", kl]);
        assert_eq!(code, Some(0), "{err}");
        let (bytes, report, _) = written(&output);
        assert!(report.figures.mean_kl <= kl.parse().expect("a number"), "{kl}: {:?}", report.figures);
        assert!(bytes < before, "{bytes} for {kl}");
        before = bytes;
    }
    // What the inputs of int8 add is too much: fp16.
    let (code, ..) = quantize(&stories, &output, "2", &["--max-kl", "0.0001"]);
    assert!(code == Some(0) && written(&output).2 == Dtype::F16);
}

#[test]
fn memory_is_left_for_a_run() {
    let (stories, folder) = (root().join("models/stories"), tempfile::tempdir().expect("a folder"));
    let output = folder.path().join("out.whit");
    let of = |arguments: &[&str]| {
        let (code, _, err) = quantize(&stories, &output, "2", arguments);
        assert_eq!(code, Some(0), "{err}");
        written(&output).0
    };
    let int8 = of(&["--fit", "zero-2w"]);
    assert_eq!(int8, of(&["--max-size", "1GB"]));
    let (long, short) = (of(&["--fit", "4M"]), of(&["--fit", "4M", "--fit-ctx", "32"]));
    assert!(long < short && short <= int8, "{long}, {short}, {int8}");
    assert!(of(&["--fit", "doctor", "--keep", "embedding=q6"]) < int8);
}

/// M-47
#[test]
fn what_cannot_be_kept_is_refused() {
    let (stories, folder) = (root().join("models/stories"), tempfile::tempdir().expect("a folder"));
    let output = folder.path().join("out.whit");
    let rows: [(&[&str], i32, &str); 12] = [
        (&["--fit", "2M"], 64, "are too few: the smallest possible file has"),
        (&["--fit", "pi-7"], 64, "expected doctor, a size such as 300M, or a board"),
        (&["--fit-ctx", "100"], 64, "--fit"),
        (&["--max-size", "1M"], 64, "are too few: the smallest possible file has"),
        (&["--max-kl", "1e-12"], 65, "cannot be reached: with weights of fp16 it is"),
        (&["--max-size", "2M", "--weights", "q4"], 64, "cannot be used with"),
        (&["--max-size", "2M", "--max-kl", "0.1"], 64, "cannot be used with"),
        (&["--max-size", "2M", "--no-quality"], 64, "cannot be used with"),
        (&["--max-size", "2M", "--effort", "fast"], 64, "a budget is kept by measuring"),
        (&["--max-size", "much"], 64, "expected a size such as 180M"),
        (&["--max-kl", "0"], 64, "expected a number above 0"),
        (&["--max-kl", "NaN"], 64, "expected a number above 0"),
    ];
    for (arguments, wanted, words) in rows {
        let (code, _, err) = quantize(&stories, &output, "2", arguments);
        assert!(code == Some(wanted) && err.contains(words), "{arguments:?}: {err}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "{arguments:?} leaves something");
    }
    let text = folder.path().join("short.txt");
    std::fs::write(&text, "One day.").expect("written");
    let short = ["--max-size", "2M", "--calibrate", text.to_str().expect("a name")];
    let (code, _, err) = quantize(&stories, &output, "2", &short);
    assert!(code == Some(65) && err.contains("fewer than 16 tokens are held out"), "{err}");
}
