//! What a chat template makes of a conversation: the text that a model reads.
//!
//! usage: render TEMPLATE [BOS [EOS]] < CONVERSATION        CONVERSATION: a list of {"role": ..., "content": ...} as JSON

use whit::chat::{Speaker, Template, Turn};
use whit::os::calendar::Moment;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let source = std::fs::read_to_string(arguments.next().ok_or("name a template")?)?;
    let template = Template::with_tokens(&source, arguments.next(), arguments.next(), Moment::now());
    let mut turns = Vec::new();
    let conversation: serde_json::Value = serde_json::from_reader(std::io::stdin())?;
    for message in conversation.as_array().ok_or("a list")? {
        let field = |name| message[name].as_str().ok_or("a message has a role and a content");
        let role = match field("role")? {
            "system" => Speaker::System,
            "assistant" => Speaker::Assistant,
            _ => Speaker::User,
        };
        turns.push(Turn { role, text: field("content")?.into(), tokens: Vec::new() });
    }
    print!("{}", template.render(&turns)?);
    Ok(())
}
