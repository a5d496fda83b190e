//! Chat completions.

use super::super::form::{Call, Form, Gathered, Name, Part, Written, event};
use super::super::job::Token;
use super::super::reply::{Api, EVENTS, Refusal};
use super::fields::{logprobs, timings, usage};
use serde_json::{Value, json};

/// The form of an answer.
pub(crate) struct Chat {
    pub(crate) name: Name,
    /// Probabilities of tokens are sent.
    pub(crate) has_logprobs: bool,
    /// How tokens were chosen is.
    pub(crate) has_extension: bool,
    /// A stream tells at its end how many tokens there were.
    pub(crate) has_usage: bool,
    /// Calls of each text that were sent.
    pub(crate) n_calls: Vec<usize>,
}

impl Chat {
    fn object(&self, object: &str) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.name.id),
            "object": object,
            "created": self.name.created,
            "model": self.name.offered().name,
            "system_fingerprint": self.name.offered().model().fingerprint(),
        })
    }

    fn chunk(&self, text: usize, delta: Value, tokens: &[Token]) -> String {
        self.chunk_of(text, delta, None, &mut |choice| self.show(choice, tokens))
    }

    /// A chunk to whose choice `add` adds fields.
    fn chunk_of(&self, text: usize, delta: Value, reason: Option<&str>, add: &mut dyn FnMut(&mut Value)) -> String {
        let mut choice = json!({"index": text, "delta": delta, "logprobs": null, "finish_reason": reason});
        add(&mut choice);
        let mut chunk = self.object("chat.completion.chunk");
        chunk["choices"] = json!([choice]);
        if self.has_usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }

    /// What a part adds to the message; `n_calls` calls came before.
    fn delta(part: &Part, n_calls: usize) -> Value {
        match part {
            Part::Text(text) => json!({"content": text}),
            Part::Thinking(text) => json!({"reasoning_content": text}),
            Part::Call(call) => {
                let mut value = tool_call(call);
                value["index"] = json!(n_calls);
                json!({"tool_calls": [value]})
            }
        }
    }

    fn show(&self, choice: &mut Value, tokens: &[Token]) {
        if self.has_logprobs && !tokens.is_empty() {
            choice["logprobs"] = logprobs(&self.name, tokens);
        }
        if self.has_extension && !tokens.is_empty() {
            choice["whit"] = self.name.extension(tokens);
        }
    }
}

impl Form for Chat {
    fn content_type(&self) -> &'static str {
        EVENTS
    }

    fn begun(&mut self, text: usize) -> String {
        self.chunk(text, json!({"role": "assistant", "content": ""}), &[])
    }

    fn part(&mut self, text: usize, part: &Part, tokens: &[Token]) -> String {
        let n_calls = self.n_calls.get(text).copied().unwrap_or(0);
        if let (Part::Call(_), Some(n_calls)) = (part, self.n_calls.get_mut(text)) {
            *n_calls += 1;
        }
        self.chunk(text, Self::delta(part, n_calls), tokens)
    }

    fn ended(&mut self, text: usize, so_far: &Gathered) -> String {
        let written = &so_far.texts[text];
        self.chunk_of(text, json!({}), written.finish_reason(), &mut |choice| written.add_receipt(choice))
    }

    fn finished(&mut self, whole: &Gathered) -> String {
        let mut out = String::new();
        if self.has_usage {
            let mut chunk = self.object("chat.completion.chunk");
            chunk["choices"] = json!([]);
            chunk["usage"] = usage(whole);
            if let Some(end) = whole.texts.first().and_then(|text| text.end) {
                chunk["timings"] = timings(whole, &end);
            }
            out += &event(&chunk);
        }
        out + "data: [DONE]\n\n"
    }

    fn failed(&mut self, refusal: &Refusal) -> String {
        event(&refusal.value(Api::OpenAi))
    }

    fn whole(&mut self, whole: &Gathered) -> Value {
        let choices = whole.texts.iter().enumerate().map(|(i, written)| {
            let reason = written.finish_reason();
            let mut choice =
                json!({"index": i, "message": message(written), "logprobs": null, "finish_reason": reason});
            self.show(&mut choice, &written.tokens);
            written.add_receipt(&mut choice);
            choice
        });
        let choices = choices.collect::<Vec<_>>();
        let mut object = self.object("chat.completion");
        object["choices"] = json!(choices);
        object["usage"] = usage(whole);
        if let Some(end) = whole.texts.first().and_then(|text| text.end) {
            object["timings"] = timings(whole, &end);
        }
        object
    }
}

/// A text as a message.
fn message(written: &Written) -> Value {
    let content = Some(&written.text).filter(|text| !text.is_empty() || written.calls.is_empty());
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !written.thinking.is_empty() {
        message["reasoning_content"] = json!(written.thinking);
    }
    if !written.calls.is_empty() {
        message["tool_calls"] = written.calls.iter().map(tool_call).collect();
    }
    message
}

fn tool_call(call: &Call) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}
