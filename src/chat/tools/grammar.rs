//! The calls of a family as a grammar: its own words around what a schema allows.

use super::family::{Family, Form};
use super::lark::Rules;
use super::schema_forms;
use super::tool::Tool;
use crate::error::{Error, Result};
use crate::generate::grammar::{Grammar, Grammars};
use crate::tokenizer::Tokenizer;
use serde_json::json;
use std::fmt::Write;

/// What of a reply a grammar describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A block of calls behind the mark that begins it.
    Block,
    /// All blocks, from the first mark on.
    All,
    /// All of a reply: blocks, or words in the form that the family has for them.
    Reply,
}

/// The grammar of calls of `tools`, of which a reply may have several.
pub(super) fn compile(
    family: Family,
    tools: &[&Tool],
    several: bool,
    part: Part,
    grammars: &Grammars,
    tokenizer: &Tokenizer<'_>,
) -> Result<Grammar> {
    let mut rules = Rules::new(grammars, tokenizer);
    let calls = tools.iter().map(|tool| call(&mut rules, family.form, tool)).collect::<Result<Vec<_>>>()?;
    let one = rules.rule(&calls.join(" | "));
    let mut block = rules.literal(family.open);
    // Some tokenizers put a space behind a control token, before a text.
    if family.open == "[" {
        block = format!("\" \"? {block}");
    }
    let _ = write!(block, " {one}");
    if let Some(between) = family.between.filter(|_| several) {
        let _ = write!(block, " ({} {one})*", rules.literal(between));
    }
    let _ = write!(block, " {}", rules.literal(family.close));
    let block = rules.rule(&block);
    let start = match part {
        Part::Block => block,
        Part::All | Part::Reply => {
            let begin = family.begins.iter().find(|begin| !begin.is_call).filter(|_| !begins_with_call(family));
            let begin = begin.map_or(String::from("\"\""), |begin| rules.literal(begin.mark));
            let whole = rules.rule(&format!("{begin} {block}"));
            let blocks = match family.between_blocks.filter(|_| several) {
                Some(between) => format!("{whole} ({} {whole})*", rules.literal(between)),
                None => whole,
            };
            match family.says.filter(|_| part == Part::Reply) {
                Some(says) => format!("{blocks} | {}", words(&mut rules, says)?),
                None => blocks,
            }
        }
    };
    rules.compile(&start)
}

/// Whether a reply that is a call begins with the call itself.
pub(super) fn begins_with_call(family: Family) -> bool {
    family.begins.iter().any(|begin| begin.is_call)
}

/// A reply in words, behind `says`.
fn words(rules: &mut Rules<'_>, says: &str) -> Result<String> {
    let string = json!({"type": "string"});
    let body = format!("{} {} \"}}\"", rules.literal(says), rules.json(&string, &string)?);
    Ok(rules.rule(&body))
}

/// A call of `tool`.
fn call(rules: &mut Rules<'_>, form: Form, tool: &Tool) -> Result<String> {
    let (name, schema) = (tool.name.as_str(), &tool.parameters);
    let body = match form {
        Form::Json { name: before, given } => {
            let before = rules.literal(&format!("{{\"{before}\": \"{name}\", \"{given}\": "));
            format!("{before} {} \"}}\"", rules.json(schema, schema).map_err(|error| of_tool(error, tool))?)
        }
        Form::Named { before, between, after } => {
            let before = rules.literal(&format!("{before}{name}{between}"));
            let given = rules.json(schema, schema).map_err(|error| of_tool(error, tool))?;
            format!("{before} {given} {}", rules.literal(after))
        }
        Form::Python => schema_forms::python(rules, tool).map_err(|error| of_tool(error, tool))?,
        Form::Braces { quote } => schema_forms::braces(rules, tool, quote).map_err(|error| of_tool(error, tool))?,
        Form::Tags => schema_forms::tags(rules, tool).map_err(|error| of_tool(error, tool))?,
    };
    Ok(rules.rule(&body))
}

/// The error of a schema, with the function whose it is.
fn of_tool(error: Error, tool: &Tool) -> Error {
    let field = match error.named_field() {
        Some(place) if place.starts_with('#') => format!("function {}, parameters{}", tool.name, &place[1..]),
        _ => format!("function {}, parameters", tool.name),
    };
    Error::data(error.message()).field(field)
}
