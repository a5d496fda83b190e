//! Talks with a model by its own chat template, a line of standard input at a time:
//! `cargo run --release --features chat --example chat [MODEL]`. The story model has no template and is refused.

use std::error::Error;
use std::io::{Write, stdin, stdout};
use whit::{Engine, chat::Conversation, generate::WriteOptions};

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/stories.whit");

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::open(std::env::args().nth(1).unwrap_or(STORIES.into()))?;
    let mut conversation = Conversation::new(engine.model())?;
    let end_tokens = conversation.end_tokens().to_vec();
    let options = WriteOptions { n_tokens: Some(300), end_tokens, ..Default::default() };
    // One session computes all replies: what it holds of the conversation is not computed again.
    let mut session = engine.session(&options)?;
    for line in stdin().lines() {
        conversation.say(line?);
        let mut reply = String::new();
        let mut text = engine.write_in(session, &conversation.tokens()?, options.clone())?;
        while let Some(piece) = text.next_piece()? {
            print!("{}", piece.text);
            stdout().flush()?;
            reply.push_str(piece.text);
        }
        println!("\n");
        conversation.reply(reply, text.writer().written());
        session = text.into_session();
    }
    Ok(())
}
