//! The command line as checked values: what a command sees is in range.

mod values;
pub(crate) mod views;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
use values::{logit_bias, seconds, size};

/// A GPT in the smallest space: generates text from one flat file on a small CPU.
#[derive(Debug, Parser)]
#[command(name = "whit", version, max_term_width = 100, infer_long_args = false)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Continue a text
    Generate(Box<Generate>),
    /// Talk with a model, by its own chat template
    Chat(Box<Chat>),
    /// Show what a model file holds: header, configuration, tensors, errors, provenance
    Inspect(Inspect),
    /// Tell what this machine is, how it is, and what a model can reach on it
    Doctor(Doctor),
    /// Measure how well a model predicts a text, and how far it is from a reference
    Eval(Eval),
    /// Measure how fast a model runs here, beside what this machine can do at most
    Bench(Bench),
    /// Show where the time of a token and of a prompt goes, by op and layer
    Trace(Trace),
    /// Count the memory of a run before anything is allocated, and say what fits here
    Plan(Plan),
    /// Walk from a text to its next token, step by step, with the real numbers of each
    Explain(Box<views::Explain>),
    /// Cut a text into its tokens
    Tokens(views::Tokens),
    /// Show the distribution of the next token, and what temperature does to it
    Next(views::Next),
    /// Show which earlier tokens each head looks at
    Attend(views::Attend),
    /// Show what each layer would say if it were the last
    Lens(views::Lens),
    /// Colour a text by how much each token surprises the model, or by where two models differ
    Score(views::Surprise),
    /// Show words near a word, do arithmetic with words, measure words along a direction
    Words(views::Words),
    /// Count the parameters by what they are for
    Tally(views::Tally),
    /// Check every byte of a model file against its checksums
    Verify(Verify),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the man pages into a folder
    #[command(hide = true)]
    Man(Man),
}

/// The model of a command.
#[derive(Debug, Args)]
pub(crate) struct ModelArg {
    /// Model file; without it the embedded story model
    #[arg(short, long = "model", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) model: Option<PathBuf>,
}

/// The context of a text without an end of its own.
#[derive(Debug, Args)]
pub(crate) struct ContextArg {
    /// Context length in tokens, 1 to 1048576 [default: the model's, up to 4096]
    #[arg(short, long = "ctx", value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) ctx: Option<u32>,
}

/// What computes, and how.
#[derive(Debug, Args)]
pub(crate) struct ComputeArgs {
    /// Threads, 1 to 256; without it one per fast core (`whit inspect` says which and why)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
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

/// Precision of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kv {
    /// 16-bit floats
    F16,
    /// 8-bit integers, half the memory of f16
    Int8,
    /// 32-bit floats, for reference runs
    F32,
}

/// Arguments of `whit generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Text to continue; `-` reads it from standard input
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Option<String>,
    /// Read the prompt from a file; `-` is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Tokens to generate; -1: until the text or the context ends
    #[arg(short, long = "tokens", value_name = "N", default_value_t = 256, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i64).range(-1..=1 << 20))]
    pub(crate) n_tokens: i64,
    /// Context length in tokens, 1 to 1048576; without it what prompt and -n need
    #[arg(short, long = "ctx", value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) ctx: Option<u32>,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Stop at this text, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    #[command(flatten)]
    pub(crate) keeping: Keeping,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Read special tokens in the prompt as such, not as text
    #[arg(long)]
    pub(crate) special: bool,
    /// Do not repeat the prompt before its continuation
    #[arg(long)]
    pub(crate) no_echo: bool,
    /// Print control characters as they are, on a terminal too
    #[arg(long)]
    pub(crate) raw: bool,
    /// Show how each token is chosen: its distribution through the sampler chain, and the draw
    #[arg(long)]
    pub(crate) show: bool,
    /// Choose tokens with the arrow keys: stories part and stay in a tree
    #[arg(short, long, requires = "show", conflicts_with_all = ["json", "html", "session", "quiet", "stop", "raw"])]
    pub(crate) interactive: bool,
    /// Write the tree of stories to FILE, as JSON lines
    #[arg(long, value_name = "FILE", requires = "interactive", value_hint = ValueHint::FilePath)]
    pub(crate) tree: Option<PathBuf>,
    /// Tokens of a distribution that are shown
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000), requires = "show")]
    pub(crate) top: u16,
    #[command(flatten)]
    pub(crate) display: views::Display,
    /// Print no statistics
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print the plan before the start
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// What is kept of a text, and what a full context means.
#[derive(Debug, Args)]
#[command(next_help_heading = "Long texts")]
pub(crate) struct Keeping {
    /// Go on with the text saved in FILE, if there is one, and save it there at the end
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) session: Option<PathBuf>,
    /// Keep beginnings of texts in this folder, prompts included, and restore them from there
    /// [default: WHIT_CACHE, else off]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) cache: Option<PathBuf>,
    /// Size of that folder, from which what was not used for the longest time is removed
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1G")]
    pub(crate) cache_size: u64,
    /// When the context is full: end the text, or go on with its beginning and its later half
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Full::Stop)]
    pub(crate) on_full: Full,
    /// Tokens of the beginning that --on-full shift keeps [default: the prompt, up to a quarter of the context]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub(crate) keep: Option<u32>,
}

