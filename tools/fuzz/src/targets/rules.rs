//! Rules that texts keep to: JSON schemas, grammars, regular expressions; and texts that are written under them.

use super::Target;
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::scramble;
use crate::random::Random;
use std::sync::Arc;
use std::sync::OnceLock;
use whit::Model;
use whit::error::Error;
use whit::generate::grammar::{Grammars, Rule};
use whit::generate::{StopRules, Writer};
use whit::sampler::{Sampler, SamplerOptions};

pub(super) struct Rules;

/// Tokens that are written under a rule.
const WRITTEN: usize = 24;
/// Parts of grammars in the form of llama.cpp.
const GBNF: [&str; 12] = [
    "\"a\"",
    "\"\\n\"",
    "[a-c]",
    "[^\"\\\\]",
    "( \"x\" | \"y\" )",
    "part",
    "\"b\"*",
    "[0-9]{1,3}",
    ".",
    "part?",
    "( part part )+",
    "\"é\"",
];
/// Parts of grammars in the form of Lark.
const LARK: [&str; 10] = [
    "\"a\"",
    "/[a-z]+/",
    "PART",
    "(PART | \"x\")",
    "PART*",
    "/(?s:.){0,9}/",
    "part?",
    "%json {\"type\": \"null\"}",
    "\"\"",
    "PART~2..3",
];
const REGEX: [&str; 12] =
    ["a", "[a-z]", "(b|c)*", "\\d{1,3}", ".", "[^x]+", "(?s:.)", "é", "\\w?", "^", "$", "(a{0,9}){0,9}"];

impl Target for Rules {
    fn name(&self) -> &'static str {
        "rules"
    }

    fn bound(&self) -> Bound {
        Bound::RULES
    }

    fn make(&self, random: &mut Random) -> Files {
        let parts = |of: &[&str], random: &mut Random| {
            (0..random.within(1, 6)).map(|_| random.pick(of)).collect::<Vec<_>>().join(" ")
        };
        let (name, text) = match random.below(6) {
            0..=2 => ("rule.json", schema(random, 4)),
            3 => ("rule.gbnf", format!("root ::= {}\npart ::= {}\n", parts(&GBNF, random), parts(&GBNF[..5], random))),
            4 => {
                let (start, part) = (parts(&LARK, random), parts(&LARK[..2], random));
                ("rule.lark", format!("start: {start}\npart: {part}\nPART: /[xyz]/\n"))
            }
            _ => ("rule.regex", parts(&REGEX, random).replace(' ', "")),
        };
        let mut bytes = text.into_bytes();
        if random.once_in(4) {
            scramble(&mut bytes, random);
        }
        vec![(name.into(), bytes)]
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let [(name, text)] = &files[..] else { return Ok(()) };
        let Some(model) = story_model() else { return Ok(()) };
        let text = String::from_utf8_lossy(text).into_owned();
        let n_bytes = text.len();
        let rule = match name.as_str() {
            "rule.json" => Rule::Schema(text),
            "rule.gbnf" => Rule::Gbnf(text),
            "rule.lark" => Rule::Lark(text),
            _ => Rule::Regex(text),
        };
        // Places are named where there are some, by the commands.
        let placed = |error: Error| if error.has_place() { error } else { error.field("rule") };
        bench.reading(n_bytes, || {
            let grammar = Grammars::new(&model).and_then(|grammars| grammars.compile(&rule)).map_err(placed)?;
            let vocab_size = model.config().vocab_size;
            let sampler = Sampler::new(SamplerOptions::default(), vocab_size)?;
            let rules = StopRules { n_tokens: Some(WRITTEN), end_tokens: model.end_tokens(), ..StopRules::default() };
            let mut writer = Writer::new(&model, &[0], 2 * WRITTEN, sampler, rules)?;
            writer.keep_to(grammar.begin()?).map_err(placed)?;
            let mut row = vec![0.0; vocab_size];
            loop {
                if writer.wants().is_some() {
                    row.iter_mut().for_each(|logit| *logit = random.unit());
                    writer.take(&row, &mut ()).map_err(placed)?;
                }
                if writer.piece().is_none() {
                    return Ok(());
                }
            }
        })
    }
}

/// The story model, whose tokens spell every text.
pub(super) fn story_model() -> Option<Arc<Model>> {
    static MODEL: OnceLock<Option<Arc<Model>>> = OnceLock::new();
    MODEL.get_or_init(|| Some(Arc::new(Model::open(whit::default_model()?).ok()?))).clone()
}

/// A schema, `depth` deep at most.
pub(super) fn schema(random: &mut Random, depth: usize) -> String {
    let inner = |random: &mut Random| schema(random, depth.saturating_sub(1));
    let n = |random: &mut Random| random.pick(&["0", "1", "2", "7", "-3", "1.5", "4294967295", "1e300", "0.1"]);
    match random.below(if depth > 0 { 12 } else { 7 }) {
        0 => format!(r#"{{"type":"string","maxLength":{}}}"#, n(random)),
        1 => format!(r#"{{"type":"integer","minimum":{},"maximum":{}}}"#, n(random), n(random)),
        2 => format!(r#"{{"type":"number","exclusiveMinimum":{},"multipleOf":{}}}"#, n(random), n(random)),
        3 => format!(r#"{{"enum":["a",{},null,[1],{{"b":"é"}}]}}"#, n(random)),
        4 => format!(r#"{{"type":"string","pattern":"{}"}}"#, random.pick(&REGEX).replace('\\', "\\\\")),
        5 => format!(
            r#"{{"type":"string","format":"{}"}}"#,
            random.pick(&["date", "uuid", "ipv4", "email", "uri", "odd"])
        ),
        6 => random
            .pick(&["true", "{}", r##"{"$ref":"#"}"##, r#"{"const":"x"}"#, r#"{"type":["null","boolean"]}"#])
            .into(),
        7 | 8 => {
            let (a, b) = (inner(random), inner(random));
            let more =
                random.pick(&["", r#","required":["a"]"#, r#","required":["c"]"#, r#","additionalProperties":false"#]);
            format!(r#"{{"type":"object","properties":{{"a":{a},"b":{b}}}{more}}}"#)
        }
        9 => {
            format!(r#"{{"type":"array","items":{},"minItems":{},"maxItems":{}}}"#, inner(random), n(random), n(random))
        }
        10 => format!(r#"{{"{}":[{},{}]}}"#, random.pick(&["anyOf", "oneOf", "allOf"]), inner(random), inner(random)),
        _ => format!(r##"{{"$defs":{{"d":{}}},"type":"array","items":{{"$ref":"#/$defs/d"}}}}"##, inner(random)),
    }
}
