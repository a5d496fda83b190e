//! Arguments of the views: what is looked at, and how it is shown.

use super::groups::{ComputeArgs, ModelAlone, ModelArg, ProgressArg, TextArg};
use super::sampling::Sampling;
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

/// How a view is shown.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Display")]
pub(crate) struct Display {
    /// Print JSON lines
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write a page for a browser: one file that needs nothing else
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
    /// Colours [default: on a terminal, unless NO_COLOR is set]
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto, hide_default_value = true)]
    pub(crate) color: Color,
    /// Columns to draw in, 40 to 400 [default: COLUMNS, else the terminal's, else 80]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(40..=400))]
    pub(crate) width: Option<u16>,
}

/// When there are colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The text of a view.
#[derive(Debug, Clone, Args)]
pub(crate) struct LookedText {
    #[command(flatten)]
    pub(crate) given: TextArg,
    /// Read special tokens in the text as such, not as text
    #[arg(long)]
    pub(crate) special: bool,
}

/// A text to be looked at in a model.
#[derive(Debug, Clone, Args)]
pub(crate) struct Look {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    #[command(flatten)]
    pub(crate) text: LookedText,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) display: Display,
}

/// Arguments of `whit tokens`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Tokens {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    #[command(flatten)]
    pub(crate) text: LookedText,
    #[command(flatten)]
    pub(crate) display: Display,
}

/// Arguments of `whit next`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Next {
    /// Temperature of the bars
    #[arg(long, value_name = "T", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) temp: f64,
    /// Tokens shown
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) top: u16,
    #[command(flatten)]
    pub(crate) look: Look,
}

/// Arguments of `whit tally`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Tally {
    #[command(flatten)]
    pub(crate) model: ModelAlone,
    /// Count a network by its dimensions alone: gpt-3, gpt2, gpt2-medium, gpt2-large, gpt2-xl or a config.json
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model", "file"])]
    pub(crate) shape: Option<String>,
    /// Measure no times
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) display: Display,
}

/// Which matrix gives the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Space {
    /// Token vectors, as they enter the network
    Embedding,
    /// The directions that logits measure
    Unembedding,
}

/// Arguments of `whit words`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Words {
    /// A word, or words with + and - between them, as in: king - man + woman; words with spaces are given in quotes
    #[arg(value_name = "WORDS", num_args = 1.., required_unless_present = "direction")]
    pub(crate) expression: Vec<String>,
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// A direction from one word to another, as cat:cats; several pairs are averaged
    #[arg(long, value_name = "FROM:TO", num_args = 1.., requires = "along", conflicts_with = "expression")]
    pub(crate) direction: Vec<String>,
    /// Words to measure along the direction
    #[arg(long, value_name = "WORD", num_args = 1.., requires = "direction")]
    pub(crate) along: Vec<String>,
    /// The matrix that gives the vectors
    #[arg(long, value_enum, value_name = "MATRIX", default_value_t = Space::Embedding)]
    pub(crate) of: Space,
    /// Words shown
    #[arg(long, value_name = "N", default_value_t = 12, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) top: u16,
    #[command(flatten)]
    pub(crate) display: Display,
}

/// Arguments of `whit attend`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Attend {
    /// Layer to draw, from 0 on; without it a gallery of all heads and their ranking
    #[arg(short, long, value_name = "N", requires = "head")]
    pub(crate) layer: Option<usize>,
    /// Head to draw, from 0 on
    #[arg(short = 'H', long, value_name = "N", requires = "layer")]
    pub(crate) head: Option<usize>,
    #[command(flatten)]
    pub(crate) look: Look,
}

/// Arguments of `whit lens`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Lens {
    /// Last positions that are read [default: as many as fit on the screen; 256 with --json or --html]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) last: Option<u16>,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
    #[command(flatten)]
    pub(crate) look: Look,
}

/// Arguments of `whit score`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Surprise {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Text to score; `-` is standard input
    #[arg(value_name = "TEXT_FILE", value_hint = ValueHint::FilePath)]
    pub(crate) text: PathBuf,
    /// Another model, such as the same in higher precision: where do both differ
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "max_memory")]
    pub(crate) against: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) display: Display,
}

/// Arguments of `whit explain`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) look: Look,
}
