//! The field `whit` of a request: what no other API has.

use super::body::{Body, wrong};
use serde_json::Value;
use whit::TokenId;
use whit::error::Result;

/// The most tokens of a distribution.
const MOST_SHOWN: u64 = 1000;
/// The most tokens with which an answer can be begun.
const MOST_BEGUN: usize = 1 << 20;

/// What of the choice of tokens is shown, and how an answer begins.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Extension {
    /// So many of the most probable tokens in the place of each.
    pub(crate) n_shown: Option<usize>,
    /// After every stage of the choice, too.
    pub(crate) stages: bool,
    /// Tokens with which the answer begins.
    pub(crate) begin: Vec<TokenId>,
    /// The answer comes with its receipt.
    pub(crate) receipt: bool,
    /// Nothing is written, and shown is how the first token would be chosen.
    pub(crate) next: Option<Next>,
}

/// What of the first choice is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Next {
    /// So many of the most probable tokens.
    pub(crate) n_top: usize,
    /// The temperature of the distribution.
    pub(crate) temperature: f64,
    /// That after every stage of the choice, too.
    pub(crate) stages: bool,
    /// Those at other temperatures, too.
    pub(crate) film: bool,
}

/// What a body asks for.
pub(super) fn of(body: &Body<'_>) -> Result<Extension> {
    let Some(value) = body.get("whit") else { return Ok(Extension::default()) };
    let of = |error: whit::Error| match error.named_field() {
        Some(field) => wrong(&format!("whit.{field}"), error.message()),
        None => error,
    };
    let fields = Body::of("whit", value)?;
    let read = || {
        let stages = fields.flag("stages")?;
        let n_shown = fields.integer("distribution", MOST_SHOWN)?.map(|n| n as usize);
        let begin = match fields.get("begin") {
            None => Vec::new(),
            Some(Value::Array(items)) if items.len() <= MOST_BEGUN => Body::tokens("begin", items)?,
            Some(_) => return Err(wrong("begin", "it is no list of tokens")),
        };
        let n_shown = n_shown.or(stages.then_some(0));
        Ok(Extension { n_shown, stages, begin, receipt: fields.flag("receipt")?, next: None })
    };
    read().map_err(of)
}
