//! What a text has to be, from the arguments.

use super::args::Constraints;
use super::input;
use std::path::Path;
use std::sync::Arc;
use whit::error::{Error, Kind, Result};
use whit::generate::Writer;
use whit::generate::grammar::{Grammar, Grammars, Rule};
use whit::model::Model;

/// The constraint that the arguments ask for, compiled for the tokens of `model`.
pub(super) fn grammar(args: &Constraints, model: &Arc<Model>) -> Result<Option<Grammar>> {
    Ok(compiled(args, model)?.map(|(_, grammar)| grammar))
}

/// The same with the rule that it is of.
pub(super) fn compiled(args: &Constraints, model: &Arc<Model>) -> Result<Option<(Rule, Grammar)>> {
    let (rule, place) = match args {
        Constraints { schema: Some(path), .. } => (Rule::Schema(input::text(path)?), Place::File(path)),
        Constraints { grammar: Some(path), .. } => (Rule::grammar(input::text(path)?), Place::File(path)),
        Constraints { regex: Some(regex), .. } => (Rule::Regex(regex.clone()), Place::Argument("regex")),
        Constraints { json_object: true, .. } => (Rule::JsonObject, Place::Argument("json-object")),
        Constraints { choice, .. } if !choice.is_empty() => (Rule::Choice(choice.clone()), Place::Argument("choice")),
        _ => return Ok(None),
    };
    let compiled = Grammars::new(model)?.compile(&rule);
    compiled.map(|grammar| Some((rule, grammar))).map_err(|error| match place {
        Place::File(path) => error.in_file(path.display().to_string()),
        Place::Argument(name) => Error::new(Kind::Usage, error.message()).field(name),
    })
}

/// Where a rule is from.
enum Place<'p> {
    File(&'p Path),
    Argument(&'static str),
}

/// Has `writer` keep to `grammar`, if there is one.
pub(super) fn keep_to(writer: &mut Writer, grammar: Option<&Grammar>) -> Result<()> {
    grammar.map_or(Ok(()), |grammar| writer.keep_to(grammar.begin()?))
}

/// The error of a text that ended before it was what it has to be, if it did.
pub(super) fn cut_short(writer: &mut Writer) -> Result<()> {
    if !writer.is_cut_short() {
        return Ok(());
    }
    let reason = writer.stop_reason().map_or("", |reason| reason.name());
    let message = format!("the text ended after {} tokens, before it was whole: {reason}", writer.n_generated());
    Err(Error::new(Kind::Resources, message).field("constraint").hint("-n and --ctx give it more room"))
}
