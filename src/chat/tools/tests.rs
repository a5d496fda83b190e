//! What models write that are free, in every family.

use super::family::Family;
use super::reader::{Part, Reader};
use super::tool::{Tool, Tools};
use serde_json::json;
use std::sync::Arc;

fn tools() -> Vec<Tool> {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}]);
    Tools::of_request(&tools, &json!(null), &json!(null)).expect("functions").expect("some").tools
}

/// The parts of a reply that comes in pieces of `n` characters.
fn parts(family: Option<Family>, thinks: bool, reply: &str, n: usize) -> (String, String, Vec<String>) {
    let marks = thinks.then_some(super::super::thinking::Marks { open: "<think>", close: "</think>" });
    let mut reader = Reader::new(family, Arc::new(tools()), marks, false);
    let mut parts = Vec::new();
    let chars: Vec<char> = reply.chars().collect();
    for piece in chars.chunks(n) {
        parts.extend(reader.push(&piece.iter().collect::<String>()));
    }
    parts.extend(reader.finish());
    let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(of) => text += &of,
            Part::Thinking(of) => thoughts += &of,
            Part::Call(call) => calls.push(format!("{}{}", call.name, call.arguments.json())),
        }
    }
    assert_eq!(reader.n_calls(), calls.len());
    (text, thoughts, calls)
}

fn family(name: &str) -> Family {
    Family::all().find(|family| family.name == name).expect("a family")
}

const ROME: &str = r#"weather{"city": "Rome", "days": 2}"#;

#[test]
fn calls_are_read_in_every_form_and_in_any_pieces() {
    let cases = [
        (
            "Hermes",
            "Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}\n</tool_call>",
            1,
        ),
        (
            "Hermes",
            "Let me see.<tool_call>{\"arguments\":{\"city\":\"Rome\",\"days\":2},\"name\":\"weather\"}</tool_call>\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}",
            2,
        ),
        (
            "Qwen3 Coder",
            "Let me see.\n\n<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
            1,
        ),
        (
            "Mistral",
            "Let me see.[TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}, {\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}, \"id\": \"abcdefghi\"}]",
            2,
        ),
        (
            "Mistral, names apart",
            "Let me see.[TOOL_CALLS]weather[ARGS]{\"city\": \"Rome\", \"days\": 2}[TOOL_CALLS]weather[ARGS]{\"city\":\"Rome\",\"days\":2}",
            2,
        ),
        ("Gemma 4", "Let me see.<|tool_call>call:weather{city:<|\"|>Rome<|\"|>,days:2}<tool_call|>", 1),
        (
            "FunctionGemma",
            "Let me see.<start_function_call>call:weather{city:<escape>Rome<escape>,days:2}<end_function_call>",
            1,
        ),
        (
            "LFM",
            "Let me see.<|tool_call_start|>[weather(city=\"Rome\", days=2), weather(city='Rome', days = 2)]<|tool_call_end|>",
            2,
        ),
        (
            "LFM",
            "Let me see.<|tool_call_start|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}]<|tool_call_end|>",
            1,
        ),
        (
            "Granite",
            "Let me see.<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}]",
            1,
        ),
        (
            "Phi 4",
            "Let me see.<|tool_call|>[{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}}]<|/tool_call|>",
            1,
        ),
        (
            "Nemotron",
            "Let me see.<TOOLCALL>[{\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": \\\"Rome\\\", \\\"days\\\": 2}\"}]</TOOLCALL>",
            1,
        ),
        (
            "DeepSeek",
            "Let me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Rome\", \"days\": 2}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Rome\", \"days\": 2}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            2,
        ),
        ("Llama 3", "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\", \"days\": 2}}", 1),
        (
            "Llama 3",
            "Let me see.<|python_tag|>{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\", \"days\": 2}}",
            1,
        ),
        ("Llama 3", "Let me see.<|python_tag|>weather.call(city=\"Rome\", days=2)", 1),
        ("generic JSON", " {\"call\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}", 1),
    ];
    for (name, reply, n_calls) in cases {
        for n in [1, 3, 7, 1000] {
            let (text, _, calls) = parts(Some(family(name)), false, reply, n);
            assert_eq!(calls, vec![ROME; n_calls], "{name}, {n}: {reply}");
            let said = if reply.trim_start().starts_with("Let me see.") { "Let me see." } else { "" };
            assert_eq!(text, said, "{name}, {n}");
        }
    }
}

