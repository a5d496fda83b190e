//! The fields of Ollama's chat and generate.

use super::body::{Body, wrong};
use super::messages::{said, turns};
use super::{Asked, Prompt, Sending};
use serde_json::Value;
use whit::chat::tools::Tools;
use whit::chat::{Speaker, Think};
use whit::error::Result;
use whit::generate::grammar::Rule;
use whit::sampler::SamplerOptions;

/// What a request to `/api/chat` asks for; `None`: nothing but that the model is there.
pub(crate) fn chat(body: &Value, sampling: &SamplerOptions) -> Result<Option<Asked>> {
    let body = Body::of("body", body)?;
    if body.get("messages").is_none_or(|messages| messages.as_array().is_some_and(Vec::is_empty)) {
        return Ok(None);
    }
    for (i, message) in body.get("messages").and_then(Value::as_array).into_iter().flatten().enumerate() {
        refuse_images(&format!("messages[{i}].images"), message.get("images"))?;
    }
    let mut turns = turns(body.get("messages"))?;
    for (turn, message) in turns.iter_mut().zip(body.get("messages").and_then(Value::as_array).into_iter().flatten()) {
        if let Some(thinking) = message["thinking"].as_str() {
            turn.thinking = thinking.to_owned();
        }
        if let (Some(answers), Some(name)) = (&mut turn.answers, message["tool_name"].as_str()) {
            answers.name = name.to_owned();
        }
    }
    let tools = Tools::of_request(body.get("tools").unwrap_or(&Value::Null), &Value::Null, &Value::Null)?;
    Ok(Some(Asked { tools, ..asked(&body, Prompt::Turns(turns), sampling)? }))
}

/// What a request to `/api/generate` asks for: by the model's template, unless it is raw or the model has none; `None` as above.
pub(crate) fn generate(body: &Value, has_template: bool, sampling: &SamplerOptions) -> Result<Option<Asked>> {
    let body = Body::of("body", body)?;
    body.refuse(&["suffix", "context", "template", "tools"])?;
    refuse_images("images", body.get("images"))?;
    let text = body.text("prompt")?.unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let system = body.text("system")?.filter(|system| !system.is_empty());
    let prompt = if body.flag("raw")? || !has_template {
        if system.is_some() {
            return Err(wrong("system", "it is not supported without a template"));
        }
        Prompt::Marked(text.to_owned())
    } else {
        let system = system.map(|system| said(Speaker::System, system.to_owned()));
        Prompt::Turns(system.into_iter().chain([said(Speaker::User, text.to_owned())]).collect())
    };
    asked(&body, prompt, sampling).map(Some)
}

/// What both have.
fn asked(body: &Body<'_>, prompt: Prompt, sampling: &SamplerOptions) -> Result<Asked> {
    let none = Value::Object(serde_json::Map::new());
    let options = Body::of("options", body.get("options").unwrap_or(&none))?;
    let rule = match body.get("format") {
        None => None,
        Some(Value::String(name)) if name.is_empty() => None,
        Some(Value::String(name)) if name == "json" => Some(Rule::JsonObject),
        Some(schema @ Value::Object(_)) => Some(Rule::Schema(schema.to_string())),
        Some(_) => return Err(wrong("format", "it is neither json nor a schema")),
    };
    let n_logprobs = match body.flag("logprobs")? {
        true => Some(body.integer("top_logprobs", 20)?.unwrap_or(0) as usize),
        false => None,
    };
    let think = match body.get("think") {
        None => Think::AsEver,
        Some(Value::Bool(false)) => Think::Off,
        // Some models are told how much.
        Some(Value::Bool(true) | Value::String(_)) => Think::On,
        Some(_) => return Err(wrong("think", "it is neither true nor false nor a level")),
    };
    let is_streamed = body.get("stream").is_none() || body.flag("stream")?;
    Ok(Asked {
        n_tokens: options.bound("num_predict")?,
        stops: options.strings("stop")?,
        rule,
        think,
        n_logprobs,
        sending: if is_streamed { Sending::Streamed } else { Sending::Whole },
        extension: super::extension::of(body)?,
        ..Asked::to(prompt, options.sampling(sampling)?)
    })
}

fn refuse_images(field: &str, images: Option<&Value>) -> Result<()> {
    match images {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(images)) if images.is_empty() => Ok(()),
        Some(_) => Err(wrong(field, "images are not supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_count_and_a_prompt_is_what_a_user_says() {
        let body = json!({
            "model": "any", "prompt": "Hi", "system": "Be brief.", "keep_alive": -1, "format": {"type": "object"},
            "options": {"num_predict": 7, "temperature": 0, "seed": -1, "stop": ["a"], "num_ctx": 8192}, "stream": false,
        });
        let asked = generate(&body, true, &SamplerOptions::default()).expect("a request").expect("a prompt");
        let Prompt::Turns(turns) = &asked.prompt else { panic!("a conversation") };
        assert_eq!((turns.len(), turns[1].text.as_str()), (2, "Hi"));
        assert_eq!((asked.n_tokens, asked.stops, asked.sending), (Some(7), vec!["a".into()], Sending::Whole));
        assert_eq!((asked.sampling.temperature, asked.sampling.seed), (0.0, 0));
        assert_eq!(asked.rule, Some(Rule::Schema("{\"type\":\"object\"}".into())));
        let raw = json!({"prompt": "Hi", "raw": true});
        let asked = generate(&raw, true, &SamplerOptions::default()).expect("a request").expect("a prompt");
        assert_eq!(
            (asked.prompt, asked.sending, asked.n_tokens),
            (Prompt::Marked("Hi".into()), Sending::Streamed, None)
        );
        assert_eq!(generate(&json!({"model": "any"}), true, &SamplerOptions::default()), Ok(None));
        assert_eq!(chat(&json!({"messages": []}), &SamplerOptions::default()), Ok(None));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let of = |body: Value| generate(&body, false, &SamplerOptions::default()).expect_err("refused").to_string();
        assert_eq!(of(json!({"prompt": "a", "images": ["eA=="]})), "images: images are not supported");
        assert_eq!(of(json!({"prompt": "a", "format": "xml"})), "format: it is neither json nor a schema");
        assert_eq!(of(json!({"prompt": "a", "system": "b"})), "system: it is not supported without a template");
        assert_eq!(of(json!({"prompt": "a", "options": 3})), "options: it is no object");
        let message = json!({"messages": [{"role": "user", "content": "a", "images": ["eA=="]}]});
        let refused = chat(&message, &SamplerOptions::default()).expect_err("refused").to_string();
        assert_eq!(refused, "messages[0].images: images are not supported");
    }
}
