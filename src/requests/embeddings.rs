//! The fields of requests for vectors, of OpenAI and of Ollama.

use super::Prompt;
use super::body::{Body, wrong};
use serde_json::Value;
use whit::error::Result;
use whit::inspect::Pooling;

/// The most texts of a request.
const MOST_TEXTS: usize = 2048;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// Texts, or their tokens.
    pub(crate) texts: Vec<Prompt>,
    /// As base64 of 32-bit floats, not as lists of numbers.
    pub(crate) is_base64: bool,
    /// So many of the first elements.
    pub(crate) n_elements: Option<usize>,
    pub(crate) pooling: Pooling,
}

/// What a request to `/v1/embeddings` or `/api/embed` asks for.
pub(crate) fn wanted(body: &Value) -> Result<Wanted> {
    let body = Body::of("body", body)?;
    let is_base64 = match body.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(wrong("encoding_format", "it is neither float nor base64")),
    };
    let pooling = match body.text("pooling")? {
        None | Some("mean") => Pooling::Mean,
        Some("last") => Pooling::Last,
        Some("cls") => Pooling::First,
        Some(_) => return Err(wrong("pooling", "it is none of mean, last and cls")),
    };
    let n_elements = body.integer("dimensions", u64::from(u32::MAX))?.map(|n| n as usize);
    if n_elements == Some(0) {
        return Err(wrong("dimensions", "0 is below 1"));
    }
    Ok(Wanted { texts: texts(body.get("input"))?, is_base64, n_elements, pooling })
}

/// A text, several, the tokens of one, or those of several.
fn texts(input: Option<&Value>) -> Result<Vec<Prompt>> {
    let no_text = || wrong("input", "it is neither a string nor a list of strings or of tokens");
    let one = |value: &Value| match value {
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        Value::Array(items) if !items.is_empty() => Body::tokens("input", items).map(Prompt::Tokens),
        _ => Err(no_text()),
    };
    match input {
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            Ok(vec![Prompt::Tokens(Body::tokens("input", items)?)])
        }
        Some(Value::Array(items)) if items.len() > MOST_TEXTS => {
            Err(wrong("input", &format!("{} texts are more than {MOST_TEXTS}", items.len())))
        }
        Some(Value::Array(items)) if !items.is_empty() => items.iter().map(one).collect(),
        Some(text @ Value::String(_)) => Ok(vec![one(text)?]),
        _ => Err(no_text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_come_alone_together_and_as_tokens() {
        let text = |text: &str| Prompt::Text(text.into());
        for (input, expected) in [
            (json!("a"), vec![text("a")]),
            (json!(["a", "b"]), vec![text("a"), text("b")]),
            (json!([1, 2]), vec![Prompt::Tokens(vec![1, 2])]),
            (json!([[1], [2, 3]]), vec![Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 3])]),
        ] {
            assert_eq!(wanted(&json!({"input": input})).expect("a request").texts, expected);
        }
        for input in [json!(null), json!([]), json!([[]]), json!({}), json!([1, "a"]), json!([null])] {
            assert!(wanted(&json!({"input": input})).is_err(), "{input}");
        }
        assert!(wanted(&json!({"input": "a", "encoding_format": "base64"})).is_ok_and(|wanted| wanted.is_base64));
        assert!(wanted(&json!({"input": "a", "dimensions": 0})).is_err());
    }
}
