//! Functions that are offered, the calls that a model writes, and messages that tell of them.

use super::{Target, rules};
use crate::bench::{Bench, Bound, Files, Stop, Verdict};
use crate::bytes::scramble;
use crate::random::Random;
use serde_json::Value;
use whit::chat::tools::{Part, Tools};
use whit::chat::{Conversation, Speaker, Turn};
use whit::error::Error;

pub(super) struct Calls;

/// Templates that have nothing but the marks of a family, with a call in its form.
const FAMILIES: [(&str, &str); 8] = [
    ("<tool_call> </tool_call>", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>"),
    (
        "<tool_call> <function= <parameter=",
        "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
    ),
    ("[TOOL_CALLS]", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": [1, {}]}}]"),
    ("[TOOL_CALLS] [ARGS]", "[TOOL_CALLS]f[ARGS]{\"a\": 1}"),
    ("<start_function_call> <escape>", "<start_function_call>call:f{a:{b:[1,<escape>x<escape>]}}<end_function_call>"),
    ("<|tool_call_start|>", "<|tool_call_start|>[f(a=1, b=\"x\", c=[None, {'d': True}])]<|tool_call_end|>"),
    ("\"name\": \"parameters\":", "{\"name\": \"f\", \"parameters\": {\"a\": 1}}"),
    ("", "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"),
];
const PIECES: [&str; 12] = ["Hm. ", "\n", "<", "}", "]", "\"", "<think>", "</think>", "é", "{\"", ":", "))"];

impl Target for Calls {
    fn name(&self) -> &'static str {
        "calls"
    }

    fn bound(&self) -> Bound {
        Bound::RULES
    }

    fn make(&self, random: &mut Random) -> Files {
        let (marks, call) = random.pick(&FAMILIES);
        let template = format!(
            "{{# {marks} #}}{{{{ tools | tojson if tools }}}}{{% for m in messages %}}{{{{ m | tojson }}}}{{% endfor %}}"
        );
        let schema = format!(
            r#"{{"type":"object","properties":{{"a":{}}}}}"#,
            if random.once_in(3) { rules::schema(random, 2) } else { "{\"type\":\"integer\"}".into() }
        );
        let mut tools =
            format!(r#"[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]"#).into_bytes();
        let mut reply: Vec<u8> = (0..random.below(3)).map(|_| random.pick(&PIECES)).collect::<String>().into_bytes();
        for _ in 0..random.within(1, 2) {
            let mut written = call.as_bytes().to_vec();
            if random.once_in(3) {
                scramble(&mut written, random);
            }
            reply.extend(written);
            reply.extend(random.pick(&PIECES).bytes());
        }
        if random.once_in(8) {
            scramble(&mut tools, random);
        }
        vec![
            ("template.jinja".into(), template.into_bytes()),
            ("tools.json".into(), tools),
            ("reply.txt".into(), reply),
        ]
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let [(_, template), (_, tools), (_, reply)] = &files[..] else { return Ok(()) };
        let Some(model) = rules::story_model() else { return Ok(()) };
        let texts = [template, tools, reply].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let placed = |error: Error| if error.has_place() { error } else { error.field("tools") };
        let n_bytes = texts.iter().map(String::len).sum();
        let calls = bench.reading(n_bytes, || {
            let mut talk = Conversation::with_template(&model, &texts[0], Vec::new()).map_err(placed)?;
            talk.say("Well?");
            let tools: Value =
                serde_json::from_str(&texts[1]).map_err(|error| placed(Error::data(error.to_string())))?;
            // What a request asks for wrongly is bad data in a file.
            let in_file = |error: Error| Error::data(error.message()).field(error.named_field().unwrap_or("tools"));
            let tools = Tools::of_request(&tools, &Value::Null, &Value::Null).map_err(in_file)?;
            talk.set_tools(tools);
            let rules = talk.reply_rules(None, None).map_err(placed)?;
            let prompt = talk.tokens()?;
            let mut reader = rules.reader(&prompt);
            let (mut parts, mut rest) = (Vec::new(), texts[2].as_str());
            while !rest.is_empty() {
                let n = random.within(1, 9).min(rest.len());
                let n = (n..=rest.len()).find(|n| rest.is_char_boundary(*n)).unwrap_or(rest.len());
                parts.extend(reader.push(&rest[..n]));
                rest = &rest[n..];
            }
            parts.extend(reader.finish());
            let mut turn = Turn::new(Speaker::Assistant, "");
            turn.calls.extend(parts.into_iter().filter_map(|part| match part {
                Part::Call(call) => Some(call),
                Part::Text(_) | Part::Thinking(_) => None,
            }));
            let calls = turn.calls.clone();
            talk.add_reply(turn);
            calls.iter().for_each(|call| talk.answer(call, &texts[2]));
            talk.tokens()?;
            Ok(calls)
        })?;
        match calls.iter().find(|call| serde_json::from_str::<Value>(&call.arguments.json()).is_err()) {
            Some(call) => Err(Stop::Broken(format!("{} is no JSON", call.arguments.json()))),
            None if calls.is_empty() => Err(Stop::Refused(Error::data("no call").field("reply"))),
            None => Ok(()),
        }
    }
}
