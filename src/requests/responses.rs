//! The fields of OpenAI's responses, as far as they need no memory of the server.

use super::body::{Body, MOST_TOKENS, wrong};
use super::messages::{content, said};
use super::{Asked, Prompt, Sending};
use serde_json::Value;
use whit::chat::{Speaker, Turn};
use whit::error::Result;
use whit::sampler::SamplerOptions;

/// Fields that ask for what is not there.
const REFUSED: [&str; 5] = ["previous_response_id", "conversation", "background", "tools", "prompt"];

/// What a request to `/v1/responses` asks for.
pub(crate) fn asked(body: &Value, sampling: &SamplerOptions) -> Result<Asked> {
    let body = Body::of("body", body)?;
    body.refuse(&REFUSED)?;
    let system = body.text("instructions")?.filter(|text| !text.is_empty());
    let system = system.map(|text| said(Speaker::System, text.to_owned()));
    let said_so_far = match body.get("input") {
        Some(Value::String(text)) => vec![said(Speaker::User, text.clone())],
        Some(Value::Array(items)) if !items.is_empty() => items.iter().enumerate().map(turn).collect::<Result<_>>()?,
        _ => return Err(wrong("input", "it is neither a string nor a list of messages")),
    };
    let format = body.get("text").and_then(|text| text.get("format")).filter(|format| !format.is_null());
    Ok(Asked {
        n_tokens: body.integer("max_output_tokens", MOST_TOKENS)?.map(|n| n as usize),
        rule: super::openai::rule(format)?,
        sending: if body.flag("stream")? { Sending::Streamed } else { Sending::Whole },
        extension: super::extension::of(&body)?,
        ..Asked::to(Prompt::Turns(system.into_iter().chain(said_so_far).collect()), body.sampling(sampling)?)
    })
}

/// The turn of an item of the input.
fn turn((i, item): (usize, &Value)) -> Result<Turn> {
    let field = |name: &str| format!("input[{i}].{name}");
    if item.get("type").is_some_and(|kind| kind != "message") {
        return Err(wrong(&field("type"), "of items, messages alone are supported"));
    }
    let role = match item["role"].as_str() {
        Some("system" | "developer") => Speaker::System,
        Some("user") => Speaker::User,
        Some("assistant") => Speaker::Assistant,
        _ => return Err(wrong(&field("role"), "it is none of system, developer, user and assistant")),
    };
    let text = content(&item["content"], &["input_text", "output_text"]);
    Ok(said(role, text.ok_or_else(|| wrong(&field("content"), "it is neither a string nor a list of texts"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn instructions_are_a_system_prompt_and_input_is_what_was_said() {
        let body = json!({
            "instructions": "Be brief.", "max_output_tokens": 3, "text": {"format": {"type": "json_schema", "schema": {}}},
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}], "store": true,
        });
        let asked = asked(&body, &SamplerOptions::default()).expect("a request");
        let Prompt::Turns(turns) = &asked.prompt else { panic!("a conversation") };
        assert_eq!((turns.len(), turns[1].text.as_str(), asked.n_tokens), (2, "Hi", Some(3)));
        assert!(asked.rule.is_some());
    }

    #[test]
    fn what_needs_a_memory_is_refused() {
        let of = |body: Value| asked(&body, &SamplerOptions::default()).expect_err("refused").to_string();
        assert_eq!(of(json!({"input": "a", "previous_response_id": "r"})), "previous_response_id: it is not supported");
        assert_eq!(of(json!({})), "input: it is neither a string nor a list of messages");
        let call = json!({"input": [{"type": "function_call_output"}]});
        assert_eq!(of(call), "input[0].type: of items, messages alone are supported");
    }
}
