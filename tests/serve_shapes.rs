//! `whit serve` and the requests that real clients send, field by field, as their sources make them: llama.vscode, Jan and Open WebUI.
#![cfg(feature = "serve")]
#![recursion_limit = "256"]

mod program;
mod serving;

use serde_json::{Value, json};
use serving::{Server, TEMPLATE};
use std::path::PathBuf;
use std::thread;

/// A server that can talk, with its template.
fn talking() -> (Server, PathBuf) {
    let path = std::env::temp_dir().join(format!("whit-shapes-{}-{:?}", std::process::id(), thread::current().id()));
    std::fs::write(&path, TEMPLATE).expect("written");
    (Server::start(&["--chat-template", path.to_str().expect("a path"), "-t", "1", "-n", "6"]), path)
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "read_file", "description": "Reads a file", "parameters": {
        "type": "object", "properties": {"path": {"type": "string", "description": "The path"}}, "required": ["path"]}}}])
}

/// What an answer of OpenAI's API says, which may be a call.
fn has_said(answer: &Value) -> bool {
    let message = &answer["choices"][0]["message"];
    message["content"].as_str().is_some_and(|text| !text.is_empty()) || message["tool_calls"].is_array()
}

#[test]
fn llama_vscode() {
    let (server, template) = talking();
    // Completions in an editor, and the request that only warms the cache. The story model has no tokens for holes: that is
    // what it is answered, not that a field is wrong.
    let infill = json!({
        "input_prefix": "def add(a, b):\n", "input_suffix": "\n\nprint(add(1, 2))\n", "prompt": "    return ", "n_predict": 128,
        "input_extra": [{"text": "import sys\n", "time": 1764500000000u64, "filename": "main.py"}], "n_indent": 4,
        "top_k": 40, "top_p": 0.99, "stream": false, "samplers": ["top_k", "top_p", "infill"], "cache_prompt": true,
        "t_max_prompt_ms": 500, "t_max_predict_ms": 2500,
    });
    let warming = json!({
        "input_prefix": "", "input_suffix": "", "input_extra": [], "prompt": "", "n_predict": 0, "samplers": [],
        "cache_prompt": true, "t_max_prompt_ms": 500, "t_max_predict_ms": 1,
    });
    for body in [&infill, &warming] {
        let reply = server.post("/infill", body);
        assert_eq!(reply.status, 501, "{}", reply.body);
        let mut completion = body.clone();
        completion["prompt"] = json!("Once");
        completion["n_predict"] = json!(body["n_predict"].as_u64().map(|n| n.min(5)));
        let answer = server.ask("/completion", &completion);
        assert_eq!(answer["tokens_predicted"], completion["n_predict"], "{answer}");
        assert!(answer["timings"]["prompt_n"].is_number() && answer["timings"]["predicted_ms"].is_number(), "{answer}");
    }
    // An edit that was asked for in words.
    let system = json!({"role": "system", "content": "You are an expert coder."});
    let edit = json!({
        "messages": [system, {"role": "user", "content": "Modify the code."}], "stream": false, "cache_prompt": true,
        "samplers": "edkypmxt", "temperature": 0.8, "dynatemp_range": 0, "dynatemp_exponent": 1, "top_k": 40, "top_p": 0.95,
        "min_p": 0.05, "typical_p": 1, "xtc_probability": 0, "xtc_threshold": 0.1, "repeat_last_n": 64, "repeat_penalty": 1,
        "presence_penalty": 0, "frequency_penalty": 0, "dry_multiplier": 0, "dry_base": 1.75, "dry_allowed_length": 2,
        "dry_penalty_last_n": -1, "max_tokens": -1, "timings_per_token": false,
    });
    assert!(has_said(&server.ask("/v1/chat/completions", &edit)));
    let warming = json!({
        "messages": [system, {"role": "user", "content": "Some context."}], "n_predict": 0, "samplers": [], "cache_prompt": true,
        "t_max_prompt_ms": 500, "t_max_predict_ms": 1,
    });
    assert_eq!(server.ask("/v1/chat/completions", &warming)["usage"]["completion_tokens"], 0);
    // The agent, with what a function gave.
    let agent = json!({
        "messages": [
            system, {"role": "user", "content": "What is in a.txt?"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "read_file", "arguments": "{\"path\": \"a.txt\"}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a"},
        ],
        "stream": false, "temperature": 0.8, "top_p": 0.95, "tools": tools(), "tool_choice": "auto",
    });
    assert!(has_said(&server.ask("/v1/chat/completions", &agent)));
    let vectors = server.ask("/v1/embeddings", &json!({"input": "a", "model": "stories", "encoding_format": "float"}));
    assert!(vectors["data"][0]["embedding"][0].is_f64(), "{vectors}");
    let _ = std::fs::remove_file(template);
}

