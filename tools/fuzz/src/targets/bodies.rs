//! Bodies of requests to every route of the server, sound ones and what becomes of them.

use crate::bytes::scramble;
use crate::json::Json;
use crate::random::Random;
use serde_json::{Value, json};
use std::sync::OnceLock;

/// Texts that mean something in a body.
const WORDS: [&str; 48] = [
    "user",
    "assistant",
    "system",
    "tool",
    "developer",
    "text",
    "input_text",
    "output_text",
    "image_url",
    "function",
    "tool_use",
    "tool_result",
    "thinking",
    "enabled",
    "disabled",
    "auto",
    "none",
    "required",
    "any",
    "json",
    "json_object",
    "json_schema",
    "object",
    "string",
    "integer",
    "array",
    "enum",
    "const",
    "$ref",
    "anyOf",
    "pattern",
    "properties",
    "float",
    "base64",
    "mean",
    "last",
    "talks",
    "writes",
    "talks:latest",
    "model",
    "max_tokens",
    "messages",
    "prompt",
    "stream",
    "stop",
    "whit",
    "root ::= [a-c]+",
    "<tool_call>",
];

/// Paths of requests with bodies, each with sound ones.
fn all() -> &'static [(&'static str, Vec<Json>)] {
    static ALL: OnceLock<Vec<(&'static str, Vec<Json>)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let of = |(path, bodies): (&'static str, Value)| {
            (path, bodies.as_array().map_or_else(Vec::new, |bodies| bodies.iter().map(Json::from).collect()))
        };
        [openai(), others()].concat().into_iter().map(of).collect()
    })
}

fn tool() -> Value {
    json!({"type": "function", "function": {"name": "get", "description": "d", "strict": true, "parameters":
        {"type": "object", "properties": {"city": {"type": "string", "enum": ["a", "b"]}}, "required": ["city"]}}})
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["a"]})
}

