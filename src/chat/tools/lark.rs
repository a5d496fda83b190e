//! The rules of a grammar in the form of Lark: words as they stand, control tokens among them, values that a schema allows.

use crate::error::Result;
use crate::generate::grammar::{Grammar, Grammars};
use crate::token::TokenId;
use crate::tokenizer::{TokenKind, Tokenizer};
use serde_json::Value;
use std::fmt::Write;

/// Rules of a grammar in the form of Lark, under construction.
pub(super) struct Rules<'r> {
    grammars: &'r Grammars,
    tokenizer: &'r Tokenizer<'r>,
    text: String,
    n_rules: usize,
    /// Control tokens that stand in it.
    tokens: Vec<TokenId>,
}

impl<'r> Rules<'r> {
    pub(super) fn new(grammars: &'r Grammars, tokenizer: &'r Tokenizer<'r>) -> Self {
        Rules { grammars, tokenizer, text: String::new(), n_rules: 0, tokens: Vec::new() }
    }

    /// The grammar of texts that are what `start` says.
    pub(super) fn compile(&self, start: &str) -> Result<Grammar> {
        self.grammars.compile_marked(&format!("start: {start}\n{}", self.text), &self.tokens)
    }

    /// A new rule; its name.
    pub(super) fn rule(&mut self, body: &str) -> String {
        let name = format!("r{}", self.n_rules);
        self.n_rules += 1;
        let _ = writeln!(self.text, "{name}: {body}");
        name
    }

    /// A new rule that ends where `regex` first matches; its name.
    pub(super) fn lazy(&mut self, regex: &str) -> String {
        let name = format!("r{}", self.n_rules);
        self.n_rules += 1;
        let _ = writeln!(self.text, "{name}[lazy]: /{regex}/");
        name
    }

    /// A new lexeme; its name.
    pub(super) fn terminal(&mut self, regex: &str) -> String {
        let name = format!("T{}", self.n_rules);
        self.n_rules += 1;
        let _ = writeln!(self.text, "{name}: /{regex}/");
        name
    }

    /// A text as it is, with the control tokens that it names.
    pub(super) fn literal(&mut self, text: &str) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut rest = text;
        while let Some((span, id)) = control(rest, self.tokenizer) {
            parts.extend((span.start > 0).then(|| quoted(&rest[..span.start])));
            parts.push(format!("<[{id}]>"));
            self.tokens.push(id);
            rest = &rest[span.end..];
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(quoted(rest));
        }
        parts.join(" ")
    }

    /// Whether `text` is the name of one control token.
    pub(super) fn is_control(&self, text: &str) -> bool {
        control(text, self.tokenizer).is_some_and(|(span, _)| span.len() == text.len())
    }

    /// A value that `schema` allows, as JSON; `root` is the schema in which its references lead.
    pub(super) fn json(&mut self, schema: &Value, root: &Value) -> Result<String> {
        let mut whole = schema.clone();
        for key in ["$defs", "definitions"] {
            if let (Some(object), Some(definitions)) = (whole.as_object_mut(), root.get(key)) {
                object.entry(key).or_insert_with(|| definitions.clone());
            }
        }
        let checked = self.grammars.checked_schema(&whole.to_string())?;
        Ok(self.rule(&format!("%json {checked}")))
    }
}

/// The first name of a control token in `text`.
pub(super) fn control(text: &str, tokenizer: &Tokenizer<'_>) -> Option<(std::ops::Range<usize>, TokenId)> {
    let mut from = 0;
    while let Some((span, id)) = tokenizer.next_special(&text[from..]) {
        if tokenizer.kind(id) == TokenKind::Control {
            return Some((from + span.start..from + span.end, id));
        }
        from += span.end;
    }
    None
}

/// `text` as a string of Lark.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
