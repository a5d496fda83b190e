//! JSON with places: every error names the byte it is about, duplicate keys and deep nesting are refused, and a
//! document costs 16 bytes a value however long its strings are.

pub(in crate::source) mod parser;
pub(in crate::source) mod text;

use std::borrow::Cow;

use whit::error::{Error, Result, printable};

use parser::{Node, Parser};
use text::{place, unescape};

pub(crate) use parser::Type;

/// A parsed document over its text.
#[derive(Debug)]
pub(crate) struct Json<'a> {
    text: &'a str,
    base: u64,
    nodes: Vec<Node>,
}

impl<'a> Json<'a> {
    /// Parses `bytes`, which begin at offset `base` of their file.
    pub(crate) fn parse(bytes: &'a [u8], base: u64) -> Result<Self> {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(Error::data("UTF-16 text, JSON is UTF-8").at(base));
        }
        if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            return Err(Error::data("starts with a byte order mark").at(base).hint("remove the first three bytes"));
        }
        if bytes.is_empty() {
            return Err(Error::data("empty, expected JSON").at(base));
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::data(format!("{} bytes of JSON, too many", bytes.len())).at(base));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|e| Error::data("not UTF-8, expected JSON").at(base + e.valid_up_to() as u64))?;
        Ok(Json { text, base, nodes: Parser::nodes(text, base)? })
    }

    /// The whole document.
    pub(crate) fn root(&self) -> Value<'_> {
        Value { json: self, node: 0 }
    }

    /// The document, which has to be an object.
    pub(crate) fn object(&self) -> Result<Value<'_>> {
        let root = self.root();
        if root.kind() == Type::Object { Ok(root) } else { Err(root.expected("an object", "document")) }
    }
}

/// One value of a document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'j> {
    json: &'j Json<'j>,
    node: u32,
}

impl<'j> Value<'j> {
    fn inner(self) -> Node {
        self.json.nodes[self.node as usize]
    }