fn openai() -> Vec<(&'static str, Value)> {
    let hi = json!([{"role": "user", "content": "Hi"}]);
    vec![
        (
            "/v1/chat/completions",
            json!([
                {"model": "talks", "messages": hi, "max_tokens": 2},
                {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}],
                 "max_completion_tokens": 2, "temperature": 0.7, "top_p": 0.9, "n": 2, "seed": 1, "stop": ["x"], "stream": true,
                 "stream_options": {"include_usage": true}, "logprobs": true, "top_logprobs": 2, "logit_bias": {"5": -100},
                 "presence_penalty": 0.5, "frequency_penalty": 0.1, "user": "u"},
                {"messages": hi, "max_tokens": 3, "tools": [tool()], "tool_choice": "auto", "parallel_tool_calls": false},
                {"messages": [{"role": "user", "content": "a"},
                    {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
                        "function": {"name": "get", "arguments": "{\"city\": \"a\"}"}}]},
                    {"role": "tool", "tool_call_id": "c1", "content": "5"}], "max_tokens": 1, "tools": [tool()]},
                {"messages": hi, "max_tokens": 2, "response_format": {"type": "json_schema",
                    "json_schema": {"name": "s", "strict": true, "schema": schema()}}},
                {"messages": hi, "max_tokens": 2, "chat_template_kwargs": {"enable_thinking": false},
                 "whit": {"distribution": 3, "stages": true, "begin": [5, 6]}},
            ]),
        ),
        (
            "/v1/completions",
            json!([
                {"model": "writes", "prompt": "Once", "max_tokens": 2},
                {"prompt": [1, 5, 9], "max_tokens": 2, "logprobs": 2, "n": 2, "stream": true, "stop": "b", "seed": 7,
                 "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "response_format": {"type": "json_object"}},
                {"prompt": "a", "max_tokens": 1, "temperature": 1.5, "mirostat": 2, "xtc_probability": 0.5, "dry_multiplier": 1.0},
            ]),
        ),
        (
            "/v1/responses",
            json!([
                {"model": "talks", "input": "Hi", "max_output_tokens": 2, "stream": true},
                {"instructions": "a", "input": [{"role": "user", "content": [{"type": "input_text", "text": "b"}]},
                    {"type": "function_call", "call_id": "c", "name": "get", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c", "output": "5"}], "max_output_tokens": 1,
                 "text": {"format": {"type": "text"}}, "tools": [{"type": "function", "name": "get", "parameters": schema()}]},
            ]),
        ),
        (
            "/v1/embeddings",
            json!([
                {"model": "talks", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 3},
                {"input": [[1, 2], [3]], "pooling": "last"},
            ]),
        ),
    ]
}

fn others() -> Vec<(&'static str, Value)> {
    let hi = json!([{"role": "user", "content": "Hi"}]);
    vec![
        (
            "/v1/messages",
            json!([
                {"model": "talks", "max_tokens": 2, "messages": hi, "stream": true},
                {"max_tokens": 1, "system": [{"type": "text", "text": "a"}], "stop_sequences": ["x"],
                 "thinking": {"type": "enabled", "budget_tokens": 5}, "tool_choice": {"type": "tool", "name": "get"},
                 "tools": [{"name": "get", "description": "d", "input_schema": schema()}],
                 "messages": [{"role": "user", "content": "a"},
                    {"role": "assistant", "content": [{"type": "text", "text": "b"}, {"type": "tool_use", "id": "t", "name": "get", "input": {"a": 1}}]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "5"}]}]}]},
            ]),
        ),
        ("/v1/messages/count_tokens", json!([{"model": "talks", "messages": hi, "system": "a"}])),
        (
            "/api/chat",
            json!([
                {"model": "talks", "messages": hi, "options": {"num_predict": 2, "temperature": 0.5, "stop": ["a"], "seed": 3, "top_k": 4}},
                {"model": "talks:latest", "messages": [{"role": "assistant", "content": "", "thinking": "t",
                    "tool_calls": [{"function": {"name": "get", "arguments": {"city": "a"}}}]}, {"role": "tool", "content": "5", "tool_name": "get"}],
                 "tools": [tool()], "format": schema(), "think": false, "stream": false, "keep_alive": "5m", "options": {"num_predict": 1, "num_ctx": 64}},
            ]),
        ),
        (
            "/api/generate",
            json!([
                {"model": "writes", "prompt": "a", "raw": true, "options": {"num_predict": 2}, "format": "json"},
                {"model": "talks", "prompt": "a", "system": "b", "stream": false, "options": {"num_predict": 1}, "logprobs": true, "top_logprobs": 1},
                {"model": "talks"},
            ]),
        ),
        ("/api/show", json!([{"model": "talks", "verbose": true}, {"name": "writes"}])),
        ("/api/embed", json!([{"model": "talks", "input": ["a", "b"], "truncate": true}])),
        ("/api/pull", json!([{"model": "talks", "stream": false}])),
        (
            "/completion",
            json!([
                {"prompt": "a", "n_predict": 2, "n_probs": 2, "stream": true, "cache_prompt": true, "id_slot": -1, "stop": ["b"]},
                {"prompt": [1, 5], "n_predict": 2, "grammar": "root ::= \"a\" [b-d]*", "typ_p": 0.9, "logit_bias": [[5, false]]},
                {"prompt": "a", "n_predict": 1, "json_schema": schema(), "samplers": ["top_k", "temperature"], "whit": {"distribution": 2}},
            ]),
        ),
        (
            "/infill",
            json!([{"input_prefix": "a", "input_suffix": "b", "prompt": "", "n_predict": 1, "input_extra": [{"filename": "f", "text": "t"}]}]),
        ),
        ("/tokenize", json!([{"content": "a b", "add_special": true, "parse_special": true, "with_pieces": true}])),
        ("/detokenize", json!([{"tokens": [1, 5, 9]}])),
        ("/apply-template", json!([{"messages": hi}])),
    ]
}

/// A path and a body for it.
pub(super) fn body(random: &mut Random) -> (&'static str, Vec<u8>) {
    let (path, bodies) = &all()[random.below(all().len())];
    let mut body = random.pick(bodies);
    // Most changes are few: what reads the rest of a body has to be reached.
    for _ in 0..random.pick(&[0, 0, 1, 1, 1, 2, 4]) {
        body.change(&WORDS, random);
    }
    if random.once_in(400) {
        body.inflate(random.pick(&[100, 5000]), random);
    }
    let mut bytes = body.bytes(random);
    if random.once_in(12) {
        scramble(&mut bytes, random);
    }
    (if random.once_in(40) { all()[random.below(all().len())].0 } else { path }, bytes)
}
