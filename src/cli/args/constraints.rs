//! Arguments of what a text has to be.

use clap::{Args, ValueHint};
use std::path::PathBuf;

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
