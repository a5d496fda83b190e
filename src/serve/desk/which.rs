//! Which model a request is about, and what Ollama's requests do with models.

use super::{Answer, Desk, Outcome};
use crate::requests::Keep;
use crate::serve::ollama;
use crate::serve::reply::Refusal;
use crate::serve::routes::Route;
use serde_json::Value;
use std::sync::Arc;
use whit::error::{Error, printable};

impl Desk {
    /// The place of the model that a body names.
    pub(super) fn place(&self, body: &Value) -> Outcome<usize> {
        let name = name(body)?;
        self.house.models.named(name).ok_or_else(|| missing(name))
    }

    /// Has the model at a place be in memory for a request.
    pub(super) fn load(&mut self, route: Route, body: &Value, place: usize) -> Outcome<()> {
        let keep = match route {
            Route::OllamaChat | Route::OllamaGenerate | Route::OllamaEmbed => Keep::of_body(body)?,
            _ => None,
        };
        let offered = self.loader.load(place, keep)?;
        if self.open.get(place).is_none_or(|open| !Arc::ptr_eq(open, &offered)) {
            self.forget(place);
            self.open.insert(place, offered);
        }
        Ok(())
    }

    /// Whether a request of Ollama's asks for nothing but that its model goes.
    pub(super) fn is_farewell(&self, body: &Value, place: usize) -> Outcome<bool> {
        let is_empty = |field: &str| match &body[field] {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(all) => all.is_empty(),
            _ => false,
        };
        let asks_nothing = is_empty("prompt") && is_empty("messages");
        let goes = Keep::of_body(body)?.is_some_and(Keep::is_nothing) && self.house.models.path(place).is_some();
        Ok(asks_nothing && goes)
    }

    /// Lets a model go as soon as nobody uses it.
    pub(super) fn release(&self, route: Route, place: usize) -> Value {
        self.loader.release(place);
        let name = self.house.models.facts(place).map(|facts| facts.name.clone()).unwrap_or_default();
        ollama::unloaded(&name, route == Route::OllamaChat)
    }

    /// Nothing is fetched: what is asked for is in the folder by now, or it is not.
    pub(super) fn pull(&self, body: &Value) -> Outcome<Answer> {
        let name = name(body)?;
        if self.house.models.named(name).is_none() {
            self.loader.reload();
        }
        let refusal = self.house.models.named(name).is_none().then(|| missing(name));
        match refusal {
            Some(refusal) if body["stream"] == false => Err(refusal),
            refusal => Ok(Answer::Whole(ollama::pulled(body, refusal.as_ref()))),
        }
    }
}

/// The name of the model in a body; empty where there is none.
fn name(body: &Value) -> Outcome<&str> {
    // An older field of Ollama's.
    match body.get("model").filter(|name| !name.is_null()).or(body.get("name")) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(name)) => Ok(name),
        Some(_) => Err(Error::usage("it is no string").field("model").into()),
    }
}

fn missing(name: &str) -> Refusal {
    let message = format!("there is no model {:?} here", printable(name));
    Refusal { status: 404, error: Error::usage(message).field("model") }
}
