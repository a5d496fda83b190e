//! Messages of a conversation, as OpenAI's API has them.

use super::body::wrong;
use serde_json::Value;
#[cfg(feature = "server")]
use whit::chat::Speaker;
use whit::chat::Turn;
use whit::chat::tools::turn_of_message;
use whit::error::Result;

/// The turns of a conversation, with one at least.
pub(super) fn turns(value: Option<&Value>) -> Result<Vec<Turn>> {
    let messages = value.and_then(Value::as_array).filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| wrong("messages", "it is no list of messages"))?;
    messages.iter().enumerate().map(|(i, message)| turn_of_message(message, &format!("messages[{i}]"))).collect()
}

/// A turn of which only the text is known.
#[cfg(feature = "server")]
pub(super) fn said(role: Speaker, text: String) -> Turn {
    Turn::new(role, text)
}

/// The text of a message: a string, or parts of these types, which are texts.
#[cfg(feature = "server")]
pub(super) fn content(value: &Value, types: &[&str]) -> Option<String> {
    let is_text = |part: &&Value| part["type"].as_str().is_some_and(|name| types.contains(&name));
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| Some(part).filter(is_text)?["text"].as_str()).collect(),
        _ => None,
    }
}
