//! Where a parser stands in the tokens of a template, and how deep.

use super::lexer::Token;
use super::meter::{Fault, ITEM, Meter, Result, Why};
use std::rc::Rc;

/// Blocks, brackets and their like within one another.
const MOST_NESTED: u32 = 64;
/// Operators, attributes, calls and filters in one expression: one after the other, they lie in one another, too.
const MOST_OPERATORS: u32 = 1000;

pub(super) struct Cursor<'m> {
    tokens: Vec<(Token, u32)>,
    at: usize,
    meter: &'m Meter,
    nested: u32,
    operators: u32,
}

impl<'m> Cursor<'m> {
    pub(super) fn new(tokens: Vec<(Token, u32)>, meter: &'m Meter) -> Cursor<'m> {
        Cursor { tokens, at: 0, meter, nested: 0, operators: 0 }
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    pub(super) fn fault<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Fault { why: Why::Said(message.into()), line: Some(self.line()) })
    }

    /// The next token.
    pub(super) fn peek(&self) -> Option<&Token> {
        self.peek_at(0)
    }

    /// The token after `n` others.
    pub(super) fn peek_at(&self, n: usize) -> Option<&Token> {
        self.tokens.get(self.at + n).map(|(token, _)| token)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(own)) if *own == sign)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(own)) if **own == *name)
    }

    /// Takes the next token where it is `sign`.
    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let is = self.is_sign(sign);
        self.at += usize::from(is);
        is
    }

    /// Takes the next token where it is `name`.
    pub(super) fn word(&mut self, name: &str) -> bool {
        let is = self.is_name(name);
        self.at += usize::from(is);
        is
    }

    /// Takes `sign`, which must come next.
    pub(super) fn expect(&mut self, sign: &str) -> Result<()> {
        if self.sign(sign) { Ok(()) } else { self.unexpected(&format!("{sign:?} is expected")) }
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.word(word) { Ok(()) } else { self.unexpected(&format!("{word:?} is expected")) }
    }

    pub(super) fn name(&mut self) -> Result<Rc<str>> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected("a name is expected"),
        }
    }

    /// The fault that another token stands where `expected`.
    pub(super) fn unexpected<T>(&self, expected: &str) -> Result<T> {
        let found = match self.peek() {
            None => "the end".into(),
            Some(Token::Text(_) | Token::BlockStart | Token::PrintStart) => "text".into(),
            Some(Token::BlockEnd | Token::PrintEnd) => "the end of the tag".into(),
            Some(Token::Name(name)) => format!("{name:.40}"),
            Some(Token::String(_)) => "a string".into(),
            Some(Token::Int(_) | Token::Float(_)) => "a number".into(),
            Some(Token::Sign(sign)) => format!("{sign:?}"),
        };
        self.fault(format!("{expected}, not {found}"))
    }

    /// Parses something within something else.
    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.meter.pay(2 * ITEM)?;
        if self.nested == MOST_NESTED {
            return self.fault("its blocks and brackets go too deep into one another");
        }
        self.nested += 1;
        let result = parse(self);
        self.nested -= 1;
        result
    }

    /// An expression begins that lies in no other.
    pub(super) fn begin_expression(&mut self) {
        self.operators = 0;
    }

    /// Counts an operator.
    pub(super) fn operator(&mut self) -> Result<()> {
        self.meter.pay(2 * ITEM)?;
        self.operators += 1;
        if self.operators > MOST_OPERATORS {
            return self.fault(format!("an expression has more than {MOST_OPERATORS} operators"));
        }
        Ok(())
    }
}
