//! The language of chat templates, as the program that models are published for has it: Jinja2 in the environment of
//! transformers' `render_jinja_template`. It is our own so that every step of a template is counted: docs/decisions.md.
//!
//! `lexer`, `cursor`, `parser` and `expressions` make a tree of a template; `run` and `evaluate` walk it.

mod arguments;
mod ast;
mod compare;
mod cursor;
mod evaluate;
mod expressions;
mod filters;
mod format;
mod functions;
mod items;
mod json;
mod lexer;
mod meter;
mod methods;
mod operators;
mod parser;
mod predicates;
mod print;
mod run;
mod sink;
#[cfg(test)]
mod tests;
mod value;

pub(super) use meter::{Fault, Meter, Why};
pub(super) use value::Value;

use crate::os::calendar::Moment;

/// A dict with these entries.
pub(super) fn dict(entries: Vec<(&str, Value)>, meter: &Meter) -> Result<Value, Fault> {
    value::dict(entries.into_iter().map(|(name, value)| (Value::text(name), value)).collect(), meter)
}

/// A list of these items.
pub(super) fn list(items: Vec<Value>, meter: &Meter) -> Result<Value, Fault> {
    value::list(items, meter)
}

/// `x` as Python's JSON writes it.
pub(super) fn json_number(x: f64) -> String {
    json::number(x)
}

/// What the template in `source` writes at `now`, given `values`.
pub(super) fn render(source: &str, values: Vec<(&str, Value)>, now: Moment, meter: &Meter) -> Result<String, Fault> {
    let block = parser::parse(source, meter)?;
    let values = values.into_iter().map(|(name, value)| (name.into(), value)).collect();
    run::Run::text(&block, values, now, meter)
}
