//! Grammars in the form of llama.cpp (GBNF): rules of characters, `name ::= alternatives`.

use super::characters::Characters;
use crate::error::{Error, Result};
use std::collections::HashMap;

/// How deep groups may nest.
const MAX_DEPTH: usize = 64;
/// The most rules, and how deep elements may lie within each other, rules followed: the engine reads them by recursion.
const MAX_RULES: usize = 1024;
const MAX_LEVELS: usize = 1000;
/// The largest number of repetitions.
const MAX_REPEATS: u32 = 2000;

/// What a rule stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    /// One of these characters.
    One(Characters),
    /// All of these, in order; nothing where there are none.
    Sequence(Vec<Expr>),
    /// One of these.
    Choice(Vec<Expr>),
    /// So many times: at least, and at most if there is a most.
    Repeat(Box<Expr>, u32, Option<u32>),
    /// The rule of this number.
    Rule(usize),
}

/// A grammar. The text is what the rule `root` stands for.
#[derive(Debug)]
pub(super) struct Gbnf {
    pub(super) rules: Vec<Expr>,
    pub(super) root: usize,
}

impl Gbnf {
    /// Reads `text`. Errors name the line and the column, both from 1 on.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut reader = Reader { text, at: 0, depth: 0, names: HashMap::new(), rules: Vec::new(), used: Vec::new() };
        reader.space(true);
        while reader.peek().is_some() {
            reader.rule()?;
            reader.space(true);
        }
        let Some(root) = reader.names.get("root").copied().filter(|root| reader.rules[*root].is_some()) else {
            return Err(Error::data("there is no rule root, with which a text begins").hint("root ::= ..."));
        };
        for (number, at) in &reader.used {
            if reader.rules[*number].is_none() {
                let name = reader.names.iter().find(|(_, of)| *of == number).map_or("", |(name, _)| name);
                return Err(reader.error(*at, format!("there is no rule {name}")));
            }
        }
        let grammar = Gbnf { rules: reader.rules.into_iter().flatten().collect(), root };
        if !grammar.ends() {
            return Err(Error::data("every text of root goes on without end"));
        }
        if !grammar.is_flat(&Expr::Rule(root), &mut vec![false; grammar.rules.len()], 0) {
            return Err(Error::data(format!("elements nest more than {MAX_LEVELS} deep, rules followed")));
        }
        Ok(grammar)
    }

    /// Whether `expr`, at a depth of `above`, stays above the limit, where each rule is read once.
    fn is_flat(&self, expr: &Expr, seen: &mut [bool], above: usize) -> bool {
        above < MAX_LEVELS
            && match expr {
                Expr::One(_) => true,
                Expr::Rule(rule) => {
                    std::mem::replace(&mut seen[*rule], true) || self.is_flat(&self.rules[*rule], seen, above + 1)
                }
                Expr::Repeat(of, ..) => self.is_flat(of, seen, above + 1),
                Expr::Sequence(of) | Expr::Choice(of) => of.iter().all(|of| self.is_flat(of, seen, above + 1)),
            }
    }

    /// Whether some text comes to an end.
    fn ends(&self) -> bool {
        let mut known = vec![false; self.rules.len()];
        while let Some(rule) = (0..known.len()).find(|rule| !known[*rule] && self.rules[*rule].ends(&known)) {
            known[rule] = true;
        }
        known[self.root]
    }
}

