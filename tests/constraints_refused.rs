//! Rules that cannot be held are refused with their place; damaged and hostile ones are errors and nothing else.
#![cfg(feature = "constraints")]

mod random;

use random::Random;
use whit::Engine;
use whit::error::Kind;
use whit::generate::grammar::{Grammars, Rule};

fn grammars() -> Grammars {
    let engine = Engine::of_bytes(whit::default_model().expect("the story model")).expect("a model");
    Grammars::new(engine.model()).expect("a tokenizer")
}

const SCHEMA: &str = r##"{"type":"object","$defs":{"pet":{"enum":["cat",1.5,null]}},"properties":{"name":{"type":"string",
    "pattern":"^[A-Z][a-z]+$","maxLength":9},"age":{"type":"integer","minimum":-3,"multipleOf":2},"pets":{"type":"array",
    "items":{"$ref":"#/$defs/pet"},"minItems":1},"is":{"anyOf":[{"format":"date"},{"const":[true]}]}},"required":["age"]}"##;
const GBNF: &str = "root ::= (\"a\" | [b-d\\n] item)+ # a comment\nitem ::= \"(\" root? \")\" | .{2,3} \"\\u00e9\"\n";

/// U-16
#[test]
fn what_cannot_be_held_is_refused_by_its_place() {
    let grammars = grammars();
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let nested = (0..120).fold("{}".to_string(), |inner, _| format!(r#"{{"items":{inner}}}"#));
    let many =
        (0..300).map(|i| format!(r##""p{i}":{{"$ref":"#/properties/p{}"}}"##, i + 1)).collect::<Vec<_>>().join(",");
    let chain = format!(r#"{{"properties":{{{many},"p300":true}}}}"#);
    let schemas: &[(&str, &str)] = &[
        ("", "no JSON: "),
        ("{\"type\":\"object\"", "no JSON: "),
        (&deep, "recursion limit"),
        ("7", "#: a schema is an object, true or false"),
        ("false", "#: the schema false allows nothing"),
        (r#"{"properties":{"a":{"not":{}}}}"#, "#/properties/a/not: this keyword is not supported"),
        (r#"{"items":{"if":true}}"#, "#/items/if: this keyword is not supported"),
        (r#"{"type":"array","uniqueItems":true}"#, "#/uniqueItems: this keyword is not supported"),
        (r#"{"$schema":"http://example.org/mine"}"#, "#/$schema: \"http://example.org/mine\" is not known"),
        (r#"{"requird":["a"]}"#, "#/requird: this keyword is unknown"),
        (r#"{"anyOf":[{},{"type":"text"}]}"#, "#/anyOf/1/type: \"text\" is no type"),
        (r#"{"anyOf":[]}"#, "#/anyOf: a list of schemas is expected"),
        (r#"{"enum":[]}"#, "#/enum: a list of values is expected"),
        (r#"{"format":"postcode"}"#, "#/format: the format \"postcode\" is not held"),
        (r#"{"minLength":-1}"#, "#/minLength: a whole number"),
        (r#"{"minimum":"1"}"#, "#/minimum: a number below 2^63 is expected"),
        (r#"{"minimum":1e20}"#, "#/minimum: a number below 2^63 is expected"),
        (r#"{"exclusiveMaximum":-9223372036854775808}"#, "#/exclusiveMaximum: a number above -2^63 is expected"),
        (r#"{"multipleOf":0}"#, "#/multipleOf: a number above 0"),
        (
            r#"{"properties":{"a/b":{"pattern":"(?=a)b"}}}"#,
            "#/properties/a~1b/pattern: the pattern \"(?=a)b\" cannot be held",
        ),
        (r#"{"pattern":"(a"}"#, "#/pattern: the pattern \"(a\" cannot be held"),
        (r#"{"$ref":"http://example.org/a"}"#, "#/$ref: \"http://example.org/a\" leads out of this schema"),
        (r##"{"$ref":"#/$defs/a"}"##, "#/$ref: nothing is at \"#/$defs/a\""),
        (r##"{"$ref":"#"}"##, "every value goes on without end"),
        (
            r##"{"type":"object","properties":{"n":{"type":"null"},"a":{"$ref":"#"}},"required":["a"]}"##,
            "every value goes on without end",
        ),
        (&chain, "schemas nest more than 128 deep, references followed"),
        (
            r#"{"type":"object","properties":{"a":{"type":"integer","minimum":3,"maximum":2}},"required":["a"]}"#,
            "#/properties/a: ",
        ),
        (r#"{"type":"string","minLength":3,"maxLength":2}"#, "#: "),
        (r#"{"allOf":[{"type":"string"},{"type":"null"}]}"#, "#: "),
        (r#"{"type":"integer","minimum":0.1,"maximum":0.9}"#, "#: "),
        (
            r#"{"oneOf":[{"minimum":1},{"maximum":2}]}"#,
            "#: the alternatives of oneOf are not seen to exclude each other",
        ),
        (r#"{"$id":"x","items":{"$id":"y"}}"#, "#/items/$id: a base of its own for references"),
        (r#"{"x-guidance":{"lenient":true},"not":{}}"#, "#/not: this keyword is not supported"),
    ];
    for (text, wanted) in schemas {
        let error = grammars.compile(&Rule::Schema(text.to_string())).err().unwrap_or_else(|| panic!("{text} passed"));
        assert!(error.to_string().contains(wanted), "{text}:\n{error}\ninstead of {wanted}");
        assert!(error.kind() == Kind::Data && !error.to_string().contains('\n'), "{error}");
    }
    assert!(grammars.compile(&Rule::Schema(nested)).is_ok());
    // Long lists are an answer, as long as they may be and longer.
    for (n, wanted) in [(1000, ""), (1001, "#/properties: 1001 entries are more than the 1000 that are held")] {
        let properties = (0..n).map(|i| format!(r#""p{i}":{{"type":"null"}}"#)).collect::<Vec<_>>().join(",");
        let schema = format!(r#"{{"type":"object","properties":{{{properties}}}}}"#);
        let told = grammars.compile(&Rule::Schema(schema)).err().map(|error| error.to_string());
        assert!(told.clone().unwrap_or_default().contains(wanted), "{n}: {told:?}");
    }
    // Bounds that are further out than the engine counts are those to which it does.
    for bounds in [
        r#""minimum":-9223372036854775808,"maximum":18446744073709551615"#,
        r#""minimum":-1e300,"maximum":9"#,
        r#""exclusiveMinimum":0,"exclusiveMaximum":1e300"#,
    ] {
        for kind in [r#""integer""#, r#"["integer","null"]"#, r#""number""#] {
            let schema = format!(r#"{{"type":"object","properties":{{"minimum":{{"type":{kind},{bounds}}}}}}}"#);
            assert!(grammars.compile(&Rule::Schema(schema.clone())).is_ok(), "{schema}");
        }
    }
    let tree = r##"{"oneOf":[{"type":"null"},{"type":"object","properties":{"left":{"oneOf":[{"$ref":"#"},{"type":"array"}]}}}]}"##;
    assert!(grammars.compile(&Rule::Schema(tree.into())).is_err(), "a reference to the whole is put in its place once");
}

/// U-17
#[test]
fn grammars_are_refused_by_line_and_column() {
    let grammars = grammars();
    let groups = format!("root ::= {}\"a\"{}", "(".repeat(65), ")".repeat(65));
    let rules: String = (0..1100).map(|i| format!("a{i} ::= \"b\"\n")).collect();
    let big = format!("root ::= \"{}\"", "a".repeat(1 << 20));
    let gbnf: &[(&str, &str)] = &[
        ("", "there is no rule root"),
        ("a ::= \"b\"", "there is no rule root"),
        ("root ::= a", "line 1, column 10: there is no rule a"),
        ("root ::= \"a\n", "line 1, column 10: this \" is not closed"),
        ("root ::= [a", "line 1, column 10: this [ is not closed"),
        ("root ::= []", "line 1, column 10: no character is in this set"),
        ("root ::= [z-a]", "line 1, column 10: the range from 'z' to 'a' is empty"),
        ("root ::= (\"a\"", "line 1, column 14: the end stands where an element, | or ) is expected"),
        ("root ::= *", "line 1, column 10: there is nothing before it to repeat"),
        ("root ::= \"a\"{3,2}", "line 1, column 13: at most so many are fewer"),
        ("root ::= \"a\"{9999}", "more than 2000 repetitions"),
        ("root ::= \"\\q\"", "line 1, column 11: this escape is unknown"),
        ("root ::= \"\\u00g0\"", "line 1, column 11: 4 hexadecimal digits are expected"),
        ("root ::= \"\\uD800\"", "U+D800 is no character"),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: this rule is there twice"),
        ("root = \"a\" # ::=", "line 1, column 6: '=' stands where ::= is expected"),
        ("root ::= \"a\" = \"b\"", "line 1, column 14: '=' stands where an element, | or the end of the line"),
        ("root ::= <think>", "line 1, column 10: tokens are no elements here"),
        ("root ::= \"a\" root", "every text of root goes on without end"),
        (&groups, "groups nest more than 64 deep"),
        (&rules, "there are more than 1024 rules"),
        (&big, "are more than the 1048576 that a rule may have"),
    ];
    for (text, wanted) in gbnf {
        let error = grammars.compile(&Rule::Gbnf(text.to_string())).err().unwrap_or_else(|| panic!("{text} passed"));
        assert!(error.to_string().contains(wanted), "{text}:\n{error}\ninstead of {wanted}");
    }
    let long = "(".repeat(2000) + "\"a\"" + &")".repeat(2000);
    let lark: &[(&str, &str)] = &[
        ("", "no start rule found"),
        ("start: a", "unknown name"),
        ("begin: \"a\"", "no start"),
        (&format!("start: {long}"), "2000 brackets are more than 512"),
        ("start: <|im_end|>", "unknown special token"),
        ("start: <[99999999]>", "Token range end too large"),
    ];
    for (text, wanted) in lark {
        let error = grammars.compile(&Rule::Lark(text.to_string())).err().unwrap_or_else(|| panic!("{text} passed"));
        assert!(error.to_string().contains(wanted), "{text}:\n{error}\ninstead of {wanted}");
    }
    for (regex, wanted) in [("(", "unclosed group"), ("a(?=b)", "look-around"), ("[^\\s\\S]", "no text matches it")] {
        let error = grammars.compile(&Rule::Regex(regex.into())).err().unwrap_or_else(|| panic!("{regex} passed"));
        assert!(error.to_string().contains(wanted), "{regex}: {error}");
    }
    assert!(
        grammars.compile(&Rule::Choice(vec![])).is_err() && grammars.compile(&Rule::Choice(vec!["".into()])).is_err()
    );
}

#[test]
fn nested_rules_take_little_stack() {
    // A test has a stack of 2 MiB.
    let grammars = grammars();
    let rules = |n: usize| {
        let rules: String = (0..n).map(|i| format!("a{i} ::= \"b\" a{}?\n", i + 1)).collect();
        rules + &format!("a{n} ::= \"c\" root\nroot ::= a0 | \"d\"\n")
    };
    assert!(grammars.compile(&Rule::Gbnf(rules(300))).is_ok());
    let error = grammars.compile(&Rule::Gbnf(rules(900))).err().expect("too deep");
    assert!(error.to_string().contains("elements nest more than 1000 deep, rules followed"), "{error}");
    let schemas = |n: usize| {
        let schema =
            |i| format!(r##""d{i}":{{"type":"object","properties":{{"a":{{"$ref":"#/$defs/d{}"}}}}}}"##, i + 1);
        let schemas = (0..n).map(schema).collect::<Vec<_>>().join(",");
        format!(r##"{{"$defs":{{{schemas},"d{n}":{{"type":"null"}}}},"$ref":"#/$defs/d0"}}"##)
    };
    assert!(grammars.compile(&Rule::Schema(schemas(60))).is_ok());
    assert!(grammars.compile(&Rule::Schema(schemas(70))).is_err());
}

#[test]
fn damaged_rules_are_errors_and_nothing_else() {
    let grammars = grammars();
    let mut random = Random::new(3);
    let lark = "start: a+ B?\na: \"x\" | \"(\" a \")\"\nB: /[0-9]+/ & ~/7/\n%ignore / /\n";
    let regex = r"(?i:a|b)+[^\d]{2,5}\p{Greek}?";
    for source in [SCHEMA, GBNF, lark, regex] {
        for _ in 0..60 {
            let mut bytes = source.as_bytes().to_vec();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => drop(bytes.remove(at)),
                    1 => bytes[at] = random.pick(b"\"{}[]()|*+?:=/\\,09a#~&<>%"),
                    _ => bytes.insert(at, random.pick(b"\"{}[]()|*+?:=/\\,09a#~&<>%")),
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            for rule in [
                Rule::Schema(text.clone()),
                Rule::Gbnf(text.clone()),
                Rule::Lark(text.clone()),
                Rule::Regex(text.clone()),
            ] {
                if let Err(error) = grammars.compile(&rule) {
                    assert!(!error.to_string().contains("panic"), "{rule:?}: {error}");
                }
            }
        }
    }
}
