//! What the answers of all APIs have in common: texts that are gathered, and a form in which they are sent.

use super::job::{End, Next, Shown, Token};
use super::log::Figures;
use super::offered::Offered;
use super::reply::{Api, JSON, Refusal};
use crate::requests::logprobs;
use serde_json::{Value, json};
use std::sync::Arc;
use whit::TokenId;
use whit::chat::receipt::Receipt;
use whit::chat::tools;
use whit::generate::StopReason;
use whit::inspect::Ranked;

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// What it says.
    Text(String),
    /// What the model thought before.
    Thinking(String),
    /// A function that it calls.
    Call(Call),
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// As no other call of its conversation is called.
    pub(super) id: String,
    pub(super) name: String,
    /// What it is given, an object as JSON.
    pub(super) arguments: String,
}

impl Part {
    /// What a reader of a reply gives.
    pub(super) fn of(part: tools::Part) -> Part {
        match part {
            tools::Part::Text(text) => Part::Text(text),
            tools::Part::Thinking(text) => Part::Thinking(text),
            tools::Part::Call(call) => {
                Part::Call(Call { id: call.id, name: call.name, arguments: call.arguments.json() })
            }
        }
    }
}

/// A text of an answer, so far.
#[derive(Default)]
pub(super) struct Written {
    /// Tokens of its prompt that were held already.
    pub(super) n_held: usize,
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) calls: Vec<Call>,
    /// Those whose choice is shown.
    pub(super) tokens: Vec<Token>,
    /// How its first token would be chosen, where that is all that is asked for.
    pub(super) next: Option<Box<Next>>,
    pub(super) receipt: Option<Box<Receipt>>,
    pub(super) end: Option<End>,
}

impl Written {
    /// Why it ended, in OpenAI's words, once it has.
    pub(super) fn finish_reason(&self) -> Option<&'static str> {
        let reason = match self.end?.reason {
            StopReason::EndOfText | StopReason::Complete | StopReason::StopString => "stop",
            StopReason::Length | StopReason::ContextFull | StopReason::Interrupted => "length",
        };
        Some(if reason == "stop" && !self.calls.is_empty() { "tool_calls" } else { reason })
    }

    /// Adds the receipt of the text, if it has one, to the field `whit` of the `object` that tells its end.
    pub(super) fn add_receipt(&self, object: &mut Value) {
        if let Some(receipt) = &self.receipt {
            object["whit"]["receipt"] = receipt.to_json();
        }
    }

    /// Adds a part.
    pub(super) fn add(&mut self, part: &Part) {
        match part {
            Part::Text(text) => self.text += text,
            Part::Thinking(text) => self.thinking += text,
            Part::Call(call) => self.calls.push(call.clone()),
        }
    }
}

/// An answer, so far.
pub(super) struct Gathered {
    pub(super) n_prompt: usize,
    pub(super) texts: Vec<Written>,
}

impl Gathered {
    /// Tokens that were written.
    pub(super) fn n_written(&self) -> usize {
        self.texts.iter().filter_map(|text| text.end).map(|end| end.n_generated).sum()
    }

    /// Tokens of the prompt that were held already, of the text that had most of them.
    pub(super) fn n_held(&self) -> usize {
        self.texts.iter().map(|text| text.n_held).max().unwrap_or(0)
    }
}

impl From<&Gathered> for Figures {
    fn from(whole: &Gathered) -> Figures {
        let times = whole.texts.iter().filter_map(|text| text.end).map(|end| end.times);
        let first = times.min_by_key(|times| times.waited + times.prefill);
        let ended = |text: &Written| text.end.map(|end| end.reason.name());
        Figures {
            n_prompt: whole.n_prompt,
            n_held: whole.n_held(),
            n_written: whole.n_written(),
            ended: whole.texts.iter().map(ended).collect(),
            begun: first.map(|times| times.waited),
            first: first.map(|times| times.waited + times.prefill),
            text: whole.texts.iter().map(|text| text.text.as_str()).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// What an answer is named by.
pub(super) struct Name {
    /// Its model.
    pub(super) offered: Arc<Offered>,
    pub(super) id: String,
    pub(super) created: u64,
}

impl Name {
    pub(super) fn offered(&self) -> &Offered {
        &self.offered
    }

    pub(super) fn text_of(&self, id: TokenId) -> String {
        logprobs::text_of(self.offered().model(), id)
    }

    pub(super) fn bytes_of(&self, id: TokenId) -> &[u8] {
        logprobs::bytes_of(self.offered().model(), id)
    }

    /// The field `whit` of a part of an answer: how its tokens were chosen.
    pub(super) fn extension(&self, tokens: &[Token]) -> Value {
        json!({"tokens": tokens.iter().map(|token| self.token(token)).collect::<Vec<_>>()})
    }

    fn token(&self, token: &Token) -> Value {
        let mut value = json!({"id": token.id, "text": self.text_of(token.id), "bytes": self.bytes_of(token.id)});
        if let Some(Shown { probability, rank, top, stages, uniform }) = &token.shown {
            value["probability"] = json!(probability);
            value["rank"] = json!(rank);
            value["surprise_bits"] = json!(-probability.log2());
            value["top"] = self.ranked(top);
            value["draw"] = json!(uniform);
            let stages = stages.iter().map(|stage| {
                let distribution = &stage.distribution;
                let top = self.ranked(&distribution.top);
                json!({"name": stage.stage.name(), "n_candidates": distribution.n, "top": top})
            });
            value["stages"] = stages.collect();
        }
        value
    }

    fn ranked(&self, ranked: &[Ranked]) -> Value {
        let one = |ranked: &Ranked| json!({"id": ranked.id, "text": self.text_of(ranked.id), "probability": ranked.probability});
        ranked.iter().map(one).collect()
    }
}

/// The form of an answer in an API.
pub(super) trait Form: Send {
    /// The type of a stream.
    fn content_type(&self) -> &'static str;

    /// What comes first in a stream.
    fn begin(&mut self) -> String {
        String::new()
    }

    /// A text is computed from now on.
    fn begun(&mut self, _text: usize) -> String {
        String::new()
    }

    /// A text goes on with a part, in which these tokens were chosen as it is shown.
    fn part(&mut self, text: usize, part: &Part, tokens: &[Token]) -> String;

    /// A text has ended.
    fn ended(&mut self, text: usize, so_far: &Gathered) -> String;

    /// All texts have ended.
    fn finished(&mut self, _whole: &Gathered) -> String {
        String::new()
    }

    /// The answer ends with an error.
    fn failed(&mut self, refusal: &Refusal) -> String;

    /// The answer in one piece.
    fn whole(&mut self, whole: &Gathered) -> Value;
}

/// The form of an answer that is never sent in parts: what makes it of all texts.
pub(super) struct Undivided<F>(pub(super) F);

impl<F: FnMut(&Gathered) -> Value + Send> Form for Undivided<F> {
    fn content_type(&self) -> &'static str {
        JSON
    }

    fn part(&mut self, _text: usize, _part: &Part, _tokens: &[Token]) -> String {
        String::new()
    }

    fn ended(&mut self, _text: usize, _so_far: &Gathered) -> String {
        String::new()
    }

    fn failed(&mut self, refusal: &Refusal) -> String {
        refusal.value(Api::OpenAi).to_string()
    }

    fn whole(&mut self, whole: &Gathered) -> Value {
        (self.0)(whole)
    }
}

/// An event of a stream.
pub(super) fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// An event of a stream, with its name, which is its type, too.
pub(super) fn named_event(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default())
}

/// A line of a stream.
pub(super) fn line(value: &Value) -> String {
    format!("{value}\n")
}
