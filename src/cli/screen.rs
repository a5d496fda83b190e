//! How wide the screen is, and lines folded to it.

use console::{Term, measure_text_width, strip_ansi_codes};

/// The narrowest and the widest screen that is drawn for.
pub(crate) const WIDTHS: [usize; 2] = [40, 400];

/// The columns of what `term` writes to, as COLUMNS says, else as the terminal does; `None` where it is none.
pub(crate) fn columns(term: &Term) -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let own = || term.size_checked().map(|(_, columns)| columns.into());
    said.or_else(own).map(|columns: usize| columns.clamp(WIDTHS[0], WIDTHS[1]))
}

/// `text`, each of its lines folded to the columns of standard output, or to `most` if that is less.
pub(crate) fn folded(text: &str, most: usize) -> String {
    let width = columns(&Term::stdout()).unwrap_or(usize::MAX).min(most);
    text.lines().flat_map(|line| fold(line, width)).map(|line| line + "\n").collect()
}

/// `line` in lines of at most `width` columns, cut at spaces where there are any. What follows stands below the second column of a
/// line that has two, else as far to the right as the line begins. Colours go on from line to line.
pub(crate) fn fold(line: &str, width: usize) -> Vec<String> {
    if measure_text_width(line) <= width {
        return vec![line.to_owned()];
    }
    let indent = indent(&strip_ansi_codes(line), width);
    let mut fold = Fold { indent, width, ..Fold::default() };
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let n = if c == '\u{1b}' { escape_length(rest) } else { c.len_utf8() };
        let (part, after) = rest.split_at(n);
        rest = after;
        if c == '\u{1b}' { fold.colour(part) } else { fold.character(part) }
    }
    fold.lines.push(fold.row);
    fold.lines
}

/// Where what follows the first line of `line` begins.
fn indent(line: &str, width: usize) -> usize {
    let text = line.trim_start();
    let lead = line.len() - text.len();
    let second = text.find("  ").map(|at| {
        let gap = text[at..].len() - text[at..].trim_start().len();
        lead + measure_text_width(&text[..at]) + gap
    });
    let bullet = if text.starts_with("- ") { 2 } else { 0 };
    match second {
        Some(second) if second <= width / 2 => second,
        // A second column too far to the right: what goes on stands apart from what begins.
        Some(_) if lead + 6 <= width / 2 => lead + 6,
        _ if lead <= width / 2 => lead + bullet,
        _ => 0,
    }
}

/// Bytes of the escape sequence that `text` begins with.
fn escape_length(text: &str) -> usize {
    let end = text.char_indices().skip(2).find(|(_, c)| ('@'..='~').contains(c));
    end.map_or(text.len(), |(at, c)| at + c.len_utf8())
}

/// A line that is being folded.
#[derive(Default)]
struct Fold {
    indent: usize,
    width: usize,
    lines: Vec<String>,
    row: String,
    used: usize,
    /// The colour that is on, if one is.
    colour: String,
    /// The last space of the row after its first word: its place in the row, and the colour there.
    space: Option<(usize, String)>,
    has_word: bool,
}

impl Fold {
    fn colour(&mut self, code: &str) {
        self.row.push_str(code);
        self.colour = if code == "\u{1b}[0m" { String::new() } else { code.to_owned() };
    }

    fn character(&mut self, c: &str) {
        let columns = measure_text_width(c);
        if c == " " && self.used + columns > self.width {
            return self.end(self.row.len(), self.colour.clone());
        }
        while self.used + columns > self.width && self.used > self.indent {
            let (at, colour) = self.space.take().unwrap_or((self.row.len(), self.colour.clone()));
            self.end(at, colour);
        }
        if c == " " && self.has_word && self.used > self.indent {
            self.space = Some((self.row.len(), self.colour.clone()));
        } else if c == " " && !self.lines.is_empty() && self.used == self.indent {
            return;
        }
        self.has_word |= c != " ";
        self.row.push_str(c);
        self.used += columns;
    }

    /// Ends the row at byte `at`, where `colour` is on; what stood behind begins the next one.
    fn end(&mut self, at: usize, colour: String) {
        let behind = self.row.split_off(at);
        let behind = behind.trim_start();
        let end = if colour.is_empty() { "" } else { "\u{1b}[0m" };
        self.lines.push(std::mem::take(&mut self.row).trim_end().to_owned() + end);
        self.row = " ".repeat(self.indent) + &colour + behind;
        self.used = measure_text_width(&self.row);
        (self.space, self.has_word) = (None, !behind.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_below_its_text() {
        for (line, width, lines) in [
            ("one two three", 13, &["one two three"][..]),
            ("one two three", 9, &["one two", "three"]),
            ("  one two three", 9, &["  one two", "  three"]),
            ("name  one two three", 14, &["name  one two", "      three"]),
            ("a long name  one two", 12, &["a long name", "      one", "      two"]),
            ("- one two three", 9, &["- one two", "  three"]),
            ("abcdefghij", 4, &["abcd", "efgh", "ij"]),
            ("a    abcdefghijklmnop", 10, &["a    abcde", "     fghij", "     klmno", "     p"]),
            ("one two  ", 7, &["one two", ""]),
            ("日本語 日本", 6, &["日本語", "日本"]),
            ("\u{1b}[2mone two\u{1b}[0m three", 5, &["\u{1b}[2mone\u{1b}[0m", "\u{1b}[2mtwo\u{1b}[0m", "three"]),
        ] {
            assert_eq!(fold(line, width), lines, "{line:?}");
        }
        for width in 1..20 {
            for line in fold("some words  and a longword \u{1b}[1min colour\u{1b}[0m", width) {
                assert!(measure_text_width(&line) <= width.max(1), "{width}: {line:?}");
            }
        }
    }
}
