//! Functions that a model may call, and messages with calls, from the JSON of OpenAI's interface.

use crate::chat::{Answers, Argument, Call, Speaker, Turn};
use crate::error::{Error, Result, escaped};
use serde_json::{Map, Value, json};

/// The most functions of a request.
const MOST_TOOLS: usize = 128;
/// The longest name of a function, in bytes.
const MOST_NAME: usize = 128;

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// A JSON Schema of what it is given, an object.
    pub parameters: Value,
    /// All that is said of it, as templates are given it.
    pub description: Argument,
}

/// Which functions a reply calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// None: it is text.
    None,
    /// Those that the model likes to.
    #[default]
    Auto,
    /// One at least.
    Required,
    /// The one of this name.
    Named(String),
}

/// The functions of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Tools {
    /// The functions, one at least.
    pub tools: Vec<Tool>,
    /// Which of them a reply calls.
    pub choice: Choice,
    /// A reply may call several.
    pub parallel: bool,
}

impl Tools {
    /// The functions of the fields `tools`, `tool_choice` and `parallel_tool_calls` of a request, each null where it is absent;
    /// `None` where there are none. The error names the field.
    pub fn of_request(tools: &Value, choice: &Value, parallel: &Value) -> Result<Option<Tools>> {
        let listed = match tools {
            Value::Null => &[][..],
            Value::Array(listed) => listed,
            _ => return Err(wrong("tools", "it is no list of functions")),
        };
        let choice = Choice::of_request(choice)?;
        let parallel = match parallel {
            Value::Null => true,
            Value::Bool(parallel) => *parallel,
            _ => return Err(wrong("parallel_tool_calls", "it is neither true nor false")),
        };
        if listed.len() > MOST_TOOLS {
            return Err(wrong("tools", &format!("{} functions are more than {MOST_TOOLS}", listed.len())));
        }
        let all = listed.iter().enumerate().map(|(i, tool)| Tool::of_request(tool, &format!("tools[{i}]")));
        let tools: Vec<Tool> = all.collect::<Result<_>>()?;
        for (i, tool) in tools.iter().enumerate() {
            if tools[..i].iter().any(|before| before.name == tool.name) {
                let field = format!("tools[{i}].function.name");
                return Err(wrong(&field, &format!("there is another function {:?}", tool.name)));
            }
        }
        match &choice {
            Choice::Named(name) if !tools.iter().any(|tool| tool.name == *name) => {
                Err(wrong("tool_choice", &format!("there is no function \"{}\"", escaped(name, MOST_NAME))))
            }
            Choice::Required if tools.is_empty() => Err(wrong("tool_choice", "there is no function to call")),
            _ if tools.is_empty() => Ok(None),
            _ => Ok(Some(Tools { tools, choice, parallel })),
        }
    }

    /// Those of which a reply may call one.
    pub(super) fn allowed(&self) -> Vec<&Tool> {
        let may = |tool: &&Tool| match &self.choice {
            Choice::None => false,
            Choice::Auto | Choice::Required => true,
            Choice::Named(name) => tool.name == *name,
        };
        self.tools.iter().filter(may).collect()
    }
}

impl Choice {
    fn of_request(value: &Value) -> Result<Choice> {
        let unknown = || wrong("tool_choice", "it is none of none, auto, required and a function by its name");
        match value {
            Value::Null => Ok(Choice::Auto),
            Value::String(name) => match name.as_str() {
                "none" => Ok(Choice::None),
                "auto" => Ok(Choice::Auto),
                "required" | "any" => Ok(Choice::Required),
                _ => Err(unknown()),
            },
            Value::Object(_) => {
                let name = value["function"]["name"].as_str().or(value["name"].as_str());
                name.map(|name| Choice::Named(name.into())).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }
}

impl Tool {
    fn of_request(value: &Value, place: &str) -> Result<Tool> {
        let field = |name: &str| format!("{place}.{name}");
        if value["type"] != "function" {
            return Err(wrong(&field("type"), "only functions are supported"));
        }
        let function = value["function"].as_object();
        let function = function.ok_or_else(|| wrong(&field("function"), "it is no object"))?;
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(is_name) {
            let message = format!("a name is 1 to {MOST_NAME} letters, digits, `_`, `-` and `.`");
            return Err(wrong(&field("function.name"), &message));
        }
        let parameters = match function.get("parameters") {
            None | Some(Value::Null) => Value::Object(of_object(&Map::from_iter([("properties".into(), json!({}))]))),
            Some(Value::Object(schema)) => Value::Object(of_object(schema)),
            Some(_) => return Err(wrong(&field("function.parameters"), "it is no schema of an object")),
        };
        if parameters["type"] != "object" {
            return Err(wrong(&field("function.parameters"), "what a function is given is an object"));
        }
        Ok(Tool { name: name.into(), parameters, description: argument_of(value) })
    }
}

/// The schema of what a function is given: nothing but what is said of it.
fn of_object(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut schema = schema.clone();
    schema.entry("type").or_insert_with(|| "object".into());
    if schema.contains_key("properties") && !schema.contains_key("patternProperties") {
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    // Of OpenAI: what is written always keeps to a schema here.
    schema.remove("strict");
    schema
}

/// The turn that a message is; `place` names the message in errors.
pub fn turn_of_message(message: &Value, place: &str) -> Result<Turn> {
    let field = |name: &str| format!("{place}.{name}");
    let role = match message["role"].as_str() {
        Some("system" | "developer") => Speaker::System,
        Some("user") => Speaker::User,
        Some("assistant") => Speaker::Assistant,
        Some("tool") => Speaker::Tool,
        _ => return Err(wrong(&field("role"), "it is none of system, developer, user, assistant and tool")),
    };
    let calls = match &message["tool_calls"] {
        Value::Null => Vec::new(),
        Value::Array(calls) if role == Speaker::Assistant => {
            let call = |(i, call): (usize, &Value)| call_of(call, &field(&format!("tool_calls[{i}]")));
            calls.iter().enumerate().map(call).collect::<Result<_>>()?
        }
        _ => return Err(wrong(&field("tool_calls"), "it is no list of calls of an assistant")),
    };
    let text = match &message["content"] {
        Value::Null if !calls.is_empty() => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            parts.iter().map(|part| part["text"].as_str().filter(|_| part["type"] == "text")).collect()
        }
        _ => None,
    };
    let text = text.ok_or_else(|| wrong(&field("content"), "it is neither a string nor a list of texts"))?;
    let mut turn = Turn::new(role, text);
    turn.calls = calls;
    let named = |name: &str| match &message[name] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        _ => Err(wrong(&field(name), "it is no string")),
    };
    if role == Speaker::Assistant {
        turn.thinking = named("reasoning_content")?;
    }
    if role == Speaker::Tool {
        turn.answers = Some(Answers { id: named("tool_call_id")?, name: named("name")? });
    }
    Ok(turn)
}

fn call_of(call: &Value, place: &str) -> Result<Call> {
    let field = |name: &str| format!("{place}.{name}");
    let function = &call["function"];
    let name = function["name"].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| wrong(&field("function.name"), "it is no name of a function"))?;
    let arguments = match &function["arguments"] {
        Value::String(text) if text.trim().is_empty() => json!({}),
        Value::String(text) => serde_json::from_str(text)
            .map_err(|error| wrong(&field("function.arguments"), &format!("no JSON: {error}")))?,
        Value::Null => json!({}),
        other => other.clone(),
    };
    if !arguments.is_object() {
        return Err(wrong(&field("function.arguments"), "it is no object"));
    }
    let id = call["id"].as_str().unwrap_or_default();
    Ok(Call { id: id.into(), name: name.into(), arguments: argument_of(&arguments) })
}

