//! What a chat template makes of a conversation: the text that a model reads.
//!
//! usage: render TEMPLATE [BOS [EOS]] < CONVERSATION        CONVERSATION: messages in OpenAI's form, a list in JSON, or an object with
//! such `messages` and with the `tools` that are offered

use serde_json::Value;
use whit::chat::Template;
use whit::chat::tools::{argument_of, turn_of_message};
use whit::os::calendar::Moment;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let source = std::fs::read_to_string(arguments.next().ok_or("name a template")?)?;
    let mut template = Template::with_tokens(&source, arguments.next(), arguments.next(), Moment::now());
    let conversation: Value = serde_json::from_reader(std::io::stdin())?;
    let messages = if conversation.is_array() { &conversation } else { &conversation["messages"] };
    if let Some(tools) = conversation["tools"].as_array() {
        template.set_tools(tools.iter().map(argument_of).collect());
    }
    let mut turns = Vec::new();
    for message in messages.as_array().ok_or("a list")? {
        turns.push(turn_of_message(message, "message")?);
    }
    print!("{}", template.render(&turns)?);
    Ok(())
}
