//! Constraints from rules: JSON schemas, grammars, regular expressions, lists of choices. A rule is compiled for the tokens of a
//! model once, and is then a [`Constraint`](super::Constraint) on any number of texts.
//!
//! ```no_run
//! use whit::generate::{Writer, grammar::{Grammars, Rule}};
//! # fn f(model: &std::sync::Arc<whit::Model>, mut writer: Writer) -> whit::Result<()> {
//! let grammars = Grammars::new(model)?;
//! let grammar = grammars.compile(&Rule::Regex("[0-9]+".into()))?;
//! writer.keep_to(grammar.begin()?)?;
//! # Ok(()) }
//! ```

#[cfg(feature = "constraints")]
mod characters;
#[cfg(feature = "constraints")]
mod engine;
#[cfg(not(feature = "constraints"))]
#[path = "no_engine.rs"]
mod engine;
#[cfg(feature = "constraints")]
mod formats;
#[cfg(feature = "constraints")]
mod gbnf;
#[cfg(feature = "constraints")]
mod lark;
#[cfg(feature = "constraints")]
mod lexemes;
#[cfg(feature = "constraints")]
mod schema;

pub use engine::{Grammar, Grammars};

use alloc::string::String;
use alloc::vec::Vec;

/// What a text has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// A JSON value that this JSON Schema allows, one line with a space behind `,` and `:`.
    Schema(String),
    /// A JSON object of any content, in the same form.
    JsonObject,
    /// What this regular expression (of the crate `regex`, without looking around) matches from end to end.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// What a grammar in the form of llama.cpp allows.
    Gbnf(String),
    /// What a grammar in the form of Lark allows.
    Lark(String),
}

impl Rule {
    /// The grammar in `text`: that of llama.cpp where a rule is written with `::=`, else Lark's.
    pub fn grammar(text: String) -> Self {
        if text.contains("::=") { Rule::Gbnf(text) } else { Rule::Lark(text) }
    }
}
