//! Answers as lines, in the form of OpenAI's batches.

use super::super::json::{self, Object};
use whit::chat::tools::{Part, Reader};
use whit::error::Error;
use whit::failure::with_flags;
use whit::generate::{Finished, StopReason};

/// How every row begins.
pub(super) const BEGINNING: &str = r#"{"id":"batch_req_"#;

/// Which request is answered.
pub(super) struct Named<'n> {
    pub(super) custom_id: &'n str,
    /// A hash of all that its answer depends on.
    pub(super) hash: &'n str,
}

/// By whom.
pub(super) struct Model {
    pub(super) name: String,
    /// The hash of its content.
    pub(super) fingerprint: String,
}

/// An answer.
pub(super) struct Answer {
    pub(super) finished: Finished,
    /// The field of its tokens' probabilities, as JSON.
    pub(super) logprobs: String,
}

/// The row of answers to a conversation, which `reader` parts, or to a text.
pub(super) fn answered(
    named: &Named<'_>,
    model: &Model,
    reader: Option<&Reader>,
    n_prompt: usize,
    answers: &[Answer],
) -> String {
    let choices = answers.iter().enumerate().map(|(i, Answer { finished: answer, logprobs })| {
        let choice = Object::default().raw("index", i);
        let (choice, calls) = match reader {
            Some(reader) => {
                let (message, calls) = message(reader.clone(), &answer.text);
                (choice.raw("message", message), calls)
            }
            None => (choice.text("text", &answer.text), false),
        };
        let ended = match reason(answer.reason) {
            "stop" if calls => "tool_calls",
            ended => ended,
        };
        choice.raw("logprobs", logprobs).text("finish_reason", ended).line()
    });
    let n_written: usize = answers.iter().map(|answer| answer.finished.n_generated).sum();
    let usage = Object::default().raw("prompt_tokens", n_prompt).raw("completion_tokens", n_written);
    let (prefix, object) = if reader.is_some() { ("chatcmpl", "chat.completion") } else { ("cmpl", "text_completion") };
    let body = Object::default()
        .text("id", &format!("{prefix}-{}", named.hash))
        .text("object", object)
        // The same answer is the same line, whenever it is written.
        .raw("created", 0)
        .text("model", &model.name)
        .text("system_fingerprint", &model.fingerprint)
        .raw("choices", json::list(choices))
        .raw("usage", usage.raw("total_tokens", n_prompt + n_written).line());
    row(named, 200, body)
}

/// The message of an answer, and whether it calls functions.
fn message(mut reader: Reader, answer: &str) -> (String, bool) {
    let mut parts = reader.push(answer);
    parts.extend(reader.finish());
    let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(of) => text += &of,
            Part::Thinking(of) => thoughts += &of,
            Part::Call(call) => {
                let arguments = call.arguments.json();
                let function = Object::default().text("name", &call.name).text("arguments", &arguments).line();
                calls.push(
                    Object::default().text("id", &call.id).text("type", "function").raw("function", function).line(),
                );
            }
        }
    }
    let message = Object::default().text("role", "assistant");
    let message = message.maybe("content", Some(text.as_str()).filter(|text| calls.is_empty() || !text.is_empty()));
    let message = if thoughts.is_empty() { message } else { message.text("reasoning_content", thoughts.trim()) };
    match calls.is_empty() {
        true => (message.line(), false),
        false => (message.raw("tool_calls", json::list(calls)).line(), true),
    }
}

/// The row of a request that cannot be answered.
pub(super) fn refused(named: &Named<'_>, error: &Error) -> String {
    let error = with_flags(error);
    let told = Object::default()
        .text("message", &error.to_string())
        .text("type", "invalid_request_error")
        .maybe("param", error.named_field())
        .raw("code", "null");
    row(named, 400, Object::default().raw("error", told.line()))
}

fn row(named: &Named<'_>, status: u16, body: Object) -> String {
    let response = Object::default()
        .raw("status_code", status)
        .text("request_id", &format!("req_{}", named.hash))
        .raw("body", body.line());
    Object::default()
        .text("id", &format!("batch_req_{}", named.hash))
        .text("custom_id", named.custom_id)
        .raw("response", response.line())
        .raw("error", "null")
        .line()
        + "\n"
}

/// Why an answer ended, in OpenAI's words.
fn reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndOfText | StopReason::Complete | StopReason::StopString => "stop",
        StopReason::Length | StopReason::ContextFull | StopReason::Interrupted => "length",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn rows_have_the_fields_of_openai() {
        let named = Named { custom_id: "a\"b", hash: "0123" };
        let model = Model { name: "m.whit".into(), fingerprint: "whit-1".into() };
        let reader = Reader::plain();
        let answer = |reason| {
            let finished = Finished { text: "Hi\n".into(), reason, n_generated: 2 };
            Answer { finished, logprobs: "null".into() }
        };
        let answers = [answer(StopReason::EndOfText), answer(StopReason::Length)];
        let line = answered(&named, &model, Some(&reader), 5, &answers);
        assert!(line.starts_with(BEGINNING) && line.ends_with("}\n"), "{line}");
        let row: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&row["custom_id"], &row["error"]), (&"a\"b".into(), &Value::Null));
        let body = &row["response"]["body"];
        assert_eq!((&row["response"]["status_code"], &body["object"]), (&200.into(), &"chat.completion".into()));
        assert_eq!(body["choices"][0]["message"]["content"], "Hi\n");
        assert_eq!(
            (&body["choices"][0]["finish_reason"], &body["choices"][1]["finish_reason"]),
            (&"stop".into(), &"length".into())
        );
        assert_eq!((&body["usage"]["completion_tokens"], &body["usage"]["total_tokens"]), (&4.into(), &9.into()));
        let text: Value = serde_json::from_str(&answered(&named, &model, None, 5, &answers)).expect("JSON");
        assert_eq!(text["response"]["body"]["choices"][1]["text"], "Hi\n");
        let refused: Value = serde_json::from_str(&refused(&named, &Error::usage("no").field("n"))).expect("JSON");
        assert_eq!(refused["response"]["status_code"], 400);
        assert_eq!(refused["response"]["body"]["error"]["param"], "n");
    }
}
