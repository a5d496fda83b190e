//! What the formats of strings in JSON schemas allow: nothing that a reader somewhere refuses.
#![cfg(all(feature = "constraints", feature = "default-model"))]

use whit::Engine;
use whit::generate::grammar::{Grammars, Rule};

/// Of each format texts that it allows, and others that it does not.
const CASES: [(&str, &[&str], &[&str]); 10] = [
    (
        "date",
        &[
            "0001-01-01",
            "2024-02-29",
            "2000-02-29",
            "0400-02-29",
            "0004-02-29",
            "9999-12-31",
            "2023-04-30",
            "2023-02-28",
        ],
        &[
            "0000-01-01",
            "0000-02-29",
            "2023-02-29",
            "1900-02-29",
            "2100-02-29",
            "2024-02-30",
            "2023-04-31",
            "2023-13-01",
            "2023-00-10",
            "2023-01-00",
            "2023-01-32",
            "23-01-01",
            "2023-1-1",
            "02023-01-01",
            "",
        ],
    ),
    (
        "time",
        &["00:00:00Z", "23:59:59.123456789+23:59", "12:00:00-00:00", "12:00:00.5Z"],
        &["24:00:00Z", "23:59:60Z", "12:60:00Z", "12:00:00", "12:00:00.Z", "12:00Z", "12:00:00+24:00", "12:00:00z"],
    ),
    (
        "date-time",
        &["2024-02-29T23:59:59Z", "0001-01-01T00:00:00+01:00"],
        &["0000-01-01T00:00:00Z", "2023-02-29T00:00:00Z", "2024-02-29 00:00:00Z", "1990-12-31T23:59:60Z", "2024-02-29"],
    ),
    (
        "duration",
        &["P1Y2M3DT4H5M6S", "PT0S", "P3W", "P1D"],
        &["P", "PT", "P1W1D", "P1Y1D", "PT1D", "1D", "P-1D", "P1.5D"],
    ),
    (
        "email",
        &["a@b.c", "o'brien+x@mail.example.org", "a.b@1.example"],
        &[".a@b.c", "a.@b.c", "a..b@b.c", "a@b", "a@-b.c", "a@b.1", "a@[1.2.3.4]", "a b@c.d", "a@b@c.d", "a@b.c."],
    ),
    (
        "hostname",
        &["localhost", "a", "a-b.example", "1.example", "EXAMPLE.org"],
        &["", "-a", "a-", "a--b", "xn--a", "a.1", "127.0.0.1", "a..b", "a.", ".a", "a_b", "a b"],
    ),
    ("ipv4", &["0.0.0.0", "255.249.199.99"], &["256.0.0.1", "01.0.0.1", "1.2.3", "1.2.3.4.5", "1.2.3.4/8"]),
    (
        "ipv6",
        &["::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "fe80::a:B", "1::3:4:5:6:7:8"],
        &[":", "1:2:3:4:5:6:7", "1::2::3", "1:2:3:4:5:6:7:8:9", "1:2:3:4::5:6:7:8", "12345::", "::1%eth0", ":1", "1:"],
    ),
    (
        "uuid",
        &["123e4567-e89b-12d3-a456-426614174000"],
        &[
            "123e4567e89b12d3a456426614174000",
            "123e4567-e89b-12d3-a456-42661417400",
            "{123e4567-e89b-12d3-a456-426614174000}",
        ],
    ),
    (
        "uri",
        &["http://example.org/a?b#c", "mailto:a@b.c", "urn:x", "http://[::1]:80/", "file:///a/b", "a:/%20"],
        &["example.org", "//a/b", "http://a b", "http://a/%2", "1a:b", "http://[1", "a:b[", "http://a/\\"],
    ),
];

#[test]
fn formats_allow_what_every_reader_takes_and_nothing_else() {
    let engine = Engine::of_bytes(whit::default_model().expect("the story model")).expect("a model");
    let grammars = Grammars::new(engine.model()).expect("a tokenizer");
    for (format, allowed, refused) in CASES {
        for also in ["", r#","maxLength":300"#, r#","pattern":"^(?s:.*)$""#] {
            let schema = format!(r#"{{"type":"string","format":"{format}"{also}}}"#);
            let grammar = grammars.compile(&Rule::Schema(schema)).expect("a schema");
            let accepts =
                |text: &&str| grammar.accepts(&serde_json::Value::from(*text).to_string()).expect("it can be told");
            let missing: Vec<_> = allowed.iter().filter(|text| !accepts(text)).collect();
            let wrong: Vec<_> = refused.iter().filter(|text| accepts(text)).collect();
            assert!(missing.is_empty() && wrong.is_empty(), "{format}{also}: {missing:?} refused, {wrong:?} allowed");
        }
    }
}

#[test]
fn parts_of_hosts_and_addresses_are_no_longer_than_they_may_be() {
    let engine = Engine::of_bytes(whit::default_model().expect("the story model")).expect("a model");
    let grammars = Grammars::new(engine.model()).expect("a tokenizer");
    let accepts = |format: &str, text: String| {
        let grammar = grammars.compile(&Rule::Schema(format!(r#"{{"format":"{format}"}}"#))).expect("a schema");
        grammar.accepts(&serde_json::Value::from(text).to_string()).expect("it can be told")
    };
    let label = |n: usize| "a".repeat(n);
    assert!(accepts("hostname", label(63)) && !accepts("hostname", label(64)));
    let long = |last: usize| [label(63), label(63), label(63), label(last)].join(".");
    assert!(accepts("hostname", long(61)) && !accepts("hostname", long(62)));
    assert!(accepts("email", label(64) + "@b.c") && !accepts("email", label(65) + "@b.c"));
    assert!(!accepts("email", format!("a@{}.c", label(64))) && !accepts("email", format!("abc@{}", long(61))));
}

#[test]
fn formats_are_held_wherever_a_schema_stands_and_nowhere_else() {
    let engine = Engine::of_bytes(whit::default_model().expect("the story model")).expect("a model");
    let grammars = Grammars::new(engine.model()).expect("a tokenizer");
    let accepts = |schema: &str, text: &str| {
        let grammar = grammars.compile(&Rule::Schema(schema.into())).expect("a schema");
        grammar.accepts(text).expect("it can be told")
    };
    // Names of properties that are words of schemas; values that look like schemas; places that only references reach.
    let named = r#"{"type":"object","properties":{"enum":{"format":"date"},"format":{"const":{"format":"date"}}},
        "required":["enum","format"],"additionalProperties":false}"#;
    assert!(accepts(named, r#"{"enum": "2024-02-29", "format": {"format": "date"}}"#));
    assert!(!accepts(named, r#"{"enum": "0000-02-29", "format": {"format": "date"}}"#));
    for schema in [
        r#"{"anyOf":[{"type":"null"},{"type":"string","format":"date"}]}"#,
        r##"{"$ref":"#/$defs/day","$defs":{"day":{"type":"string","format":"date"}}}"##,
        r##"{"$ref":"#/x-types/day","x-types":{"day":{"type":"string","format":"date"}}}"##,
        r#"{"enum":["2024-01-01","0000-01-01"],"format":"date"}"#,
    ] {
        assert!(accepts(schema, "\"2024-01-01\"") && !accepts(schema, "\"0000-01-01\""), "{schema}");
    }
    // A format says something of strings alone.
    assert!(accepts(r#"{"format":"date"}"#, "7") && !accepts(r#"{"format":"date"}"#, "\"7\""));
    let error = grammars.compile(&Rule::Schema(r#"{"const":"0000-01-01","format":"date"}"#.into()));
    assert!(error.is_err(), "no text fulfils it");
}
