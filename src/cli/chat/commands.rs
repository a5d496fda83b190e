//! What is typed in a conversation: something to say, or a command.

use std::path::PathBuf;

/// The commands, with what `/help` says of them.
pub(super) const HELP: &str = "\
/system TEXT   give the system prompt and begin anew; without TEXT, take it away
/reset         begin anew, with the same system prompt
/undo          take the last question and its reply back
/regenerate    reply again to the last question
/save FILE     save the conversation
/load FILE     go on with a saved one
/temp T        set the temperature; 0 takes the most probable token
/stats         print times and memory of the last reply
/quit          end; so does Ctrl-D

A line that ends in \\ goes on in the next one; // begins one that says something with
a slash. Ctrl-C stops a reply.
";

/// A line, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Input {
    Nothing,
    Say(String),
    Help,
    System(Option<String>),
    Reset,
    Undo,
    Regenerate,
    Save(PathBuf),
    Load(PathBuf),
    Temperature(f32),
    Stats,
    Quit,
    /// What is wrong with it.
    Wrong(String),
}

impl Input {
    /// A line in which nothing is a command.
    pub(super) fn said(line: &str) -> Input {
        if line.trim().is_empty() { Input::Nothing } else { Input::Say(line.into()) }
    }

    /// A line that may be a command.
    pub(super) fn of(line: &str) -> Input {
        let Some(command) = line.trim_start().strip_prefix('/') else { return Input::said(line) };
        if command.starts_with('/') {
            return Input::Say(command.into());
        }
        let (name, rest) = command.trim_end().split_once(char::is_whitespace).unwrap_or((command.trim_end(), ""));
        let rest = rest.trim();
        let text = (!rest.is_empty()).then(|| rest.to_owned());
        match (name, text) {
            ("help" | "?", None) => Input::Help,
            ("system", text) => Input::System(text),
            ("reset", None) => Input::Reset,
            ("undo", None) => Input::Undo,
            ("regenerate", None) => Input::Regenerate,
            ("save", Some(path)) => Input::Save(path.into()),
            ("load", Some(path)) => Input::Load(path.into()),
            ("temp", Some(text)) => match text.parse::<f32>() {
                Ok(value) if value >= 0.0 && value.is_finite() => Input::Temperature(value),
                _ => Input::Wrong(format!("a temperature is 0 or more, not {text:?}")),
            },
            ("stats", None) => Input::Stats,
            ("quit" | "exit" | "bye", None) => Input::Quit,
            ("save" | "load", None) => Input::Wrong(format!("/{name} needs the name of a file")),
            ("temp", None) => Input::Wrong("/temp needs a number".into()),
            ("help" | "?" | "reset" | "undo" | "regenerate" | "stats" | "quit" | "exit" | "bye", Some(_)) => {
                Input::Wrong(format!("/{name} stands alone"))
            }
            _ => Input::Wrong(format!("there is no command /{}; /help lists them", whit::error::printable(name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_said_or_done() {
        let say = |text: &str| Input::Say(text.into());
        let cases = [
            ("", Input::Nothing),
            ("  \t", Input::Nothing),
            ("hi /help", say("hi /help")),
            (" indented", say(" indented")),
            ("//etc/passwd", say("/etc/passwd")),
            ("/help", Input::Help),
            (" /help ", Input::Help),
            ("/system Be brief.", Input::System(Some("Be brief.".into()))),
            ("/system", Input::System(None)),
            ("/save a file", Input::Save("a file".into())),
            ("/temp 0.5", Input::Temperature(0.5)),
            ("/quit", Input::Quit),
        ];
        for (line, input) in cases {
            assert_eq!(Input::of(line), input, "{line:?}");
        }
        for line in ["/quit", " /save a file", "//etc/passwd", "hi"] {
            assert_eq!(Input::said(line), say(line));
        }
        assert_eq!(Input::said(" "), Input::Nothing);
        for wrong in ["/", "/nosuch", "/undo 2", "/temp", "/temp -1", "/temp nan", "/temp inf", "/save", "/\u{1b}[2J"] {
            assert!(matches!(Input::of(wrong), Input::Wrong(_)), "{wrong:?}");
        }
    }
}
