//! JSON output: an object written field by field.

use core::fmt::{Display, Write};

pub(crate) use whit::failure::json_string as string;

/// A list of values that are already JSON.
pub(crate) fn list(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().collect::<Vec<_>>().join(","))
}

/// A number; what JSON cannot say (NaN, infinite) is null.
pub(crate) fn number(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "null".into(),
        // Without an exponent a tiny number is a line of zeros.
        _ if value != 0.0 && value.abs() < 1e-4 => format!("{value:e}"),
        _ => value.to_string(),
    }
}

/// An object under construction.
#[derive(Debug, Default)]
pub(crate) struct Object(String);

impl Object {
    /// Adds a field whose value is already JSON.
    pub(crate) fn raw(mut self, name: &str, value: impl Display) -> Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        let _ = write!(self.0, "{}:{value}", string(name));
        self
    }

    /// Adds a text.
    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, string(value))
    }

    /// Adds a number; what JSON cannot say (NaN, infinite) becomes null.
    pub(crate) fn number(self, name: &str, value: f64) -> Self {
        self.raw(name, number(value))
    }

    /// Adds a text or null.
    pub(crate) fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.raw(name, "null"),
        }
    }

    /// The object as one line.
    pub(crate) fn line(self) -> String {
        if self.0.is_empty() { "{}".into() } else { self.0 + "}" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_well_formed() {
        assert_eq!(Object::default().line(), "{}");
        let object = Object::default().text("a\"", "x\n\u{1b}\u{7f}\\é").number("b", 0.5).number("c", f64::NAN);
        let object = object.raw("d", list(["1".into(), "2".into()])).maybe("e", None);
        assert_eq!(object.line(), r#"{"a\"":"x\n\u001b\u007f\\é","b":0.5,"c":null,"d":[1,2],"e":null}"#);
        assert_eq!(Object::default().number("n", 1e300).line().len(), 307);
        let small = Object::default().number("a", 0.0).number("b", -2.5e-7).number("c", 1e-4).line();
        assert_eq!(small, r#"{"a":0,"b":-2.5e-7,"c":0.0001}"#);
    }
}
