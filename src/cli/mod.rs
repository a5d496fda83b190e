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
mod noise;
mod output;
mod plan;
mod progress;
mod run;
mod sampling;
mod screen;
mod setup;
mod streaming;
mod table;
mod trace;
mod typed;
mod verify;
mod views;
mod writing;

use args::{Cli, Command};
use clap::Parser;
use clap::error::ErrorKind;
use output::{End, Outcome, note};
use std::ffi::OsString;
use std::io::IsTerminal;
use whit::error::{Error, Kind};
use whit::failure;

/// Columns of the widest help.
const HELP_WIDTH: usize = 100;

/// Runs the command of the process's arguments and returns the exit code.
pub(crate) fn run() -> u8 {
    let typed = typed::arguments(std::env::args_os().collect());
    match Cli::try_parse_from(&typed) {
        Ok(cli) => exit_code(command(cli.command)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                let mut out = output::Output::new();
                let help = screen::folded(&error.render().to_string(), HELP_WIDTH);
                exit_code(out.write(&help).and_then(|()| out.flush()))
            }
            _ => exit_code(Err(usage(&error, &typed).into())),
        },
    }
}

fn command(command: Command) -> Outcome<()> {
    match command {
        Command::Generate(args) => generate::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Run(args) => run::run(&args),
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

/// The message of a parser's error about the arguments `typed`, with the help that says more.
fn usage(error: &clap::Error, typed: &[OsString]) -> Error {
    let of = typed::command(typed).map_or_else(String::new, |name| name + " ");
    failure::of_arguments(&error.render().to_string()).hint(format!("see whit {of}--help"))
}
