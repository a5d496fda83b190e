//! The fields of Anthropic's messages.

use super::body::{Body, MOST_TOKENS, wrong};
use super::messages::{content, said};
use super::{Asked, Prompt, Sending};
use serde_json::{Value, json};
use whit::chat::tools::{Tools, argument_of};
use whit::chat::{Answers, Call, Speaker, Think, Turn};
use whit::error::Result;
use whit::sampler::SamplerOptions;

/// What a request to `/v1/messages` asks for.
pub(crate) fn asked(body: &Value, sampling: &SamplerOptions) -> Result<Asked> {
    let fields = Body::of("body", body)?;
    fields.refuse(&["mcp_servers"])?;
    let n_tokens = fields.integer("max_tokens", MOST_TOKENS)?;
    Ok(Asked {
        n_tokens: Some(n_tokens.ok_or_else(|| wrong("max_tokens", "it is missing"))? as usize),
        stops: fields.strings("stop_sequences")?,
        tools: tools(&fields)?,
        think: think(&fields)?,
        sending: if fields.flag("stream")? { Sending::Streamed } else { Sending::Whole },
        extension: super::extension::of(&fields)?,
        ..Asked::to(Prompt::Turns(turns(body)?), fields.sampling(sampling)?)
    })
}

/// How much the model thinks first.
fn think(body: &Body<'_>) -> Result<Think> {
    let Some(thinking) = body.get("thinking") else { return Ok(Think::AsEver) };
    match (thinking["type"].as_str(), thinking["budget_tokens"].as_u64()) {
        (Some("disabled"), _) => Ok(Think::Off),
        (Some("enabled"), Some(budget)) if budget <= MOST_TOKENS => Ok(Think::Budget(budget as usize)),
        (Some("enabled" | "adaptive"), None) => Ok(Think::On),
        _ => Err(wrong("thinking", "it is neither enabled nor disabled")),
    }
}

/// The functions that are offered, in the words of OpenAI.
fn tools(body: &Body<'_>) -> Result<Option<Tools>> {
    let one = |tool: &Value| {
        let (name, description, parameters) = (&tool["name"], &tool["description"], &tool["input_schema"]);
        let function = json!({"name": name, "description": description, "parameters": parameters});
        // Tools of Anthropic's own have another type.
        let kind = tool["type"].as_str().filter(|kind| *kind != "custom").unwrap_or("function");
        json!({"type": kind, "function": function})
    };
    let tools = match body.get("tools") {
        None => Value::Null,
        Some(Value::Array(tools)) => tools.iter().map(one).collect(),
        Some(_) => return Err(wrong("tools", "it is no list of functions")),
    };
    let choice = body.get("tool_choice").unwrap_or(&Value::Null);
    let named = match choice["type"].as_str() {
        Some("tool") => json!({"name": choice["name"]}),
        Some(kind) => json!(kind),
        None => choice.clone(),
    };
    let parallel = choice["disable_parallel_tool_use"].as_bool().map_or(Value::Null, |disabled| json!(!disabled));
    Tools::of_request(&tools, &named, &parallel)
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
    let system = system.filter(|text| !text.is_empty()).map(|text| said(Speaker::System, text));
    let mut turns: Vec<Turn> = system.into_iter().collect();
    for (i, message) in messages.iter().enumerate() {
        let role = match message["role"].as_str() {
            Some("user") => Speaker::User,
            Some("assistant") => Speaker::Assistant,
            _ => return Err(wrong(&format!("messages[{i}].role"), "it is neither user nor assistant")),
        };
        let place = format!("messages[{i}].content");
        let blocks = match &message["content"] {
            Value::String(text) => vec![json!({"type": "text", "text": text})],
            Value::Array(blocks) => blocks.clone(),
            _ => return Err(wrong(&place, "it is neither a string nor a list of blocks")),
        };
        message_turns(role, &blocks, &place, &mut turns)?;
    }
    Ok(turns)
}

/// The turns of a message: what functions gave comes before what a user says with it.
fn message_turns(role: Speaker, blocks: &[Value], place: &str, turns: &mut Vec<Turn>) -> Result<()> {
    let mut turn = said(role, String::new());
    let before = turns.len();
    for (i, block) in blocks.iter().enumerate() {
        let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
        match (block["type"].as_str(), role) {
            (Some("text"), _) => turn.text += &text("text"),
            (Some("thinking"), Speaker::Assistant) => turn.thinking += &text("thinking"),
            (Some("redacted_thinking"), Speaker::Assistant) => {}
            (Some("tool_use"), Speaker::Assistant) => {
                let arguments = argument_of(&block["input"]);
                turn.calls.push(Call { id: text("id"), name: text("name"), arguments });
            }
            (Some("tool_result"), Speaker::User) => {
                let result = match &block["content"] {
                    Value::Null => Some(String::new()),
                    given => content(given, &["text"]),
                };
                let field = format!("{place}[{i}].content");
                let result = result.ok_or_else(|| wrong(&field, "it is neither a string nor a list of texts"))?;
                let mut answer = said(Speaker::Tool, result);
                answer.answers = Some(Answers { id: text("tool_use_id"), name: String::new() });
                turns.push(answer);
            }
            _ => return Err(wrong(&format!("{place}[{i}].type"), "a block of this type is not supported")),
        }
    }
    if turns.len() == before || !turn.text.is_empty() {
        turns.push(turn);
    }
    Ok(())
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
        assert_eq!(of(image), "messages[0].content[0].type: a block of this type is not supported");
        let system = json!({"max_tokens": 1, "messages": [{"role": "system", "content": "a"}]});
        assert_eq!(of(system), "messages[0].role: it is neither user nor assistant");
    }

    #[test]
    fn blocks_are_turns_calls_and_what_functions_gave() {
        let body = json!({
            "max_tokens": 5, "tool_choice": {"type": "tool", "name": "get"},
            "tools": [{"name": "get", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}],
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "So"}, {"type": "tool_use", "id": "t1", "name": "get", "input": {"a": "b"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "5"}, {"type": "text", "text": "And?"},
                ]},
            ],
        });
        let asked = asked(&body, &SamplerOptions::default()).expect("a request");
        let Prompt::Turns(turns) = &asked.prompt else { panic!("a conversation") };
        let roles: Vec<Speaker> = turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Speaker::User, Speaker::Assistant, Speaker::Tool, Speaker::User]);
        assert_eq!((turns[1].calls[0].name.as_str(), turns[2].text.as_str()), ("get", "5"));
        assert_eq!(asked.tools.map(|tools| tools.tools.len()), Some(1));
    }
}
