//! `whit serve`: the answers of each API, and that an answer is what it is alone, whoever else is served.
#![cfg(feature = "serve")]

mod program;
mod serving;

use program::whit;
use serde_json::{Value, json};
use serving::{Server, TEMPLATE};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// A server that can talk.
fn talking(words: &[&str]) -> (Server, PathBuf) {
    let path = std::env::temp_dir().join(format!("whit-serve-{}-{:?}", std::process::id(), thread::current().id()));
    std::fs::write(&path, TEMPLATE).expect("written");
    let template = path.to_str().expect("a path").to_owned();
    let server = Server::start(&[&["--chat-template", template.as_str(), "-t", "1"], words].concat());
    (server, path)
}

/// What `whit generate` writes after `prompt` with these arguments.
fn generated(prompt: &str, words: &[String]) -> String {
    let output = whit().args(["generate", "-t", "1", "-p", prompt]).args(words).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    // It writes the prompt first, and a line end behind the text.
    let text = text.strip_prefix(prompt).unwrap_or(&text);
    text.strip_suffix('\n').unwrap_or(text).to_owned()
}

const PROMPTS: [&str; 5] = [
    "Once upon a time",
    "The cat",
    "There was a little girl who",
    "One day, a big dog",
    "Tom and Mia went to the park because",
];

/// A request, and the arguments of `whit generate` for the same text.
fn varied(i: usize) -> (Value, Vec<String>) {
    let (seed, n, temperature, top_k) = (i, 3 + i * 7 % 40, [0.0, 0.7, 1.0, 1.3][i % 4], [0, 5, 40][i % 3]);
    let body = json!({
        "prompt": PROMPTS[i % 5], "seed": seed, "max_tokens": n, "temperature": temperature, "top_k": top_k,
        "stream": i % 2 == 1,
    });
    let words = format!("-s {seed} -n {n} --temp {temperature} --top-k {top_k}");
    (body, words.split(' ').map(str::to_owned).collect())
}

fn text_of(reply: &serving::Reply, is_streamed: bool) -> String {
    assert_eq!(reply.status, 200, "{}", reply.body);
    if !is_streamed {
        return reply.value()["choices"][0]["text"].as_str().expect("a text").to_owned();
    }
    assert!(reply.body.ends_with("data: [DONE]\n\n"), "{}", reply.body);
    reply.events().iter().map(|event| event["choices"][0]["text"].as_str().expect("a text")).collect()
}

#[test]
fn every_answer_is_what_it_is_alone() {
    let server = Server::start(&["--parallel", "5", "--queue", "64", "--slice", "5", "-t", "1"]);
    let answers: Vec<String> = thread::scope(|scope| {
        let ask = |i: usize| {
            let server = &server;
            scope.spawn(move || {
                let (body, _) = varied(i);
                if i % 6 == 5 {
                    // Somebody who leaves early, beside it.
                    let other =
                        json!({"prompt": PROMPTS[i % 5], "max_tokens": 200, "stream": true, "seed": i}).to_string();
                    let mut stream = server.connect();
                    let length = other.len();
                    write!(
                        stream,
                        "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{other}"
                    )
                    .expect("sent");
                    let _ = stream.read(&mut [0; 300]);
                }
                text_of(&server.post("/v1/completions", &body), i % 2 == 1)
            })
        };
        let asked: Vec<_> = (0..24).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().expect("no panic")).collect()
    });
    for (i, answer) in answers.iter().enumerate() {
        let (body, words) = varied(i);
        assert_eq!(*answer, generated(body["prompt"].as_str().expect("a text"), &words), "{i}");
    }
    // Again, one after the other, from states that hold other texts.
    for (i, answer) in answers.iter().enumerate().take(6) {
        let (body, _) = varied(i);
        assert_eq!(text_of(&server.post("/v1/completions", &body), i % 2 == 1), *answer, "{i}");
    }
}