impl Expr {
    /// Whether some text of it comes to an end, where those of the rules `known` do.
    fn ends(&self, known: &[bool]) -> bool {
        match self {
            Expr::One(_) => true,
            Expr::Rule(rule) => known[*rule],
            Expr::Repeat(of, least, _) => *least == 0 || of.ends(known),
            Expr::Sequence(of) => of.iter().all(|of| of.ends(known)),
            Expr::Choice(of) => of.iter().any(|of| of.ends(known)),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    /// Bytes that are read.
    at: usize,
    depth: usize,
    names: HashMap<&'t str, usize>,
    /// What each name stands for, once it is known.
    rules: Vec<Option<Expr>>,
    /// The rules that are named in others, and where.
    used: Vec<(usize, usize)>,
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn takes(&mut self, words: &str) -> bool {
        let found = self.text[self.at..].starts_with(words);
        self.at += if found { words.len() } else { 0 };
        found
    }

    /// The error at byte `at` of the text.
    fn error(&self, at: usize, message: impl Into<String>) -> Error {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Error::data(message).field(format!("line {line}, column {column}"))
    }

    fn wants(&self, what: &str) -> Error {
        let found = match self.peek() {
            Some(c) => format!("{c:?}"),
            None => "the end".into(),
        };
        self.error(self.at, format!("{found} stands where {what} is expected"))
    }

    /// Passes over blanks and comments, and over ends of lines where they end nothing.
    fn space(&mut self, lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => self.at += 1,
                '\r' | '\n' if lines => self.at += 1,
                '#' => self.at += self.text[self.at..].find(['\r', '\n']).unwrap_or(self.text.len() - self.at),
                _ => return,
            }
        }
    }

