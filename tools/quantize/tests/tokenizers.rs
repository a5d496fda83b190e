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

/// A GGUF file of the tokenizer `document`, as llama.cpp's converter writes that of Gemma 4.
fn gemma4_file(document: &Value) -> Vec<u8> {
    let text = |s: &str| [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat();
    let list = |kind: u32, items: Vec<Vec<u8>>| {
        [&9_u32.to_le_bytes()[..], &kind.to_le_bytes(), &(items.len() as u64).to_le_bytes(), &items.concat()].concat()
    };
    let vocab = document["model"]["vocab"].as_object().expect("pieces");
    let mut pieces: Vec<(u64, &String)> = vocab.iter().map(|(name, id)| (id.as_u64().expect("an id"), name)).collect();
    pieces.sort_unstable();
    let kind = |name: &str| match name {
        "<unk>" => 2_i32,
        "<|end|>" => 3,
        _ if name.starts_with("<0x") && name.len() == 6 => 6,
        _ => 1,
    };
    let merge = |merge: &Value| match merge {
        Value::String(line) => text(line),
        pair => text(&format!("{} {}", pair[0].as_str().expect("a half"), pair[1].as_str().expect("a half"))),
    };
    let merges = document["model"]["merges"].as_array().expect("merges").iter().map(merge).collect();
    let keys = [
        ("tokenizer.ggml.model", [8_u32.to_le_bytes().to_vec(), text("gemma4")].concat()),
        ("tokenizer.ggml.tokens", list(8, pieces.iter().map(|(_, name)| text(name)).collect())),
        (
            "tokenizer.ggml.token_type",
            list(5, pieces.iter().map(|(_, name)| kind(name).to_le_bytes().to_vec()).collect()),
        ),
        ("tokenizer.ggml.merges", list(8, merges)),
        ("tokenizer.ggml.unknown_token_id", [4_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat()),
        ("tokenizer.ggml.add_bos_token", [&7_u32.to_le_bytes()[..], &[0]].concat()),
    ];
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend([0_u64.to_le_bytes(), (keys.len() as u64).to_le_bytes()].concat());
    keys.iter().for_each(|(key, value)| out.extend([text(key), value.clone()].concat()));
    out
}

#[test]
fn gemma_4_s_gguf_file_gives_the_ids_of_its_tokenizer_json() {
    let fixture = json(&root().join("tests/fixtures/tokenizers/tokenizers.json"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vocabulary.gguf");
    let of = |name: &str| {
        let variants = fixture["variants"].as_array().expect("variants").iter();
        variants.into_iter().find(|variant| variant["name"] == *name).expect("a variant")
    };
    for name in ["gemma", "gemma3"] {
        let variant = of(name);
        std::fs::write(&path, gemma4_file(&document(variant, &fixture["bases"]))).expect("written");
        let section = open_vocabulary(&path).and_then(|vocabulary| vocabulary.build()).expect("a tokenizer");
        let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
        let texts = fixture["texts"].as_array().expect("texts").iter().map(|text| text.as_str().expect("a text"));
        let rows = variant["ids"].as_array().expect("rows").iter().zip(variant["decoded"].as_array().expect("texts"));
        for (text, (expected, decoded)) in texts.zip(rows) {
            let mut tokens = Vec::new();
            tokenizer.encode(text, Specials::Parse, &mut tokens);
            assert_eq!(tokens, ids(expected), "{name}, {text:?}");
            let mut decoder = Decoder::new(&tokenizer);
            let mut again: String = tokens.iter().map(|id| decoder.push(&tokenizer, *id).to_string()).collect();
            again += decoder.finish();
            assert_eq!(again, decoded.as_str().expect("a text"), "{name}, {text:?}");
        }
    }
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