#[test]
fn conversations_stream_count_and_show_how_tokens_were_chosen() {
    let (server, template) = talking(&[]);
    let models = server.get("/v1/models").value();
    assert_eq!(models["data"][0]["id"], "stories");
    assert_eq!(server.get("/v1/models/stories").status, 200);
    assert_eq!(server.get("/v1/models/none").status, 404);
    let body = json!({
        "model": "stories", "messages": [{"role": "user", "content": "Tell a story."}], "max_completion_tokens": 12, "n": 2, "seed": 3,
        "logprobs": true, "top_logprobs": 2,
    });
    let whole = server.ask("/v1/chat/completions", &body);
    assert_eq!((&whole["object"], &whole["choices"][1]["index"]), (&json!("chat.completion"), &json!(1)));
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 24);
    let fingerprint = whole["system_fingerprint"].as_str().expect("a fingerprint");
    assert!(fingerprint.starts_with("whit-") && fingerprint.len() > 20, "{fingerprint}");
    let tokens = whole["choices"][0]["logprobs"]["content"].as_array().expect("tokens");
    assert_eq!((tokens.len(), tokens[0]["top_logprobs"].as_array().map(Vec::len)), (12, Some(2)));
    assert!(tokens.iter().all(|token| token["logprob"].as_f64().is_some_and(|logprob| logprob <= 0.0)));

    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    streamed["whit"] = json!({"distribution": 3, "stages": true});
    let reply = server.post("/v1/chat/completions", &streamed);
    assert!(reply.headers.contains("text/event-stream"), "{}", reply.headers);
    let events = reply.events();
    let mut texts = [String::new(), String::new()];
    for choice in events.iter().filter_map(|event| event["choices"].get(0)) {
        texts[choice["index"].as_u64().expect("a number") as usize] +=
            choice["delta"]["content"].as_str().unwrap_or("");
    }
    for (i, text) in texts.iter().enumerate() {
        assert_eq!(whole["choices"][i]["message"]["content"], json!(text));
    }
    let usage = &events.last().expect("events")["usage"];
    assert_eq!((&usage["completion_tokens"], &usage["prompt_tokens"]), (&json!(24), &whole["usage"]["prompt_tokens"]));
    let shown = events.iter().find_map(|event| event["choices"][0].get("whit")).expect("how a token was chosen");
    let token = &shown["tokens"][0];
    assert_eq!((token["top"].as_array().map(Vec::len), &token["stages"][0]["name"]), (Some(3), &json!("logits")));
    assert!(token["draw"].as_f64().is_some_and(|draw| (0.0..1.0).contains(&draw)), "{token}");
    assert!(token["stages"].as_array().is_some_and(|stages| stages.len() > 3), "{token}");

    // Another word in the place of the first: the answer goes on from there.
    let other = token["top"].as_array().expect("tokens").iter().map(|token| token["id"].as_u64().expect("an id")).max();
    let mut begun = json!({"messages": body["messages"], "max_tokens": 4, "temperature": 0});
    let before = server.ask("/v1/chat/completions", &begun);
    begun["whit"] = json!({"begin": [other]});
    let after = server.ask("/v1/chat/completions", &begun);
    let prompt = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64();
    assert_eq!(prompt(&after), prompt(&before).map(|n| n + 1));
    assert!(after["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().is_some_and(|n| n > 5), "{after}");
    let _ = std::fs::remove_file(template);
}

#[test]
fn an_answer_keeps_to_a_schema_and_to_stop_strings() {
    let (server, template) = talking(&[]);
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer", "minimum": 1, "maximum": 99}},
        "required": ["age"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "age", "strict": true, "schema": schema}});
    let body =
        json!({"messages": [{"role": "user", "content": "How old?"}], "response_format": format, "max_tokens": 40});
    for seed in 0..3 {
        let mut body = body.clone();
        body["seed"] = json!(seed);
        let answer = server.ask("/v1/chat/completions", &body);
        let content = answer["choices"][0]["message"]["content"].as_str().expect("a text");
        let value: Value = serde_json::from_str(content).unwrap_or_else(|error| panic!("{error}: {content}"));
        assert!(value["age"].as_u64().is_some_and(|age| (1..100).contains(&age)), "{content}");
    }
    let ollama = json!({"model": "stories", "prompt": "How old?", "format": schema, "stream": false});
    let answer = server.ask("/api/generate", &ollama);
    assert!(serde_json::from_str::<Value>(answer["response"].as_str().expect("a text")).is_ok(), "{answer}");
    // What is not supported fails closed.
    let mut wrong = body.clone();
    wrong["response_format"]["json_schema"]["schema"] = json!({"type": "object", "unevaluatedProperties": false});
    let refused = server.post("/v1/chat/completions", &wrong);
    assert_eq!(refused.status, 400, "{}", refused.body);
    let stop = json!({"prompt": "Once upon a time", "max_tokens": 60, "temperature": 0, "stop": ["."]});
    let answer = server.ask("/v1/completions", &stop);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(!answer["choices"][0]["text"].as_str().expect("a text").contains('.'), "{answer}");
    let _ = std::fs::remove_file(template);
}

