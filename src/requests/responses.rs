//! The fields of OpenAI's responses, as far as they need no memory of the server.

use super::body::{Body, MOST_TOKENS, wrong};
use super::messages::{content, said};
use super::{Asked, Prompt, Sending};
use serde_json::{Value, json};
use whit::chat::tools::{Tools, turn_of_message};
use whit::chat::{Answers, Speaker, Turn};
use whit::error::Result;
use whit::sampler::SamplerOptions;

/// Fields that ask for what is not there.
const REFUSED: [&str; 4] = ["previous_response_id", "conversation", "background", "prompt"];

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
        tools: tools(&body)?,
        rule: super::openai::rule(format)?,
        sending: if body.flag("stream")? { Sending::Streamed } else { Sending::Whole },
        extension: super::extension::of(&body)?,
        ..Asked::to(Prompt::Turns(system.into_iter().chain(said_so_far).collect()), body.sampling(sampling)?)
    })
}

/// The functions that are offered: here their fields stand beside the type.
fn tools(body: &Body<'_>) -> Result<Option<Tools>> {
    let one = |tool: &Value| json!({"type": tool["type"], "function": tool});
    let tools = match body.get("tools") {
        None => Value::Null,
        Some(Value::Array(tools)) => tools.iter().map(one).collect(),
        Some(_) => return Err(wrong("tools", "it is no list of functions")),
    };
    let field = |name: &str| body.get(name).unwrap_or(&Value::Null);
    Tools::of_request(&tools, field("tool_choice"), field("parallel_tool_calls"))
}

/// The turn of an item of the input.
fn turn((i, item): (usize, &Value)) -> Result<Turn> {
    let field = |name: &str| format!("input[{i}].{name}");
    match item["type"].as_str() {
        None | Some("message") => {}
        Some("function_call") => {
            let function = json!({"name": item["name"], "arguments": item["arguments"]});
            let call = json!({"id": item["call_id"], "function": function});
            return turn_of_message(&json!({"role": "assistant", "tool_calls": [call]}), &format!("input[{i}]"));
        }
        Some("function_call_output") => {
            let text = content(&item["output"], &["input_text", "output_text"]);
            let text = text.ok_or_else(|| wrong(&field("output"), "it is neither a string nor a list of texts"))?;
            let mut turn = said(Speaker::Tool, text);
            let id = item["call_id"].as_str().unwrap_or_default().to_owned();
            turn.answers = Some(Answers { id, name: String::new() });
            return Ok(turn);
        }
        Some(_) => return Err(wrong(&field("type"), "items of this type are not supported")),
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
        assert_eq!(of(json!({"input": [{"type": "image"}]})), "input[0].type: items of this type are not supported");
    }
}
