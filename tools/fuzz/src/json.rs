//! JSON as a tree that is changed and written; it may say what no sound writer says.

use crate::bytes::odd_text;
use crate::random::Random;

/// A value. Numbers are the text they are written as.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

/// An object of these entries.
pub(crate) fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Json)>) -> Json {
    Json::Map(entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
}

/// A number.
pub(crate) fn number(n: impl std::fmt::Display) -> Json {
    Json::Number(n.to_string())
}

/// A text.
pub(crate) fn text(s: impl Into<String>) -> Json {
    Json::Text(s.into())
}

impl From<&serde_json::Value> for Json {
    fn from(value: &serde_json::Value) -> Json {
        use serde_json::Value;
        match value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(digits) => number(digits),
            Value::String(of) => text(of),
            Value::Array(items) => Json::List(items.iter().map(Json::from).collect()),
            Value::Object(entries) => {
                Json::Map(entries.iter().map(|(key, value)| (key.clone(), Json::from(value))).collect())
            }
        }
    }
}

impl Json {
    /// The document as it is written.
    pub(crate) fn bytes(&self, random: &mut Random) -> Vec<u8> {
        let mut out = String::new();
        // One document in eight escapes what needs no escape.
        let escaped = random.once_in(8);
        self.write(&mut out, escaped);
        out.into_bytes()
    }

