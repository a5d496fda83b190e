//! Answers of Anthropic's messages.

use super::form::{Call, Form, Gathered, Name, Part, Written, named_event};
use super::job::Token;
use super::reply::{Api, EVENTS, Refusal};
use serde_json::{Value, json};
use whit::generate::StopReason;

/// The form of a message.
pub(super) struct Message {
    name: Name,
    n_prompt: usize,
    /// How tokens were chosen is sent.
    has_extension: bool,
    /// Blocks that were sent, and the type of the one that is open.
    n_blocks: usize,
    open: Option<&'static str>,
}

impl Message {
    pub(super) fn new(name: Name, n_prompt: usize, has_extension: bool) -> Self {
        Message { name, n_prompt, has_extension, n_blocks: 0, open: None }
    }

    fn message(&self, content: Value, reason: Option<&str>, usage: Value) -> Value {
        json!({
            "id": format!("msg_{}", self.name.id),
            "type": "message",
            "role": "assistant",
            "model": self.name.offered().name,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": null,
            "usage": usage,
        })
    }

    fn usage(&self, whole: Option<&Gathered>) -> Value {
        let n_held = whole.map_or(0, Gathered::n_held);
        json!({
            "input_tokens": self.n_prompt.saturating_sub(n_held),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": n_held,
            "output_tokens": whole.map_or(0, Gathered::n_written),
        })
    }

    /// Ends the block that is open, and begins another, unless one of this type is open already.
    fn begin_block(&mut self, kind: &'static str, block: &Value) -> String {
        if self.open == Some(kind) {
            return String::new();
        }
        let ended = self.end_block();
        self.open = Some(kind);
        ended + &named_event(&json!({"type": "content_block_start", "index": self.n_blocks, "content_block": block}))
    }

    fn end_block(&mut self) -> String {
        if self.open.take().is_none() {
            return String::new();
        }
        self.n_blocks += 1;
        named_event(&json!({"type": "content_block_stop", "index": self.n_blocks - 1}))
    }

    fn delta(&self, delta: &Value, tokens: &[Token]) -> String {
        let mut value = json!({"type": "content_block_delta", "index": self.n_blocks, "delta": delta});
        if self.has_extension && !tokens.is_empty() {
            value["whit"] = self.name.extension(tokens);
        }
        named_event(&value)
    }
}

fn reason(written: Option<&Written>) -> Option<&'static str> {
    let written = written?;
    Some(match written.end?.reason {
        StopReason::EndOfText | StopReason::Complete if !written.calls.is_empty() => "tool_use",
        StopReason::EndOfText | StopReason::Complete => "end_turn",
        StopReason::StopString => "stop_sequence",
        StopReason::Length | StopReason::ContextFull | StopReason::Interrupted => "max_tokens",
    })
}

fn tool_use(call: &Call, input: &Value) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
}

impl Form for Message {
    fn content_type(&self) -> &'static str {
        EVENTS
    }

    fn begin(&mut self) -> String {
        let message = self.message(json!([]), None, self.usage(None));
        named_event(&json!({"type": "message_start", "message": message}))
    }

    fn part(&mut self, _text: usize, part: &Part, tokens: &[Token]) -> String {
        match part {
            Part::Text(text) => {
                self.begin_block("text", &json!({"type": "text", "text": ""}))
                    + &self.delta(&json!({"type": "text_delta", "text": text}), tokens)
            }
            Part::Thinking(text) => {
                self.begin_block("thinking", &json!({"type": "thinking", "thinking": "", "signature": ""}))
                    + &self.delta(&json!({"type": "thinking_delta", "thinking": text}), tokens)
            }
            Part::Call(call) => {
                let ended = self.end_block();
                ended
                    + &self.begin_block("tool_use", &tool_use(call, &json!({})))
                    + &self.delta(&json!({"type": "input_json_delta", "partial_json": call.arguments}), tokens)
                    + &self.end_block()
            }
        }
    }

    fn ended(&mut self, text: usize, whole: &Gathered) -> String {
        // A message without a block is one that clients do not expect.
        let empty = match self.n_blocks == 0 && self.open.is_none() {
            true => self.begin_block("text", &json!({"type": "text", "text": ""})),
            false => String::new(),
        };
        let delta = json!({"stop_reason": reason(whole.texts.get(text)), "stop_sequence": null});
        let usage = self.usage(Some(whole));
        let mut last = json!({"type": "message_delta", "delta": delta, "usage": usage});
        whole.texts.iter().for_each(|text| text.add_receipt(&mut last));
        empty + &self.end_block() + &named_event(&last) + &named_event(&json!({"type": "message_stop"}))
    }

    fn failed(&mut self, refusal: &Refusal) -> String {
        named_event(&refusal.value(Api::Anthropic))
    }

    fn whole(&mut self, whole: &Gathered) -> Value {
        let mut content = Vec::new();
        let written = whole.texts.first();
        if let Some(written) = written {
            if !written.thinking.is_empty() {
                content.push(json!({"type": "thinking", "thinking": written.thinking, "signature": ""}));
            }
            if !written.text.is_empty() || written.calls.is_empty() {
                content.push(json!({"type": "text", "text": written.text}));
            }
            for call in &written.calls {
                let input = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
                content.push(tool_use(call, &input));
            }
        }
        let mut message = self.message(json!(content), reason(written), self.usage(Some(whole)));
        if let Some(written) = written.filter(|_| self.has_extension) {
            message["whit"] = self.name.extension(&written.tokens);
        }
        written.iter().for_each(|written| written.add_receipt(&mut message));
        message
    }
}
