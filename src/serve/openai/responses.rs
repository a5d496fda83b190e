//! Responses, which the server does not remember.

use super::super::form::{Call, Form, Gathered, Name, Part, Written, named_event};
use super::super::job::Token;
use super::super::reply::{Api, EVENTS, Refusal};
use serde_json::{Value, json};

/// The form of a response.
pub(crate) struct Response {
    name: Name,
    /// Events that were sent.
    n_sent: usize,
    /// Items that are whole.
    items: Vec<Value>,
    /// The text of the message that is open.
    open: Option<String>,
}

impl Response {
    pub(crate) fn new(name: Name) -> Self {
        Response { name, n_sent: 0, items: Vec::new(), open: None }
    }

    fn response(&self, status: &str, output: &[Value], whole: Option<&Gathered>) -> Value {
        let usage = whole.map(|whole| {
            json!({
                "input_tokens": whole.n_prompt,
                "input_tokens_details": {"cached_tokens": whole.n_held()},
                "output_tokens": whole.n_written(),
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": whole.n_prompt + whole.n_written(),
            })
        });
        let details = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        json!({
            "id": format!("resp_{}", self.name.id),
            "object": "response",
            "created_at": self.name.created,
            "status": status,
            "error": null,
            "incomplete_details": details,
            "instructions": null,
            "metadata": {},
            "model": self.name.offered().name,
            "output": output,
            "parallel_tool_calls": true,
            "temperature": null,
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "store": false,
            "usage": usage,
        })
    }

    /// The message that is the item of this number.
    fn message(&self, item: usize, status: &str, content: &Value) -> Value {
        let id = format!("msg_{}_{item}", self.name.id);
        json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
    }

    fn thoughts(&self, item: usize, text: &str) -> Value {
        let content = json!([{"type": "reasoning_text", "text": text}]);
        json!({"id": format!("rs_{}_{item}", self.name.id), "type": "reasoning", "summary": [], "content": content})
    }

    /// An event with its number.
    fn send(&mut self, mut value: Value) -> String {
        value["sequence_number"] = json!(self.n_sent);
        self.n_sent += 1;
        named_event(&value)
    }

    /// An event of the only part of the message that is open.
    fn of_part(&mut self, kind: &str, field: &str, value: &Value) -> String {
        let item = self.items.len();
        let id = format!("msg_{}_{item}", self.name.id);
        self.send(json!({"type": kind, "item_id": id, "output_index": item, "content_index": 0, field: value}))
    }

    fn begin_message(&mut self) -> String {
        if self.open.is_some() {
            return String::new();
        }
        self.open = Some(String::new());
        let message = self.message(self.items.len(), "in_progress", &json!([]));
        self.send(json!({"type": "response.output_item.added", "output_index": self.items.len(), "item": message}))
            + &self.of_part("response.content_part.added", "part", &part(""))
    }

    fn end_message(&mut self, status: &str) -> String {
        let Some(text) = self.open.take() else { return String::new() };
        let message = self.message(self.items.len(), status, &json!([part(&text)]));
        self.of_part("response.output_text.done", "text", &json!(text))
            + &self.of_part("response.content_part.done", "part", &part(&text))
            + &self.end_item(message)
    }

    fn end_item(&mut self, item: Value) -> String {
        let place = self.items.len();
        self.items.push(item.clone());
        self.send(json!({"type": "response.output_item.done", "output_index": place, "item": item}))
    }

    /// A call, which is sent as a whole.
    fn call(&mut self, call: &Call) -> String {
        let place = self.items.len();
        let item = self.function_call(place, call);
        let mut begun = item.clone();
        begun["arguments"] = json!("");
        begun["status"] = json!("in_progress");
        let of = |kind: &str, field: &str| json!({"type": kind, "item_id": item["id"], "output_index": place, field: call.arguments});
        let (delta, done) = (
            of("response.function_call_arguments.delta", "delta"),
            of("response.function_call_arguments.done", "arguments"),
        );
        self.send(json!({"type": "response.output_item.added", "output_index": place, "item": begun}))
            + &self.send(delta)
            + &self.send(done)
            + &self.end_item(item)
    }

    fn function_call(&self, place: usize, call: &Call) -> Value {
        json!({
            "id": format!("fc_{}_{place}", self.name.id), "type": "function_call", "call_id": call.id, "name": call.name,
            "arguments": call.arguments, "status": "completed",
        })
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn status_of(written: Option<&Written>) -> &'static str {
    match written.and_then(Written::finish_reason) {
        Some("stop" | "tool_calls") => "completed",
        _ => "incomplete",
    }
}

impl Form for Response {
    fn content_type(&self) -> &'static str {
        EVENTS
    }

    fn begin(&mut self) -> String {
        let response = self.response("in_progress", &[], None);
        self.send(json!({"type": "response.created", "response": response}))
            + &self.send(json!({"type": "response.in_progress", "response": response}))
    }

    fn part(&mut self, _text: usize, part: &Part, _tokens: &[Token]) -> String {
        match part {
            Part::Text(text) => {
                let begun = self.begin_message();
                self.open.get_or_insert_default().push_str(text);
                begun + &self.of_part("response.output_text.delta", "delta", &json!(text))
            }
            Part::Call(call) => self.end_message("completed") + &self.call(call),
            // They stand in the whole response.
            Part::Thinking(_) => String::new(),
        }
    }

    fn ended(&mut self, text: usize, whole: &Gathered) -> String {
        let status = status_of(whole.texts.get(text));
        let empty = if self.items.is_empty() { self.begin_message() } else { String::new() };
        let ended = self.end_message(status);
        let mut response = self.response(status, &self.items, Some(whole));
        whole.texts.iter().for_each(|text| text.add_receipt(&mut response));
        empty + &ended + &self.send(json!({"type": format!("response.{status}"), "response": response}))
    }

    fn failed(&mut self, refusal: &Refusal) -> String {
        let mut response = self.response("failed", &[], None);
        let message = refusal.value(Api::OpenAi)["error"]["message"].clone();
        response["error"] = json!({"code": "server_error", "message": message});
        self.send(json!({"type": "response.failed", "response": response}))
    }

    fn whole(&mut self, whole: &Gathered) -> Value {
        let written = whole.texts.first();
        let status = status_of(written);
        let mut items = Vec::new();
        if let Some(written) = written {
            if !written.thinking.is_empty() {
                items.push(self.thoughts(0, &written.thinking));
            }
            if !written.text.is_empty() || written.calls.is_empty() {
                items.push(self.message(items.len(), status, &json!([part(&written.text)])));
            }
            for call in &written.calls {
                items.push(self.function_call(items.len(), call));
            }
        }
        let mut response = self.response(status, &items, Some(whole));
        if let Some(written) = written.filter(|written| !written.tokens.is_empty()) {
            response["whit"] = self.name.extension(&written.tokens);
        }
        written.iter().for_each(|written| written.add_receipt(&mut response));
        response
    }
}
