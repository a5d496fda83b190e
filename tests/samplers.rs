//! The stages of the sampler chain on the command line: drawn, put in order, over texts that are interrupted.
#![cfg(feature = "cli")]

mod program;

use program::whit;
use serde_json::Value;

/// What `whit generate` writes with these words, and its code.
fn generated(words: &str, prompt: &str) -> (String, Option<i32>) {
    let output =
        whit().args(["generate", "-q"]).args(words.split(' ')).args(["-p", prompt]).output().expect("it starts");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

/// The text after the prompt.
fn text(words: &str, prompt: &str) -> String {
    let (lines, code) = generated(&format!("--json --no-echo {words}"), prompt);
    assert_eq!(code, Some(0), "{words}");
    let pieces = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    pieces.filter_map(|piece| piece["text"].as_str().map(str::to_owned)).collect()
}

const ALL: &str = "--frequency-penalty 0.1 --dry-multiplier 0.8 --top-n-sigma 3 --temp 0.9 --dynatemp-range 0.3 --top-k 50 --typical 0.99 \
                   --top-p 0.98 --min-p 0.01 --xtc-probability 0.5 --mirostat 2 --adaptive-target 0.4 -s 5 --samplers";

#[test]
fn every_stage_is_drawn_in_the_order_that_is_asked_for() {
    let stages = |order: &str| -> Vec<String> {
        let (lines, code) = generated(&format!("--show --json -n 1 {ALL} {order}"), "Once upon a time");
        assert_eq!(code, Some(0));
        let choice: Value = serde_json::from_str(lines.lines().nth(1).expect("a choice")).expect("JSON");
        let stages = choice["stages"].as_array().expect("stages");
        stages.iter().map(|stage| stage["stage"].as_str().expect("a name").to_owned()).collect()
    };
    let ours = "penalties;dry;top-n-sigma;temperature;top-k;typical;top-p;min-p;xtc";
    let names = "logits penalties dry top-n-sigma temperature top-k typical top-p min-p xtc mirostat adaptive-p";
    assert_eq!(stages(ours).join(" "), names);
    let theirs = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
    let names = "logits penalties dry top-n-sigma top-k typical top-p min-p xtc temperature mirostat adaptive-p";
    assert_eq!(stages(theirs).join(" "), names);
    assert_eq!(stages("temperature").join(" "), "logits temperature mirostat adaptive-p");
    let (picture, _) = generated(&format!("--show --width 140 -n 1 {ALL} {ours}"), "Once upon a time");
    let head = "softmax(logits) → penalties → dry 0.8 → top-n-sigma 3 → temperature 0.9 ± 0.3 → top-k 50 → typical 0.99 → top-p 0.98";
    assert!(picture.replace('\n', " ").contains(head), "{picture}");
    for wrong in ["top-k;best", "top-k;top-k", "top-k;dry"] {
        assert_eq!(generated(&format!("{ALL} {wrong}"), "Once").1, Some(64), "{wrong}");
    }
}

/// The penalties and DRY look back on the whole text, whichever run wrote it.
#[test]
fn a_text_in_two_runs_is_penalized_as_in_one() {
    let path = std::env::temp_dir().join(format!("whit-samplers-{}", std::process::id()));
    let options = "--temp 0 --dry-multiplier 2 --frequency-penalty 0.05 --repeat-last-n 200";
    let whole = text(&format!("-n 90 {options}"), "Once upon a time");
    let session = format!("--ctx 200 {options} --session {}", path.display());
    let first = text(&format!("-n 40 {session}"), "Once upon a time");
    let second = text(&format!("-n 50 {session}"), "");
    let _ = std::fs::remove_file(&path);
    assert_eq!(first + &second, whole);
    assert_ne!(whole, text("-n 90 --temp 0", "Once upon a time"), "they do something");
}

#[test]
fn a_banned_string_is_not_written() {
    let plain = text("-n 60 --temp 0", "Once upon a time");
    let word = plain.split_whitespace().nth(3).expect("words");
    let banned = text(&format!("-n 60 --temp 0 --banned-string {word}"), "Once upon a time");
    assert!(plain.contains(word) && !banned.contains(word), "{word:?}: {banned:?}");
    assert_eq!(generated("--on-full shift --banned-string a", "Once").1, Some(64));
}
