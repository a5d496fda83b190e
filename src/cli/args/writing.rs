//! Arguments of the commands that write text.

use super::constraints::{Calling, Constraints};
use super::groups::{ComputeArgs, ContextArg, GuessArg, ModelArg, RawArg, TextArg};
use super::sampling::Sampling;
use super::values::{count, size, template_argument, tokens};
use super::views;
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;
use whit::chat::Argument;

/// Tokens that are generated where nobody says how many.
const N_TOKENS: i64 = 256;

/// Arguments of `whit generate`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Generate {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    #[command(flatten)]
    pub(crate) text: TextArg,
    /// Tokens to generate; -1: until the text or the context ends
    #[arg(short, long = "tokens", value_name = "N", default_value_t = N_TOKENS, allow_negative_numbers = true)]
    #[arg(value_parser = tokens())]
    pub(crate) n_tokens: i64,
    /// Context length in tokens, 1 to 1048576; without it what prompt and -n need
    #[arg(short, long = "ctx", value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = count(1))]
    pub(crate) ctx: Option<u32>,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) constraints: Constraints,
    /// Stop at this text, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    /// Stop at the token of this name, besides the model's own end tokens; may be given several times
    #[arg(long, value_name = "TOKEN")]
    pub(crate) end: Vec<String>,
    #[command(flatten)]
    pub(crate) keeping: Keeping,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) guess: GuessArg,
    /// Read special tokens in the prompt as such, not as text
    #[arg(long)]
    pub(crate) special: bool,
    /// Do not repeat the prompt before its continuation
    #[arg(long)]
    pub(crate) no_echo: bool,
    #[command(flatten)]
    pub(crate) raw: RawArg,
    /// Show how each token is chosen: its distribution through the sampler chain, and the draw
    #[arg(long)]
    pub(crate) show: bool,
    /// Show, and choose tokens with the arrow keys: stories part and stay in a tree
    #[arg(short, long, conflicts_with_all = ["banned_string", "guess", "json", "html", "session", "quiet", "stop", "raw", "constraint"])]
    pub(crate) interactive: bool,
    /// Write the tree of stories to FILE, as JSON lines
    #[arg(long, value_name = "FILE", requires = "interactive", value_hint = ValueHint::FilePath)]
    pub(crate) tree: Option<PathBuf>,
    /// Tokens of a distribution that are shown [default: 20]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) top: Option<u16>,
    #[command(flatten)]
    pub(crate) display: views::Display,
    /// Write a receipt of the text to FILE, by which whit verify-receipt can write it again on any machine
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["interactive", "show", "banned_string"])]
    pub(crate) receipt: Option<PathBuf>,
    /// Print no statistics
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print the plan before the start
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// What is kept of a text, and what a full context means.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Long texts")]
pub(crate) struct Keeping {
    /// Go on with the text saved in FILE, if there is one, and save it there: a conversation after every turn, a text at its end
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
    #[arg(value_parser = count(0))]
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
#[derive(Debug, Clone, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) model: ModelArg,
    #[command(flatten)]
    pub(crate) text: TextArg,
    /// System prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Chat template to use instead of the model's own, in the Jinja language
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) chat_template: Option<PathBuf>,
    /// Value that the template is given by a name of its own, as enable_thinking=false; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = template_argument)]
    pub(crate) template_arg: Vec<(String, Argument)>,
    /// Most tokens of a reply; -1: until it or the context ends [default: -1]
    #[arg(short, long = "tokens", value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = tokens())]
    pub(crate) n_tokens: Option<i64>,
    #[command(flatten)]
    pub(crate) context: ContextArg,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) constraints: Constraints,
    #[command(flatten)]
    pub(crate) calling: Calling,
    /// Stop a reply at this text, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    /// Stop a reply at the token of this name, besides the model's own end tokens; may be given several times
    #[arg(long, value_name = "TOKEN")]
    pub(crate) end: Vec<String>,
    #[command(flatten)]
    pub(crate) keeping: Keeping,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) guess: GuessArg,
    #[command(flatten)]
    pub(crate) raw: RawArg,
    /// Take lines that begin with / as commands where they do not come from a terminal, too
    #[arg(long)]
    pub(crate) commands: bool,
    /// Print replies and nothing else
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print times after each reply
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

impl Chat {
    /// The same for a model without a chat template, whose text is continued; `None` where something is asked for that only
    /// such a template can give.
    pub(crate) fn as_generate(&self) -> Option<Generate> {
        let talks = self.system.is_some() || self.chat_template.is_some() || !self.template_arg.is_empty();
        let calls = self.calling.tools.is_some() || self.calling.think.is_some();
        if talks || calls || self.commands {
            return None;
        }
        let of = self.clone();
        Some(Generate {
            receipt: None,
            model: of.model,
            text: of.text,
            n_tokens: of.n_tokens.unwrap_or(N_TOKENS),
            ctx: of.context.ctx,
            sampling: of.sampling,
            constraints: of.constraints,
            stop: of.stop,
            end: of.end,
            keeping: of.keeping,
            compute: of.compute,
            guess: of.guess,
            special: false,
            no_echo: false,
            raw: of.raw,
            show: false,
            interactive: false,
            tree: None,
            top: None,
            display: views::Display::default(),
            quiet: of.quiet,
            verbose: of.verbose,
        })
    }
}
