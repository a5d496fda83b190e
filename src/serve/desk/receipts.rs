//! Receipts of answers: what they depend on, and the answer that has little else.

use super::super::form::{Gathered, Name, Undivided};
use super::super::job::Draft;
use super::{Answer, Desk, Outcome, Request};
use crate::requests::{Asked, looks};
use serde_json::{Value, json};
use whit::TokenId;
use whit::chat::receipt::{Receipt, ReplyTerms, Terms};
use whit::chat::tools::ReplyRules;
use whit::error::{Error, Result};
use whit::sampler::SamplerOptions;

impl Desk {
    /// The answer to `/whit/receipt`.
    pub(super) fn receipt(&mut self, request: &Request, body: &Value, model: usize) -> Outcome<Answer> {
        let asked = looks::receipt(body, &self.offered(model).sampling)?;
        let name = self.name(model);
        let form = Undivided(move |whole: &Gathered| receipted(&name, whole));
        let begin = self.begin(model, &asked)?;
        self.write(request.client, begin, |_| Box::new(form))
    }

    /// What begins the receipt of a text behind `prompt`, which ends at `end_tokens`.
    ///
    /// Fails where functions are offered: what a reply keeps to is then more than a receipt says.
    pub(super) fn draft(
        &self,
        model: usize,
        asked: &Asked,
        (prompt, end_tokens): (&[TokenId], &[TokenId]),
        rules: Option<&ReplyRules>,
        sampling: &SamplerOptions,
    ) -> Result<Box<Draft>> {
        if asked.tools.is_some() {
            return Err(Error::usage("a reply that may call functions has no receipt").field("whit.receipt"));
        }
        let offered = self.offered(model);
        let of = offered.model();
        let reply = rules.map(|rules| ReplyTerms { thoughts: rules.thoughts().map(str::to_owned), think: asked.think });
        let terms = Terms {
            sampling: sampling.clone().checked(of.config().vocab_size)?,
            kv: offered.schedule.kv,
            context_length: offered.schedule.context_length,
            n_tokens: asked.n_tokens.or(offered.n_tokens),
            stops: [&offered.stops[..], &asked.stops].concat(),
            end_tokens: end_tokens.to_vec(),
            rule: asked.rule.clone(),
            reply,
        };
        Ok(Draft::new(Receipt::begin(of, terms, prompt)))
    }
}

/// A text with its receipt, of the model of this name.
fn receipted(name: &Name, whole: &Gathered) -> Value {
    let mut answer = json!({"model": name.offered().name});
    if let Some(written) = whole.texts.first() {
        answer["text"] = json!(written.text);
        if !written.thinking.is_empty() {
            answer["thinking"] = json!(written.thinking);
        }
        answer["receipt"] = written.receipt.as_ref().map_or(Value::Null, |receipt| receipt.to_json());
    }
    answer
}
