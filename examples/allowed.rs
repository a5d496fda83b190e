//! Texts that a JSON Schema allows, drawn blindly: no model says which are likely.
//!
//! usage: allowed N < LINES        a line: a JSON Schema
//! A line of output: {"texts": ["...", ...]}, of N texts, or {"refused": "why"} where the schema is not supported.

use serde_json::json;
use std::collections::VecDeque;
use std::io::BufRead;
use whit::generate::grammar::{Grammar, Grammars, Rule};
use whit::sampler::Rng;
use whit::{Engine, TokenId};

/// Texts of more tokens are given up.
const MOST_TOKENS: usize = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let n: u64 = std::env::args().nth(1).ok_or("usage: allowed N < LINES")?.parse()?;
    let engine = Engine::of_bytes(whit::default_model().ok_or("this build has no model of its own")?)?;
    let grammars = Grammars::new(engine.model())?;
    for line in std::io::stdin().lock().lines() {
        let answer = match grammars.compile(&Rule::Schema(line?)) {
            Err(error) => json!({ "refused": error.to_string() }),
            Ok(grammar) => {
                let texts = (0..n).filter_map(|seed| draw(&engine, &grammar, &mut Rng::new(seed)).transpose());
                json!({ "texts": texts.collect::<whit::Result<Vec<String>>>()? })
            }
        };
        println!("{answer}");
    }
    Ok(())
}

/// A text that `grammar` allows; `None` where it has not come to an end.
fn draw(engine: &Engine, grammar: &Grammar, rng: &mut Rng) -> whit::Result<Option<String>> {
    let model = engine.model();
    let Some(tokenizer) = model.tokenizer() else { return Ok(None) };
    let mut text = grammar.begin()?;
    let (mut bytes, mut forced, mut n_tokens) = (Vec::new(), VecDeque::new(), 0);
    // Some texts end as soon as they can, others go on.
    let patience = rng.uniform();
    while n_tokens < MOST_TOKENS {
        text.forced(&[], &mut forced)?;
        n_tokens += forced.len();
        forced.drain(..).for_each(|token| bytes.extend_from_slice(tokenizer.bytes(token)));
        if text.is_complete() || (text.may_end() && rng.uniform() > patience) {
            return Ok(String::from_utf8(bytes).ok());
        }
        let mask = text.mask(&[])?;
        let allowed: Vec<TokenId> = (0..model.config().vocab_size as TokenId).filter(|id| mask.allows(*id)).collect();
        // A quotation mark ends a string: where it may come, it comes often enough.
        let ending = allowed.iter().find(|id| tokenizer.bytes(**id).first() == Some(&b'"') && rng.uniform() > patience);
        let drawn = (rng.uniform() * allowed.len() as f64) as usize;
        let Some(token) = ending.or_else(|| allowed.get(drawn)).copied() else { return Ok(None) };
        text.accept(token)?;
        bytes.extend_from_slice(tokenizer.bytes(token));
        n_tokens += 1;
    }
    Ok(None)
}
