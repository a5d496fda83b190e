//! Arguments of the commands that look at a model file, at its speed and at how well it predicts.

use super::constraints::Constraints;
use super::groups::{ComputeArgs, ContextArg, GuessArg, Kv, LimitArgs, ModelAlone, ModelArg, PrintArg, ProgressArg};
use super::values::{count, prefetch, threads};
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;
use whit::kernels::Hint;

/// Arguments of `whit inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) model: ModelAlone,
    #[command(flatten)]
    pub(crate) print: PrintArg,
}

/// Arguments of `whit doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) model: ModelAlone,
    /// Threads, 1 to 256; without it one per fast core
    #[arg(short, long, value_name = "N", value_parser = threads())]
    #[arg(allow_negative_numbers = true)]
    pub(crate) threads: Option<u16>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) print: PrintArg,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
}

/// Arguments of `whit eval`.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Text to predict; `-` is standard input
    #[arg(value_name = "TEXT_FILE", value_hint = ValueHint::FilePath)]
    pub(crate) text: PathBuf,
    /// Tokens a window, 2 to 1048576 [default: 512, or what the model holds if that is less]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = count(2))]
    pub(crate) window: Option<u32>,
    /// Stop after this many windows
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) windows: Option<u32>,
    /// Reference model: report how far the model is from it; both must fit into memory
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "max_memory")]
    pub(crate) against: Option<PathBuf>,
    /// Precision of the reference's KV cache; without it as --kv says
    #[arg(long, value_enum, value_name = "TYPE", requires = "against")]
    pub(crate) against_kv: Option<Kv>,
    /// Positions that count
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Score::All)]
    pub(crate) score: Score,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) print: PrintArg,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
}

/// Positions of a window that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Score {
    /// Every position
    All,
    /// From the middle on, as llama-perplexity does
    SecondHalf,
}

/// Arguments of `whit bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) model: ModelAlone,
    /// Numbers of threads, each 1 to 256 [default: 1 and one per fast core]
    #[arg(short, long, value_name = "N,...", value_delimiter = ',', allow_negative_numbers = true)]
    #[arg(value_parser = threads())]
    pub(crate) threads: Vec<u16>,
    /// Kernels (`whit inspect` lists them) [default: the best of this CPU]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) kernels: Vec<String>,
    /// Caches that kernels of x86 prefetch into: none, nta, l1, l2 [default: what suits this CPU]
    #[arg(long, value_name = "CACHE,...", value_delimiter = ',', value_parser = prefetch)]
    pub(crate) prefetch: Vec<Hint>,
    /// Precision of the KV cache
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Kv::F16)]
    pub(crate) kv: Kv,
    /// Lengths of prompts in tokens; 0 measures no prefill
    #[arg(long, value_name = "T,...", value_delimiter = ',', default_value = "32,128,512")]
    #[arg(allow_negative_numbers = true, value_parser = count(0))]
    pub(crate) prefill: Vec<u32>,
    /// Tokens in the cache before a decode
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "0,1024,4096")]
    #[arg(allow_negative_numbers = true, value_parser = count(0))]
    pub(crate) depth: Vec<u32>,
    /// Numbers of texts to decode together, each from its beginning, one token of each in a pass [default: none]
    #[arg(long, value_name = "N,...", value_delimiter = ',', allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) texts: Vec<u32>,
    /// Tokens of a decode, of each text; 0 measures none
    #[arg(long, value_name = "N", default_value_t = 128, allow_negative_numbers = true)]
    #[arg(value_parser = count(0))]
    pub(crate) decode: u32,
    /// Samples of each figure, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) repeat: u16,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Print one JSON object, each row on a line of its own
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare with what --json printed before: new / old for each row
    #[arg(long, value_name = "OLD_JSON", value_hint = ValueHint::FilePath)]
    pub(crate) compare: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
}

/// Arguments of `whit trace`.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) model: ModelAlone,
    /// Tokens in the cache before the one traced [default: 128, or what the model holds if that is less]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = count(0))]
    pub(crate) depth: Option<u32>,
    /// Tokens of the prompt traced; 0 traces none [default: 128, or what the model holds if that is less]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = count(0))]
    pub(crate) prompt_tokens: Option<u32>,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) print: PrintArg,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
}

/// Arguments of `whit plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) model: ModelAlone,
    #[command(flatten)]
    pub(crate) context: ContextArg,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) guess: GuessArg,
    #[command(flatten)]
    pub(crate) constraints: Constraints,
    #[command(flatten)]
    pub(crate) print: PrintArg,
}

/// Arguments of `whit verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) model: ModelAlone,
    /// Compute the quality report of the file again, and compare every bit of its figures
    #[arg(long)]
    pub(crate) quality: bool,
    /// Threads that compute it, 1 to 256; without it one per fast core
    #[arg(short, long, value_name = "N", value_parser = threads(), requires = "quality")]
    #[arg(allow_negative_numbers = true)]
    pub(crate) threads: Option<u16>,
    /// Kernels that compute it (`whit inspect` lists them) [default: the best of this CPU]
    #[arg(long, value_name = "NAME", requires = "quality")]
    pub(crate) kernels: Option<String>,
    #[command(flatten)]
    pub(crate) print: PrintArg,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
}

/// Arguments of `whit verify-receipt`.
#[derive(Debug, Args)]
pub(crate) struct VerifyReceipt {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Receipt, or the answer of a server that has one; `-` is standard input
    #[arg(value_name = "RECEIPT", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Threads, 1 to 256; without it one per fast core
    #[arg(short, long, value_name = "N", value_parser = threads())]
    #[arg(allow_negative_numbers = true)]
    pub(crate) threads: Option<u16>,
    /// Kernels (`whit inspect` lists them) [default: the best of this CPU]
    #[arg(long, value_name = "NAME")]
    pub(crate) kernels: Option<String>,
    #[command(flatten)]
    pub(crate) print: PrintArg,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
}
