//! The command line: the only place that prints.

mod args;
mod batch;
mod bench;
mod bench_file;
mod chat;
mod complete;
mod constraint;
mod doctor;
mod doctor_page;
mod embed;
mod eval;
mod generate;
mod guessing;
mod input;
mod inspect;
mod json;
mod keeping;
mod noise;
mod output;
mod plan;
mod progress;
mod quality;
mod run;
mod sampling;
mod sandbox;
mod screen;
#[cfg(feature = "server")]
mod serve;
mod session_file;
mod setup;
mod streaming;
mod table;
mod trace;
mod typed;
mod verify;
mod verify_receipt;
mod views;
mod writing;

use args::{Cli, Command};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use output::{End, Outcome, note};
use std::ffi::OsString;
use std::io::IsTerminal;
use whit::error::{Error, Kind};
use whit::failure;

/// Columns of the widest help.
const HELP_WIDTH: usize = 100;

/// Runs the command of the process's arguments, after `prepare`, and returns the exit code.
pub(crate) fn run(prepare: impl FnOnce()) -> u8 {
    if whit::os::has_no_output() {
        let error = Error::new(Kind::Io, "it is closed, so nothing can be written").in_file("standard output");
        return exit_code(Err(error.hint("> /dev/null throws it away").into()));
    }
    let typed = typed::arguments(std::env::args_os().collect());
    let arguments = Cli::command().try_get_matches_from(&typed);
    match arguments.and_then(|arguments| Ok((Cli::from_arg_matches(&arguments)?, arguments))) {
        Ok((cli, arguments)) => {
            #[cfg(feature = "server")]
            let opened = match opened(&cli.command) {
                Ok(opened) => opened,
                Err(error) => return exit_code(Err(error.into())),
            };
            // Before the first thread, which would keep what the others give up.
            if !cli.no_sandbox {
                sandbox::confine(&cli.command, &arguments);
            }
            prepare();
            #[cfg(feature = "server")]
            if let (Command::Serve(args), Some(opened)) = (&cli.command, opened) {
                return exit_code(serve::run(args, opened));
            }
            exit_code(command(cli.command))
        }
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

/// What a server opens before the right to do so is given up.
#[cfg(feature = "server")]
fn opened(command: &Command) -> whit::Result<Option<serve::Opened>> {
    match command {
        Command::Serve(args) => serve::open(args).map(Some),
        _ => Ok(None),
    }
}

fn command(command: Command) -> Outcome<()> {
    match command {
        Command::Generate(args) => generate::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Batch(args) => batch::run(&args),
        // It is run with what was opened for it.
        #[cfg(feature = "server")]
        Command::Serve(_) => Ok(()),
        Command::Embed(args) => embed::run(&args),
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
        Command::VerifyReceipt(args) => verify_receipt::run(&args),
        Command::Completions(args) => complete::completions(&args),
        Command::Man(args) => complete::man(&args),
    }
}

/// The exit code where what was compared is not the same, as of cmp and diff.
const DIFFERS: u8 = 1;

fn exit_code(outcome: Outcome<()>) -> u8 {
    match outcome {
        Ok(()) | Err(End::BrokenPipe) => 0,
        Err(End::Interrupted) => failure::exit_code(Kind::Interrupted),
        Err(End::Differs) => DIFFERS,
        Err(End::Signal(signal)) => failure::exit_code_of_signal(signal),
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
