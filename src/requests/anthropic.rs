//! The fields of Anthropic's messages.

use super::body::{Body, MOST_TOKENS, wrong};
use super::messages::{content, said};
use super::{Asked, Prompt, Sending};
use serde_json::Value;
use whit::chat::{Speaker, Turn};
use whit::error::Result;
use whit::sampler::SamplerOptions;

/// What a request to `/v1/messages` asks for.
pub(crate) fn asked(body: &Value, sampling: &SamplerOptions) -> Result<Asked> {
    let fields = Body::of("body", body)?;
    fields.refuse(&["tools", "tool_choice", "mcp_servers"])?;
    if fields.get("thinking").is_some_and(|thinking| thinking["type"] != "disabled") {
        return Err(wrong("thinking", "it is not supported"));
    }
    let n_tokens = fields.integer("max_tokens", MOST_TOKENS)?;
    Ok(Asked {
        n_tokens: Some(n_tokens.ok_or_else(|| wrong("max_tokens", "it is missing"))? as usize),
        stops: fields.strings("stop_sequences")?,
        sending: if fields.flag("stream")? { Sending::Streamed } else { Sending::Whole },
        extension: super::extension::of(&fields)?,
        ..Asked::to(Prompt::Turns(turns(body)?), fields.sampling(sampling)?)
    })
}

/// The turns of a conversation, with one at least; the system prompt is a field of its own.
pub(crate) fn turns(body: &Value) -> Result<Vec<Turn>> {
    let body = Body::of("body", body)?;
    let system = match body.get("system") {
        None => None,
        Some(value) => {
            let text = content(value, &["text"]);
            Some(text.ok_or_else(|| wrong("system", "it is neither a string nor a list of texts"))?)
        }
    };
    let messages = body.get("messages").and_then(Value::as_array).filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| wrong("messages", "it is no list of messages"))?;
    let turn = |(i, message): (usize, &Value)| {
        let role = match message["role"].as_str() {
            Some("user") => Speaker::User,
            Some("assistant") => Speaker::Assistant,
            _ => return Err(wrong(&format!("messages[{i}].role"), "it is neither user nor assistant")),
        };
        let text = content(&message["content"], &["text"]);
        let field = format!("messages[{i}].content");
        Ok(said(role, text.ok_or_else(|| wrong(&field, "it is neither a string nor a list of texts"))?))
    };
    let system = system.filter(|text| !text.is_empty()).map(|text| Ok(said(Speaker::System, text)));
    system.into_iter().chain(messages.iter().enumerate().map(turn)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_system_prompt_is_the_first_turn() {
        let body = json!({
            "model": "any", "max_tokens": 5, "system": [{"type": "text", "text": "Be brief."}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "stop_sequences": ["x"],
        });
        let asked = asked(&body, &SamplerOptions::default()).expect("a request");
        let Prompt::Turns(turns) = &asked.prompt else { panic!("a conversation") };
        assert_eq!((turns[0].role, turns[1].text.as_str(), asked.n_tokens), (Speaker::System, "Hi", Some(5)));
    }

    #[test]
    fn what_is_missing_or_not_there_is_refused() {
        let of = |body: Value| asked(&body, &SamplerOptions::default()).expect_err("refused").to_string();
        assert_eq!(of(json!({"messages": [{"role": "user", "content": "a"}]})), "max_tokens: it is missing");
        let image = json!({"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "image"}]}]});
        assert_eq!(of(image), "messages[0].content: it is neither a string nor a list of texts");
        let system = json!({"max_tokens": 1, "messages": [{"role": "system", "content": "a"}]});
        assert_eq!(of(system), "messages[0].role: it is neither user nor assistant");
        assert_eq!(
            of(json!({"max_tokens": 1, "messages": [], "thinking": {"type": "enabled"}})),
            "thinking: it is not supported"
        );
    }
}
