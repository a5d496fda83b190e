//! Arguments of `whit serve`.

use super::groups::{ComputeArgs, ContextArg, ProgressArg};
use super::sampling::Sampling;
use super::values::{celsius, seconds, size, template_argument, tokens};
use crate::requests::Keep;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueHint};
use std::path::PathBuf;
use whit::chat::Argument;

/// Arguments of `whit serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Model file, which may also stand alone; may be given several times. Clients name a model by its file's name without .whit,
    /// and the first is that of clients that name none; without it the embedded story model
    #[arg(short, long = "model", value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub(crate) model: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Address to serve at; one that other machines can reach needs --api-key-file, --api-key or --no-auth
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to serve at; 0: one that is free, which is printed
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Texts that are written at a time, 1 to 256, if memory holds so many; changes no answer
    #[arg(long, value_name = "N", default_value_t = 4, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel: u16,
    /// Texts that wait for a place, 0 to 4096; more are answered that the server is busy
    #[arg(long, value_name = "N", default_value_t = 32, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=4096))]
    pub(crate) queue: u16,
    /// Tokens of prompts that are computed between two tokens of the other texts, 1 to 4096; changes no answer
    #[arg(long, value_name = "N", default_value_t = 64, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) slice: u16,
    /// Time for answers that are under way when the server is asked to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) drain: f64,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Log each request as a line of JSON, without what is asked and answered, at the end of FILE; - is standard error
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log: Option<PathBuf>,
    /// Log also what is asked and answered
    #[arg(long, requires = "log")]
    pub(crate) log_text: bool,
    /// Most tokens of an answer where the request says nothing; -1: until it or the context ends
    #[arg(short, long = "tokens", value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    #[arg(value_parser = tokens())]
    pub(crate) n_tokens: i64,
    #[command(flatten)]
    pub(crate) context: ContextArg,
    /// How tokens are chosen where the request says nothing; the seed is then 0, or the one of -s
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Stop an answer at this text, besides those of the request; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    /// Chat template to use instead of the models' own, in the Jinja language
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) chat_template: Option<PathBuf>,
    /// Value that the template is given by a name of its own, as enable_thinking=false; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = template_argument)]
    pub(crate) template_arg: Vec<(String, Argument)>,
    #[command(flatten)]
    pub(crate) cache: ServerCache,
    #[command(flatten)]
    pub(crate) manners: Manners,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArg,
}

/// What is left to others on the machine.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Manners")]
pub(crate) struct Manners {
    /// Pause between passes while the hottest sensor is above this temperature, 20 to 120
    #[arg(long, value_name = "CELSIUS", allow_negative_numbers = true, value_parser = celsius)]
    pub(crate) max_temp: Option<f64>,
    /// Let other programs come first: 0 as ever to 19 last; below 0, to -20, before others, which needs a right
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub(crate) nice: Option<i32>,
    /// Be taken by the scheduler for work that nobody waits for (SCHED_BATCH)
    #[arg(long)]
    pub(crate) batch_scheduling: bool,
}

/// Models of a folder.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct FolderArgs {
    /// Folder of model files, each of which is loaded when somebody asks for it by its name without .whit; SIGHUP has the folder
    /// be read again
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) models: Option<PathBuf>,
    /// How long a model of the folder stays in memory after its last use, as 5m, 1h30m or 90 (seconds); 0: not at all; -1 or
    /// forever: until its memory is needed
    #[arg(long, value_name = "DURATION", requires = "models", default_value = "5m", allow_hyphen_values = true)]
    #[arg(value_parser = Keep::of_text)]
    pub(crate) keep_alive: Keep,
}

/// Who may ask.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct Access {
    /// Key that requests have to bring; other users of this machine can see it, a file is safer
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) api_key: Vec<String>,
    /// Keys of which requests have to bring one, each a line of FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Let everybody ask who reaches the address
    #[arg(long, conflicts_with_all = ["api_key", "api_key_file"])]
    pub(crate) no_auth: bool,
    /// Let pages of this origin ask, as http://localhost:3000; * is any; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) cors: Vec<String>,
    /// Name of this server besides its addresses and names of this network; may be given several times
    #[arg(long = "name", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) names: Vec<String>,
}

/// What is kept of texts on disk.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct ServerCache {
    /// Keep beginnings of texts in this folder, prompts included, so that texts go on from there after a restart
    /// [default: WHIT_CACHE, else whit in the user's folder of caches]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) cache: Option<PathBuf>,
    /// Keep nothing of texts on disk
    #[arg(long, conflicts_with = "cache")]
    pub(crate) no_cache: bool,
    /// Size of that folder, from which what was not used for the longest time is removed
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1G")]
    pub(crate) cache_size: u64,
}
