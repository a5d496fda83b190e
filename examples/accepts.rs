//! Whether texts are what a JSON Schema allows, by the grammar that whit makes of it for the embedded model.
//!
//! usage: accepts < LINES        a line: {"schema": ..., "texts": ["...", ...]}
//! A line of output: {"accepted": [true, ...]}, or {"refused": "why"} where the schema is not supported.

use serde_json::{Value, json};
use std::io::BufRead;
use whit::Engine;
use whit::generate::grammar::{Grammars, Rule};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::of_bytes(whit::default_model().ok_or("this build has no model of its own")?)?;
    let grammars = Grammars::new(engine.model())?;
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let answer = match grammars.compile(&Rule::Schema(case["schema"].to_string())) {
            Err(error) => json!({ "refused": error.to_string() }),
            Ok(grammar) => {
                let texts = case["texts"].as_array().ok_or("texts are a list")?;
                let accepts = |text: &Value| grammar.accepts(text.as_str().unwrap_or_default());
                json!({ "accepted": texts.iter().map(accepts).collect::<Result<Vec<bool>, _>>()? })
            }
        };
        println!("{answer}");
    }
    Ok(())
}
