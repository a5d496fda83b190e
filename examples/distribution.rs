//! Prints the ten most probable next tokens of a text: `cargo run --release --example distribution [MODEL [TEXT]]`.

use std::error::Error;
use whit::{Engine, generate::WriteOptions, inspect::Distribution};

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/stories.whit");

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let engine = Engine::open(arguments.next().unwrap_or(STORIES.into()))?;
    let text = arguments.next().unwrap_or("Once upon a time there was a".into());

    let mut session = engine.session(&WriteOptions::default())?;
    let logits = session.extend(&engine.tokens(&text)?)?;
    let temperature = 1.0;
    let distribution = Distribution::of_logits(logits, temperature, 10);

    let tokenizer = engine.model().tokenizer().ok_or("this model has no tokenizer")?;
    for token in &distribution.top {
        let name = String::from_utf8_lossy(tokenizer.bytes(token.id));
        println!("{:6.2} %  {name:?}", 100.0 * token.probability);
    }
    println!("{:6.2} %  all others", 100.0 * distribution.tail);
    Ok(())
}
