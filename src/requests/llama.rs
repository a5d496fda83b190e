//! The fields of llama.cpp's server: completion, infill, tokenize and their like.

use super::body::{Body, wrong};
use super::openai::prompt;
use super::{Asked, Prompt, Sending};
use serde_json::Value;
use whit::TokenId;
use whit::chat::Turn;
use whit::error::Result;
use whit::generate::grammar::Rule;
use whit::sampler::SamplerOptions;

/// The most tokens whose probabilities can be asked for.
const MOST_PROBS: u64 = 1000;

/// What a request to `/completion` asks for.
pub(crate) fn completion(body: &Value, sampling: &SamplerOptions) -> Result<Asked> {
    let body = Body::of("body", body)?;
    let prompt = match prompt(body.get("prompt"))? {
        Prompt::Text(text) => Prompt::Marked(text),
        other => other,
    };
    asked(&body, prompt, sampling)
}

/// A text with a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) prefix: String,
    pub(crate) suffix: String,
    /// Other files, each with its name.
    pub(crate) extra: Vec<(String, String)>,
}

/// What a request to `/infill` asks for; its prompt is made of the hole.
pub(crate) fn infill(body: &Value, sampling: &SamplerOptions) -> Result<(Hole, Asked)> {
    let body = Body::of("body", body)?;
    let text = |name: &str| body.text(name).map(|text| text.unwrap_or_default().to_owned());
    let extra = body.get("input_extra").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let file = |file: &Value| Some((file["filename"].as_str().unwrap_or("tmp").into(), file["text"].as_str()?.into()));
    let extra = extra.iter().map(file).collect::<Option<_>>();
    let hole = Hole {
        // What stands between both is the beginning of what is asked for.
        prefix: text("input_prefix")? + &text("prompt")?,
        suffix: text("input_suffix")?,
        extra: extra.ok_or_else(|| wrong("input_extra", "it is no list of texts with their names"))?,
    };
    Ok((hole, asked(&body, Prompt::Tokens(Vec::new()), sampling)?))
}

fn asked(body: &Body<'_>, prompt: Prompt, sampling: &SamplerOptions) -> Result<Asked> {
    // `t_max_predict_ms` is not looked at: editors always send it, and what is written never depends on the clock.
    body.refuse(&["lora", "image_data", "ignore_eos"])?;
    let rule = match (body.get("json_schema"), body.text("grammar")?.filter(|grammar| !grammar.is_empty())) {
        (Some(_), Some(_)) => return Err(wrong("grammar", "it is given together with json_schema")),
        (Some(schema), None) => Some(Rule::Schema(schema.to_string())),
        (None, grammar) => grammar.map(|grammar| Rule::Gbnf(grammar.to_owned())),
    };
    let n_tokens = if body.get("n_predict").is_some() { "n_predict" } else { "max_tokens" };
    let n_probs = body.integer("n_probs", MOST_PROBS)?.filter(|n| *n > 0);
    Ok(Asked {
        n_tokens: body.bound(n_tokens)?,
        stops: body.strings("stop")?,
        rule,
        n_logprobs: n_probs.map(|n| n as usize),
        sending: if body.flag("stream")? { Sending::Streamed } else { Sending::Whole },
        extension: super::extension::of(body)?,
        ..Asked::to(prompt, body.sampling(sampling)?)
    })
}

/// What `/tokenize` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokenize {
    pub(crate) text: String,
    /// The token that begins a text comes first.
    pub(crate) add_special: bool,
    /// Names of control tokens are read as such.
    pub(crate) parse_special: bool,
    /// Each token with its text.
    pub(crate) with_pieces: bool,
}

/// What a request to `/tokenize` asks for.
pub(crate) fn tokenize(body: &Value) -> Result<Tokenize> {
    let body = Body::of("body", body)?;
    let parse_special = body.get("parse_special").is_none() || body.flag("parse_special")?;
    Ok(Tokenize {
        text: body.text("content")?.ok_or_else(|| wrong("content", "it is missing"))?.to_owned(),
        add_special: body.flag("add_special")?,
        parse_special,
        with_pieces: body.flag("with_pieces")?,
    })
}

/// The tokens of a request to `/detokenize`.
pub(crate) fn detokenize(body: &Value) -> Result<Vec<TokenId>> {
    match Body::of("body", body)?.get("tokens") {
        Some(Value::Array(items)) => Body::tokens("tokens", items),
        _ => Err(wrong("tokens", "it is no list of tokens")),
    }
}

/// The turns of a request to `/apply-template`.
pub(crate) fn turns(body: &Value) -> Result<Vec<Turn>> {
    super::messages::turns(Body::of("body", body)?.get("messages"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn completions_are_asked_for_in_the_words_of_llama_cpp() {
        let body = json!({
            "prompt": "Once", "n_predict": -1, "n_probs": 3, "grammar": "root ::= \"a\"", "cache_prompt": true, "id_slot": -1,
            "logit_bias": [[5, -1.5], [6, false]], "repeat_last_n": 3, "seed": -1, "typ_p": 0.5, "mirostat": 0,
        });
        let asked = completion(&body, &SamplerOptions::default()).expect("a request");
        assert_eq!((asked.n_tokens, asked.n_logprobs), (None, Some(3)));
        assert_eq!(asked.rule, Some(Rule::Gbnf("root ::= \"a\"".into())));
        assert_eq!(asked.sampling.logit_bias, [(5, -1.5), (6, f32::NEG_INFINITY)]);
        assert_eq!((asked.sampling.repeat_last_n, asked.sampling.typical_p), (3, 0.5));
        let mirostat = json!({"prompt": [1], "mirostat": 2, "mirostat_tau": 3});
        let asked = completion(&mirostat, &SamplerOptions::default()).expect("a request");
        assert_eq!(asked.sampling.mirostat.map(|mirostat| mirostat.tau), Some(3.0));
        let both = json!({"prompt": "a", "grammar": "root ::= \"a\"", "json_schema": {}});
        let refused = completion(&both, &SamplerOptions::default()).expect_err("refused").to_string();
        assert_eq!(refused, "grammar: it is given together with json_schema");
    }

    #[test]
    fn a_hole_is_what_stands_around_it() {
        let body = json!({
            "input_prefix": "fn a() {", "input_suffix": "}", "prompt": "\n ", "input_extra": [{"filename": "b", "text": "c"}],
        });
        let (hole, _) = infill(&body, &SamplerOptions::default()).expect("a request");
        let extra = vec![("b".into(), "c".into())];
        assert_eq!(hole, Hole { prefix: "fn a() {\n ".into(), suffix: "}".into(), extra });
        let tokens = tokenize(&json!({"content": "a", "add_special": true})).expect("a request");
        assert!(tokens.add_special && tokens.parse_special && !tokens.with_pieces);
        assert_eq!(detokenize(&json!({"tokens": [1, 2]})), Ok(vec![1, 2]));
        assert!(detokenize(&json!({"tokens": "a"})).is_err());
    }
}