#[test]
fn jan() {
    let (server, template) = talking();
    let body = json!({
        "model": "stories", "thread_id": "t1", "stream": true, "return_progress": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8,
        "min_p": 0, "typical_p": null, "repeat_penalty": 1.12, "repeat_last_n": 64, "presence_penalty": 0, "frequency_penalty": 0,
        "dynatemp_range": 0, "dynatemp_exponent": 1, "dry_multiplier": 0, "dry_base": 1.75, "dry_sequence_breakers": ["\n", ":"],
        "xtc_probability": 0, "mirostat": 0, "mirostat_tau": 5, "mirostat_eta": 0.1, "n_predict": 5, "n_keep": 0, "stop": [],
        "seed": -1, "logit_bias": {}, "n_probs": 0, "min_keep": 0, "id_slot": -1, "cache_prompt": true, "return_tokens": false,
        "samplers": null, "timings_per_token": true, "post_sampling_probs": false, "chat_template_kwargs": {"enable_thinking": false},
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        ],
        "tools": tools(), "tool_choice": "auto",
    });
    let reply = server.post("/v1/chat/completions", &body);
    assert_eq!((reply.status, reply.body.ends_with("data: [DONE]\n\n")), (200, true), "{}", reply.body);
    let events = reply.events();
    assert!(events.iter().all(|event| event["object"] == "chat.completion.chunk"), "{}", reply.body);
    let last = &events[events.len() - 1]["choices"][0]["finish_reason"];
    assert!(last.is_string(), "{}", reply.body);
    let _ = std::fs::remove_file(template);
}

#[test]
fn open_webui() {
    let (server, template) = talking();
    // By a connection of the kind OpenAI: a conversation, and the title that is made of it beside.
    let said = json!([{"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]);
    let chat = json!({
        "model": "stories", "messages": said, "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.8,
        "top_p": 0.9, "min_p": 0.0, "max_tokens": 5, "frequency_penalty": 0.0, "presence_penalty": 0.0,
        "seed": 42, "stop": ["\n\n"], "logit_bias": {"5": -1}, "tools": tools(), "user": "u1",
    });
    let reply = server.post("/v1/chat/completions", &chat);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let events = reply.events();
    assert!(events[events.len() - 1]["usage"]["total_tokens"].is_u64(), "{}", reply.body);
    let title = json!({
        "model": "stories", "messages": [{"role": "user", "content": "### Task:\nGenerate a title."}], "stream": false,
        "max_completion_tokens": 5, "metadata": {"task": "title_generation", "chat_id": null},
    });
    assert!(has_said(&server.ask("/v1/chat/completions", &title)));
    // By a connection of the kind Ollama.
    assert_eq!(server.get("/api/version").status, 200);
    assert_eq!(server.get("/api/tags").value()["models"][0]["model"], "stories");
    let chat = json!({
        "model": "stories:latest", "stream": true, "keep_alive": "5m", "think": false, "num_predict": 5,
        "messages": [
            {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Read a.txt"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"index": 0, "id": "call_1", "function": {"name": "read_file", "arguments": {"path": "a.txt"}}}]},
            {"role": "tool", "content": "a", "tool_call_id": "call_1"},
        ],
        "tools": tools(), "metadata": {"user_id": "u1"},
        "options": {
            "temperature": 0.8, "top_p": 0.9, "top_k": 40, "min_p": 0.0, "seed": 42, "mirostat": 0, "mirostat_eta": 0.1,
            "mirostat_tau": 5.0, "num_ctx": 2048, "num_batch": 512, "num_keep": 24, "num_predict": 5, "repeat_last_n": 64,
            "repeat_penalty": 1.1, "presence_penalty": 0.0, "frequency_penalty": 0.0, "stop": ["\n\n"], "num_gpu": 0,
            "use_mmap": true, "use_mlock": false, "num_thread": 2,
        },
    });
    let reply = server.post("/api/chat", &chat);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let lines = reply.lines();
    let last = &lines[lines.len() - 1];
    assert!(last["done"] == true && last["eval_count"].is_u64() && last["done_reason"].is_string(), "{last}");
    let embed = server.ask("/api/embed", &json!({"model": "stories:latest", "input": ["a", "b"], "truncate": true}));
    assert_eq!(embed["embeddings"].as_array().map(Vec::len), Some(2));
    let _ = std::fs::remove_file(template);
}
