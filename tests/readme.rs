//! What the README shows is what the program prints.

#![cfg(all(feature = "cli", feature = "default-model"))]

mod program;

/// The text between the first plain fence (no language) and its end.
fn first_output(readme: &str) -> &str {
    let start = readme.find("\n```\nOnce upon").expect("the story") + 5;
    let end = readme[start..].find("\n```").expect("the end of the story");
    &readme[start..start + end]
}

#[test]
fn the_readme_tells_the_story_that_whit_writes() {
    let output = program::whit()
        .args(["generate", "-q", "--seed", "3", "Once upon a time there was a"])
        .output()
        .expect("whit starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), first_output(include_str!("../README.md")));
}
