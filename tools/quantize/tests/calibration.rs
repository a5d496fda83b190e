//! Weights of few bits are chosen by what a text shows of their inputs: nearer to the checkpoint, the same bytes everywhere, nothing
//! left behind.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use support::{Converted, Run, root};
use whit::format::Bytes;
use whit::inspect::agreement;
use whit::model::Model;
use whit::os::Mapping;
use whit::quant::Dtype;
use whit::tokenizer::Specials;

/// Converts the story model into `output`.
fn stories(output: &Path, arguments: &[&str]) -> Output {
    quantize(&root().join("models/stories"), output).args(arguments).output().expect("quantize starts")
}

fn quantize(input: &Path, output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
    command.arg(input).arg("-o").arg(output).arg("--force").arg("--quiet");
    command
}

fn open(path: &Path) -> Arc<Model> {
    Arc::new(Model::open(Bytes::new(Mapping::open(path).expect("the output"))).expect("a model"))
}

/// Mean KL divergence of `model` from `reference` over a story.
fn divergence(model: &Arc<Model>, reference: &Arc<Model>) -> f64 {
    let story = std::fs::read_to_string(root().join("docs/story.txt")).expect("a story");
    let text =
        format!("{story} Then a small dog came out of the house. It was wet and sad, and the boy gave it his hat.");
    let mut tokens = Vec::new();
    reference.tokenizer().expect("a tokenizer").encode(&text, Specials::AsText, &mut tokens);
    let [ours, theirs] = [model, reference].map(|model| Run::reference().logits(model, &tokens));
    ours.iter().zip(&theirs).map(|(ours, theirs)| agreement(theirs, ours).kl).sum::<f64>() / tokens.len() as f64
}

#[test]
fn more_effort_stays_nearer_to_the_checkpoint() {
    let reference = Converted::new(&root().join("models/stories"), Dtype::F32).model();
    let folder = tempfile::tempdir().expect("a folder");
    for weights in ["q4", "q5"] {
        let found = ["fast", "good", "best"].map(|effort| {
            let output = folder.path().join(format!("{weights}-{effort}.whit"));
            let done = stories(&output, &["--weights", weights, "--effort", effort]);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            divergence(&open(&output), &reference)
        });
        assert!(found.windows(2).all(|pair| pair[1] < pair[0]), "{weights}: {found:?}");
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_threads_and_nothing_is_left() {
    for (weights, effort) in [("q4", "good"), ("int8", "good"), ("q4", "best")] {
        let folder = tempfile::tempdir().expect("a folder");
        let outputs = ["1", "2", "3"].map(|threads| {
            let output = folder.path().join(format!("{threads}.whit"));
            let mut command = quantize(&root().join("models/stories"), &output);
            command.args(["--weights", weights, "--effort", effort]).env("RAYON_NUM_THREADS", threads);
            let done = command.output().expect("quantize starts");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            std::fs::read(output).expect("the output")
        });
        assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2], "{weights} {effort}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 3);
    }
}

#[test]
fn a_file_says_that_its_inputs_were_smoothed() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.whit");
    for (weights, effort, smoothed) in [
        ("int8", Some("best"), true),
        ("int8", Some("good"), true),
        ("int8", Some("fast"), false),
        ("int8", None, true),
        ("q6", None, true),
        ("fp16", Some("good"), false),
    ] {
        let arguments: Vec<&str> =
            ["--weights", weights].into_iter().chain(effort.into_iter().flat_map(|e| ["--effort", e])).collect();
        assert!(stories(&output, &arguments).status.success());
        let converter = open(&output).file().provenance().expect("a provenance").converter.clone();
        assert_eq!(converter.ends_with(", inputs smoothed"), smoothed, "{weights} {effort:?}: {converter}");
    }
}

#[test]
fn most_effort_says_beforehand_what_it_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.whit");
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
    command.arg(root().join("models/stories")).arg("-o").arg(&output).args(["--effort", "best", "--calibrate"]);
    let done = command.arg(root().join("docs/story.txt")).output().expect("quantize starts");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{told}");
    assert!(told.contains("the text is read 2 times") && told.contains("MiB of memory"), "{told}");
    assert!(told.contains("up to 4096 would show more"), "{told}");
    assert!(!told.contains("is being written by another run"), "the draft is no other run: {told}");
}

#[test]
fn a_text_of_the_users_own_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (text, output) = (folder.path().join("text.txt"), folder.path().join("out.whit"));
    let with = |text: &str| {
        let done = stories(&output, &["--weights", "q4", "--calibrate", text]);
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    std::fs::write(&text, "One day a boy found a red stone. ".repeat(40)).expect("written");
    let text = text.to_str().expect("a name");
    assert_eq!(with(text).0, Some(0));
    let read = std::fs::read(&output).expect("the output");
    assert!(stories(&output, &["--weights", "q4"]).status.success());
    assert!(read != std::fs::read(&output).expect("the output"), "the text makes no difference");

    std::fs::write(text, "").expect("written");
    let (code, told) = with(text);
    assert!(code != Some(0) && told.contains("text.txt") && told.contains("empty"), "{told}");
    let (code, told) = with("nowhere.txt");
    assert!(code != Some(0) && told.contains("nowhere.txt"), "{told}");

    std::fs::write(&output, "A text that is not to be lost.").expect("written");
    let (code, told) = with(output.to_str().expect("a name"));
    assert!(code == Some(64) && told.contains("this is also the input"), "{told}");
    assert_eq!(std::fs::read_to_string(&output).expect("the text"), "A text that is not to be lost.");
    let told = stories(&output, &["--weights", "q4", "--effort", "fast", "--calibrate", text]);
    assert_eq!(told.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&told.stderr).contains("--effort fast reads no text"));
}

#[test]
fn a_checkpoint_without_a_tokenizer_is_converted_without_a_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let llama = Converted::new(&root().join("tests/fixtures/llama"), Dtype::F32);
    support::write_hugging_face(&llama, folder.path());
    let output = folder.path().join("out.whit");
    let done = quantize(folder.path(), &output).args(["--weights", "q4"]).output().expect("quantize starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = root().join("docs/story.txt");
    let mut named = quantize(folder.path(), &output);
    let done = named.args(["--weights", "q4", "--calibrate"]).arg(text).output().expect("quantize starts");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && told.contains("no tokenizer"), "{told}");
}
