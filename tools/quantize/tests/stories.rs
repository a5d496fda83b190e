//! The story model writes stories, not loops: in most texts no eight words of the first 150 stand twice in a row. Of the stories that
//! it is measured with, 2 in 100 have such a repetition.

use std::collections::HashSet;

use whit::Engine;
use whit::generate::{WriteOptions, recommended_sampling};
use whit::sampler::SamplerOptions;

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories.whit");
const WORDS: usize = 150;
const REPEATED: usize = 8;

/// What the model writes by its recommended settings, up to the end of a story.
fn story(engine: &Engine, seed: u64) -> String {
    let sampling = SamplerOptions { seed, ..recommended_sampling(engine.model().generation()) };
    let options = WriteOptions { n_tokens: Some(250), sampling: Some(sampling), ..WriteOptions::default() };
    let mut text = engine.write("Once upon a time", options).expect("a text");
    let mut said = String::new();
    while let Some(piece) = text.next_piece().expect("a piece") {
        said.push_str(piece.text);
    }
    said
}

fn loops(text: &str) -> bool {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    let words: Vec<&str> = words.take(WORDS).collect();
    let mut seen = HashSet::new();
    words.windows(REPEATED).any(|row| !seen.insert(row))
}

#[test]
fn what_repeats_itself_is_a_loop() {
    assert!(loops("She ran to the big red house again, and she ran to the big red house again."));
    assert!(!loops("She ran to the big red house again, and then she walked home to her mom."));
}

#[test]
fn eight_of_ten_stories_do_not_loop() {
    let engine = Engine::open(STORIES).expect("the story model");
    let stories: Vec<String> = (1..=10).map(|seed| story(&engine, seed)).collect();
    let words: usize = stories.iter().map(|story| story.split_whitespace().count()).sum();
    assert!(words >= 1000, "{words} words in ten stories");
    let looping: Vec<_> = stories.iter().filter(|story| loops(story)).collect();
    assert!(looping.len() <= 2, "{looping:#?}");
}
