//! What a request asks for: the fields of OpenAI's chat completions and completions.

use serde_json::{Map, Value};
use whit::TokenId;
use whit::chat::Turn;
use whit::chat::tools::{Tools, turn_of_message};
use whit::error::{Error, Result};
use whit::generate::grammar::Rule;
use whit::sampler::SamplerOptions;

/// Fields that ask for what is not there. Where they are absent, null, false, zero or empty, they ask for nothing.
const REFUSED: [&str; 12] = [
    "audio",
    "best_of",
    "echo",
    "function_call",
    "functions",
    "logprobs",
    "prediction",
    "reasoning_effort",
    "stream",
    "suffix",
    "top_logprobs",
    "web_search_options",
];
/// Where conversations are answered.
const CHAT: &str = "/v1/chat/completions";
/// The most answers to a request.
const MOST_ANSWERS: u64 = 128;
/// The most tokens that a field can name.
const MOST_TOKENS: u64 = 1 << 20;

/// What is to be gone on with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prompt {
    /// A conversation.
    Turns(Vec<Turn>),
    /// A text.
    Text(String),
    /// The tokens of a text.
    Tokens(Vec<TokenId>),
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) prompt: Prompt,
    /// Most tokens of an answer, if it says.
    pub(super) n_tokens: Option<usize>,
    pub(super) stops: Vec<String>,
    /// Answers, each with a seed that is one more than that before.
    pub(super) n_answers: usize,
    pub(super) sampling: SamplerOptions,
    /// The functions that are offered.
    pub(super) tools: Option<Tools>,
    /// What the text of an answer has to be.
    pub(super) format: Option<Rule>,
}

/// What the `body` of a request to `url` asks for; what it does not say is as in `sampling`. The error of a request names the field.
pub(super) fn asked(url: &str, body: &Value, sampling: &SamplerOptions) -> Result<Asked> {
    let body = Body(body.as_object().ok_or_else(|| wrong("body", "it is no object"))?);
    for name in REFUSED {
        if body.get(name).is_some_and(|value| !is_nothing(name, value)) {
            return Err(wrong(name, "it is not supported"));
        }
    }
    let prompt = match url {
        CHAT => Prompt::Turns(turns(body.get("messages"))?),
        "/v1/completions" => prompt(body.get("prompt"))?,
        _ => return Err(wrong("url", "it is neither /v1/chat/completions nor /v1/completions")),
    };
    let n_tokens = match body.integer("max_completion_tokens", MOST_TOKENS)? {
        Some(n) => Some(n),
        None => body.integer("max_tokens", MOST_TOKENS)?,
    };
    let n_answers = body.integer("n", MOST_ANSWERS)?.unwrap_or(1);
    if n_answers == 0 {
        return Err(wrong("n", "0 is below 1"));
    }
    Ok(Asked {
        prompt,
        n_tokens: n_tokens.map(|n| n as usize),
        stops: body.strings("stop")?,
        n_answers: n_answers as usize,
        sampling: body.sampling(sampling)?,
        tools: body.tools(url == CHAT)?,
        format: body.format()?,
    })
}

fn wrong(field: &str, message: &str) -> Error {
    Error::usage(message).field(field)
}

/// Whether a field that is not supported asks for nothing.
fn is_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        // Of completions, 0 asks for those of the tokens themselves.
        Value::Number(_) if name == "logprobs" => false,
        Value::Number(number) => number.as_u64() == Some(if name == "best_of" { 1 } else { 0 }),
        Value::String(text) => text.is_empty() || name == "tool_choice" && text == "none",
        Value::Array(items) => items.is_empty(),
        Value::Bool(true) | Value::Object(_) => false,
    }
}

/// The fields of a body; those that are null are absent.
struct Body<'b>(&'b Map<String, Value>);

impl<'b> Body<'b> {
    fn get(&self, name: &str) -> Option<&'b Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A number, as an argument of the same digits is read.
    fn number(&self, name: &str) -> Result<Option<f32>> {
        let number = |value: &Value| value.as_number().and_then(|number| number.to_string().parse().ok());
        self.get(name).map(|value| number(value).ok_or_else(|| wrong(name, "it is no number"))).transpose()
    }

