//! `whit serve` and requests that no good client sends: each has a clear answer, in the shape of its API, and the next is
//! answered.
#![cfg(feature = "serve")]

mod program;
mod serving;

use serde_json::{Value, json};
use serving::{Reply, Server};
use std::io::Write;
use std::net::Shutdown;

fn message(reply: &Reply) -> String {
    reply.value()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

/// M-51
#[test]
fn bodies_of_every_bad_shape_are_refused() {
    let server = Server::start(&["-t", "1", "-c", "64"]);
    let deep = "[".repeat(100_000);
    let long = format!("{{\"prompt\": \"{}\"}}", "a ".repeat(2000));
    let many = format!("{{\"prompt\": [{}0]}}", "0,".repeat(140_000));
    for (body, status, told) in [
        ("", 400, "body: it is no JSON"),
        ("{", 400, "body: it is no JSON"),
        ("[]", 400, "body: it is no object"),
        ("null", 400, "body: it is no object"),
        ("{\"prompt\": \"a\", \"prompt\": }", 400, "body: it is no JSON"),
        (deep.as_str(), 400, "recursion limit exceeded"),
        (long.as_str(), 400, "prompt: 4000 bytes leave no room in a context of 64 tokens"),
        (many.as_str(), 400, "body: it holds more than 131072 values"),
        ("{}", 400, "prompt: it is missing"),
        ("{\"prompt\": []}", 400, "prompt: it is neither a string nor a list of tokens"),
        ("{\"prompt\": [999999]}", 400, "token 999999 is outside the vocabulary"),
        ("{\"prompt\": [-1]}", 400, "a list is one of tokens"),
        ("{\"prompt\": \"a\", \"n\": 100}", 400, "n: 100 are more than the 36 that this server holds"),
        ("{\"prompt\": \"a\", \"temperature\": -1}", 400, "temperature: -1 is outside"),
        ("{\"prompt\": \"a\", \"temperature\": 1e999}", 400, "body: it is no JSON"),
        ("{\"prompt\": \"a\", \"logit_bias\": {\"99999\": 1}}", 400, "logit"),
        ("{\"prompt\": \"a\", \"max_tokens\": 1.5}", 400, "max_tokens: it is no whole number"),
        ("{\"prompt\": \"a\", \"model\": \"other\"}", 404, "there is no model \"other\" here"),
        ("{\"prompt\": \"a\", \"model\": 7}", 400, "model: it is no string"),
        ("{\"prompt\": \"a\", \"whit\": {\"begin\": [\"a\"]}}", 400, "whit.begin"),
        ("{\"prompt\": \"a\", \"whit\": 3}", 400, "whit: it is no object"),
        (
            "{\"prompt\": \"a\", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"schema\": {\"type\": 7}}}}",
            400,
            "",
        ),
    ] {
        let reply = server.request("POST", "/v1/completions", &[], body);
        let shown = &body[..body.len().min(80)];
        assert_eq!(reply.status, status, "{shown}: {}", reply.body);
        assert!(message(&reply).contains(told), "{shown}: {}", reply.body);
    }
    let chat = server.post("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": "a"}]}));
    assert_eq!(chat.status, 400);
    assert!(message(&chat).contains("this model has no chat template"), "{}", chat.body);
    // As long as a body may be; one byte more is refused before it comes.
    let longest = format!("{{\"prompt\": \"{}\"}}", "中".repeat(699_000));
    let reply = server.request("POST", "/v1/completions", &[], &longest);
    assert!(reply.status == 400 && message(&reply).contains("leave no room"), "{}", reply.body);
    // In the shapes of the others.
    let ollama = server.post("/api/generate", &json!({"model": "other", "prompt": "a"}));
    assert_eq!((ollama.status, ollama.value()["error"].is_string()), (404, true));
    let anthropic = server.post("/v1/messages", &json!({"messages": []}));
    assert_eq!((anthropic.status, &anthropic.value()["type"]), (400, &json!("error")));
    assert_eq!(server.ask("/v1/completions", &json!({"prompt": "a", "max_tokens": 1}))["object"], "text_completion");
}

