//! The grammar of JSON: one pass over the text, recursion bounded. It gives a node for each value and each key.

use std::borrow::Cow;

use whit::error::{Error, Result, printable};

use super::text::{place, unescape, unicode};

/// Containers within containers, at most.
const MAX_DEPTH: usize = 64;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Type {
    /// What a message calls it.
    pub(in crate::source) fn name(self) -> &'static str {
        match self {
            Type::Null => "null",
            Type::Bool => "a boolean",
            Type::Number => "a number",
            Type::String => "a string",
            Type::Array => "an array",
            Type::Object => "an object",
        }
    }
}

/// A value of the document: `start..end` is its text (of a string, without the quotes), `next` the node after it
/// and all that it contains. In an object keys and values alternate.
#[derive(Debug, Clone, Copy)]
pub(in crate::source) struct Node {
    pub(in crate::source) kind: Type,
    pub(in crate::source) start: u32,
    pub(in crate::source) end: u32,
    pub(in crate::source) next: u32,
}

/// Checks the whole text and lists its values.
pub(in crate::source) struct Parser<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    base: u64,
    nodes: Vec<Node>,
}

impl<'a> Parser<'a> {
    /// The values of `text`, which begins at offset `base` of its file.
    pub(in crate::source) fn nodes(text: &'a str, base: u64) -> Result<Vec<Node>> {
        let mut parser = Parser { bytes: text.as_bytes(), text, at: 0, base, nodes: Vec::new() };
        parser.value(0)?;
        parser.space();
        if parser.at < text.len() {
            return Err(parser.error(parser.at, "unexpected text after the end of the value"));
        }
        Ok(parser.nodes)
    }

    fn error(&self, at: usize, message: &str) -> Error {
        place(self.text, at, self.base, message)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn open(&mut self, kind: Type) -> usize {
        let start = self.at as u32;
        self.nodes.push(Node { kind, start, end: start, next: 0 });
        self.nodes.len() - 1
    }

    fn close(&mut self, node: usize) {
        self.nodes[node].end = self.at as u32;
        self.nodes[node].next = self.nodes.len() as u32;
    }

    fn value(&mut self, depth: usize) -> Result<()> {
        self.space();
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => {
                Err(self.error(self.at, &format!("nested more than {MAX_DEPTH} deep")))
            }
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            // What Python writes for a number without end, which JSON has not.
            Some(b'I') => self.literal("Infinity", Type::Number),
            Some(b't') => self.literal("true", Type::Bool),
            Some(b'f') => self.literal("false", Type::Bool),
            Some(b'n') => self.literal("null", Type::Null),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        match self.text[self.at..].chars().next() {
            None => self.error(self.at, &format!("ends where {wanted} should be")).hint("copy the file again"),
            Some(c) => {
                let found = printable(c.encode_utf8(&mut [0; 4]));
                self.error(self.at, &format!("expected {wanted}, found '{found}'"))
            }
        }
    }

    fn literal(&mut self, word: &str, kind: Type) -> Result<()> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.unexpected("a value"));
        }
        let node = self.open(kind);
        self.at += word.len();
        self.close(node);
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<()> {
        let node = self.open(Type::Number);
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.at;
        self.digits()?;
        if self.bytes[first] == b'0' && self.at > first + 1 {
            return Err(self.error(first, "a number with a leading zero"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.close(node);
        Ok(())
    }

    fn string(&mut self) -> Result<()> {
        let quote = self.at;
        self.at += 1;
        let node = self.open(Type::String);
        loop {
            match self.peek() {
                None => return Err(self.error(quote, "a string without an end").hint("copy the file again")),
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return Err(self.error(self.at, "a raw control character in a string")),
                Some(_) => self.at += 1,
            }
        }
        self.close(node);
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<()> {
        let start = self.at;
        match self.bytes.get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let (_, length) = unicode(&self.bytes[start..]).ok_or_else(|| self.error(start, "a bad \\u escape"))?;
                self.at += length;
            }
            _ => return Err(self.error(start, "an unknown escape")),
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<()> {
        let node = self.open(Type::Array);
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.close(node);
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("',' or ']'")),
            }
        }
        self.at += 1;
        self.close(node);
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<()> {
        let node = self.open(Type::Object);
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.close(node);
            return Ok(());
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key"));
            }
            self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("':'"));
            }
            self.at += 1;
            self.value(depth)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected("',' or '}'")),
            }
        }
        self.at += 1;
        self.close(node);
        self.refuse_duplicates(node)
    }

    fn refuse_duplicates(&self, object: usize) -> Result<()> {
        let end = self.nodes[object].next as usize;
        let mut keys: Vec<(Cow<'_, str>, u32)> = Vec::new();
        let mut key = object + 1;
        while key < end {
            let Node { start, end, .. } = self.nodes[key];
            keys.push((unescape(&self.text[start as usize..end as usize]), start));
            key = self.nodes[key + 1].next as usize;
        }
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            None => Ok(()),
            Some(pair) => {
                let field = format!("key \"{}\"", pair[1].0);
                Err(self.error(pair[1].1 as usize, "appears twice").field(field))
            }
        }
    }
}
