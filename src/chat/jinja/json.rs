//! Values of templates as JSON, written as Python writes them.

use super::arguments::Given;
use super::compare;
use super::meter::{Result, fault};
use super::print;
use super::sink::Sink;
use super::value::Value;

/// The filter `tojson` of transformers, which is not Jinja2's: Python's `json.dumps(value, ensure_ascii=False)` with its
/// options `indent`, `ensure_ascii`, `separators` and `sort_keys`.
pub(super) fn tojson(value: &Value, given: &Given, sink: Sink<'_>) -> Result<Value> {
    let [ascii, indent, separators, sorted] =
        given.parameters("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let flag = |value: Option<&Value>| value.is_some_and(Value::is_true);
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(value) => match value.as_int() {
            Some(n) => Some(usize::try_from(n).unwrap_or(0)),
            None => return fault("tojson: indent is a number"),
        },
    };
    let mut between: std::rc::Rc<str> = if indent.is_some() { "," } else { ", " }.into();
    let mut colon = ": ".into();
    match separators {
        None | Some(Value::None) => {}
        Some(Value::List(list)) => match &list.items[..] {
            [Value::Text(first), Value::Text(second)] => (between, colon) = (first.clone(), second.clone()),
            _ => return fault("tojson: the separators are two, between items and after keys"),
        },
        Some(_) => return fault("tojson: the separators are two, between items and after keys"),
    }
    let mut writer = Writer { indent, between, colon, ascii: flag(ascii), sorted: flag(sorted), out: sink };
    writer.value(value, 0)?;
    writer.out.into_value()
}

struct Writer<'m> {
    /// Spaces a level; all on one line without.
    indent: Option<usize>,
    between: std::rc::Rc<str>,
    colon: std::rc::Rc<str>,
    ascii: bool,
    sorted: bool,
    out: Sink<'m>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, level: usize) -> Result<()> {
        self.out.meter().pay_items(1)?;
        match value {
            Value::None => self.out.push("null"),
            Value::Bool(value) => self.out.push(if *value { "true" } else { "false" }),
            Value::Int(n) => self.out.push(&n.to_string()),
            Value::Float(x) => self.out.push(&number(*x)),
            Value::Text(text) => self.string(text),
            Value::Dict(dict) => {
                let mut entries: Vec<(Value, Value)> = dict.entries.clone();
                if self.sorted {
                    let meter = self.out.meter();
                    let order: Vec<(Value, Value)> =
                        entries.iter().map(|(key, _)| (key.clone(), key.clone())).collect();
                    let keys = compare::sort(order, false, meter)?;
                    entries.clear();
                    for key in keys {
                        let value = compare::entry(dict, &key, meter)?.cloned().unwrap_or(Value::None);
                        entries.push((key, value));
                    }
                }
                self.out.push("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    self.next(i, level)?;
                    self.key(key)?;
                    self.out.push(&self.colon.clone())?;
                    self.value(value, level + 1)?;
                }
                self.end(entries.len(), level, "}")
            }
            Value::List(list) => {
                self.out.push("[")?;
                for (i, item) in list.items.iter().enumerate() {
                    self.next(i, level)?;
                    self.value(item, level + 1)?;
                }
                self.end(list.items.len(), level, "]")
            }
            other => fault(format!("tojson: {} cannot be written", other.name())),
        }
    }

    fn key(&mut self, key: &Value) -> Result<()> {
        match key {
            Value::Text(text) => self.string(text),
            Value::None => self.out.push("\"null\""),
            Value::Bool(value) => self.out.push(if *value { "\"true\"" } else { "\"false\"" }),
            Value::Int(n) => self.out.push(&format!("\"{n}\"")),
            Value::Float(x) => self.out.push(&format!("\"{}\"", number(*x))),
            other => fault(format!("tojson: {} cannot be a key", other.name())),
        }
    }

    fn next(&mut self, i: usize, level: usize) -> Result<()> {
        if i > 0 {
            self.out.push(&self.between.clone())?;
        }
        self.new_line(level + 1)
    }

    fn end(&mut self, n: usize, level: usize, bracket: &str) -> Result<()> {
        if n > 0 {
            self.new_line(level)?;
        }
        self.out.push(bracket)
    }

    fn new_line(&mut self, level: usize) -> Result<()> {
        match self.indent {
            Some(indent) => {
                self.out.push("\n")?;
                self.out.repeat(' ', indent.saturating_mul(level))
            }
            None => Ok(()),
        }
    }

    fn string(&mut self, text: &str) -> Result<()> {
        self.out.push("\"")?;
        for c in text.chars() {
            match c {
                '"' => self.out.push("\\\"")?,
                '\\' => self.out.push("\\\\")?,
                '\n' => self.out.push("\\n")?,
                '\r' => self.out.push("\\r")?,
                '\t' => self.out.push("\\t")?,
                '\u{8}' => self.out.push("\\b")?,
                '\u{c}' => self.out.push("\\f")?,
                c if c < ' ' || self.ascii && !(' '..='~').contains(&c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push(&format!("\\u{unit:04x}"))?;
                    }
                }
                c => self.out.push_char(c)?,
            }
        }
        self.out.push("\"")
    }
}

/// `x` as Python's JSON writes it.
pub(super) fn number(x: f64) -> String {
    match x {
        _ if x.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        _ => print::float(x),
    }
}
