//! Small tokenizers that name each stage which is read, against ids and texts that the `tokenizers` library gave:
//! `tests/fixtures/tokenizers/make_tokenizers.py` made them. `tools/tokenizer-check/check.py` does the same with published ones.

mod support;

use quantize::source::open_vocabulary;
use serde_json::Value;
use support::{ids, json, root};
use whit::tokenizer::{Decoder, Specials, Tokenizer};

/// The tokenizer of `variant`, with what its base has and it does not repeat.
fn document(variant: &Value, bases: &Value) -> Value {
    let mut document = variant["tokenizer"].clone();
    for key in ["vocab", "merges"] {
        if document["model"][key].is_null() {
            document["model"][key] = bases[variant["base"].as_str().expect("a base")][key].clone();
        }
    }
    document
}

#[test]
fn every_stage_gives_the_reference_s_ids_and_texts() {
    let fixture = json(&root().join("tests/fixtures/tokenizers/tokenizers.json"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenizer.json");
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().expect("an array").iter().map(|text| text.as_str().expect("a text").to_string()).collect()
    };
    let texts = strings(&fixture["texts"]);
    let variants = fixture["variants"].as_array().expect("variants");
    let mut wrong = Vec::new();
    for variant in variants {
        let name = &variant["name"];
        std::fs::write(&path, document(variant, &fixture["bases"]).to_string()).expect("written");
        let section = open_vocabulary(&path).and_then(|vocabulary| vocabulary.build());
        let section = section.unwrap_or_else(|error| panic!("{name}: {error}"));
        let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
        let rows = variant["ids"].as_array().expect("rows").iter().map(ids);
        for ((text, expected), decoded) in texts.iter().zip(rows).zip(strings(&variant["decoded"])) {
            let mut tokens = Vec::new();
            tokenizer.encode(text, Specials::Parse, &mut tokens);
            let mut decoder = Decoder::new(&tokenizer);
            let mut again: String = expected.iter().map(|id| decoder.push(&tokenizer, *id).to_string()).collect();
            again += decoder.finish();
            if tokens != expected || again != decoded {
                wrong.push(format!("{name}, {text:?}: {tokens:?} not {expected:?}; {again:?} not {decoded:?}"));
            }
        }
    }
    assert!(variants.len() > 40 && texts.len() > 30);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// T-07, T-08: what a stage may say that is not read, in words that say what it is.
#[test]
fn a_stage_that_is_not_read_is_refused_by_its_name() {
    let fixture = json(&root().join("tests/fixtures/tokenizers/tokenizers.json"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenizer.json");
    let split = |regex: &str| {
        let parts = [
            serde_json::json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}),
            serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}),
        ];
        serde_json::json!({"type": "Sequence", "pretokenizers": parts})
    };
    let stage = |kind: &str| serde_json::json!({ "type": kind });
    let rows = [
        ("normalizer", stage("BertNormalizer"), "BertNormalizer"),
        ("normalizer", serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "AA=="}), "Precompiled"),
        ("pre_tokenizer", stage("UnicodeScripts"), "UnicodeScripts"),
        ("pre_tokenizer", stage("BertPreTokenizer"), "BertPreTokenizer"),
        ("pre_tokenizer", split(r"(?<=a)b"), "what stands before a match cannot be asked for"),
        ("pre_tokenizer", split(r"(a)\1"), "\\1"),
        ("pre_tokenizer", split(r"(?>a+)b"), "atomic"),
        ("pre_tokenizer", split(r"^a"), "\"^\" is not supported"),
        ("pre_tokenizer", split(r"a(?!bc)"), "for one character only"),
        ("pre_tokenizer", split(r"a*"), "matches where it reads nothing"),
        ("pre_tokenizer", split(r"(a"), "a \")\" is missing"),
        ("pre_tokenizer", split(r"a)"), "without its \"(\""),
        ("pre_tokenizer", split(r"[a"), "a \"]\" is missing"),
        ("pre_tokenizer", split(r"\p{Nothing}"), "Nothing"),
        ("pre_tokenizer", split(r"a{2000}"), "repetitions"),
        ("pre_tokenizer", split(r"(?i:ß)"), "without regard to case"),
        ("pre_tokenizer", split(&"(".repeat(100)), "groups deeper"),
        ("pre_tokenizer", split("(((a{1,99}){1,99}){1,99})"), "more than 4096 places"),
        ("pre_tokenizer", split(r"(a|b)*a(a|b){20}"), "more than 8192 states"),
        ("decoder", stage("WordPiece"), "WordPiece"),
        ("decoder", serde_json::json!({"type": "Strip", "content": " ", "start": 2, "stop": 0}), "more than one space"),
        ("post_processor", stage("RobertaProcessing"), "RobertaProcessing"),
    ];
    for (key, value, says) in rows {
        let mut document = document(&fixture["variants"][0], &fixture["bases"]);
        document[key] = value;
        std::fs::write(&path, document.to_string()).expect("written");
        let error = open_vocabulary(&path).expect_err(says).to_string();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
        assert!(error.contains("tokenizer.json") && error.contains(key), "{error}");
    }
}
