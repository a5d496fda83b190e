//! One error type: what went wrong, where (file, field, byte offset) and what to do about it.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

/// The class of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line or an argument of the API is wrong.
    Usage,
    /// The content of a file or text is wrong.
    Data,
    /// An input does not exist or cannot be opened.
    NoInput,
    /// This CPU lacks what was asked for.
    Unavailable,
    /// Memory, threads or another resource is missing.
    Resources,
    /// An output cannot be created.
    Create,
    /// Reading or writing failed.
    Io,
    /// The user interrupted the work.
    Interrupted,
}

impl Kind {
    /// The stable name of this class, as printed in `error[NAME]`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Data => "data",
            Kind::NoInput => "no-input",
            Kind::Unavailable => "unavailable",
            Kind::Resources => "resources",
            Kind::Create => "create",
            Kind::Io => "io",
            Kind::Interrupted => "interrupted",
        }
    }
}

/// What helps where it is an option of the library: each program has words of its own for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// A context that is long enough.
    LongerContext,
    /// A context that needs less memory.
    ShorterContext,
    /// A KV cache of 16-bit floats.
    F16Cache,
    /// To say that an existing file may be replaced.
    Replace,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::LongerContext => "a longer context holds more",
            Remedy::ShorterContext => "a shorter context needs less",
            Remedy::F16Cache => "use a KV cache of f16",
            Remedy::Replace => "it is replaced only where that is asked for",
        })
    }
}

#[derive(Clone, PartialEq)]
enum Hint {
    Words(String),
    Remedy(Remedy),
}

/// An error with its place. `Display` gives one line: `FILE: FIELD at byte 0x1f: MESSAGE (HINT)`. `Debug` gives the same, because a
/// program whose `main` returns an error prints that.
#[derive(Clone, PartialEq)]
pub struct Error(Box<Detail>);

#[derive(Clone, PartialEq)]
struct Detail {
    kind: Kind,
    file: Option<String>,
    field: Option<String>,
    offset: Option<u64>,
    message: String,
    hint: Option<Hint>,
}

/// The result of everything in whit that can fail.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// An error of class `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Detail { kind, file: None, field: None, offset: None, message: message.into(), hint: None }))
    }

    /// Wrong content: [`Kind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// A wrong argument: [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Names the file, unless a deeper layer already did.
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.0.file.get_or_insert(file.into());
        self
    }

    /// Names the field (section, tensor, key), unless a deeper layer already did.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field.get_or_insert(field.into());
        self
    }

    /// Names the byte offset in the file, unless a deeper layer already did.
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Says what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert(Hint::Words(hint.into()));
        self
    }

    /// Names the option of the library that helps.
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.0.hint.get_or_insert(Hint::Remedy(remedy));
        self
    }

    /// This error with its remedy, if it names one, in the words of a program.
    pub fn in_words(mut self, words: impl FnOnce(Remedy) -> &'static str) -> Self {
        if let Some(Hint::Remedy(remedy)) = self.0.hint {
            self.0.hint = Some(Hint::Words(words(remedy).into()));
        }
        self
    }

    /// The class of this error.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The file this error names.
    pub fn named_file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// The field this error names.
    pub fn named_field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What is wrong, without its place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The byte offset this error names.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// What to do about it.
    pub fn named_hint(&self) -> Option<String> {
        self.0.hint.as_ref().map(Hint::to_string)
    }

    /// Whether this error says where: by a field, a byte offset or both.
    pub fn has_place(&self) -> bool {
        self.0.field.is_some() || self.0.offset.is_some()
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Words(words) => f.write_str(words),
            Hint::Remedy(remedy) => remedy.fmt(f),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detail { file, field, offset, message, hint, .. } = &*self.0;
        if let Some(file) = file {
            write!(f, "{}: ", shown_path(file))?;
        }
        match (field, offset) {
            (Some(field), Some(offset)) => write!(f, "{} at byte {offset:#x}: ", printable(field))?,
            (Some(field), None) => write!(f, "{}: ", printable(field))?,
            (None, Some(offset)) => write!(f, "byte {offset:#x}: ")?,
            (None, None) => {}
        }
        write!(f, "{message}")?;
        match hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Error {}

/// Control characters, line separators and direction marks and overrides: what moves the cursor where it is shown.
pub fn moves_cursor(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
}

/// Appends `c`, escaped where it moves the cursor.
pub(crate) fn push_escaped(out: &mut String, c: char) {
    if moves_cursor(c) {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

/// Bytes of a foreign name that are shown.
const SHOWN: usize = 120;

/// `text` with all that moves the cursor escaped, cut to 120 bytes: foreign names are shown through this and can neither
/// break a line nor fill the screen.
pub fn printable(text: &str) -> String {
    escaped(text, SHOWN)
}

/// `text` with all that moves the cursor escaped, cut to about `most` bytes.
pub fn escaped(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= most {
            out.push('…');
            break;
        }
        push_escaped(&mut out, c);
    }
    out
}

/// A path as [`printable`] shows names, but cut to its end, where the name of the file is.
fn shown_path(path: &str) -> String {
    let mut out = String::new();
    path.chars().for_each(|c| push_escaped(&mut out, c));
    if out.len() > SHOWN {
        let start = (out.len() - SHOWN..).find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out.replace_range(..start, "…");
    }
    out
}

/// The first of `problems` as one text of about 1,000 bytes, and how many more there are.
pub fn listed(problems: &[String]) -> String {
    const SHOWN: usize = 1000;
    let mut out = String::new();
    for (i, problem) in problems.iter().enumerate() {
        if out.len() >= SHOWN {
            return format!("{out}; and {} more", problems.len() - i);
        }
        if i > 0 {
            out.push_str("; ");
        }
        out.push_str(problem);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_one_line_with_its_place() {
        let error =
            Error::data("ends past the end").field("tensor \"q\"").at(31).in_file("m.whit").hint("copy it again");
        assert_eq!(error.to_string(), "m.whit: tensor \"q\" at byte 0x1f: ends past the end (copy it again)");
        assert_eq!(format!("{error:?}"), error.to_string());
    }

    #[test]
    fn the_deepest_place_wins() {
        assert_eq!(Error::data("x").at(1).at(2).offset(), Some(1));
        assert!(Error::data("x").field("y").has_place() && !Error::data("x").in_file("y").has_place());
    }

    #[test]
    fn foreign_names_are_escaped_and_cut() {
        assert_eq!(printable("a\x1b[2J\n\u{202e}"), "a\\u{1b}[2J\\n\\u{202e}");
        assert_eq!(printable("a\u{2028}b\u{2029}"), "a\\u{2028}b\\u{2029}");
        assert!(printable(&"x".repeat(1000)).len() < 130);
    }

    #[test]
    fn long_paths_keep_the_name_of_the_file() {
        let path = format!("/{}m\n.whit", "é/".repeat(500));
        let shown = Error::data("x").in_file(path).to_string();
        assert!(shown.starts_with('…') && shown.ends_with("/m\\n.whit: x") && shown.len() < 130, "{shown}");
        assert_eq!(shown_path("/models/m.whit"), "/models/m.whit");
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(&["a".into(), "b".into()]), "a; b");
        let problems: Vec<String> = (0..10_000).map(|i| format!("tensor {i} is missing")).collect();
        let text = listed(&problems);
        assert!(text.len() < 1100 && text.starts_with("tensor 0 is missing; tensor 1 "), "{text}");
        let shown = text.matches("is missing").count();
        assert!(text.ends_with(&format!("; and {} more", 10_000 - shown)), "{text}");
    }
}
