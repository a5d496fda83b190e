//! A template as tokens: text, and what stands in tags. White space around tags goes as in an environment with
//! `trim_blocks` and `lstrip_blocks`.

use super::meter::{Fault, ITEM, Meter, Result, Why};
use std::rc::Rc;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Text outside of tags.
    Text(Rc<str>),
    /// `{%` and `{{`, `%}` and `}}`.
    BlockStart,
    BlockEnd,
    PrintStart,
    PrintEnd,
    Name(Rc<str>),
    String(Rc<str>),
    Int(i64),
    Float(f64),
    /// Signs of one or two characters.
    Sign(&'static str),
}

/// Signs in tags, the longer ones first.
const SIGNS: [&str; 27] = [
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";", "!",
];

/// The tokens of `source` with their lines.
pub(super) fn tokens(source: &str, meter: &Meter) -> Result<Vec<(Token, u32)>> {
    meter.pay_bytes(source.len())?;
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut lexer = Lexer { source, at: 0, line: 1, meter, tokens: Vec::new() };
    while lexer.text()? {}
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    /// Where it goes on.
    at: usize,
    line: u32,
    meter: &'s Meter,
    tokens: Vec<(Token, u32)>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn fault<T>(&self, message: &str) -> Result<T> {
        Err(Fault { why: Why::Said(message.into()), line: Some(self.line) })
    }

    fn push(&mut self, token: Token) -> Result<()> {
        self.meter.pay(2 * ITEM)?;
        self.tokens.push((token, self.line));
        Ok(())
    }

    /// Goes on by `n` bytes.
    fn skip(&mut self, n: usize) {
        self.line += self.rest()[..n].bytes().filter(|byte| *byte == b'\n').count() as u32;
        self.at += n;
    }

    /// Reads text and the tag after it; false where nothing is left.
    fn text(&mut self) -> Result<bool> {
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(false);
        }
        let at_line_start = self.at == 0 || self.source.as_bytes()[self.at - 1] == b'\n';
        let starts = |at: &usize| ["{{", "{%", "{#"].iter().any(|tag| rest[*at..].starts_with(tag));
        let Some(start) = rest.match_indices('{').map(|(at, _)| at).find(starts) else {
            let text = rest.into();
            self.push(Token::Text(text))?;
            self.at = self.source.len();
            return Ok(false);
        };
        let (text, tag) = rest.split_at(start);
        let (is_print, is_comment) = (tag.starts_with("{{"), tag.starts_with("{#"));
        let control = tag[2..].chars().next().filter(|c| *c == '-' || *c == '+');
        let kept = match control {
            Some('-') => text.trim_end(),
            None if !is_print => without_indent(text, at_line_start),
            _ => text,
        };
        if !kept.is_empty() {
            let kept = kept.into();
            self.push(Token::Text(kept))?;
        }
        self.skip(start + 2 + control.map_or(0, char::len_utf8));
        if is_comment {
            let Some(end) = self.rest().find("#}") else { return self.fault("a comment has no end") };
            let control = self.rest()[..end].chars().next_back();
            self.skip(end + 2);
            self.after_tag(control, true);
        } else if let Some(inner) = self.raw_start().filter(|_| !is_print) {
            self.skip(inner);
            self.raw()?;
        } else {
            self.push(if is_print { Token::PrintStart } else { Token::BlockStart })?;
            self.tag(is_print)?;
        }
        Ok(true)
    }

    /// White space after the end of a tag, which `control` stands before.
    fn after_tag(&mut self, control: Option<char>, is_block: bool) {
        let rest = self.rest();
        let n = match control {
            Some('-') => rest.len() - rest.trim_start().len(),
            Some('+') => 0,
            _ => usize::from(is_block && rest.starts_with('\n')),
        };
        self.skip(n);
    }

    /// The length of `raw %}` with the white space that goes with it, where that comes next.
    fn raw_start(&self) -> Option<usize> {
        let rest = self.rest();
        let after = rest.trim_start().strip_prefix("raw")?.trim_start();
        let after = match after.strip_prefix('-') {
            Some(after) => after.strip_prefix("%}")?.trim_start(),
            None => after.strip_prefix("%}")?,
        };
        Some(rest.len() - after.len())
    }

    /// Text up to the end of `{% raw %}`.
    fn raw(&mut self) -> Result<()> {
        let at_line_start = self.source.as_bytes()[self.at - 1] == b'\n';
        let rest = self.rest();
        for (start, _) in rest.match_indices("{%") {
            let tag = &rest[start + 2..];
            let control = tag.chars().next().filter(|c| *c == '-' || *c == '+');
            let word = tag[control.map_or(0, char::len_utf8)..].trim_start();
            let Some(end) = word.strip_prefix("endraw").map(str::trim_start) else { continue };
            let end_control = end.chars().next().filter(|c| *c == '-' || *c == '+');
            let Some(after) = end[end_control.map_or(0, char::len_utf8)..].strip_prefix("%}") else { continue };
            let text = match control {
                Some('-') => rest[..start].trim_end(),
                None => without_indent(&rest[..start], at_line_start),
                _ => &rest[..start],
            };
            let (text, n): (Rc<str>, usize) = (text.into(), rest.len() - after.len());
            self.push(Token::Text(text))?;
            self.skip(n);
            self.after_tag(end_control, true);
            return Ok(());
        }
        self.fault("a raw block has no end")
    }

    /// The tokens of a tag and its end.
    fn tag(&mut self, is_print: bool) -> Result<()> {
        let end = if is_print { "}}" } else { "%}" };
        let mut brackets = 0_usize;
        loop {
            let rest = self.rest();
            self.skip(rest.len() - rest.trim_start().len());
            let rest = self.rest();
            let Some(first) = rest.chars().next() else { return self.fault("a tag has no end") };
            let control = Some(first).filter(|c| *c == '-' || *c == '+');
            let after_control = &rest[control.map_or(0, char::len_utf8)..];
            if brackets == 0 && after_control.starts_with(end) && !(is_print && control == Some('+')) {
                self.push(if is_print { Token::PrintEnd } else { Token::BlockEnd })?;
                self.skip(control.map_or(0, char::len_utf8) + 2);
                self.after_tag(control, !is_print);
                return Ok(());
            }
            match first {
                '\'' | '"' => self.string(first)?,
                c if c.is_ascii_digit() => self.number()?,
                c if c.is_alphabetic() || c == '_' => {
                    let n = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                    let name = rest[..n].into();
                    self.push(Token::Name(name))?;
                    self.skip(n);
                }
                _ => {
                    let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) else {
                        return self.fault(&format!("{first:?} is no sign of the language"));
                    };
                    match sign {
                        "(" | "[" | "{" => brackets += 1,
                        ")" | "]" | "}" => brackets = brackets.saturating_sub(1),
                        _ => {}
                    }
                    self.push(Token::Sign(sign))?;
                    self.skip(sign.len());
                }
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let rest = self.rest();
        let mut text = String::new();
        let mut characters = rest[1..].chars();
        loop {
            match characters.next() {
                None => return self.fault("a string has no end"),
                Some('\\') => match escaped(&mut characters) {
                    Some(part) => text.push_str(&part),
                    None => return self.fault("a string has an escape that means no character"),
                },
                Some(c) if c == quote => break,
                Some(c) => text.push(c),
            }
        }
        let n = rest.len() - characters.as_str().len();
        self.push(Token::String(text.into()))?;
        self.skip(n);
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || *byte == b'_') {
                at += 1;
            }
            at
        };
        let radix = match bytes.get(1) {
            Some(b'x' | b'X') if bytes[0] == b'0' => Some(16),
            Some(b'o' | b'O') if bytes[0] == b'0' => Some(8),
            Some(b'b' | b'B') if bytes[0] == b'0' => Some(2),
            _ => None,
        };
        if let Some(radix) = radix {
            let n = rest[2..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(rest.len(), |n| n + 2);
            let Ok(value) = i64::from_str_radix(&rest[2..n].replace('_', ""), radix) else {
                return self.fault("a number is none, or has more than 64 bits");
            };
            self.push(Token::Int(value))?;
            self.skip(n);
            return Ok(());
        }
        let mut n = digits(0);
        let mut is_float = false;
        if bytes.get(n) == Some(&b'.') && bytes.get(n + 1).is_some_and(u8::is_ascii_digit) {
            n = digits(n + 1);
            is_float = true;
        }
        if bytes.get(n).is_some_and(|byte| *byte == b'e' || *byte == b'E') {
            let sign = usize::from(bytes.get(n + 1).is_some_and(|byte| *byte == b'+' || *byte == b'-'));
            if bytes.get(n + 1 + sign).is_some_and(u8::is_ascii_digit) {
                n = digits(n + 1 + sign);
                is_float = true;
            }
        }
        let text = rest[..n].replace('_', "");
        let token = if is_float { text.parse().ok().map(Token::Float) } else { text.parse().ok().map(Token::Int) };
        let Some(token) = token else { return self.fault("a number has more than 64 bits") };
        self.push(token)?;
        self.skip(n);
        Ok(())
    }
}