#[test]
fn what_is_no_call_is_text() {
    let cases = [
        ("Hermes", "It is <tool_call>\nnothing</tool_call>."),
        ("Hermes", "a < b, <tool, <tool_call"),
        ("Mistral", "[TOOL_CALLS] of [1]"),
        ("LFM", "<|tool_call_start|>[weather(city=)]<|tool_call_end|>"),
        ("Llama 3", "Then {\"name\": \"weather\", \"parameters\": {}} is a call."),
        ("generic JSON", "{\"call\": 5}"),
        ("generic JSON", "Well, {\"reply\": \"a\"}"),
        ("Gemma 4", "<|tool_call>call:weather{"),
        ("Qwen3 Coder", "<tool_call>\n<function=weather>\n<parameter=city>\nRome"),
    ];
    for (name, reply) in cases {
        for n in [1, 4, 1000] {
            let (text, _, calls) = parts(Some(family(name)), false, reply, n);
            assert_eq!((text.replace('\n', ""), calls.len()), (reply.replace('\n', ""), 0), "{name}, {n}");
        }
    }
}

#[test]
fn words_that_are_a_string_of_json_come_as_they_are_meant() {
    let written = r#" {"reply": "a \"b\"\n\u00e9\ud83d\ude00 \\ {\"call\": \"f\"} é"}"#;
    let meant = "a \"b\"\n\u{e9}\u{1f600} \\ {\"call\": \"f\"} é";
    for n in [1, 2, 5, 1000] {
        assert_eq!(
            parts(Some(family("generic JSON")), false, written, n),
            (meant.into(), String::new(), vec![]),
            "{n}"
        );
    }
    // What was cut off ends with what is certain, and what is no string of JSON stays.
    for (written, meant) in [
        (r#"{"reply": "a\ud83d\ude"#, "a"),
        (r#"{"reply": "a\"#, "a"),
        (r#"{"reply": "a""#, "a"),
        (r#"{"reply": ""}"#, ""),
        (r#"{"reply": "a\qé"}"#, r"a\qé"),
        (r#"{"reply": "a\ué"}"#, r#"a"#),
        (r#"{"reply": 5}"#, r#"{"reply": 5}"#),
    ] {
        for n in [1, 3, 1000] {
            assert_eq!(parts(Some(family("generic JSON")), false, written, n).0, meant, "{written}, {n}");
        }
    }
}

#[test]
fn thoughts_are_parted_where_they_stand_first() {
    for n in [1, 2, 5, 100] {
        let hermes = Some(family("Hermes"));
        let reply = "<think>\nIs it a <tool_call>?\n</think>\n\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}\n</tool_call>";
        let (text, thoughts, calls) = parts(hermes, true, reply, n);
        assert_eq!((text.as_str(), thoughts.as_str()), ("", "\nIs it a <tool_call>?\n"));
        assert_eq!(calls, [ROME]);
        let (text, thoughts, _) = parts(None, true, "<think>2 + 2</think>\n\n4 <think>\n", n);
        assert_eq!((text.as_str(), thoughts.as_str()), ("4 <think>\n", "2 + 2"));
        let (text, thoughts, _) = parts(None, true, "4 <think>5</think>", n);
        assert_eq!((text.as_str(), thoughts.as_str()), ("4 <think>5</think>", ""));
        assert_eq!(parts(None, false, "<think>a</think> \n", n).0, "<think>a</think> \n");
        assert_eq!(parts(None, true, "<think>a", n).1, "a");
    }
}
