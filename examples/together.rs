//! Writes two texts at once: each pass reads the weights once for both. `cargo run --release --example together [MODEL]`.

use std::error::Error;
use whit::Engine;
use whit::generate::WriteOptions;
use whit::model::Workspace;

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/stories.whit");

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::open(std::env::args().nth(1).unwrap_or(STORIES.into()))?;
    let options = WriteOptions { n_tokens: Some(60), ..Default::default() };
    let mut written = ["The little dog", "A red ball"].map(String::from);

    // Up to 64 tokens a pass, and logits for two texts.
    let mut workspace = Workspace::new(engine.model(), 64, 2)?;
    let mut texts = Vec::new();
    for prompt in &written {
        texts.push(engine.write_together(&workspace, &engine.tokens(prompt)?, options.clone())?);
    }
    while engine.advance(&mut workspace, &mut texts)? > 0 {
        for (text, written) in texts.iter_mut().zip(&mut written) {
            while let Some(piece) = text.writer.piece() {
                written.push_str(piece.text);
            }
        }
    }
    written.iter().for_each(|text| println!("{text}\n"));
    Ok(())
}
