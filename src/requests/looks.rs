//! The fields of requests that look into a model: what comes next, how surprising a text is, what its tokens are, what each layer
//! would say, where heads look.

use super::body::{Body, wrong};
use super::extension::Next;
use super::messages::turns;
use super::{Asked, Prompt};
use serde_json::Value;
use whit::error::Result;
use whit::sampler::SamplerOptions;

/// Tokens of a distribution where nobody says how many.
const USUAL_TOP: usize = 20;
/// The most tokens of a distribution.
const MOST_TOP: u64 = 1000;
/// Tokens of each reading of a layer where nobody says how many, and the most.
const USUAL_READ: usize = 5;
const MOST_READ: u64 = 20;
/// Positions that are read where nobody says how many.
const USUAL_LAST: usize = 1;

/// The text that is looked at: `text` or `prompt`, `tokens`, or `messages`.
pub(crate) fn looked(body: &Value) -> Result<Prompt> {
    let body = Body::of("body", body)?;
    const NAMES: [&str; 4] = ["text", "prompt", "tokens", "messages"];
    let mut given = NAMES.into_iter().filter(|name| body.get(name).is_some());
    let first = given.next();
    if let Some((first, second)) = first.zip(given.next()) {
        return Err(wrong(second, &format!("it is given together with {first}")));
    }
    match first {
        None => Err(wrong("text", "it is missing").hint("text, tokens or messages say what is looked at")),
        Some("tokens") => match body.get("tokens") {
            Some(Value::Array(items)) if !items.is_empty() => Body::tokens("tokens", items).map(Prompt::Tokens),
            _ => Err(wrong("tokens", "it is no list of tokens")),
        },
        Some("messages") => Ok(Prompt::Turns(turns(body.get("messages"))?)),
        Some(name) => {
            let text = body.text(name)?.unwrap_or_default().to_owned();
            Ok(if body.flag("special")? { Prompt::Marked(text) } else { Prompt::Text(text) })
        }
    }
}

/// What a request to `/whit/next` asks for: a text of no token, whose first choice is shown.
pub(crate) fn next(value: &Value, sampling: &SamplerOptions) -> Result<Asked> {
    let body = Body::of("body", value)?;
    let mut asked = Asked::to(looked(value)?, body.sampling(sampling)?);
    asked.n_tokens = Some(0);
    asked.extension.next = Some(Next {
        n_top: body.integer("top", MOST_TOP)?.map_or(USUAL_TOP, |n| n as usize),
        temperature: body.get("temperature").and_then(Value::as_f64).unwrap_or(1.0),
        stages: body.flag("stages")?,
        film: body.flag("film")?,
    });
    Ok(asked)
}

/// What of the layers is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readings {
    /// So many of the last positions.
    pub(crate) n_last: usize,
    /// So many of the most probable tokens of each.
    pub(crate) n_top: usize,
}

/// What of the layers a request to `/whit/lens` asks for, of `most` positions at most.
pub(crate) fn readings(body: &Value, most: usize) -> Result<Readings> {
    let body = Body::of("body", body)?;
    let n_last = body.integer("last", most as u64)?.map_or(USUAL_LAST, |n| n as usize);
    if n_last == 0 {
        return Err(wrong("last", "0 is below 1"));
    }
    Ok(Readings { n_last, n_top: body.integer("top", MOST_READ)?.map_or(USUAL_READ, |n| n as usize) })
}

/// The heads that a request to `/whit/attend` asks for: those of a layer, one of them, or all.
pub(crate) fn heads(body: &Value) -> Result<(Option<usize>, Option<usize>)> {
    let body = Body::of("body", body)?;
    let place = |name| Ok::<_, whit::Error>(body.integer(name, u64::from(u16::MAX))?.map(|n| n as usize));
    let (layer, head) = (place("layer")?, place("head")?);
    if head.is_some() && layer.is_none() {
        return Err(wrong("head", "it is given without its layer"));
    }
    Ok((layer, head))
}

/// What a request to `/whit/receipt` asks for: one answer in one piece, with its receipt.
pub(crate) fn receipt(value: &Value, sampling: &SamplerOptions) -> Result<Asked> {
    let body = Body::of("body", value)?;
    body.refuse(&["stream", "logprobs"])?;
    if body.integer("n", u64::MAX)?.is_some_and(|n| n != 1) {
        return Err(wrong("n", "it is not supported").hint("each answer of /v1/completions can have a receipt"));
    }
    let is_chat = body.get("messages").is_some();
    let mut asked = match is_chat {
        true => super::openai::asked("/v1/chat/completions", value, sampling)?,
        false => {
            let mut with_prompt = value.clone();
            if body.get("prompt").is_none() {
                with_prompt["prompt"] = body.get("text").or(body.get("tokens")).cloned().unwrap_or_default();
            }
            super::openai::asked("/v1/completions", &with_prompt, sampling)?
        }
    };
    asked.extension.receipt = true;
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_looked_at_is_given_in_one_of_three_ways() {
        assert_eq!(looked(&json!({"text": "a"})), Ok(Prompt::Text("a".into())));
        assert_eq!(looked(&json!({"prompt": "a", "special": true})), Ok(Prompt::Marked("a".into())));
        assert_eq!(looked(&json!({"tokens": [1, 2]})), Ok(Prompt::Tokens(vec![1, 2])));
        assert!(looked(&json!({"messages": [{"role": "user", "content": "a"}]})).is_ok());
        let refused = |body: Value| looked(&body).expect_err("refused").to_string();
        assert_eq!(refused(json!({})), "text: it is missing (text, tokens or messages say what is looked at)");
        assert_eq!(refused(json!({"text": "a", "tokens": [1]})), "tokens: it is given together with text");
        assert_eq!(refused(json!({"text": 1})), "text: it is no string");
        for tokens in [json!([]), json!("a"), json!({})] {
            assert_eq!(refused(json!({"tokens": tokens})), "tokens: it is no list of tokens");
        }
    }

    #[test]
    fn what_comes_next_is_asked_for_with_any_options() {
        let asked =
            next(&json!({"text": "a", "temperature": 0.5, "stages": true, "top": 3}), &SamplerOptions::default());
        let asked = asked.expect("a request");
        assert_eq!((asked.n_tokens, asked.sampling.temperature), (Some(0), 0.5));
        assert_eq!(asked.extension.next, Some(Next { n_top: 3, temperature: 0.5, stages: true, film: false }));
        let too_many = next(&json!({"text": "a", "top": 1001}), &SamplerOptions::default()).expect_err("refused");
        assert_eq!(too_many.to_string(), "top: it is no whole number in 0..=1000");
    }

    #[test]
    fn layers_heads_and_positions_are_named() {
        assert_eq!(readings(&json!({}), 64), Ok(Readings { n_last: 1, n_top: 5 }));
        assert!(readings(&json!({"last": 0}), 64).is_err() && readings(&json!({"last": 65}), 64).is_err());
        assert_eq!(heads(&json!({"layer": 1, "head": 2})), Ok((Some(1), Some(2))));
        assert_eq!(heads(&json!({})), Ok((None, None)));
        assert!(heads(&json!({"head": 2})).is_err());
    }
}
