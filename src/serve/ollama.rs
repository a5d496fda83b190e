//! Answers of Ollama's API.

use super::facts::Facts;
use super::form::{Call, Form, Gathered, Name, Part, Written, line};
use super::house::House;
use super::job::Token;
use super::offered::Offered;
use super::reply::{Api, LINES, Refusal, Reply};
use serde_json::{Value, json};
use std::time::Duration;
use whit::generate::StopReason;
use whit::os::calendar::Moment;

/// Which of two forms an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Generate,
}

/// The form of an answer.
pub(super) struct Ollama {
    pub(super) name: Name,
    pub(super) kind: Kind,
    /// Probabilities of tokens are sent.
    pub(super) has_logprobs: bool,
    /// How tokens were chosen is.
    pub(super) has_extension: bool,
}

impl Ollama {
    fn object(&self, said: &str, thought: &str, calls: &[Call], is_done: bool) -> Value {
        let mut object = json!({"model": self.name.offered().name, "created_at": timestamp()});
        match self.kind {
            Kind::Chat => object["message"] = json!({"role": "assistant", "content": said}),
            Kind::Generate => object["response"] = json!(said),
        }
        let message = if self.kind == Kind::Chat { &mut object["message"] } else { &mut object };
        if !thought.is_empty() {
            message["thinking"] = json!(thought);
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.iter().map(tool_call).collect();
        }
        object["done"] = json!(is_done);
        object
    }

    fn show(&self, object: &mut Value, tokens: &[Token]) {
        if self.has_logprobs && !tokens.is_empty() {
            object["logprobs"] = super::openai::logprobs(&self.name, tokens)["content"].take();
        }
        if self.has_extension && !tokens.is_empty() {
            object["whit"] = self.name.extension(tokens);
        }
    }

    fn last(&self, (said, thought, calls): (&str, &str, &[Call]), whole: &Gathered) -> Value {
        let mut object = self.object(said, thought, calls, true);
        let Some(end) = whole.texts.first().and_then(|text: &Written| text.end) else { return object };
        let nanos = |time: Duration| json!(time.as_nanos() as u64);
        let times = end.times;
        object["done_reason"] = json!(match end.reason {
            StopReason::Length | StopReason::ContextFull | StopReason::Interrupted => "length",
            _ => "stop",
        });
        object["total_duration"] = nanos(times.waited + times.prefill + times.writing);
        object["load_duration"] = nanos(times.waited);
        object["prompt_eval_count"] = json!(whole.n_prompt);
        object["prompt_eval_duration"] = nanos(times.prefill);
        object["eval_count"] = json!(whole.n_written());
        object["eval_duration"] = nanos(times.writing);
        object
    }

    /// What a request without a prompt is answered: the model is there.
    pub(super) fn loaded(&self) -> Value {
        let mut object = self.object("", "", &[], true);
        object["done_reason"] = json!("load");
        object
    }
}

impl Form for Ollama {
    fn content_type(&self) -> &'static str {
        LINES
    }

    fn part(&mut self, _text: usize, part: &Part, tokens: &[Token]) -> String {
        let mut object = match part {
            Part::Text(said) => self.object(said, "", &[], false),
            Part::Thinking(thought) => self.object("", thought, &[], false),
            Part::Call(call) => self.object("", "", std::slice::from_ref(call), false),
        };
        self.show(&mut object, tokens);
        line(&object)
    }

    fn ended(&mut self, _text: usize, so_far: &Gathered) -> String {
        line(&self.last(("", "", &[]), so_far))
    }

    fn failed(&mut self, refusal: &Refusal) -> String {
        line(&refusal.value(Api::Ollama))
    }

    fn whole(&mut self, whole: &Gathered) -> Value {
        let written = whole.texts.first();
        let said = written.map_or(("", "", &[][..]), |text| (&*text.text, &*text.thinking, &text.calls[..]));
        let mut object = self.last(said, whole);
        self.show(&mut object, written.map_or(&[], |text| &text.tokens));
        written.iter().for_each(|text| text.add_receipt(&mut object));
        object
    }
}