    fn write(&self, out: &mut String, escaped: bool) {
        let separated = |out: &mut String, first: &mut bool| {
            if !std::mem::take(first) {
                out.push(',');
            }
        };
        let mut first = true;
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(text) => write_text(text, out, escaped),
            Json::List(items) => {
                out.push('[');
                for item in items {
                    separated(out, &mut first);
                    item.write(out, escaped);
                }
                out.push(']');
            }
            Json::Map(entries) => {
                out.push('{');
                for (key, value) in entries {
                    separated(out, &mut first);
                    write_text(key, out, escaped);
                    out.push(':');
                    value.write(out, escaped);
                }
                out.push('}');
            }
        }
    }

    /// The entry of an object by its key.
    pub(crate) fn entry(&mut self, key: &str) -> Option<&mut Json> {
        let Json::Map(entries) = self else { return None };
        entries.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Sets or adds an entry of an object.
    pub(crate) fn set(&mut self, key: &str, value: Json) {
        if let Some(old) = self.entry(key) {
            *old = value;
        } else if let Json::Map(entries) = self {
            entries.push((key.to_string(), value));
        }
    }

    fn children(&self) -> Box<dyn Iterator<Item = &Json> + '_> {
        match self {
            Json::List(items) => Box::new(items.iter()),
            Json::Map(entries) => Box::new(entries.iter().map(|(_, value)| value)),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn size(&self) -> usize {
        1 + self.children().map(Json::size).sum::<usize>()
    }

    /// The value of number `index` in the order of the text.
    fn nth(&mut self, index: usize) -> Option<&mut Json> {
        if index == 0 {
            return Some(self);
        }
        let mut left = index - 1;
        let children: Box<dyn Iterator<Item = &mut Json>> = match self {
            Json::List(items) => Box::new(items.iter_mut()),
            Json::Map(entries) => Box::new(entries.iter_mut().map(|(_, value)| value)),
            _ => return None,
        };
        for child in children {
            let size = child.size();
            if left < size {
                return child.nth(left);
            }
            left -= size;
        }
        None
    }

    /// Changes one value somewhere; `words` are texts that mean something in this format.
    pub(crate) fn change(&mut self, words: &[&str], random: &mut Random) {
        let size = self.size();
        let (at, other) = (random.below(size), random.below(size));
        if random.once_in(12) {
            let copied = self.nth(other).map(|value| value.clone());
            if let (Some(copied), Some(value)) = (copied, self.nth(at)) {
                *value = copied;
            }
        } else if let Some(value) = self.nth(at) {
            value.change_here(words, random);
        }
    }

    fn change_here(&mut self, words: &[&str], random: &mut Random) {
        if random.once_in(6) {
            *self = any(words, random);
            return;
        }
        match self {
            Json::Null => *self = any(words, random),
            Json::Bool(value) => *value = !*value,
            Json::Number(digits) => *digits = odd_number(digits, random),
            Json::Text(text) => change_text(text, words, random),
            Json::List(items) => {
                let at = random.below(items.len());
                match random.below(4) {
                    0 if !items.is_empty() => drop(items.remove(at)),
                    1 if !items.is_empty() => items.insert(at, items[at].clone()),
                    2 if !items.is_empty() => items.swap(0, at),
                    _ => items.insert(at, any(words, random)),
                }
            }
            Json::Map(entries) => change_map(entries, words, random),
        }
    }

    /// Makes one list or object as long as `n` entries, or as 2 MiB of text hold.
    pub(crate) fn inflate(&mut self, n: usize, random: &mut Random) {
        let fitting = |value: &Json| {
            let mut text = String::new();
            value.write(&mut text, false);
            n.min((2 << 20) / (text.len() + 12))
        };
        for _ in 0..20 {
            let at = random.below(self.size());
            match self.nth(at) {
                Some(Json::List(items)) => {
                    let item = items.first().cloned().unwrap_or_else(|| number(0));
                    items.resize(fitting(&item), item);
                    return;
                }
                Some(Json::Map(entries)) => {
                    let value = entries.last().map_or_else(|| number(0), |(_, value)| value.clone());
                    let counts = matches!(value, Json::Number(_));
                    let entry = |i| (format!("k{i}"), if counts { number(i) } else { value.clone() });
                    entries.extend((entries.len()..fitting(&value)).map(entry));
                    return;
                }
                _ => {}
            }
        }
    }
}

fn change_map(entries: &mut Vec<(String, Json)>, words: &[&str], random: &mut Random) {
    let at = random.below(entries.len());
    let other = random.below(entries.len());
    match random.below(7) {
        0 | 1 if !entries.is_empty() => drop(entries.remove(at)),
        2 if !entries.is_empty() => {
            let (key, _) = entries[at].clone();
            entries.insert(other, (key, any(words, random)));
        }
        3 if !entries.is_empty() => change_text(&mut entries[at].0, words, random),
        4 if !entries.is_empty() => {
            let value = entries[at].1.clone();
            entries[other].1 = value;
        }
        5 if !entries.is_empty() => entries.swap(at, other),
        _ => entries.push((random.pick(words).to_string(), any(words, random))),
    }
}

fn change_text(text: &mut String, words: &[&str], random: &mut Random) {
    match random.below(5) {
        0 => *text = odd_text(random),
        1 | 2 => *text = random.pick(words).to_string(),
        3 => drop(text.pop()),
        _ => text.push_str(random.pick(&[" ", "a", "\u{2581}", "\u{0}", "\u{120}", "é"])),
    }
}

fn any(words: &[&str], random: &mut Random) -> Json {
    match random.below(10) {
        0 => Json::Null,
        1 => Json::Bool(random.once_in(2)),
        2 => Json::List(Vec::new()),
        3 => Json::Map(Vec::new()),
        4 => text(random.pick(words)),
        5 => text(odd_text(random)),
        6 => (0..random.pick(&[1, 3, 60, 64, 70])).fold(Json::List(Vec::new()), |inner, _| Json::List(vec![inner])),
        7 => Json::List(vec![number(0), text("a")]),
        _ => Json::Number(odd_number("1", random)),
    }
}

fn odd_number(old: &str, random: &mut Random) -> String {
    const ODD: [&str; 14] = [
        "-1",
        "-0",
        "1.0",
        "0.5",
        "1e3",
        "1e999",
        "-1e-999",
        "1e-45",
        "18446744073709551616",
        "01",
        "1.",
        "NaN",
        "0x10",
        "340282366920938463463374607431768211456",
    ];
    match random.below(4) {
        0 => random.pick(&ODD).to_string(),
        1 => format!("{}", f64::from_bits(random.bits())),
        _ => random.edge(old.parse().unwrap_or(1)).to_string(),
    }
}

fn write_text(text: &str, out: &mut String, escaped: bool) {
    out.push('"');
    for c in text.chars() {
        if escaped || c < ' ' || matches!(c, '"' | '\\') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out.push('"');
}
