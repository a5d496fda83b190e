//! The command line: the only place that prints.

mod args;
mod bench;
mod bench_file;
mod chat;
mod complete;
mod doctor;
mod doctor_page;
mod eval;
mod generate;
mod input;
mod inspect;
mod json;
mod keeping;
mod output;
mod plan;
mod progress;
mod sampling;
mod streaming;
mod table;
mod trace;
mod verify;
mod views;
mod writing;

use args::{Cli, Command, ComputeArgs, ContextArg, Kv};
use clap::Parser;
use clap::error::ErrorKind;
use output::{End, Outcome, note};
use std::io::IsTerminal;
use std::sync::Arc;
use whit::compute::Compute;
use whit::error::{Error, Kind, Result};
use whit::generate::OPEN_CONTEXT;
use whit::model::{Model, SessionOptions};
use whit::ops::KvDtype;
use whit::os::interrupt;
use whit::{failure, kernels, os};

/// Tokens that prefill takes at a time; Ctrl-C is looked at in between.
const BATCH: usize = 64;

/// Runs the command of the process's arguments and returns the exit code.
pub(crate) fn run() -> u8 {
    match Cli::try_parse() {
        Ok(cli) => exit_code(command(cli.command)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                let mut out = output::Output::new();
                exit_code(out.write(&error.render().to_string()).and_then(|()| out.flush()))
            }
            _ => exit_code(Err(usage(&error).into())),
        },
    }
}

fn command(command: Command) -> Outcome<()> {
    match command {
        Command::Generate(args) => generate::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Tokens(args) => views::tokens::run(&args),
        Command::Next(args) => views::next::run(&args),
        Command::Attend(args) => views::attend::run(&args),
        Command::Lens(args) => views::lens::run(&args),
        Command::Score(args) => views::score::run(&args),
        Command::Explain(args) => views::explain::run(&args),
        Command::Words(args) => views::words::run(&args),
        Command::Tally(args) => views::tally::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Completions(args) => complete::completions(&args),
        Command::Man(args) => complete::man(&args),
    }
}

fn exit_code(outcome: Outcome<()>) -> u8 {
    match outcome {
        Ok(()) | Err(End::BrokenPipe) => 0,
        Err(End::Interrupted) => failure::exit_code(Kind::Interrupted),
        Err(End::Failed(error)) => {
            note(format_args!("{}", failure::line(&error, errors_are_json())));
            failure::exit_code(error.kind())
        }
    }
}

/// The line of an error that ends the program while it writes.
pub(crate) fn line_amid_text(error: &Error) -> String {
    failure::line_amid_text(error, errors_are_json(), std::io::stderr().is_terminal())
}

/// Whether JSON is asked for, as the arguments were typed: they may be what is wrong.
fn errors_are_json() -> bool {
    std::env::args_os().skip(1).any(|argument| argument == "--json")
}

/// The message of a parser's error.
fn usage(error: &clap::Error) -> Error {
    let error = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Error::usage("no command is given"),
        _ => failure::of_arguments(&error.render().to_string()),
    };
    error.hint("see whit --help")
}

/// Number of threads where none is asked for.
fn default_threads() -> usize {
    os::cpu::choose_threads().n_threads.min(whit::threads::MAX_THREADS)
}

/// The kernels and threads that the arguments ask for.
fn compute(args: &ComputeArgs) -> Result<Arc<Compute>> {
    let kernels = match &args.kernels {
        Some(name) => kernels::by_name(name)?,
        None => kernels::detect(),
    };
    let n = n_threads(args);
    let compute = if args.threads.is_some() { Compute::new(kernels, n) } else { up_to(kernels, n) };
    compute.map(Arc::new)
}

/// The number of threads that the arguments ask for.
fn n_threads(args: &ComputeArgs) -> usize {
    args.threads.map_or_else(|| default_threads().saturating_sub(args.leave_core.into()).max(1), usize::from)
}

/// The context that the arguments ask for, else the model's as far as [`OPEN_CONTEXT`] goes: it is the same on every machine.
fn context_length(args: &ContextArg, model: &Model) -> Result<usize> {
    let most = model.config().context_length;
    args.ctx.map_or(Ok(most.min(OPEN_CONTEXT)), |ctx| held_by(model, ctx as usize))
}

/// `context_length`, if the model was made for so many positions.
fn held_by(model: &Model, context_length: usize) -> Result<usize> {
    let most = model.config().context_length;
    if context_length <= most {
        return Ok(context_length);
    }
    let message = format!("{context_length} is above the {most} positions that this model was made for");
    Err(Error::usage(message).field("ctx"))
}

/// A session that writes one text.
fn session_options(context_length: usize, kv: Kv) -> SessionOptions {
    SessionOptions { context_length, kv: kv.into(), batch: BATCH, ..SessionOptions::default() }
}

/// `kernels` on `n` threads, or on fewer where the system is short of them: nobody asked for so many.
fn up_to(kernels: &'static kernels::Kernels, mut n: usize) -> Result<Compute> {
    loop {
        match Compute::new(kernels, n) {
            Err(error) if error.kind() == Kind::Resources && n > 1 => n /= 2,
            done => return done,
        }
    }
}

impl From<Kv> for KvDtype {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F16 => KvDtype::F16,
            Kv::Int8 => KvDtype::Int8,
            Kv::F32 => KvDtype::F32,
        }
    }
}