    /// A whole number, `most` at most.
    fn integer(&self, name: &str, most: u64) -> Result<Option<u64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if n <= most => Ok(Some(n)),
            _ => Err(wrong(name, &format!("it is no whole number in 0..={most}"))),
        }
    }

    /// A string, or a list of them; empty ones are left out.
    fn strings(&self, name: &str) -> Result<Vec<String>> {
        let one = |value: &Value| value.as_str().map(str::to_owned);
        let all = match self.get(name) {
            None => Some(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(one).collect(),
            Some(value) => one(value).map(|text| vec![text]),
        };
        let all = all.ok_or_else(|| wrong(name, "it is neither a string nor a list of strings"))?;
        Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
    }

    /// The functions that are offered in a chat.
    fn tools(&self, is_chat: bool) -> Result<Option<Tools>> {
        let field = |name: &str| self.get(name).unwrap_or(&Value::Null);
        if !is_chat && field("tools").as_array().is_none_or(|tools| !tools.is_empty()) && !field("tools").is_null() {
            return Err(wrong("tools", "it is not supported"));
        }
        Tools::of_request(field("tools"), field("tool_choice"), field("parallel_tool_calls"))
    }

    /// What the text of an answer has to be.
    fn format(&self) -> Result<Option<Rule>> {
        let Some(format) = self.get("response_format") else { return Ok(None) };
        match format["type"].as_str() {
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(Rule::JsonObject)),
            Some("json_schema") => match &format["json_schema"]["schema"] {
                schema @ Value::Object(_) => Ok(Some(Rule::Schema(schema.to_string()))),
                _ => Err(wrong("response_format.json_schema.schema", "it is no object")),
            },
            _ => Err(wrong("response_format.type", "it is none of text, json_object and json_schema")),
        }
    }

    /// How tokens are chosen.
    fn sampling(&self, defaults: &SamplerOptions) -> Result<SamplerOptions> {
        let mut options = defaults.clone();
        let penalty = if self.get("repeat_penalty").is_some() { "repeat_penalty" } else { "repetition_penalty" };
        for (name, option) in [
            ("temperature", &mut options.temperature),
            ("top_p", &mut options.top_p),
            ("min_p", &mut options.min_p),
            ("typical_p", &mut options.typical_p),
            (penalty, &mut options.repeat_penalty),
            ("presence_penalty", &mut options.presence_penalty),
            ("frequency_penalty", &mut options.frequency_penalty),
        ] {
            *option = self.number(name)?.unwrap_or(*option);
        }
        options.top_k = self.integer("top_k", MOST_TOKENS)?.map_or(options.top_k, |k| k as usize);
        options.seed = self.integer("seed", u64::MAX)?.unwrap_or(options.seed);
        if let Some(bias) = self.get("logit_bias") {
            options.logit_bias = biases(bias)?;
        }
        Ok(options)
    }
}

/// The biases of tokens, an object from their numbers.
fn biases(value: &Value) -> Result<Vec<(TokenId, f32)>> {
    let wrong = || wrong("logit_bias", "it is no object from numbers of tokens to numbers");
    let pair = |(id, value): (&String, &Value)| Some((id.parse().ok()?, value.as_f64()? as f32));
    value.as_object().ok_or_else(wrong)?.iter().map(|entry| pair(entry).ok_or_else(wrong)).collect()
}

/// What a completion goes on with.
fn prompt(value: Option<&Value>) -> Result<Prompt> {
    let token = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
    match value {
        Some(Value::String(text)) => Ok(Prompt::Text(text.clone())),
        Some(Value::Array(items)) if !items.is_empty() => {
            let tokens = items.iter().map(token).collect::<Option<_>>();
            tokens.map(Prompt::Tokens).ok_or_else(|| wrong("prompt", "a list is one of tokens, which are numbers"))
        }
        None => Err(wrong("prompt", "it is missing")),
        Some(_) => Err(wrong("prompt", "it is neither a string nor a list of tokens")),
    }
}

/// The turns of a conversation, with one at least.
fn turns(value: Option<&Value>) -> Result<Vec<Turn>> {
    let messages = value.and_then(Value::as_array).filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| wrong("messages", "it is no list of messages"))?;
    messages.iter().enumerate().map(|(i, message)| turn_of_message(message, &format!("messages[{i}]"))).collect()
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
        for (name, value) in
            [("logprobs", json!(true)), ("logprobs", json!(0)), ("stream", json!(true)), ("best_of", json!(2))]
        {
            assert_eq!(with(name, value), format!("{name}: it is not supported"));
        }
        assert_eq!(with("tools", json!([{}])), "tools[0].type: only functions are supported");
        let format = "response_format.type: it is none of text, json_object and json_schema";
        assert_eq!(with("response_format", json!({"type": "xml"})), format);
        assert_eq!(with("n", json!(0)), "n: 0 is below 1");
        assert_eq!(with("n", json!(129)), "n: it is no whole number in 0..=128");
        assert_eq!(with("max_tokens", json!(-1)), "max_tokens: it is no whole number in 0..=1048576");
        assert_eq!(with("temperature", json!("hot")), "temperature: it is no number");
        assert_eq!(with("stop", json!([1])), "stop: it is neither a string nor a list of strings");
        assert_eq!(
            with("logit_bias", json!({"a": 1})),
            "logit_bias: it is no object from numbers of tokens to numbers"
        );
        assert_eq!(with("messages", json!([])), "messages: it is no list of messages");
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
