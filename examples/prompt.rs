//! Conversations to the tokens that a model reads, by its own chat template: for each conversation a line of JSON, its ids or
//! the words of the refusal.
//!
//! usage: prompt MODEL < CONVERSATIONS        CONVERSATIONS: lists of {"role": ..., "content": ...} in a list, as JSON

use whit::chat::Conversation;
use whit::generate::ModelFile;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = ModelFile::open(std::env::args_os().nth(1).ok_or("name a model")?)?;
    let conversations: Vec<Vec<serde_json::Value>> = serde_json::from_reader(std::io::stdin())?;
    for messages in conversations {
        let mut conversation = Conversation::new(file.model())?;
        for message in &messages {
            let content = message["content"].as_str().ok_or("a message has a role and a content")?;
            match message["role"].as_str() {
                Some("system") => conversation.begin(Some(content.into())),
                Some("assistant") => conversation.reply(content, &[]),
                _ => conversation.say(content),
            }
        }
        let line = match conversation.tokens() {
            Ok(ids) => serde_json::json!(ids),
            Err(error) => serde_json::json!(error.to_string()),
        };
        println!("{line}");
    }
    Ok(())
}