/// `text` without the white space that begins its last line, where it is all of that line.
fn without_indent(text: &str, at_line_start: bool) -> &str {
    let line = text.rfind('\n').map_or(0, |at| at + 1);
    let is_whole = line > 0 || at_line_start;
    if is_whole && text[line..].chars().all(char::is_whitespace) { &text[..line] } else { text }
}

/// What follows a backslash, as Python reads it; what means nothing stays as it is.
fn escaped(characters: &mut core::str::Chars<'_>) -> Option<String> {
    let c = characters.next()?;
    let (digits, radix) = match c {
        'x' => (2, 16),
        'u' => (4, 16),
        'U' => (8, 16),
        '0'..='7' => {
            let more = characters.as_str().bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            let octal = format!("{c}{}", &characters.as_str()[..more]);
            *characters = characters.as_str()[more..].chars();
            return u32::from_str_radix(&octal, 8).ok().and_then(char::from_u32).map(String::from);
        }
        _ => {
            return Some(match c {
                'n' => "\n".into(),
                'r' => "\r".into(),
                't' => "\t".into(),
                'a' => "\u{7}".into(),
                'b' => "\u{8}".into(),
                'f' => "\u{c}".into(),
                'v' => "\u{b}".into(),
                '\\' | '\'' | '"' => c.into(),
                '\n' => String::new(),
                other => format!("\\{other}"),
            });
        }
    };
    let code = u32::from_str_radix(characters.as_str().get(..digits)?, radix).ok()?;
    *characters = characters.as_str()[digits..].chars();
    char::from_u32(code).map(String::from)
}