    /// The number of the rule whose name is next.
    fn name(&mut self) -> Result<Option<usize>> {
        let rest = &self.text[self.at..];
        let name = &rest[..rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())];
        if name.is_empty() {
            return Ok(None);
        }
        self.at += name.len();
        let next = self.names.len();
        let start = self.at - name.len();
        if next == MAX_RULES && !self.names.contains_key(name) {
            return Err(self.error(start, format!("there are more than {MAX_RULES} rules")));
        }
        let number = *self.names.entry(name).or_insert(next);
        self.rules.resize(self.names.len(), None);
        Ok(Some(number))
    }

    fn rule(&mut self) -> Result<()> {
        let start = self.at;
        let Some(number) = self.name()? else {
            return Err(self.wants("the name of a rule (letters, digits and -)"));
        };
        if self.rules[number].is_some() {
            return Err(self.error(start, "this rule is there twice"));
        }
        self.space(false);
        if !self.takes("::=") {
            return Err(self.wants("::="));
        }
        self.space(true);
        let stands_for = self.choice(false)?;
        self.rules[number] = Some(stands_for);
        match self.peek() {
            None | Some('\r' | '\n') => Ok(()),
            Some(_) => Err(self.wants("an element, | or the end of the line")),
        }
    }

    /// Alternatives; in a group they go on over ends of lines.
    fn choice(&mut self, in_group: bool) -> Result<Expr> {
        let mut options = vec![self.sequence(in_group)?];
        while self.takes("|") {
            self.space(true);
            options.push(self.sequence(in_group)?);
        }
        Ok(if options.len() == 1 { options.remove(0) } else { Expr::Choice(options) })
    }

    fn sequence(&mut self, in_group: bool) -> Result<Expr> {
        let mut items = Vec::new();
        loop {
            let start = self.at;
            if let Some(item) = self.item()? {
                items.push(item);
            } else {
                let Some((least, most)) = self.repeats()? else { break };
                let item = items.pop().ok_or_else(|| self.error(start, "there is nothing before it to repeat"))?;
                items.push(Expr::Repeat(Box::new(item), least, most));
            }
            self.space(in_group);
        }
        Ok(if items.len() == 1 { items.remove(0) } else { Expr::Sequence(items) })
    }

    /// The element that is next, if one is.
    fn item(&mut self) -> Result<Option<Expr>> {
        let start = self.at;
        let item = match self.peek() {
            Some('"') => self.literal()?,
            Some('[') => self.class()?,
            Some('.') => {
                self.at += 1;
                Expr::One(Characters::all())
            }
            Some('(') => self.group()?,
            Some('<' | '!') => return Err(self.error(start, "tokens are no elements here, only characters are")),
            Some(c) if is_of_name(c) => match self.name()? {
                Some(number) => {
                    self.used.push((number, start));
                    Expr::Rule(number)
                }
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(item))
    }

    fn group(&mut self) -> Result<Expr> {
        let start = self.at;
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(start, format!("groups nest more than {MAX_DEPTH} deep")));
        }
        self.space(true);
        let within = self.choice(true)?;
        if !self.takes(")") {
            return Err(self.wants("an element, | or )"));
        }
        self.depth -= 1;
        Ok(within)
    }

    fn literal(&mut self) -> Result<Expr> {
        let start = self.at;
        self.at += 1;
        let mut characters = Vec::new();
        while !self.takes("\"") {
            let c = self.character().transpose()?;
            characters.push(Expr::One(Characters::one(c.ok_or_else(|| self.error(start, "this \" is not closed"))?)));
        }
        Ok(Expr::Sequence(characters))
    }

    fn class(&mut self) -> Result<Expr> {
        let start = self.at;
        self.at += 1;
        let is_inverted = self.takes("^");
        let mut ranges = Vec::new();
        while !self.takes("]") {
            let unclosed = |reader: &Self| reader.error(start, "this [ is not closed");
            let first = self.character().transpose()?.ok_or_else(|| unclosed(self))?;
            let is_range = self.text[self.at..].starts_with('-') && !self.text[self.at..].starts_with("-]");
            let last = if is_range {
                self.at += 1;
                self.character().transpose()?.ok_or_else(|| unclosed(self))?
            } else {
                first
            };
            if first > last {
                return Err(self.error(start, format!("the range from {first:?} to {last:?} is empty")));
            }
            ranges.push((first, last));
        }
        let set = Characters::of(ranges);
        let set = if is_inverted { set.inverted() } else { set };
        if set.is_empty() {
            return Err(self.error(start, "no character is in this set"));
        }
        Ok(Expr::One(set))
    }

    /// The next character of a literal or a set, which may be escaped; `None` at the end of the text.
    fn character(&mut self) -> Option<Result<char>> {
        let start = self.at;
        let c = self.take()?;
        if c != '\\' {
            return Some(Ok(c));
        }
        Some(match self.take() {
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('n') => Ok('\n'),
            Some(c @ ('\\' | '"' | '[' | ']')) => Ok(c),
            Some('x') => self.number(start, 2),
            Some('u') => self.number(start, 4),
            Some('U') => self.number(start, 8),
            _ => {
                Err(self.error(start, "this escape is unknown: it is one of \\t \\r \\n \\\\ \\\" \\[ \\] \\x \\u \\U"))
            }
        })
    }

    /// The character of the next `n` hexadecimal digits.
    fn number(&mut self, start: usize, n: usize) -> Result<char> {
        let digits = self.text.get(self.at..self.at + n).filter(|s| s.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let Some(number) = number else {
            return Err(self.error(start, format!("{n} hexadecimal digits are expected")));
        };
        self.at += n;
        char::from_u32(number).ok_or_else(|| self.error(start, format!("U+{number:04X} is no character")))
    }

    /// How often the element before is repeated, if that is said next.
    fn repeats(&mut self) -> Result<Option<(u32, Option<u32>)>> {
        let start = self.at;
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted().map(Some),
            _ => return Ok(None),
        };
        self.at = start + 1;
        Ok(Some((least, most)))
    }

    /// `{m}`, `{m,}` or `{m,n}`.
    fn counted(&mut self) -> Result<(u32, Option<u32>)> {
        let start = self.at;
        self.at += 1;
        self.space(true);
        let least = self.count()?.ok_or_else(|| self.wants("a number"))?;
        self.space(true);
        let most = if self.takes(",") {
            self.space(true);
            self.count()?
        } else {
            Some(least)
        };
        self.space(true);
        if !self.takes("}") {
            return Err(self.wants("}"));
        }
        if most.is_some_and(|most| most < least) {
            return Err(self.error(start, "at most so many are fewer than at least"));
        }
        Ok((least, most))
    }

    fn count(&mut self) -> Result<Option<u32>> {
        let rest = &self.text[self.at..];
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        if digits.is_empty() {
            return Ok(None);
        }
        let count = digits.parse().ok().filter(|count| *count <= MAX_REPEATS);
        let count = count.ok_or_else(|| self.error(self.at, format!("more than {MAX_REPEATS} repetitions")))?;
        self.at += digits.len();
        Ok(Some(count))
    }
}
