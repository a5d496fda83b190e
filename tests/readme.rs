//! What the README shows is what the program prints.

#![cfg(all(feature = "cli", feature = "default-model"))]

use std::process::Command;

/// The text between the first plain fence (no language) and its end.
fn first_output(readme: &str) -> &str {
    let start = readme.find("\n```\nOnce upon").expect("the story") + 5;
    let end = readme[start..].find("\n```").expect("the end of the story");
    &readme[start..start + end]
}

#[test]
fn the_readme_tells_the_story_that_whit_writes() {
    let runner = std::env::var("WHIT_TEST_RUNNER").unwrap_or_default();
    let mut words: Vec<_> = runner.split_whitespace().collect();
    words.push(env!("CARGO_BIN_EXE_whit"));
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(["generate", "-q", "--seed", "1", "Once upon a time there was a"])
        .output()
        .expect("whit starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), first_output(include_str!("../README.md")));
}
