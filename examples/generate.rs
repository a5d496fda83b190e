//! Continues a text: `cargo run --release --example generate [MODEL [PROMPT]]`.

use std::error::Error;
use std::io::{Write, stdout};
use whit::{Engine, generate::WriteOptions};

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/stories.whit");

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let engine = Engine::open(arguments.next().unwrap_or(STORIES.into()))?;
    let prompt = arguments.next().unwrap_or("Once upon a time".into());
    let mut text = engine.write(&prompt, WriteOptions { n_tokens: Some(100), ..Default::default() })?;
    print!("{prompt}");
    while let Some(piece) = text.next_piece()? {
        print!("{}", piece.text);
        stdout().flush()?;
    }
    println!();
    Ok(())
}
