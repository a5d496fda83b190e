//! The command line as checked values: what a command sees is in range.

mod constraints;
mod groups;
mod many;
mod measuring;
mod sampling;
#[cfg(feature = "server")]
mod serving;
mod values;
pub(crate) mod views;
mod writing;

use clap::{Args, Parser, Subcommand, ValueHint};
pub(crate) use constraints::{Calling, Constraints};
pub(crate) use groups::{ComputeArgs, ContextArg, GuessArg, Kv, TextArg};
pub(crate) use many::{Batch, Embed, Pool, Shard, VectorFormat};
pub(crate) use measuring::{Bench, Doctor, Eval, Inspect, Plan, Score, Trace, Verify, VerifyReceipt};
pub(crate) use sampling::Sampling;
#[cfg(feature = "server")]
pub(crate) use serving::{Serve, ServerCache};
use std::path::PathBuf;
pub(crate) use values::Guess;
pub(crate) use writing::{Chat, Full, Generate, Keeping};

/// What a new user may try.
const EXAMPLES: &str = "\
Examples:
  whit generate \"Once upon a time\"     a story by the model in this program
  whit chat MODEL.whit \"What is 2+2?\"  one question, one answer
  whit MODEL.whit                       a conversation, if the model talks
  whit explain \"Once upon a time\"      from a text to its next token";

/// A GPT in the smallest space: generates text from one flat file on a small CPU.
#[derive(Debug, Parser)]
#[command(name = "whit", version, infer_long_args = false, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Keep the right to open any file and to make any system call
    #[arg(long, global = true)]
    pub(crate) no_sandbox: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Continue a text
    #[command(override_usage = "whit generate [OPTIONS] [MODEL] [TEXT]")]
    Generate(Box<Generate>),
    /// Talk with a model, by its own chat template; with a TEXT, answer that and end
    #[command(override_usage = "whit chat [OPTIONS] [MODEL] [TEXT]")]
    Chat(Box<Chat>),
    /// Chat with a model that has a chat template, continue a text with one that has none
    #[command(override_usage = "whit run [OPTIONS] [MODEL] [TEXT]")]
    Run(Box<Chat>),
    /// Answer many requests in OpenAI's batch form, some at a time; goes on where it was ended
    #[command(override_usage = "whit batch [OPTIONS] [MODEL] <IN> -o <FILE>")]
    Batch(Box<Batch>),
    /// Serve models to many clients at once, in the words of OpenAI's, Ollama's, llama.cpp's and Anthropic's APIs
    #[cfg(feature = "server")]
    #[command(override_usage = "whit serve [OPTIONS] [MODEL]")]
    Serve(Box<Serve>),
    /// Turn texts into vectors: the last hidden states of their tokens, pooled
    #[command(override_usage = "whit embed [OPTIONS] [MODEL] [TEXT]")]
    Embed(Box<Embed>),
    /// Show what a model file holds: header, configuration, tensors, errors, provenance
    Inspect(Inspect),
    /// Show what this machine is, how it is, and what a model can reach on it
    Doctor(Doctor),
    /// Measure how well a model predicts a text, and how far it is from a reference
    #[command(override_usage = "whit eval [OPTIONS] [MODEL] <TEXT_FILE>")]
    Eval(Eval),
    /// Measure how fast a model runs here, beside what this machine can do at most
    Bench(Bench),
    /// Show where the time of a token and of a prompt goes, by op and layer
    Trace(Trace),
    /// Count the memory of a run before anything is allocated, and say what fits here
    Plan(Plan),
    /// Walk from a text to its next token, step by step, with the real numbers of each
    #[command(override_usage = "whit explain [OPTIONS] [MODEL] [TEXT]")]
    Explain(Box<views::Explain>),
    /// Cut a text into its tokens
    #[command(override_usage = "whit tokens [OPTIONS] [MODEL] [TEXT]")]
    Tokens(views::Tokens),
    /// Show the distribution of the next token, and what temperature does to it
    #[command(override_usage = "whit next [OPTIONS] [MODEL] [TEXT]")]
    Next(views::Next),
    /// Show which earlier tokens each head looks at
    #[command(override_usage = "whit attend [OPTIONS] [MODEL] [TEXT]")]
    Attend(views::Attend),
    /// Show what each layer would say if it were the last
    #[command(override_usage = "whit lens [OPTIONS] [MODEL] [TEXT]")]
    Lens(views::Lens),
    /// Colour a text by how much each token surprises the model, or by where two models differ
    #[command(override_usage = "whit score [OPTIONS] [MODEL] <TEXT_FILE>")]
    Score(views::Surprise),
    /// Show words near a word, do arithmetic with words, measure words along a direction
    #[command(override_usage = "whit words [OPTIONS] [MODEL] [WORDS]...")]
    Words(views::Words),
    /// Count the parameters by what they are for
    Tally(views::Tally),
    /// Check every byte of a model file against its checksums
    Verify(Verify),
    /// Write the text of a receipt again, and compare its tokens and the bits of its logits
    #[command(override_usage = "whit verify-receipt [OPTIONS] [MODEL] <RECEIPT>")]
    VerifyReceipt(VerifyReceipt),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the man pages into a folder
    #[command(hide = true)]
    Man(Man),
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

    #[test]
    fn both_spellings_of_16_bit_floats_are_taken() {
        for name in ["f16", "fp16"] {
            let cli = Cli::try_parse_from(["whit", "plan", "--kv", name]).expect("a known precision");
            assert!(matches!(cli.command, Command::Plan(Plan { compute: ComputeArgs { kv: Kv::F16, .. }, .. })));
        }
    }
}