/// What happens when the context is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Full {
    /// The text ends
    Stop,
    /// It goes on with its beginning and its later half, computed anew
    Shift,
}

/// Arguments of `whit chat`.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// System prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Most tokens of a reply; -1: until it or the context ends
    #[arg(short, long = "tokens", value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i64).range(-1..=1 << 20))]
    pub(crate) n_tokens: i64,
    #[command(flatten)]
    pub(crate) context: ContextArg,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Stop a reply at this text, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    #[command(flatten)]
    pub(crate) keeping: Keeping,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Print control characters as they are, on a terminal too
    #[arg(long)]
    pub(crate) raw: bool,
    /// Print replies and nothing else
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Tell times after each reply
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// How tokens are chosen. What is not given comes from the model file, else it is as written here.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// Temperature; 0 always takes the most probable token [default: the model's, else 0.8]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temp: Option<f32>,
    /// Choose among the K most probable; 0 is off [default: the model's, else 0]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub(crate) top_k: Option<u32>,
    /// Choose among the most probable that reach P together; 1 is off [default: the model's, else 0.95]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// Choose among those at least P times as probable as the best; 0 is off [default: the model's, else 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,
    /// Choose among the typical ones that reach P together; 1 is off
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) typical: f32,
    /// Divide the logits of recent tokens; 1 is off [default: the model's, else 1]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) repeat_penalty: Option<f32>,
    /// How many tokens the penalties look back; 0 switches them off
    #[arg(long, value_name = "N", default_value_t = 64, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub(crate) repeat_last_n: u32,
    /// Subtract from the logits of recent tokens
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) presence_penalty: f32,
    /// Subtract from the logits of recent tokens, for each time they occur
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) frequency_penalty: f32,
    /// Add V to the logit of a token, -inf bans it; may be given several times
    #[arg(long, value_name = "ID=V", value_parser = logit_bias)]
    pub(crate) logit_bias: Vec<(u32, f32)>,
    /// Seed of the draw, 0 to 2^64-1; without it a random one, which is told
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
}

/// Arguments of `whit inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `whit doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Threads, 1 to 256; without it one per fast core
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    #[arg(allow_negative_numbers = true)]
    pub(crate) threads: Option<u16>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
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
    #[arg(value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    pub(crate) window: Option<u32>,
    /// Stop after this many windows
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) windows: Option<u32>,
    /// Reference model: report how far the model is from it; both must fit into memory
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "max_memory")]
    pub(crate) against: Option<PathBuf>,
    /// Positions that count
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Score::All)]
    pub(crate) score: Score,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
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
    pub(crate) model: ModelArg,
    /// Numbers of threads, each 1 to 256 [default: 1 and one per fast core]
    #[arg(short, long, value_name = "N,...", value_delimiter = ',', allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Vec<u16>,
    /// Kernels (`whit inspect` lists them) [default: the best of this CPU]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) kernels: Vec<String>,
    /// Precision of the KV cache
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Kv::F16)]
    pub(crate) kv: Kv,
    /// Lengths of prompts in tokens; 0 measures no prefill
    #[arg(long, value_name = "T,...", value_delimiter = ',', default_value = "32,128,512")]
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub(crate) prefill: Vec<u32>,
    /// Tokens in the cache before a decode
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "0,1024,4096")]
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub(crate) depth: Vec<u32>,
    /// Tokens of a decode; 0 measures none
    #[arg(long, value_name = "N", default_value_t = 128, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
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
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How the machine's limits are measured.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Time for each limit of the machine, 0 to 60; 0 measures none
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) limit_seconds: f64,
}

/// Arguments of `whit trace`.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Tokens in the cache before the one traced [default: 128, or what the model holds if that is less]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub(crate) depth: Option<u32>,
    /// Tokens of the prompt traced; 0 traces none [default: 128, or what the model holds if that is less]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub(crate) prompt_tokens: Option<u32>,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Arguments of `whit plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    #[command(flatten)]
    pub(crate) context: ContextArg,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `whit verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Arguments of `whit completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell to print for
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `whit man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Folder to write into
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_fit_together() {
        Cli::command().debug_assert();
    }
}
