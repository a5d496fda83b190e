//! Texts to tokens and back: for each text a line of JSON, its ids without BOS and the text that they give again. Names of
//! control tokens in a text are those tokens.
//!
//! usage: encode MODEL < TEXTS        TEXTS: a list of texts as JSON

use whit::generate::ModelFile;
use whit::tokenizer::{Decoder, Specials};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = ModelFile::open(std::env::args_os().nth(1).ok_or("name a model")?)?;
    let tokenizer = file.model().tokenizer().ok_or("this model has no tokenizer")?;
    let texts: Vec<String> = serde_json::from_reader(std::io::stdin())?;
    for text in texts {
        let mut ids = Vec::new();
        tokenizer.encode(&text, Specials::Parse, &mut ids);
        let mut decoder = Decoder::new(tokenizer);
        let mut again: String = ids.iter().map(|id| decoder.push(tokenizer, *id).to_string()).collect();
        again += decoder.finish();
        println!("{}", serde_json::json!({ "ids": ids, "text": again }));
    }
    Ok(())
}
