//! What a filter, test, method, function or macro is given.

use super::meter::{Result, fault};
use super::value::Value;
use std::rc::Rc;

#[derive(Default)]
pub(super) struct Given {
    pub(super) by_place: Vec<Value>,
    pub(super) by_name: Vec<(Rc<str>, Value)>,
}

impl Given {
    /// The values of `what`'s parameters, as far as they are given.
    pub(super) fn parameters<const N: usize>(&self, what: &str, names: [&str; N]) -> Result<[Option<&Value>; N]> {
        let mut out = [None; N];
        if self.by_place.len() > N {
            return fault(format!("{what} takes {N} arguments at most"));
        }
        for (place, value) in out.iter_mut().zip(&self.by_place) {
            *place = Some(value);
        }
        for (name, value) in &self.by_name {
            match names.iter().position(|own| *own == &**name) {
                Some(at) if out[at].is_none() => out[at] = Some(value),
                Some(_) => return fault(format!("{what} is given {name} twice")),
                None => return fault(format!("{what} takes no argument {name}")),
            }
        }
        Ok(out)
    }

    /// Fails where there are any.
    pub(super) fn none(&self, what: &str) -> Result<()> {
        self.parameters(what, []).map(|[]| ())
    }
}

/// A string that must be given.
pub(super) fn string<'v>(value: Option<&'v Value>, what: &str) -> Result<&'v str> {
    match value {
        Some(Value::Text(text)) => Ok(text),
        Some(other) => fault(format!("{what} takes a string, not {}", other.name())),
        None => fault(format!("{what} lacks a string")),
    }
}

/// A string that may be given.
pub(super) fn optional_string<'v>(value: Option<&'v Value>, what: &str) -> Result<Option<&'v str>> {
    match value {
        None | Some(Value::None) => Ok(None),
        given => string(given, what).map(Some),
    }
}

/// A whole number that may be given.
pub(super) fn optional_int(value: Option<&Value>, what: &str) -> Result<Option<i64>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => match value.as_int() {
            Some(n) => Ok(Some(n)),
            None => fault(format!("{what} takes an integer, not {}", value.name())),
        },
    }
}

/// Whether a flag is given that holds.
pub(super) fn flag(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_true)
}

/// `n` as a length or count: nothing is negative.
pub(super) fn count(n: i64) -> usize {
    usize::try_from(n.max(0)).unwrap_or(usize::MAX)
}
