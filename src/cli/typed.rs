//! Arguments as people type them: a model file that stands alone is the model, and without a command it is run.

use super::args::Cli;
use clap::{Arg, ArgAction, Command, CommandFactory};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::Path;
use whit::format::{MAGIC, recognise};

/// How much of a file says what it is.
const BEGINNING_BYTES: u64 = 512;

/// `typed`, the program's name first, in the form that is parsed: the first argument of a command that is no option and no value
/// of one, if it names a model file and no option does, becomes `-m FILE`; a model file without a command, alone or after `-m`, goes to `whit run`.
/// What stands after `--` is left as it is.
pub(super) fn arguments(mut typed: Vec<OsString>) -> Vec<OsString> {
    if typed.get(1).is_some_and(|first| names_model(first) || is_model_option(first)) {
        typed.insert(1, "run".into());
    }
    let cli = Cli::command();
    let command = typed.get(1).and_then(|name| cli.find_subcommand(name));
    let Some(command) = command.filter(|command| command.get_arguments().any(|arg| arg.get_id() == "model")) else {
        return typed;
    };
    if let Some(at) = first_free(command, &typed[2..]).map(|at| at + 2).filter(|at| names_model(&typed[*at])) {
        typed.insert(at, "-m".into());
    }
    typed
}

/// The name of the command that `typed` begins with, if there is one.
pub(super) fn command(typed: &[OsString]) -> Option<String> {
    Cli::command().find_subcommand(typed.get(1)?).map(|command| command.get_name().to_owned())
}

fn is_model_option(argument: &OsStr) -> bool {
    let text = argument.to_string_lossy();
    text == "--model" || text.starts_with("--model=") || text.starts_with("-m")
}

/// Whether `argument` is the name of a model file: one that is there and begins as one, ours or another program's, or a word that
/// ends in `.whit`, of which an error then says that it is missing.
fn names_model(argument: &OsStr) -> bool {
    let path = Path::new(argument);
    let is_word = !argument.to_string_lossy().contains(char::is_whitespace);
    if path.extension().is_some_and(|extension| extension == "whit") && (is_word || path.exists()) {
        return true;
    }
    // Opening a pipe waits for whoever writes to it.
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file).and_then(|_| fs::File::open(path).ok());
    let mut bytes = Vec::new();
    let read = file.map(|file| file.take(BEGINNING_BYTES).read_to_end(&mut bytes));
    let is_text = !bytes.contains(&0);
    matches!(read, Some(Ok(_))) && (bytes.starts_with(&MAGIC) || !is_text && recognise(&bytes).is_some())
}

/// Where the first of `arguments` stands that is neither an option of `command` nor the value of one; `None` where an option names
/// the model.
fn first_free(command: &Command, arguments: &[OsString]) -> Option<usize> {
    let (mut at, mut first) = (0, None);
    while let Some(argument) = arguments.get(at) {
        let text = argument.to_string_lossy();
        at += 1;
        match text.strip_prefix('-') {
            None | Some("") => first = first.or(Some(at - 1)),
            Some("-") => break,
            Some(option) => {
                let (arg, is_open) = taking(command, option).unzip();
                if arg.is_some_and(|arg| arg.get_id() == "model") {
                    return None;
                }
                if let Some(arg) = arg.filter(|_| is_open == Some(true)) {
                    let n_most = arg.get_num_args().map_or(1, |n| n.max_values());
                    at += arguments[at..].iter().take(n_most).take_while(|value| is_value(arg, value)).count();
                }
            }
        }
    }
    first
}

/// Whether an argument after the option `arg` is its value: a negative number is one, another option is not.
fn is_value(arg: &Arg, argument: &OsStr) -> bool {
    let text = argument.to_string_lossy();
    if arg.is_allow_hyphen_values_set() {
        return true;
    }
    text.strip_prefix('-')
        .is_none_or(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') || rest.is_empty())
}

/// The option with a value in the argument that reads `-` and `option`, and whether that value is the next argument.
fn taking<'c>(command: &'c Command, option: &str) -> Option<(&'c Arg, bool)> {
    let takes_value = |arg: &&Arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let arguments = || command.get_arguments().filter(|arg| !arg.is_positional());
    if let Some(long) = option.strip_prefix('-') {
        let (name, has_value) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
        return Some((arguments().filter(takes_value).find(|arg| arg.get_long() == Some(name))?, !has_value));
    }
    // Of letters together, the first that takes a value has the rest of them as its own.
    let named = |letter| arguments().filter(takes_value).find(|arg| arg.get_short() == Some(letter));
    let (place, arg) = option.char_indices().find_map(|(place, letter)| Some((place, named(letter)?)))?;
    Some((arg, option[place..].chars().count() == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> String {
        let typed = std::iter::once("whit").chain(line.split_whitespace()).map(OsString::from).collect();
        let words: Vec<_> = arguments(typed).iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn a_model_file_that_stands_alone_is_the_model() {
        for (typed, meant) in [
            ("m.whit", "run -m m.whit"),
            ("m.whit hello -n 5", "run -m m.whit hello -n 5"),
            ("-m m.whit hello", "run -m m.whit hello"),
            ("run m.whit", "run -m m.whit"),
            ("chat --temp 0 m.whit hello", "chat --temp 0 -m m.whit hello"),
            ("chat --temp=0 -qn -1 m.whit", "chat --temp=0 -qn -1 -m m.whit"),
            ("chat -n5 m.whit", "chat -n5 -m m.whit"),
            ("generate --logit-bias 5=-inf m.whit", "generate --logit-bias 5=-inf -m m.whit"),
            ("score m.whit text.txt", "score -m m.whit text.txt"),
            ("words --direction a:b c:d --along e f -m m.whit", "words --direction a:b c:d --along e f -m m.whit"),
            ("inspect m.whit --json", "inspect -m m.whit --json"),
            ("generate -p -m m.whit", "generate -p -m -m m.whit"),
        ] {
            assert_eq!(parsed(typed), meant);
        }
    }

    #[test]
    fn what_is_no_model_stays_what_it_is() {
        for typed in [
            "",
            "--help",
            "m",
            "generate a.txt m.whit",
            "generate -- m.whit",
            "generate -f m.whit",
            "generate -p m.whit",
            "generate --session m.whit hello",
            "eval text.txt --against m.whit",
            "completions m.whit",
            "nosuch m.whit",
            "chat -",
            "eval m.whit -m n.whit",
            "eval m.whit --model=n.whit",
            "eval m.whit -qmn.whit",
        ] {
            assert_eq!(parsed(typed), typed);
        }
    }
}