/// A call; what it is given is an object here.
fn tool_call(call: &Call) -> Value {
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
    json!({"id": call.id, "function": {"name": call.name, "arguments": arguments}})
}

/// The time now, as RFC 3339 has it.
fn timestamp() -> String {
    of_seconds(super::house::now())
}

fn of_seconds(seconds: u64) -> String {
    let moment = Moment::utc(seconds.min(u64::from(u32::MAX)) as u32);
    moment.format("%Y-%m-%dT%H:%M:%SZ").unwrap_or_default()
}

/// The list of models, in memory or not.
pub(super) fn tags(house: &House) -> Value {
    let all = house.models.all();
    json!({"models": all.iter().map(|facts| entry(house, facts)).collect::<Vec<_>>()})
}

/// The models in memory, and how long they stay there.
pub(super) fn running(house: &House) -> Value {
    let all = house.models.running().into_iter().map(|running| {
        let mut entry = entry(house, &running.facts);
        let expires_at = running.stays.map(|stays| of_seconds(super::house::now().saturating_add(stays.as_secs())));
        entry["expires_at"] = json!(expires_at.unwrap_or_else(|| of_seconds(u64::MAX)));
        entry["size"] = json!(running.facts.file_bytes.saturating_add(running.facts.private));
        entry["size_vram"] = json!(0);
        entry["context_length"] = json!(running.facts.context_length);
        entry
    });
    json!({"models": all.collect::<Vec<_>>()})
}

fn entry(house: &House, facts: &Facts) -> Value {
    json!({
        "name": facts.name,
        "model": facts.name,
        "modified_at": of_seconds(house.started_at),
        "size": facts.file_bytes,
        "digest": facts.hash,
        "details": details(facts.n_parameters, facts.quantization),
    })
}

fn details(n_parameters: u64, quantization: &str) -> Value {
    json!({
        "parent_model": "", "format": "whit", "family": "whit", "families": ["whit"],
        "parameter_size": size(n_parameters), "quantization_level": quantization,
    })
}

/// What a request is answered that only lets a model go.
pub(super) fn unloaded(name: &str, is_chat: bool) -> Value {
    let mut object = json!({"model": name, "created_at": timestamp(), "done": true, "done_reason": "unload"});
    match is_chat {
        true => object["message"] = json!({"role": "assistant", "content": ""}),
        false => object["response"] = json!(""),
    }
    object
}

/// A number of parameters in a few digits.
fn size(n: u64) -> String {
    match n {
        1_000_000_000.. => format!("{:.1}B", n as f64 / 1e9),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

/// The answer to who wants a model to be fetched, which is here or `missing`.
pub(super) fn pulled(body: &Value, missing: Option<&Refusal>) -> Reply {
    let end = missing.map_or_else(|| json!({"status": "success"}), |refusal| refusal.value(Api::Ollama));
    match body["stream"] == false {
        true => Reply::json(&end),
        false => Reply::text(LINES, line(&json!({"status": "pulling manifest"})) + &line(&end)),
    }
}

/// What is known of a model.
pub(super) fn show(house: &House, offered: &Offered) -> Value {
    let config = offered.model().config();
    let mut capabilities = vec!["completion", "embedding"];
    if let Some(template) = &offered.template {
        // Functions are told to any model that talks, if need be in a system prompt.
        capabilities.push("tools");
        capabilities.extend(template.contains("think").then_some("thinking"));
    }
    json!({
        "modelfile": "",
        "parameters": "",
        "template": offered.template.clone().unwrap_or_default(),
        "details": details(offered.n_parameters(), offered.quantization()),
        "model_info": {
            "general.architecture": "whit",
            "general.parameter_count": offered.n_parameters(),
            "whit.context_length": config.context_length,
            "whit.embedding_length": config.dim,
            "whit.block_count": config.layers.len(),
            "whit.vocab_size": config.vocab_size,
            "whit.content_hash": offered.hash(),
        },
        "capabilities": capabilities,
        "modified_at": of_seconds(house.started_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_written_as_ollama_does() {
        assert_eq!(of_seconds(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!((size(135_000_000), size(7_240_000_000)), ("135.0M".into(), "7.2B".into()));
    }
}
