//! Arguments that several commands share.

use super::values::{Guess, count, guess, seconds, size, threads};
use clap::{Args, ValueEnum, ValueHint};
use std::path::{Path, PathBuf};

/// The model of a command.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArg {
    /// Model file, which may also stand alone before any text; without it the embedded story model
    #[arg(short, long = "model", value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub(crate) model: Option<PathBuf>,
}

/// The model of a command that reads no text.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelAlone {
    /// Model file; without it the embedded story model
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath, conflicts_with = "model")]
    file: Option<PathBuf>,
    /// The same
    #[arg(short, long = "model", value_name = "MODEL", value_hint = ValueHint::FilePath)]
    model: Option<PathBuf>,
}

impl ModelAlone {
    /// The file's path, if one is named.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.model.as_deref().or(self.file.as_deref())
    }
}

/// A text, typed or in a file.
#[derive(Debug, Clone, Args)]
pub(crate) struct TextArg {
    /// The text; `-` reads it from standard input
    #[arg(value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// The text, also one that begins with - or is the name of a model file
    #[arg(short, long, value_name = "TEXT", conflicts_with = "text", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Read the text from a file; `-` is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["text", "prompt"], value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

/// The context of a text without an end of its own.
#[derive(Debug, Clone, Args)]
pub(crate) struct ContextArg {
    /// Context length in tokens, 1 to 1048576 [default: the model's, up to 4096]
    #[arg(short, long = "ctx", value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = count(1))]
    pub(crate) ctx: Option<u32>,
}

/// What computes, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct ComputeArgs {
    /// Threads, 1 to 256; without it one per fast core (`whit inspect` says which and why)
    #[arg(short, long, value_name = "N", value_parser = threads())]
    #[arg(allow_negative_numbers = true)]
    pub(crate) threads: Option<u16>,
    /// Leave one fast core to other programs
    #[arg(long, conflicts_with = "threads")]
    pub(crate) leave_core: bool,
    /// Compute with these kernels (`whit inspect` lists them); without it the best of this CPU
    #[arg(long, value_name = "NAME")]
    pub(crate) kernels: Option<String>,
    /// Precision of the KV cache
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Kv::F16)]
    pub(crate) kv: Kv,
    /// Take no more memory than this, such as 300M or 1.5GiB: weights that it does not hold are streamed from storage
    #[arg(long, value_name = "SIZE", value_parser = size, allow_negative_numbers = true)]
    pub(crate) max_memory: Option<u64>,
}

/// How tokens are guessed ahead.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct GuessArg {
    /// Guess tokens ahead and compute several in a pass, which changes no byte: ngram, by what was written before; ngram:FILE, by a
    /// text, too; draft:FILE, by a smaller model with the same tokens
    #[arg(long, value_name = "HOW", value_parser = guess)]
    pub(crate) guess: Option<Guess>,
    /// Guess so many tokens wherever there is a guess, 1 to 15; without it as many as pay
    #[arg(long, value_name = "N", requires = "guess", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=15))]
    pub(crate) guess_length: Option<u16>,
}

/// Precision of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kv {
    /// 16-bit floats
    #[value(alias = "fp16")]
    F16,
    /// 8-bit integers, half the memory of f16
    Int8,
    /// 32-bit floats, for reference runs
    F32,
    /// 6-bit keys and 4-bit values, a third of the memory of f16
    Q4,
}

/// How the machine's limits are measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct LimitArgs {
    /// Time for each limit of the machine, 0 to 60; 0 measures none
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) limit_seconds: f64,
}

/// How the result of a command is printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct PrintArg {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is shown while a command works.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProgressArg {
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Whether text of a model is printed as it is.
#[derive(Debug, Clone, Args)]
pub(crate) struct RawArg {
    /// Print control characters as they are, on a terminal too
    #[arg(long)]
    pub(crate) raw: bool,
}
