//! Arguments of what a text has to be, and of functions that it may call.

use super::values::think;
use clap::{Args, ValueHint};
use std::path::PathBuf;
use whit::chat::Think;

/// What a text has to be; the model chooses among what is left.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Constraints")]
#[group(id = "constraint", multiple = false)]
pub(crate) struct Constraints {
    /// Write a JSON value that the JSON Schema in FILE allows
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) schema: Option<PathBuf>,
    /// Write what the grammar in FILE allows, in the form of llama.cpp (GBNF) or of Lark
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) grammar: Option<PathBuf>,
    /// Write what this regular expression matches, from end to end
    #[arg(long, value_name = "RE", allow_hyphen_values = true)]
    pub(crate) regex: Option<String>,
    /// Write a JSON object
    #[arg(long)]
    pub(crate) json_object: bool,
    /// Write one of these texts; is given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) choice: Vec<String>,
}

impl Constraints {
    /// Whether a text has to be anything.
    pub(crate) fn is_given(&self) -> bool {
        let Constraints { schema, grammar, regex, json_object, choice } = self;
        schema.is_some() || grammar.is_some() || regex.is_some() || *json_object || !choice.is_empty()
    }
}

/// The functions that a reply may call, and what is thought before it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Functions and thoughts")]
pub(crate) struct Calling {
    /// Offer the functions in FILE to the model, a list in JSON in the form of OpenAI; its calls are printed as lines of JSON, and the
    /// lines that follow are what they gave
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["constraint", "banned_string"])]
    pub(crate) tools: Option<PathBuf>,
    /// Which functions a reply calls: auto, none, required, or the one of this name [default: auto]
    #[arg(long, value_name = "CHOICE", requires = "tools")]
    pub(crate) tool_choice: Option<String>,
    /// Let a reply call one function at most
    #[arg(long, requires = "tools")]
    pub(crate) single_call: bool,
    /// Have the model think before it replies: on, off, or for N tokens at most [default: as its template has it]
    #[arg(long, value_name = "on|off|N", value_parser = think)]
    pub(crate) think: Option<Think>,
    /// Print what the model thinks also where its replies do not go to a terminal
    #[arg(long)]
    pub(crate) thoughts: bool,
}
