//! Answers of llama.cpp's server.

use super::facts::Facts;
use super::form::{Form, Gathered, Name, Part, event};
use super::house::House;
use super::job::{Shown, Token};
use super::openai::timings;
use super::reply::{Api, EVENTS, Refusal};
use super::stats;
use crate::requests::logprobs::logarithm;
use serde_json::{Value, json};
use whit::generate::StopReason;

/// The form of a completion.
pub(super) struct Completion {
    pub(super) name: Name,
    /// Probabilities of tokens are sent.
    pub(super) has_probs: bool,
    /// How tokens were chosen is.
    pub(super) has_extension: bool,
}

impl Completion {
    fn object(&self, said: &str, is_last: bool) -> Value {
        json!({"index": 0, "content": said, "tokens": [], "stop": is_last, "id_slot": 0, "multimodal": false})
    }

    fn show(&self, object: &mut Value, tokens: &[Token]) {
        if self.has_probs && !tokens.is_empty() {
            object["completion_probabilities"] = tokens.iter().filter_map(|token| self.probs(token)).collect();
        }
        if self.has_extension && !tokens.is_empty() {
            object["whit"] = self.name.extension(tokens);
        }
    }

    fn probs(&self, token: &Token) -> Option<Value> {
        let Shown { probability, top, .. } = token.shown.as_ref()?;
        let one = |id, probability: f64| {
            let (text, bytes) = (self.name.text_of(id), self.name.bytes_of(id));
            json!({"id": id, "token": text, "bytes": bytes, "logprob": logarithm(probability)})
        };
        let mut entry = one(token.id, *probability);
        entry["top_logprobs"] = top.iter().map(|ranked| one(ranked.id, ranked.probability)).collect();
        Some(entry)
    }

    fn last(&self, said: &str, whole: &Gathered) -> Value {
        let mut object = self.object(said, true);
        object["model"] = json!(self.name.offered().name);
        object["tokens_predicted"] = json!(whole.n_written());
        object["tokens_evaluated"] = json!(whole.n_prompt);
        object["tokens_cached"] = json!(whole.n_held());
        object["truncated"] = json!(false);
        object["stopping_word"] = json!("");
        let Some(end) = whole.texts.first().and_then(|text| text.end) else { return object };
        object["stop_type"] = json!(match end.reason {
            StopReason::EndOfText | StopReason::Complete => "eos",
            StopReason::StopString => "word",
            _ => "limit",
        });
        object["timings"] = timings(whole, &end);
        object
    }
}

impl Form for Completion {
    fn content_type(&self) -> &'static str {
        EVENTS
    }

    fn part(&mut self, _text: usize, part: &Part, tokens: &[Token]) -> String {
        let Part::Text(said) = part else { return String::new() };
        let mut object = self.object(said, false);
        self.show(&mut object, tokens);
        event(&object)
    }

    fn ended(&mut self, _text: usize, so_far: &Gathered) -> String {
        let mut last = self.last("", so_far);
        so_far.texts.iter().for_each(|text| text.add_receipt(&mut last));
        event(&last)
    }

    fn failed(&mut self, refusal: &Refusal) -> String {
        event(&refusal.value(Api::OpenAi))
    }

    fn whole(&mut self, whole: &Gathered) -> Value {
        let written = whole.texts.first();
        let mut object = self.last(written.map_or("", |text| &text.text), whole);
        self.show(&mut object, written.map_or(&[], |text| &text.tokens));
        written.iter().for_each(|text| text.add_receipt(&mut object));
        object
    }
}

/// What the server is, by its first model.
pub(super) fn props(house: &House, facts: &Facts) -> Value {
    let options = &facts.sampling;
    json!({
        "default_generation_settings": {
            "n_ctx": facts.context_length,
            "params": {
                "temperature": options.temperature, "top_k": options.top_k, "top_p": options.top_p, "min_p": options.min_p,
                "repeat_penalty": options.repeat_penalty, "seed": options.seed,
            },
        },
        "total_slots": house.n_places(),
        "model_path": facts.name,
        "model_alias": facts.name,
        "chat_template": facts.template.clone().unwrap_or_default(),
        "bos_token": facts.bos,
        "eos_token": facts.eos,
        "build_info": concat!("whit ", env!("CARGO_PKG_VERSION")),
        "modalities": {"vision": false, "audio": false},
    })
}

/// The places in which texts are written: as many are busy as there are texts under way.
pub(super) fn slots(house: &House, facts: &Facts) -> Value {
    let n_active = stats::of(&house.stats.active) as usize;
    let n_ctx = facts.context_length;
    (0..house.n_places()).map(|id| json!({"id": id, "n_ctx": n_ctx, "is_processing": id < n_active})).collect()
}
