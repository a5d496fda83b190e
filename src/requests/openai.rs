//! The fields of OpenAI's chat completions and completions.

use super::body::{Body, wrong};
use super::messages::turns;
use super::{Asked, Prompt, Sending};
use serde_json::Value;
#[cfg(feature = "server")]
use whit::chat::Think;
use whit::chat::tools::Tools;
use whit::error::Result;
use whit::generate::grammar::Rule;
use whit::sampler::SamplerOptions;

/// Fields that ask for what is not there. Where they are absent, null, false, zero or empty, they ask for nothing.
const REFUSED: [&str; 9] = [
    "audio",
    "best_of",
    "echo",
    "function_call",
    "functions",
    "prediction",
    "reasoning_effort",
    "suffix",
    "web_search_options",
];
/// The most answers to a request.
const MOST_ANSWERS: u64 = 128;
/// The most tokens whose probabilities can be asked for in the place of each.
const MOST_LOGPROBS: u64 = 20;

/// What the `body` of a request to `url` asks for; what it does not say is as in `sampling`. The error of a request names the
/// field.
pub(crate) fn asked(url: &str, body: &Value, sampling: &SamplerOptions) -> Result<Asked> {
    let body = Body::of("body", body)?;
    body.refuse(&REFUSED)?;
    let is_chat = url == "/v1/chat/completions";
    let prompt = match url {
        "/v1/chat/completions" => Prompt::Turns(turns(body.get("messages"))?),
        "/v1/completions" => prompt(body.get("prompt"))?,
        _ => return Err(wrong("url", "it is neither /v1/chat/completions nor /v1/completions")),
    };
    // The third is llama.cpp's.
    let n_tokens =
        ["max_completion_tokens", "max_tokens", "n_predict"].into_iter().find(|name| body.get(name).is_some());
    let n_tokens = n_tokens.map_or(Ok(None), |name| body.bound(name))?;
    let n_answers = body.integer("n", MOST_ANSWERS)?.unwrap_or(1);
    if n_answers == 0 {
        return Err(wrong("n", "0 is below 1"));
    }
    Ok(Asked {
        n_tokens,
        stops: body.strings("stop")?,
        n_answers: n_answers as usize,
        tools: tools(&body, is_chat)?,
        #[cfg(feature = "server")]
        think: think(&body)?,
        rule: rule(body.get("response_format"))?,
        n_logprobs: n_logprobs(&body, is_chat)?,
        sending: sending(&body)?,
        #[cfg(feature = "server")]
        extension: super::extension::of(&body)?,
        ..Asked::to(prompt, body.sampling(sampling)?)
    })
}

/// The functions that are offered in a conversation.
fn tools(body: &Body<'_>, is_chat: bool) -> Result<Option<Tools>> {
    let field = |name: &str| body.get(name).unwrap_or(&Value::Null);
    if !is_chat {
        body.refuse(&["tools"])?;
    }
    Tools::of_request(field("tools"), field("tool_choice"), field("parallel_tool_calls"))
}

/// Whether the model thinks first, as vLLM and llama.cpp are told.
#[cfg(feature = "server")]
fn think(body: &Body<'_>) -> Result<Think> {
    let Some(arguments) = body.get("chat_template_kwargs") else { return Ok(Think::AsEver) };
    let arguments = Body::of("chat_template_kwargs", arguments)?;
    match arguments.get("enable_thinking") {
        None => Ok(Think::AsEver),
        Some(_) => Ok(if arguments.flag("enable_thinking")? { Think::On } else { Think::Off }),
    }
}

/// How the answer is to be sent.
fn sending(body: &Body<'_>) -> Result<Sending> {
    if !body.flag("stream")? {
        return Ok(Sending::Whole);
    }
    let options = body.get("stream_options").map(|options| Body::of("stream_options", options)).transpose()?;
    let has_usage = options.map_or(Ok(false), |options| options.flag("include_usage"))?;
    Ok(if has_usage { Sending::StreamedWithUsage } else { Sending::Streamed })
}

/// What an answer has to be.
pub(super) fn rule(format: Option<&Value>) -> Result<Option<Rule>> {
    let Some(format) = format else { return Ok(None) };
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Rule::JsonObject)),
        Some("json_schema") => {
            let schema = format["json_schema"].get("schema").or(format.get("schema"));
            let schema = schema.filter(|schema| schema.is_object() || schema.is_boolean());
            let schema = schema.ok_or_else(|| wrong("response_format.json_schema.schema", "it is no schema"))?;
            Ok(Some(Rule::Schema(schema.to_string())))
        }
        _ => Err(wrong("response_format.type", "it is none of text, json_object and json_schema")),
    }
}

/// How many of the most probable tokens are asked for in the place of each: of a conversation by a field of its own.
fn n_logprobs(body: &Body<'_>, is_chat: bool) -> Result<Option<usize>> {
    let n = match is_chat {
        true if !body.flag("logprobs")? => {
            body.refuse(&["top_logprobs"]).map_err(|error| error.hint("logprobs has to be true"))?;
            None
        }
        true => body.integer("top_logprobs", MOST_LOGPROBS)?.or(Some(0)),
        false if body.get("logprobs").is_some_and(Value::is_boolean) => body.flag("logprobs")?.then_some(0),
        false => body.integer("logprobs", MOST_LOGPROBS)?,
    };
    Ok(n.map(|n| n as usize))
}