#[test]
fn functions_are_called_in_the_words_of_each_api() {
    let (server, template) = talking(&[]);
    let schema = json!({"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"]});
    let tools = json!([{"type": "function", "function": {"name": "weather", "description": "How it is", "parameters": schema}}]);
    let messages = json!([{"role": "user", "content": "How is the weather?"}]);
    let is_city = |arguments: &Value| {
        assert!(["Rome", "Oslo"].contains(&arguments["city"].as_str().unwrap_or_default()), "{arguments}")
    };
    let body = json!({"messages": messages, "tools": tools, "tool_choice": "required", "parallel_tool_calls": false, "seed": 1});
    let answer = server.ask("/v1/chat/completions", &body);
    let choice = &answer["choices"][0];
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        (&choice["finish_reason"], &call["function"]["name"]),
        (&json!("tool_calls"), &json!("weather")),
        "{answer}"
    );
    let arguments = call["function"]["arguments"].as_str().expect("a text");
    is_city(&serde_json::from_str(arguments).expect("JSON"));
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let events = server.post("/v1/chat/completions", &streamed).events();
    let delta = events.iter().find_map(|event| event["choices"][0]["delta"].get("tool_calls")).expect("a call");
    assert_eq!((&delta[0]["function"], &delta[0]["index"]), (&call["function"], &json!(0)));
    assert_eq!(events.last().expect("events")["choices"][0]["finish_reason"], "tool_calls");

    // What the function gave goes back.
    let mut told = messages.as_array().expect("messages").clone();
    told.push(choice["message"].clone());
    told.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "Rain"}));
    let next = server.post("/v1/chat/completions", &json!({"messages": told, "tools": tools, "max_tokens": 4}));
    assert_eq!(next.status, 200, "{}", next.body);

    let anthropic = json!({
        "messages": messages, "max_tokens": 200, "tools": [{"name": "weather", "input_schema": schema}], "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    });
    let answer = server.ask("/v1/messages", &anthropic);
    let used =
        answer["content"].as_array().expect("blocks").iter().find(|block| block["type"] == "tool_use").expect("a call");
    is_city(&used["input"]);
    assert_eq!(answer["stop_reason"], "tool_use");
    let mut streamed = anthropic.clone();
    streamed["stream"] = json!(true);
    let events = server.post("/v1/messages", &streamed).events();
    let json: String = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    is_city(&serde_json::from_str(&json).expect("JSON"));

    let flat = json!([{"type": "function", "name": "weather", "parameters": schema}]);
    let answer =
        server.ask("/v1/responses", &json!({"input": "How is the weather?", "tools": flat, "tool_choice": "required"}));
    let call = answer["output"]
        .as_array()
        .expect("items")
        .iter()
        .find(|item| item["type"] == "function_call")
        .expect("a call");
    is_city(&serde_json::from_str(call["arguments"].as_str().expect("a text")).expect("JSON"));
    let ollama = server.post(
        "/api/chat",
        &json!({"messages": messages, "tools": tools, "options": {"num_predict": 20}, "stream": false}),
    );
    assert_eq!(ollama.status, 200, "{}", ollama.body);
    let _ = std::fs::remove_file(template);
}

#[test]
fn other_apis_give_the_same_text_in_their_words() {
    let (server, template) = talking(&[]);
    let messages = json!([{"role": "user", "content": "Tell a story."}]);
    let openai = server.ask("/v1/chat/completions", &json!({"messages": messages, "max_tokens": 10, "seed": 5}));
    let expected = &openai["choices"][0]["message"]["content"];

    let options = json!({"num_predict": 10, "seed": 5});
    let mut ollama =
        json!({"model": "stories:latest", "messages": messages, "options": options, "stream": false, "keep_alive": -1});
    let answer = server.ask("/api/chat", &ollama);
    assert_eq!(
        (&answer["message"]["content"], &answer["done"], &answer["done_reason"]),
        (expected, &json!(true), &json!("length"))
    );
    assert_eq!(answer["eval_count"], 10);
    ollama.as_object_mut().expect("an object").remove("stream");
    let reply = server.post("/api/chat", &ollama);
    assert!(reply.headers.contains("application/x-ndjson"), "{}", reply.headers);
    let lines = reply.lines();
    let text: String = lines.iter().map(|line| line["message"]["content"].as_str().expect("a text")).collect();
    assert_eq!((json!(text), &lines.last().expect("lines")["done"]), (expected.clone(), &json!(true)));
    assert_eq!(server.ask("/api/generate", &json!({"model": "stories", "prompt": ""}))["done_reason"], "load");
    assert_eq!(server.get("/api/tags").value()["models"][0]["name"], "stories");
    assert_eq!(server.get("/api/ps").value()["models"][0]["model"], "stories");
    assert!(server.get("/api/version").value()["version"].is_string());
    let show = server.ask("/api/show", &json!({"model": "stories"}));
    assert!(show["capabilities"].as_array().is_some_and(|all| all.contains(&json!("completion"))), "{show}");

    let anthropic = json!({"model": "stories", "messages": messages, "max_tokens": 10, "seed": 5});
    let answer = server.ask("/v1/messages", &anthropic);
    assert_eq!((&answer["content"][0]["text"], &answer["stop_reason"]), (expected, &json!("max_tokens")));
    let mut streamed = anthropic.clone();
    streamed["stream"] = json!(true);
    let events = server.post("/v1/messages", &streamed).events();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!((kinds[0], kinds[1], kinds[kinds.len() - 1]), ("message_start", "content_block_start", "message_stop"));
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(json!(text), *expected);
    let counted = server.ask("/v1/messages/count_tokens", &json!({"messages": messages}));
    assert_eq!(counted["input_tokens"], openai["usage"]["prompt_tokens"]);

    let responses = json!({"model": "stories", "input": "Tell a story.", "max_output_tokens": 10, "seed": 5});
    let answer = server.ask("/v1/responses", &responses);
    assert_eq!((&answer["output"][0]["content"][0]["text"], &answer["status"]), (expected, &json!("incomplete")));
    let mut streamed = responses.clone();
    streamed["stream"] = json!(true);
    let events = server.post("/v1/responses", &streamed).events();
    let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(
        (json!(text), &events.last().expect("events")["type"]),
        (expected.clone(), &json!("response.incomplete"))
    );
    let _ = std::fs::remove_file(template);
}

#[test]
fn the_words_of_llama_cpp_are_understood() {
    let (server, template) = talking(&["--name", "llm.example.org"]);
    assert_eq!(server.get("/health").value(), json!({"status": "ok"}));
    assert_eq!(server.get("/props").value()["total_slots"], 4);
    assert_eq!(server.get("/slots").value().as_array().map(Vec::len), Some(4));
    let tokens = server.ask("/tokenize", &json!({"content": "Once upon a time"}));
    let text = server.ask("/detokenize", &tokens);
    assert_eq!(text["content"].as_str().map(str::trim), Some("Once upon a time"));
    let pieces = server.ask("/tokenize", &json!({"content": "Once", "with_pieces": true}));
    assert!(pieces["tokens"][0]["piece"].is_string(), "{pieces}");
    let messages = json!({"messages": [{"role": "user", "content": "Hi"}]});
    let prompt = server.ask("/apply-template", &messages);
    assert!(
        prompt["prompt"].as_str().is_some_and(|text| text.contains("user: Hi") && text.ends_with("assistant:")),
        "{prompt}"
    );
    let body =
        json!({"prompt": "Once upon a time", "n_predict": 6, "seed": 2, "n_probs": 2, "grammar": "root ::= [a-z ]+"});
    let answer = server.ask("/completion", &body);
    assert_eq!((&answer["tokens_predicted"], &answer["stop_type"]), (&json!(6), &json!("limit")));
    assert_eq!(answer["completion_probabilities"][0]["top_logprobs"].as_array().map(Vec::len), Some(2));
    assert!(
        answer["content"].as_str().is_some_and(|text| text.chars().all(|c| c.is_ascii_lowercase() || c == ' ')),
        "{answer}"
    );
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let text: String = server
        .post("/completion", &streamed)
        .events()
        .iter()
        .filter_map(|event| event["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(json!(text), answer["content"]);
    // The story model knows no holes.
    assert_eq!(server.post("/infill", &json!({"input_prefix": "a", "input_suffix": "b"})).status, 501);
    let status = server.get("/whit/status").value();
    assert_eq!((&status["model"], &status["chat"], &status["active"]), (&json!("stories"), &json!(true), &json!(0)));
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("whit_written_tokens_total 12\n"), "{metrics}");
    let page = server.get("/");
    assert!(page.headers.contains("content-security-policy: default-src 'none'"), "{}", page.headers);
    let _ = std::fs::remove_file(template);
}

#[test]
fn texts_become_vectors_as_whit_embed_makes_them() {
    let server = Server::start(&["-t", "1"]);
    let output = whit().args(["embed", "-p", "The cat sat", "--format", "jsonl"]).output().expect("the program starts");
    let expected: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let floats = |value: &Value| -> Vec<f32> {
        value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
    };
    let answer = server.ask("/v1/embeddings", &json!({"input": ["A dog", "The cat sat"], "model": "stories"}));
    assert_eq!(floats(&answer["data"][1]["embedding"]), floats(&expected["embedding"]));
    let encoded = server.ask("/v1/embeddings", &json!({"input": "The cat sat", "encoding_format": "base64"}));
    let base64 = encoded["data"][0]["embedding"].as_str().expect("a text");
    assert_eq!(base64.len(), (floats(&expected["embedding"]).len() * 4).div_ceil(3) * 4);
    let ollama = server.ask("/api/embed", &json!({"input": "The cat sat", "model": "stories"}));
    assert_eq!(floats(&ollama["embeddings"][0]), floats(&expected["embedding"]));
    let short = server.ask("/v1/embeddings", &json!({"input": "The cat sat", "dimensions": 8}));
    assert_eq!(floats(&short["data"][0]["embedding"]).len(), 8);
    assert_eq!(server.post("/v1/embeddings", &json!({"input": ""})).status, 200, "the token that begins a text");
    assert_eq!(server.post("/v1/embeddings", &json!({"input": []})).status, 400);
}

#[test]
fn who_leaves_stops_the_work_and_a_full_queue_is_said() {
    let server = Server::start(&["--parallel", "1", "--queue", "1", "-t", "1"]);
    let endless =
        json!({"prompt": "Once", "max_tokens": 4000, "stream": true, "logit_bias": {"1": -100, "2": -100}}).to_string();
    let begin = || {
        let mut stream = server.connect();
        let length = endless.len();
        write!(stream, "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{endless}")
            .expect("sent");
        assert!(stream.read(&mut [0; 64]).is_ok_and(|n| n > 0));
        stream
    };
    let (first, second) = (begin(), begin());
    let third = server.post("/v1/completions", &json!({"prompt": "Once"}));
    assert_eq!(third.status, 503, "{}", third.body);
    assert!(third.headers.contains("retry-after: "), "{}", third.headers);
    assert_eq!(third.value()["error"]["code"], "server_busy");
    drop((first, second));
    let since = Instant::now();
    // A text that has ended still counts as one that waits until whoever asked for it is gone.
    let is_free = |status: Value| status["active"] == 0 && status["queue"] == 0;
    while !is_free(server.get("/whit/status").value()) {
        assert!(since.elapsed() < Duration::from_secs(60), "the text of a client that left goes on");
        thread::sleep(Duration::from_millis(10));
    }
    let answer = server.ask("/v1/completions", &json!({"prompt": "Once", "max_tokens": 2}));
    assert_eq!(answer["usage"]["completion_tokens"], 2);
}

#[test]
fn asked_to_end_it_finishes_what_is_under_way() {
    let server = Server::start(&["-t", "1", "--drain", "60"]);
    let body = json!({"prompt": "Once upon a time", "max_tokens": 150, "stream": true, "temperature": 0}).to_string();
    let mut stream = server.connect();
    let length = body.len();
    write!(stream, "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}").expect("sent");
    let mut first = [0; 200];
    let n = stream.read(&mut first).expect("a beginning");
    server.signal("TERM");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the rest");
    let text = String::from_utf8_lossy(&[&first[..n], &rest].concat()).into_owned();
    assert!(text.contains("data: [DONE]"), "{text}");
    let (code, _) = server.wait();
    assert_eq!(code, Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn idle_is_idle() {
    // An emulator has threads of its own.
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() {
        return;
    }
    let server = Server::start(&["-t", "2"]);
    server.ask("/v1/completions", &json!({"prompt": "Once", "max_tokens": 5}));
    assert!(server.comes_to_rest(), "it wakes up all the time");
}

/// M-53
#[test]
fn the_plan_comes_before_the_port_and_access_is_asked_for() {
    let server = Server::start(&["-t", "1", "--api-key", "secret", "-c", "64"]);
    assert!(
        server.before_open.iter().any(|line| line.contains("stories: 4 texts of 64 tokens at a time, 32 more wait"))
    );
    assert_eq!(server.get("/v1/models").status, 401);
    assert_eq!((server.get("/").status, server.get("/health").status), (200, 200));
    for header in ["Authorization: Bearer secret", "x-api-key: secret"] {
        assert_eq!(server.request("GET", "/v1/models", &[header], "").status, 200, "{header}");
    }
    drop(server);
    let refused = whit().args(["serve", "--host", "0.0.0.0", "--port", "0"]).output().expect("the program starts");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(64), "{told}");
    assert!(told.contains("other machines reach 0.0.0.0, and everybody there could ask"), "{told}");
}
