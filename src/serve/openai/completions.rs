//! Completions of texts.

use super::super::form::{Form, Gathered, Name, Part, Written, event};
use super::super::job::Token;
use super::super::reply::{Api, EVENTS, Refusal};
use super::fields::{likely, timings, usage};
use crate::requests::logprobs;
use serde_json::{Value, json};

/// The form of an answer.
pub(crate) struct Completion {
    pub(crate) name: Name,
    /// Probabilities of tokens are sent.
    pub(crate) has_logprobs: bool,
    /// How tokens were chosen is.
    pub(crate) has_extension: bool,
    /// A stream tells at its end how many tokens there were.
    pub(crate) has_usage: bool,
}

impl Completion {
    fn object(&self) -> Value {
        json!({
            "id": format!("cmpl-{}", self.name.id),
            "object": "text_completion",
            "created": self.name.created,
            "model": self.name.offered().name,
            "system_fingerprint": self.name.offered().model().fingerprint(),
        })
    }

    fn choice(&self, text: usize, said: &str, reason: Option<&str>, tokens: &[Token]) -> Value {
        let mut choice = json!({"index": text, "text": said, "logprobs": null, "finish_reason": reason});
        if self.has_logprobs && !tokens.is_empty() {
            choice["logprobs"] = logprobs::of_completion(self.name.offered().model(), likely(tokens));
        }
        if self.has_extension && !tokens.is_empty() {
            choice["whit"] = self.name.extension(tokens);
        }
        choice
    }

    fn chunk(&self, choice: Value) -> String {
        let mut chunk = self.object();
        chunk["choices"] = json!([choice]);
        if self.has_usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }
}

impl Form for Completion {
    fn content_type(&self) -> &'static str {
        EVENTS
    }

    fn part(&mut self, text: usize, part: &Part, tokens: &[Token]) -> String {
        match part {
            Part::Text(said) => self.chunk(self.choice(text, said, None, tokens)),
            Part::Thinking(_) | Part::Call(_) => String::new(),
        }
    }

    fn ended(&mut self, text: usize, so_far: &Gathered) -> String {
        let written = &so_far.texts[text];
        let mut choice = self.choice(text, "", written.finish_reason(), &[]);
        written.add_receipt(&mut choice);
        self.chunk(choice)
    }

    fn finished(&mut self, whole: &Gathered) -> String {
        let mut out = String::new();
        if self.has_usage {
            let mut chunk = self.object();
            chunk["choices"] = json!([]);
            chunk["usage"] = usage(whole);
            out += &event(&chunk);
        }
        out + "data: [DONE]\n\n"
    }

    fn failed(&mut self, refusal: &Refusal) -> String {
        event(&refusal.value(Api::OpenAi))
    }

    fn whole(&mut self, whole: &Gathered) -> Value {
        let choice = |(i, written): (usize, &Written)| {
            let mut choice = self.choice(i, &written.text, written.finish_reason(), &written.tokens);
            written.add_receipt(&mut choice);
            choice
        };
        let mut object = self.object();
        object["choices"] = whole.texts.iter().enumerate().map(choice).collect();
        object["usage"] = usage(whole);
        if let Some(end) = whole.texts.first().and_then(|text| text.end) {
            object["timings"] = timings(whole, &end);
        }
        object
    }
}