    fn raw(self) -> &'j str {
        let Node { start, end, .. } = self.inner();
        &self.json.text[start as usize..end as usize]
    }

    /// What this value is.
    pub(crate) fn kind(self) -> Type {
        self.inner().kind
    }

    /// True for `null`.
    pub(crate) fn is_null(self) -> bool {
        self.kind() == Type::Null
    }

    /// True for what programs write where there is nothing to set: null, false, 0, -1, "", "none", [] and {}.
    pub(crate) fn is_off(self) -> bool {
        match self.kind() {
            Type::Null => true,
            Type::Bool => self.raw() == "false",
            Type::Number => self.raw().parse().is_ok_and(|number: f64| number == 0.0 || number == -1.0),
            Type::String => ["", "none", "null"].contains(&&*unescape(self.raw()).to_lowercase()),
            Type::Array | Type::Object => self.inner().next == self.node + 1,
        }
    }

    /// An error about this value, which is called `field`.
    pub(crate) fn error(self, message: impl AsRef<str>, field: &str) -> Error {
        place(self.json.text, self.inner().start as usize, self.json.base, message.as_ref()).field(field)
    }

    /// The error of a value of the wrong type.
    pub(crate) fn expected(self, what: &str, field: &str) -> Error {
        let found = match self.kind() {
            Type::Bool | Type::Number => printable(self.raw()),
            Type::String => format!("\"{}\"", printable(&unescape(self.raw()))),
            other => other.name().to_string(),
        };
        self.error(format!("expected {what}, found {found}"), field)
    }

    /// The text of a string.
    pub(crate) fn str(self, field: &str) -> Result<Cow<'j, str>> {
        if self.kind() == Type::String { Ok(unescape(self.raw())) } else { Err(self.expected("a string", field)) }
    }

    /// A whole number that is not negative, written without fraction or exponent.
    pub(crate) fn u64(self, field: &str) -> Result<u64> {
        let value = if self.kind() == Type::Number { self.raw().parse().ok() } else { None };
        value.ok_or_else(|| self.expected("a whole number from 0 to 2^64 - 1", field))
    }

    /// A whole number that fits a token id.
    pub(crate) fn u32(self, field: &str) -> Result<u32> {
        u32::try_from(self.u64(field)?).map_err(|_| self.expected("a number below 2^32", field))
    }

    /// A finite number.
    pub(crate) fn f64(self, field: &str) -> Result<f64> {
        let value = if self.kind() == Type::Number { self.raw().parse().ok() } else { None };
        value.filter(|v: &f64| v.is_finite()).ok_or_else(|| self.expected("a finite number", field))
    }

    /// A number that may be infinite, which Python writes as a word and transformers as an object.
    pub(crate) fn limit(self, field: &str) -> Result<f64> {
        let infinite = match self.kind() {
            Type::Number => self.raw() == "Infinity",
            _ => self.get("__float__").is_some_and(|word| word.str(field).is_ok_and(|word| word == "Infinity")),
        };
        if infinite { Ok(f64::INFINITY) } else { self.f64(field) }
    }

    /// A boolean.
    pub(crate) fn bool(self, field: &str) -> Result<bool> {
        if self.kind() == Type::Bool { Ok(self.raw() == "true") } else { Err(self.expected("true or false", field)) }
    }

    /// The elements of an array.
    pub(crate) fn items(self, field: &str) -> Result<impl Iterator<Item = Value<'j>> + Clone + use<'j>> {
        if self.kind() != Type::Array {
            return Err(self.expected("an array", field));
        }
        let (json, end) = (self.json, self.inner().next);
        let first = Some(self.node + 1).filter(|n| *n < end);
        Ok(std::iter::successors(first, move |n| Some(json.nodes[*n as usize].next).filter(|n| *n < end))
            .map(move |node| Value { json, node }))
    }

    /// The keys and values of an object, in the order of the text.
    pub(crate) fn entries(self, field: &str) -> Result<impl Iterator<Item = (Cow<'j, str>, Value<'j>)> + use<'j>> {
        if self.kind() != Type::Object {
            return Err(self.expected("an object", field));
        }
        let (json, end) = (self.json, self.inner().next);
        let first = Some(self.node + 1).filter(|n| *n < end);
        Ok(std::iter::successors(first, move |n| Some(json.nodes[*n as usize + 1].next).filter(|n| *n < end))
            .map(move |node| (unescape(Value { json, node }.raw()), Value { json, node: node + 1 })))
    }

    /// The value of `key`, unless it is absent.
    pub(crate) fn entry(self, key: &str) -> Option<Value<'j>> {
        // An error would look for its line, and costs what lies before it.
        let mut entries = if self.kind() == Type::Object { self.entries(key).ok()? } else { return None };
        entries.find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of `key`, unless it is absent or `null`.
    pub(crate) fn get(self, key: &str) -> Option<Value<'j>> {
        self.entry(key).filter(|value| !value.is_null())
    }

    /// The value of `key`, unless it is absent or says that there is nothing to set.
    pub(crate) fn set(self, key: &str) -> Option<Value<'j>> {
        self.entry(key).filter(|value| !value.is_off())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> Error {
        Json::parse(text.as_bytes(), 0).expect_err(text)
    }

    #[test]
    fn values_come_out_as_they_went_in() {
        let text = r#" {"a": [1, -2.5e1, "x\n\u00e9\ud83d\ude00", true, null], "b": {"c": {}}, "\u0064": []} "#;
        let json = Json::parse(text.as_bytes(), 0).expect("valid");
        let a: Vec<_> = json.root().get("a").expect("a").items("a").expect("array").collect();
        assert_eq!(a.len(), 5);
        assert_eq!(a[0].u64("").ok(), Some(1));
        assert_eq!(a[1].f64("").ok(), Some(-25.0));
        assert_eq!(a[2].str("").ok().as_deref(), Some("x\né😀"));
        assert_eq!(a[3].bool("").ok(), Some(true));
        assert!(a[4].is_null());
        let keys: Vec<_> = json.root().entries("").expect("object").map(|(k, _)| k).collect();
        assert_eq!(keys, ["a", "b", "d"]);
        assert!(json.root().get("b").and_then(|b| b.get("c")).is_some());
    }

    #[test]
    fn bad_text_is_refused_with_its_place() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1.",
            "-",
            "nul",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\u{1}\"",
            "[1] 2",
            "NaN",
            "// c\n1",
            "\"abc",
            "[1 2]",
            "{\"a\" 1}",
            "1e",
            "\u{feff}1",
        ] {
            assert!(fails(text).offset().is_some(), "{text}");
        }
        assert!(fails("{\n \"a\": x}").to_string().contains("line 2 column 7"));
    }

    #[test]
    fn duplicate_keys_are_refused_however_they_are_spelt() {
        assert!(fails(r#"{"a":1,"b":2,"\u0061":3}"#).to_string().contains("key \"a\""));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(Json::parse(nested(64).as_bytes(), 0).is_ok());
        assert!(fails(&nested(65)).to_string().contains("deep"));
        assert!(fails(&"[".repeat(1_000_000)).to_string().contains("deep"));
    }

    #[test]
    fn what_means_off_is_off() {
        for text in ["null", "false", "0", "0.0", "-1", "\"\"", "\"none\"", "\"None\"", "[]", "{}", " { } "] {
            assert!(Json::parse(text.as_bytes(), 0).expect("valid").root().is_off(), "{text}");
        }
        for text in ["true", "1", "-2", "1e-9", "\"off we go\"", "[0]", "{\"a\":null}"] {
            assert!(!Json::parse(text.as_bytes(), 0).expect("valid").root().is_off(), "{text}");
        }
        let json = Json::parse(br#"{"a": null, "b": 0, "c": 2}"#, 0).expect("valid");
        let root = json.root();
        let found = |key| [root.entry(key).is_some(), root.get(key).is_some(), root.set(key).is_some()];
        assert_eq!(["a", "b", "c", "d"].map(found), [[true, false, false], [true, true, false], [true; 3], [false; 3]]);
    }

    #[test]
    fn a_limit_may_be_infinite_in_either_spelling() {
        let text = br#"[1.5, Infinity, {"__float__": "Infinity"}, {"__float__": "x"}, "Infinity"]"#;
        let json = Json::parse(text, 0).expect("valid");
        let limits: Vec<_> = json.root().items("").expect("array").map(|value| value.limit("").ok()).collect();
        assert_eq!(limits, [Some(1.5), Some(f64::INFINITY), Some(f64::INFINITY), None, None]);
        let infinite = json.root().items("").expect("array").nth(1).expect("a value");
        assert!(infinite.f64("").is_err() && infinite.u64("").is_err() && !infinite.is_off());
        assert!(fails("Infinite").offset().is_some());
    }

    #[test]
    fn integers_are_integers() {
        for text in ["-1", "1.0", "1e3", "18446744073709551616", "\"4\"", "true"] {
            let json = Json::parse(text.as_bytes(), 0).expect("valid");
            assert!(json.root().u64("n").is_err(), "{text}");
        }
    }
}
