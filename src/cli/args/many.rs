//! Arguments of the commands that take many texts.

use super::groups::{ComputeArgs, ContextArg, ModelArg, ProgressArg, TextArg};
use super::sampling::Sampling;
use super::values::{template_argument, tokens};
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;
use whit::chat::Argument;

/// Arguments of `whit embed`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Embed {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    #[command(flatten)]
    pub(crate) text: TextArg,
    /// Read many texts, each a line of JSON: a string, or an object with "text" or "input" and maybe an "id"; `-` is standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "prompt", "file"], value_hint = ValueHint::FilePath)]
    pub(crate) jsonl: Option<PathBuf>,
    /// How the states of a text's tokens become one vector
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Pool::Mean)]
    pub(crate) pooling: Pool,
    /// Leave vectors as long as they are; otherwise each is divided by its length
    #[arg(long)]
    pub(crate) no_normalize: bool,
    /// Read special tokens in a text as such, not as text
    #[arg(long)]
    pub(crate) special: bool,
    /// What is written [default: by the name that -o gives, .jsonl or .npy, else json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<VectorFormat>,
    /// Write to FILE, which appears whole or not at all, and not to standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace FILE if it is there
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
}

/// Arguments of `whit batch`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Batch {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Requests, each a line of JSON as OpenAI's batches have them: custom_id, method, url, body
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    /// Write the answers to FILE, a line each, in the order of the requests; what is there already is not computed again
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// Answer the I-th of N parts of the requests, as 2/4: every N-th
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub(crate) shard: Option<Shard>,
    /// Texts that are written at a time, 1 to 1024, if memory holds so many; changes no answer
    #[arg(long, value_name = "N", default_value_t = 16, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: u16,
    /// Most tokens of an answer where the request says nothing; -1: until it or the context ends
    #[arg(short, long = "tokens", value_name = "N", default_value_t = 256, allow_negative_numbers = true)]
    #[arg(value_parser = tokens())]
    pub(crate) n_tokens: i64,
    #[command(flatten)]
    pub(crate) context: ContextArg,
    /// How tokens are chosen where the request says nothing; the seed is then 0, or the one of -s
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Stop an answer at this text, besides those of the request; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    /// Chat template to use instead of the model's own, in the Jinja language
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) chat_template: Option<PathBuf>,
    /// Value that the template is given by a name of its own, as enable_thinking=false; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = template_argument)]
    pub(crate) template_arg: Vec<(String, Argument)>,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
}

/// A part of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Which, from 0 on.
    pub(crate) index: usize,
    /// Of how many.
    pub(crate) of: usize,
}

fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse::<usize>().ok()?, n.parse().ok()?)));
    match numbers {
        Some((i, of)) if (1..=of).contains(&i) => Ok(Shard { index: i - 1, of }),
        _ => Err("expected I/N with I from 1 to N, such as 2/4".into()),
    }
}

/// How states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pool {
    /// The mean over all tokens
    Mean,
    /// The last token's
    Last,
    /// The first token's
    #[value(alias = "first")]
    Cls,
}

/// In which form vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VectorFormat {
    /// One JSON object
    Json,
    /// A line of JSON for each text
    Jsonl,
    /// NumPy's array file, (texts, elements) of f32; needs -o
    Npy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_one_of_several() {
        assert_eq!(shard("1/1"), Ok(Shard { index: 0, of: 1 }));
        assert_eq!(shard("3/4"), Ok(Shard { index: 2, of: 4 }));
        for wrong in ["", "1", "0/4", "5/4", "1/0", "-1/4", "1/4/5", "a/b"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