/// M-52
#[test]
fn requests_of_every_bad_shape_are_refused() {
    let mut server = Server::start(&["-t", "1"]);
    for (bytes, statuses) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[400][..]),
        (b"GET\r\n\r\n", &[400]),
        (b"GET / HTTP/9.9\r\n\r\n", &[400, 505]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", &[400]),
        (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}", &[400]),
        (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n", &[400]),
        (b"PATCH /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[405]),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[404]),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[404]),
        (b"GET / HTTP/1.0\r\n\r\n", &[200]),
        (b"GET / HTTP/1.1\r\nHost: rebound.example.com\r\nConnection: close\r\n\r\n", &[403]),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n", &[403]),
    ] {
        let reply = server.send(bytes);
        let shown = String::from_utf8_lossy(bytes);
        assert!(statuses.contains(&reply.status), "{shown}: {} {}", reply.status, reply.body);
    }
    let many: String = (0..200).map(|i| format!("A{i}: b\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    assert_eq!(server.send(many.as_bytes()).status, 431);
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100_000));
    assert!([414, 431].contains(&server.send(long.as_bytes()).status));
    let huge =
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\nConnection: close\r\n\r\n{";
    assert_eq!(server.send(huge).status, 413);
    // A body that ends early; one that never comes, of a client that goes.
    let mut stream = server.connect();
    stream
        .write_all(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{\"prompt\"")
        .expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    assert!([0, 400].contains(&Reply::read(&mut stream).status));
    drop(server.connect());
    assert!(server.is_running());
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn who_opens_many_connections_and_says_nothing_keeps_nobody_out() {
    let server = Server::start(&["-t", "1"]);
    let mut silent = Vec::new();
    for i in 0..600 {
        let mut stream = server.connect();
        if i % 3 > 0 {
            let _ = stream.write_all(&b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX: "[..20 * (i % 3)]);
        }
        silent.push(stream);
    }
    let answer = server.ask("/v1/completions", &json!({"prompt": "a", "max_tokens": 1}));
    assert_eq!(answer["usage"]["completion_tokens"], 1);
}

#[test]
fn pages_of_other_origins_ask_where_they_may() {
    let server = Server::start(&["-t", "1", "--cors", "https://chat.example"]);
    let body = json!({"prompt": "a", "max_tokens": 1}).to_string();
    let ask = |origin: &str| {
        server.request(
            "POST",
            "/v1/completions",
            &[&format!("Origin: {origin}"), "Content-Type: application/json"],
            &body,
        )
    };
    let allowed = ask("https://chat.example");
    assert_eq!(allowed.status, 200);
    assert!(allowed.headers.contains("access-control-allow-origin: https://chat.example"), "{}", allowed.headers);
    let refused = ask("https://evil.example");
    assert_eq!((refused.status, refused.headers.contains("access-control")), (403, false));
    assert!(message(&refused).contains("pages of https://evil.example may not ask"), "{}", refused.body);
    let preflight = server.request("OPTIONS", "/v1/completions", &["Origin: https://chat.example"], "");
    assert_eq!((preflight.status, preflight.headers.contains("access-control-allow-headers")), (204, true));
    let form = server.request(
        "POST",
        "/v1/completions",
        &["Origin: https://chat.example", "Content-Type: multipart/form-data"],
        &body,
    );
    assert_eq!(form.status, 415);
}

#[test]
fn every_part_of_a_body_may_be_anything() {
    let server = Server::start(&["-t", "1", "-c", "64"]);
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("a"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"a": []}),
    ];
    let bodies: [(&str, Value); 6] = [
        (
            "/v1/completions",
            json!({"prompt": "a", "max_tokens": 1, "stop": "b", "n": 1, "seed": 1, "logprobs": 1, "stream": false, "logit_bias": {}}),
        ),
        ("/v1/embeddings", json!({"input": "a", "encoding_format": "float", "dimensions": 3, "pooling": "mean"})),
        (
            "/api/generate",
            json!({"prompt": "a", "options": {"num_predict": 1}, "format": "json", "raw": true, "stream": false, "system": ""}),
        ),
        (
            "/completion",
            json!({"prompt": "a", "n_predict": 1, "grammar": "root ::= \"a\"", "n_probs": 1, "stream": false}),
        ),
        ("/tokenize", json!({"content": "a", "add_special": true, "with_pieces": true})),
        (
            "/v1/messages",
            json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "system": "a", "stop_sequences": []}),
        ),
    ];
    for (path, body) in bodies {
        let names: Vec<String> = body.as_object().expect("an object").keys().cloned().collect();
        for name in &names {
            for value in &values {
                let mut body = body.clone();
                body[name.as_str()] = value.clone();
                // What is open-ended ends.
                for bound in ["max_tokens", "n_predict"] {
                    if name == bound && path != "/v1/messages" && value.is_null() {
                        body["stop"] = json!("e");
                    }
                }
                let reply = server.post(path, &body);
                assert!(
                    [200, 400, 404].contains(&reply.status),
                    "{path} {name} {value}: {} {}",
                    reply.status,
                    reply.body
                );
                assert!(
                    serde_json::from_str::<Value>(&reply.body).is_ok()
                        || reply.body.starts_with("data: ")
                        || reply.body.starts_with('{'),
                    "{}",
                    reply.body
                );
            }
        }
    }
    assert_eq!(server.get("/health").status, 200);
}
