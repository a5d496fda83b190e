//! Values of templates as JSON, written as Python writes them.

use core::fmt::Write;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// The filter `tojson` of transformers, which is not Jinja2's: Python's `json.dumps(value, ensure_ascii=False)` with its
/// options `indent`, `ensure_ascii`, `separators` and `sort_keys`.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let between = if indent.is_some() { "," } else { ", " };
    let separators = separators.unwrap_or_else(|| vec![between.into(), ": ".into()]);
    let [between, colon] = <[String; 2]>::try_from(separators).map_err(|_| {
        Error::new(ErrorKind::InvalidOperation, "tojson: the separators are two, between items and after keys")
    })?;
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut writer = Writer { indent, between, colon, ascii, sorted, out: String::new() };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer {
    /// Spaces a level; all on one line without.
    indent: Option<usize>,
    between: String,
    colon: String,
    ascii: bool,
    sorted: bool,
    out: String,
}

impl Writer {
    fn value(&mut self, value: &Value, level: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out += "null",
            ValueKind::Bool => self.out += if value.is_true() { "true" } else { "false" },
            ValueKind::Number if value.is_integer() => self.out += &value.to_string(),
            ValueKind::Number => self.out += &float(f64::try_from(value.clone())?),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                let one = |writer: &mut Self, key: &Value| {
                    match key.as_str() {
                        Some(key) => writer.string(key),
                        None => {
                            let start = writer.out.len();
                            writer.value(key, level)?;
                            let key = writer.out.split_off(start);
                            writer.string(&key);
                        }
                    }
                    writer.out += &writer.colon.clone();
                    writer.value(&value.get_item(key)?, level + 1)
                };
                self.items("{}", &keys, level, one)?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items("[]", &items, level, |writer, item| writer.value(item, level + 1))?;
            }
            kind => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("tojson: a value that is {kind} cannot be written"),
                ));
            }
        }
        Ok(())
    }

    fn items(
        &mut self,
        brackets: &str,
        items: &[Value],
        level: usize,
        mut one: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out += &brackets[..1];
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out += &self.between.clone();
            }
            self.new_line(level + 1);
            one(self, item)?;
        }
        if !items.is_empty() {
            self.new_line(level);
        }
        self.out += &brackets[1..];
        Ok(())
    }

    fn new_line(&mut self, level: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(core::iter::repeat_n(' ', indent.saturating_mul(level)));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out += "\\\"",
                '\\' => self.out += "\\\\",
                '\n' => self.out += "\\n",
                '\r' => self.out += "\\r",
                '\t' => self.out += "\\t",
                '\u{8}' => self.out += "\\b",
                '\u{c}' => self.out += "\\f",
                c if c < ' ' || self.ascii && !c.is_ascii() || self.ascii && c == '\u{7f}' => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// `x` as Python's `repr` writes it.
pub(super) fn float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return (if x > 0.0 { "Infinity" } else { "-Infinity" }).into();
    }
    // The shortest digits that give `x` again, in both; Python writes exponents with a sign and two digits, and from 1e16 on.
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        return format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    format!("{x:?}")
}