/// What a completion goes on with.
pub(super) fn prompt(value: Option<&Value>) -> Result<Prompt> {
    match value {
        Some(Value::String(text)) => Ok(Prompt::Text(text.clone())),
        Some(Value::Array(items)) if !items.is_empty() => match &items[..] {
            [Value::String(text)] => Ok(Prompt::Text(text.clone())),
            _ => Body::tokens("prompt", items).map(Prompt::Tokens),
        },
        None => Err(wrong("prompt", "it is missing")),
        Some(_) => Err(wrong("prompt", "it is neither a string nor a list of tokens")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use whit::chat::Speaker;

    fn chat(body: Value) -> Result<Asked> {
        asked("/v1/chat/completions", &body, &SamplerOptions::default())
    }

    #[test]
    fn what_is_said_counts_and_all_else_is_as_it_was() {
        let body = json!({
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": " two"}]},
                {"role": "assistant", "content": "Three"},
            ],
            "model": "any", "user": "somebody", "metadata": {"a": 1}, "stream": false, "tools": [], "logprobs": false,
            "temperature": 0.3, "top_p": null, "max_tokens": 9, "max_completion_tokens": 7, "stop": ["a", ""], "n": 3,
            "seed": 18446744073709551615u64, "logit_bias": {"5": -100}, "repetition_penalty": 1.1, "top_k": 3,
        });
        let asked = chat(body).expect("a request");
        let Prompt::Turns(turns) = asked.prompt else { panic!("a conversation") };
        let said: Vec<(Speaker, &str)> = turns.iter().map(|turn| (turn.role, turn.text.as_str())).collect();
        let all = [(Speaker::System, "Be brief."), (Speaker::User, "One two"), (Speaker::Assistant, "Three")];
        assert_eq!(said, all);
        assert_eq!((asked.n_tokens, asked.stops, asked.n_answers), (Some(7), vec!["a".to_string()], 3));
        let options = SamplerOptions {
            temperature: 0.3,
            top_k: 3,
            seed: u64::MAX,
            repeat_penalty: 1.1,
            logit_bias: vec![(5, -100.0)],
            ..SamplerOptions::default()
        };
        assert_eq!(asked.sampling, options);
    }

    #[test]
    fn a_number_below_zero_bounds_nothing() {
        let of = |body: Value| asked("/v1/completions", &body, &SamplerOptions::default()).expect("a request").n_tokens;
        assert_eq!(of(json!({"prompt": "a", "max_tokens": -1})), None);
        assert_eq!(of(json!({"prompt": "a", "max_tokens": null, "n_predict": 0})), Some(0));
        assert_eq!(of(json!({"prompt": "a", "max_tokens": 3, "n_predict": 5})), Some(3));
    }

    #[test]
    fn completions_go_on_with_a_text_or_with_tokens() {
        let of = |prompt: Value| asked("/v1/completions", &json!({"prompt": prompt}), &SamplerOptions::default());
        assert_eq!(of(json!("Once")).expect("a request").prompt, Prompt::Text("Once".into()));
        assert_eq!(of(json!([1, 2])).expect("a request").prompt, Prompt::Tokens(vec![1, 2]));
    }

    #[test]
    fn what_is_wrong_or_not_there_is_refused_by_its_field() {
        let message = json!([{"role": "user", "content": "Hi"}]);
        let with = |name: &str, value: Value| {
            let mut body = json!({"messages": message});
            body[name] = value;
            chat(body).expect_err(name).to_string()
        };
        for (name, value) in [("best_of", json!(2)), ("echo", json!(true))] {
            assert_eq!(with(name, value), format!("{name}: it is not supported"));
        }
        let format = "response_format.type: it is none of text, json_object and json_schema";
        assert_eq!(with("response_format", json!({"type": "xml"})), format);
        let schema = "response_format.json_schema.schema: it is no schema";
        assert_eq!(with("response_format", json!({"type": "json_schema", "json_schema": {}})), schema);
        assert_eq!(with("logprobs", json!(1)), "logprobs: it is neither true nor false");
        assert_eq!(with("top_logprobs", json!(2)), "top_logprobs: it is not supported (logprobs has to be true)");
        assert_eq!(with("stream", json!("yes")), "stream: it is neither true nor false");
        assert_eq!(with("n", json!(0)), "n: 0 is below 1");
        assert_eq!(with("n", json!(129)), "n: it is no whole number in 0..=128");
        assert_eq!(with("max_tokens", json!(1.5)), "max_tokens: it is no whole number in 0..=1048576");
        assert_eq!(with("temperature", json!("hot")), "temperature: it is no number");
        assert_eq!(with("stop", json!([1])), "stop: it is neither a string nor a list of strings");
        assert_eq!(
            with("logit_bias", json!({"a": 1})),
            "logit_bias: it is no object from numbers of tokens to numbers"
        );
        assert_eq!(with("messages", json!([])), "messages: it is no list of messages");
        assert_eq!(with("tools", json!([{}])), "tools[0].type: only functions are supported");
        let role = "messages[0].role: it is none of system, developer, user, assistant and tool";
        assert_eq!(with("messages", json!([{"role": "judge", "content": ""}])), role);
        let content = "messages[0].content: it is neither a string nor a list of texts";
        assert_eq!(with("messages", json!([{"role": "user", "content": [{"type": "image_url"}]}])), content);
        let other = asked("/v1/embeddings", &json!({}), &SamplerOptions::default()).expect_err("refused").to_string();
        assert_eq!(other, "url: it is neither /v1/chat/completions nor /v1/completions");
        let missing =
            asked("/v1/completions", &json!({}), &SamplerOptions::default()).expect_err("refused").to_string();
        assert_eq!(missing, "prompt: it is missing");
    }
}