/// A value of JSON as templates are given it.
pub fn argument_of(value: &Value) -> Argument {
    match value {
        Value::Null => Argument::None,
        Value::Bool(value) => Argument::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(n) => Argument::Integer(n),
            None => Argument::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Argument::Text(text.clone()),
        Value::Array(items) => Argument::List(items.iter().map(argument_of).collect()),
        Value::Object(entries) => {
            Argument::Dict(entries.iter().map(|(name, value)| (name.clone(), argument_of(value))).collect())
        }
    }
}

fn wrong(field: &str, message: &str) -> Error {
    Error::usage(message).field(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(tools: Value, choice: Value) -> String {
        Tools::of_request(&tools, &choice, &Value::Null).expect_err("refused").to_string()
    }

    #[test]
    fn what_is_no_function_is_refused_by_its_field() {
        let with = |name: &str| json!({"type": "function", "function": {"name": name}});
        let cases = [
            (json!({}), Value::Null, "tools: it is no list of functions"),
            (json!([{"type": "web_search"}]), Value::Null, "tools[0].type: only functions are supported"),
            (json!([{"type": "function"}]), Value::Null, "tools[0].function: it is no object"),
            (json!([with("a b")]), Value::Null, "tools[0].function.name: a name is 1 to 128 letters"),
            (json!([with("a"), with("a")]), Value::Null, "tools[1].function.name: there is another function \"a\""),
            (json!([with("a")]), json!("b"), "tool_choice: it is none of none, auto, required"),
            (json!([with("a")]), json!({"function": {"name": "b"}}), "tool_choice: there is no function \"b\""),
            (json!([]), json!("required"), "tool_choice: there is no function to call"),
        ];
        for (tools, choice, told) in cases {
            let error = error(tools, choice);
            assert!(error.starts_with(told), "{error}");
        }
        assert_eq!(Tools::of_request(&json!([]), &json!("auto"), &Value::Null), Ok(None));
        let array = json!([{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]);
        assert!(error(array, Value::Null).starts_with("tools[0].function.parameters: "));
    }

    #[test]
    fn messages_become_turns() {
        let call =
            json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": [1.0]}"}});
        let reply = json!({"role": "assistant", "content": null, "tool_calls": [call], "reasoning_content": "hm"});
        let turn = turn_of_message(&reply, "messages[1]").expect("a turn");
        assert_eq!((turn.thinking.as_str(), turn.calls[0].id.as_str(), turn.text.as_str()), ("hm", "c1", ""));
        assert_eq!(turn.calls[0].arguments.json(), r#"{"b": 1, "a": [1.0]}"#);
        let result = json!({"role": "tool", "tool_call_id": "c1", "content": "5"});
        let turn = turn_of_message(&result, "messages[2]").expect("a turn");
        assert_eq!(turn.answers, Some(Answers { id: "c1".into(), name: String::new() }));
        let error = |message: Value| turn_of_message(&message, "messages[0]").expect_err("refused").to_string();
        assert!(error(json!({"role": "tool", "content": null})).starts_with("messages[0].content: "));
        let wrong = json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]});
        assert!(error(wrong).starts_with("messages[0].tool_calls[0].function.arguments: no JSON"));
    }
}
