//! How a program ends over an error: the line that it prints and its exit code. For programs; nothing else in the
//! library names exit codes or flags, or writes JSON.

use crate::error::{Error, Kind, Remedy, push_escaped};
use core::fmt::Write;

/// The exit code of a class of errors (BSD `sysexits.h`).
pub fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Usage => 64,
        Kind::Data => 65,
        Kind::NoInput => 66,
        Kind::Unavailable => 69,
        Kind::Resources => 71,
        Kind::Create => 73,
        Kind::Io => 74,
        Kind::Interrupted => 130,
    }
}

/// The exit code of a program that ends because a signal asked it to, as a shell gives it.
pub fn exit_code_of_signal(signal: u8) -> u8 {
    128 + signal
}

/// The error with its remedy, if it names one, as the flags of the two programs.
pub fn with_flags(error: &Error) -> Error {
    error.clone().in_words(|remedy| match remedy {
        Remedy::LongerContext => "--ctx sets the context length",
        Remedy::ShorterContext => "a smaller --ctx needs less",
        Remedy::F16Cache => "--kv f16",
        Remedy::Replace => "--force replaces it",
    })
}

/// The line of an error: `error[KIND]: ` and what `Display` gives, or a JSON object of the same parts.
pub fn line(error: &Error, as_json: bool) -> String {
    let error = with_flags(error);
    let kind = error.kind();
    if !as_json {
        return format!("error[{}]: {error}", kind.name());
    }
    let text = |text: Option<&str>| text.map_or("null".into(), json_string);
    format!(
        r#"{{"error":{{"kind":"{}","exit_code":{},"file":{},"field":{},"offset":{},"message":{},"hint":{}}}}}"#,
        kind.name(),
        exit_code(kind),
        text(error.named_file()),
        text(error.named_field()),
        error.offset().map_or("null".into(), |offset| offset.to_string()),
        json_string(error.message()),
        text(error.named_hint().as_deref())
    )
}

/// [`line()`] for a program that may be in the middle of a line of text on the terminal that it writes to.
pub fn line_amid_text(error: &Error, as_json: bool, at_terminal: bool) -> String {
    let start = if at_terminal && !as_json { "\n" } else { "" };
    format!("{start}{}", line(error, as_json))
}

/// What a parser of arguments says in paragraphs with the usage below them, as an error of one line.
pub fn of_arguments(said: &str) -> Error {
    let lines = said.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let mut message = String::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")) {
        message.push_str(match line {
            _ if message.is_empty() => "",
            _ if line.starts_with("tip: ") => "; ",
            _ => " ",
        });
        line.chars().for_each(|c| push_escaped(&mut message, c));
    }
    Error::usage(message.strip_prefix("error: ").unwrap_or(&message))
}

/// `text` as a JSON string, quotes included.
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                // Every control character is in the basic plane: one \u escape.
                let _ = write!(&mut out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_line_or_an_object() {
        let error = Error::data("wrong").field("q\"").at(31).in_file("m.whit").hint("copy it");
        assert_eq!(line(&error, false), "error[data]: m.whit: q\" at byte 0x1f: wrong (copy it)");
        let object = r#"{"error":{"kind":"data","exit_code":65,"file":"m.whit","field":"q\"","offset":31,"message":"wrong","hint":"copy it"}}"#;
        assert_eq!(line(&error, true), object);
        let object = r#"{"error":{"kind":"io","exit_code":74,"file":null,"field":null,"offset":null,"message":"x","hint":null}}"#;
        assert_eq!(line(&Error::new(Kind::Io, "x"), true), object);
    }

    #[test]
    fn a_remedy_is_said_in_flags() {
        let error = Error::new(Kind::Create, "the file exists").remedy(Remedy::Replace);
        assert_eq!(error.to_string(), "the file exists (it is replaced only where that is asked for)");
        assert_eq!(line(&error, false), "error[create]: the file exists (--force replaces it)");
        assert!(line(&error, true).ends_with(r#""hint":"--force replaces it"}}"#));
    }

    #[test]
    fn what_a_parser_says_is_one_line() {
        let said =
            "error: unexpected argument 'b\u{1b}' found\n\n  tip: use '--'\n\nUsage: whit\n\nFor more information";
        assert_eq!(of_arguments(said).to_string(), "unexpected argument 'b\\u{1b}' found; tip: use '--'");
    }
}
