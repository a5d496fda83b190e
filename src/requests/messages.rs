//! Messages of a conversation, as OpenAI's API has them.

use super::body::wrong;
use serde_json::Value;
use whit::chat::{Speaker, Turn};
use whit::error::Result;

/// The turns of a conversation, with one at least.
pub(super) fn turns(value: Option<&Value>) -> Result<Vec<Turn>> {
    let messages = value.and_then(Value::as_array).filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| wrong("messages", "it is no list of messages"))?;
    let turn = |(i, message): (usize, &Value)| {
        let field = |name: &str| format!("messages[{i}].{name}");
        let role = match message["role"].as_str() {
            Some("system" | "developer") => Speaker::System,
            Some("user") => Speaker::User,
            Some("assistant") => Speaker::Assistant,
            _ => return Err(wrong(&field("role"), "it is none of system, developer, user and assistant")),
        };
        let text = content(&message["content"], &["text"]);
        let text = text.ok_or_else(|| wrong(&field("content"), "it is neither a string nor a list of texts"))?;
        Ok(said(role, text))
    };
    messages.iter().enumerate().map(turn).collect()
}

/// A turn of which only the text is known.
pub(super) fn said(role: Speaker, text: String) -> Turn {
    Turn { role, text, tokens: Vec::new() }
}

/// The text of a message: a string, or parts of these types, which are texts.
pub(super) fn content(value: &Value, types: &[&str]) -> Option<String> {
    let is_text = |part: &&Value| part["type"].as_str().is_some_and(|name| types.contains(&name));
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| Some(part).filter(is_text)?["text"].as_str()).collect(),
        _ => None,
    }
}
