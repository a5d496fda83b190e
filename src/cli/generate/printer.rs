//! The text as it comes, on standard output: plain, or as JSON lines.

use super::report::Report;
use crate::cli::args::Generate;
use crate::cli::json::{self, Object};
use crate::cli::output::{Outcome, Output};
use crate::cli::views::Show;
use crate::cli::writing::Written;
use whit::TokenId;

/// Prints the text as it comes: plain, or as JSON lines.
pub(super) struct Printer {
    out: Output,
    json: bool,
    ends_line: bool,
}

impl Printer {
    pub(super) fn new(args: &Generate) -> Self {
        let out = Output::new();
        Printer { out: if args.raw.raw { out.raw() } else { out }, json: args.display.json, ends_line: true }
    }

    /// The prompt; above choices that are shown it is folded as they are.
    pub(super) fn prompt(&mut self, text: &str, tokens: &[TokenId], show: Option<&Show<'_>>) -> Outcome<()> {
        if !self.json {
            return match show {
                Some(show) => self.text(&show.folded(text)),
                None => self.text(text),
            };
        }
        let tokens = json::list(tokens.iter().map(TokenId::to_string));
        self.out.line(&Object::default().text("prompt", text).raw("tokens", tokens).line())?;
        self.out.flush()
    }

    pub(super) fn piece(&mut self, Written { token, text, .. }: Written<'_>) -> Outcome<()> {
        if !self.json {
            return self.text(text);
        }
        let object = match token {
            Some(token) => Object::default().raw("token", token),
            None => Object::default().raw("token", "null"),
        };
        self.out.line(&object.text("text", text).line())?;
        self.out.flush()
    }

    /// A piece with the choice of its token.
    pub(super) fn choice(&mut self, show: &mut Show<'_>, written: Written<'_>) -> Outcome<()> {
        match show.choice(written.token, written.text, written.guessed) {
            Some(chosen) => self.chosen(&chosen),
            None => self.piece(written),
        }
    }

    /// The choice that no piece came with, if there is one.
    pub(super) fn last_choice(&mut self, show: &mut Show<'_>) -> Outcome<()> {
        show.choice(None, "", None).map_or(Ok(()), |chosen| self.chosen(&chosen))
    }

    fn chosen(&mut self, (picture, json): &(Vec<String>, String)) -> Outcome<()> {
        if self.json {
            self.out.line(json)?;
            return self.out.flush();
        }
        if !self.ends_line {
            self.out.line("")?;
            self.ends_line = true;
        }
        for line in picture {
            self.out.line(line.trim_end())?;
        }
        self.out.flush()
    }

    fn text(&mut self, text: &str) -> Outcome<()> {
        if let Some(last) = text.chars().last() {
            self.ends_line = last == '\n';
        }
        self.out.foreign(text)
    }

    /// Ends the last line, or adds the summary.
    pub(super) fn end(&mut self, report: &Report) -> Outcome<()> {
        if self.json {
            self.out.line(&report.json())?;
        } else if !self.ends_line {
            self.out.line("")?;
        }
        self.out.flush()
    }
}
