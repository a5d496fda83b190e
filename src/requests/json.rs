//! The JSON of a body, whose values are counted before any memory is taken for them.

use serde_json::Value;
use whit::error::{Error, Result};

/// Values of a body: a value of two bytes takes 32 in memory, and lists grow by doubling.
const MOST_VALUES: usize = 1 << 17;
/// As how many values an entry of an object counts.
const ENTRY: usize = 4;

/// The value that `bytes` are.
pub(crate) fn value(bytes: &[u8]) -> Result<Value> {
    if n_values(bytes) > MOST_VALUES {
        return Err(Error::usage(format!("it holds more than {MOST_VALUES} values")).field("body"));
    }
    serde_json::from_slice(bytes).map_err(|error| Error::usage(format!("it is no JSON: {error}")).field("body"))
}

/// How many values `bytes` hold, at most.
fn n_values(bytes: &[u8]) -> usize {
    let (mut n, mut is_text, mut is_escaped) = (1, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b',' | b'[' | b'{' => n += 1,
            b':' => n += ENTRY - 1,
            _ => {}
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_texts() {
        for (text, n) in [("1", 1), ("[1,2,3]", 4), (r#"{"a": "[,\",[{:", "b": [1]}"#, 10), (r#""[[[""#, 1)] {
            assert_eq!(n_values(text.as_bytes()), n, "{text}");
        }
    }

    #[test]
    fn more_values_than_there_is_memory_for_are_refused() {
        let long = format!("[{}0]", "0,".repeat(MOST_VALUES));
        assert_eq!(value(long.as_bytes()).expect_err("refused").to_string(), "body: it holds more than 131072 values");
        let text = format!("{{\"a\": \"{}\"}}", "[,".repeat(MOST_VALUES));
        assert!(value(text.as_bytes()).is_ok());
        assert!(value(b"{").expect_err("refused").to_string().starts_with("body: it is no JSON"));
    }
}
