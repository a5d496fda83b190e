//! tokenizer.json, tokenizer_config.json and chat templates.

use super::config::{LLAMA, directory};
use super::{Case, Scratch, case, caught, run, sweep};

const BYTE_LEVEL: &str = r#"{
 "added_tokens": [{"id": 0, "content": "<s>", "special": true}, {"id": 7, "content": "<x>", "special": false}],
 "normalizer": null,
 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
 "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
 "decoder": {"type": "ByteLevel"},
 "model": {"type": "BPE", "byte_fallback": false,
  "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "Ġ": 4, "Ġa": 5, "Ċ": 6},
  "merges": ["a b", ["Ġ", "a"]]}
}"#;

const SENTENCE_PIECE: &str = r#"{
 "added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true}],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
  {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
 "pre_tokenizer": null,
 "post_processor": null,
 "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
 "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
  "vocab": {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "▁": 3, "a": 4, "b": 5, "ab": 6, "▁ab": 7},
  "merges": ["a b", "▁ ab"]}
}"#;

fn row(name: &'static str, json: impl AsRef<[u8]>, expected: &'static str, field: &'static str) -> Case {
    case(name, directory(&[("tokenizer.json", json.as_ref())]), expected, field)
}

fn with(from: &str, to: &str) -> String {
    assert!(BYTE_LEVEL.contains(from), "{from}");
    BYTE_LEVEL.replacen(from, to, 1)
}

#[test]
fn documents() {
    let merges = |m: &str| with("\"a b\", [\"Ġ\", \"a\"]", m);
    let vocab = |v: &str| with("\"ab\": 3", v);
    let pre = |p: &str| with(r#"{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}"#, p);
    let split = |regex: &str| {
        pre(&format!(
            r#"{{"type":"Sequence","pretokenizers":[{{"type":"Split","pattern":{{"Regex":"{regex}"}},"behavior":"Isolated"}},{{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}}]}}"#
        ))
    };
    let norm = |n: &str| with("\"normalizer\": null", &format!("\"normalizer\": {n}"));
    let nested = |n: usize| norm(&format!("{}{}", "[".repeat(n), "]".repeat(n)));
    let longer = vocab("\"ab\": 3, \"c\": 8");
    run(vec![
        row("T-01 cut", &BYTE_LEVEL[..300], "", "byte"),
        row("T-01 129 deep", nested(129), "deep", "byte"),
        row("T-01 10^5 deep", nested(100_000), "deep", "byte"),
        row("T-02 a hole", vocab("\"x\": 9"), "3: a hole", "token"),
        row("T-02 an id twice", vocab("\"x\": 2"), "\"b\" and \"x\"", "token 2"),
        row("T-02 a negative id", vocab("\"ab\": -3"), "-3", "model.vocab \"ab\""),
        row("T-02 an id of u32::MAX", vocab("\"ab\": 4294967295"), "limit", "model.vocab \"ab\""),
        row("T-02 an id as text", vocab("\"ab\": \"3\""), "number", "model.vocab \"ab\""),
        row("T-02 a name twice", vocab("\"ab\": 3, \"ab\": 8"), "twice", "key \"ab\""),
        row("M-25 nine tokens, eight rows", longer, "the tokenizer that this model", "8 rows").nowhere(),
        row("T-04 an unknown piece", merges("\"a x\""), "merge 1", "tokenizer").nowhere(),
        row("T-04 three pieces", merges("\"a b c\""), "merge 1", "model.merges"),
        row("T-04 one piece", merges("[\"a\"]"), "merge 1", "model.merges"),
        row("T-04 a merge twice", merges("\"a b\", \"a b\""), "merge 2", "tokenizer").nowhere(),
        row("T-04 a number", merges("1"), "string", "model.merges"),
        row("T-04 no byte-level piece", merges("[\"a\", \"\\u2581\"]"), "byte-level", "model.merges"),
        row("T-04 a merge with itself", merges("\"ab ab\""), "merge 1", "tokenizer").nowhere(),
        row("T-04 a merge before its parts", merges("\"Ġ ab\", \"a b\""), "merge 1", "tokenizer").nowhere(),
        row("T-04 10^7 lines", merges(&("\"a b\",".repeat(9_999_999) + "\"a b\"")), "merge 2", "tokenizer").nowhere(),
        row("T-07 another pattern", split("\\\\p{L}+"), "no known pattern", "pre_tokenizer.Split"),
        row("T-10 an empty pattern", split(""), "no known pattern", "pre_tokenizer.Split"),
        row(
            "T-10 an empty replace",
            norm(r#"{"type":"Replace","pattern":{"String":""},"content":"x"}"#),
            "U+2581",
            "normalizer.Replace",
        ),
        row("T-08 a normalizer", norm(r#"{"type":"BertNormalizer"}"#), "BertNormalizer", "normalizer"),
        row("T-08 a pre-tokenizer", pre(r#"{"type":"Whitespace"}"#), "Whitespace", "pre_tokenizer"),
        row(
            "T-08 a sequence 1,000 deep",
            norm(&format!("{}null{}", r#"{"type":"Sequence","normalizers":["#.repeat(1000), "]}".repeat(1000))),
            "deep",
            "byte",
        ),
        row("T-08 none", pre("null"), "pre_tokenizer", "pre_tokenizer"),
        row(
            "T-08 a decoder",
            with(r#""decoder": {"type": "ByteLevel"}"#, r#""decoder": {"type": "WordPiece"}"#),
            "WordPiece",
            "decoder",
        ),
        row(
            "T-08 a post-processor",
            with("TemplateProcessing", "RobertaProcessing"),
            "RobertaProcessing",
            "post_processor",
        ),
        row(
            "T-08 a template of nothing",
            with(r#""SpecialToken": {"id": "<s>"}"#, r#""SpecialToken": {"id": "<y>"}"#),
            "<y>",
            "post_processor",
        ),
        row("T-11 an empty added token", with("\"<x>\"", "\"\""), "empty", "tokenizer").nowhere(),
        row(
            "T-11 an added token of 1 MB",
            with("\"<x>\"", &format!("\"{}\"", "x".repeat(1 << 20))),
            "limit",
            "tokenizer",
        )
        .nowhere(),
        row("T-11 an added token named as a piece", with("\"<x>\"", "\"a\""), "same name as token 1", "token 7"),
        row("T-11 an id outside", with("\"id\": 7", "\"id\": 70"), "a hole", "token 70"),
        row("T-13 WordPiece", with("\"BPE\"", "\"WordPiece\""), "supported: BPE", "model.type"),
        row("T-13 no model", with("\"model\"", "\"x\""), "missing", "model"),
        row("not byte-level", with("\"Ċ\"", "\"▁\""), "byte-level", "token 6").nowhere(),
        row(
            "a prefix space",
            with("\"add_prefix_space\": false", "\"add_prefix_space\": true"),
            "add_prefix_space",
            "pre_tokenizer",
        ),
        row("SentencePiece merge", SENTENCE_PIECE.replace("\"▁ ab\"", "\"▁ b\""), "merge 2", "model.merges"),
        row(
            "SentencePiece unk",
            SENTENCE_PIECE.replace("\"unk_token\": \"<unk>\"", "\"unk_token\": \"x\""),
            "no token",
            "model.unk_token",
        ),
    ]);
}

#[test]
fn settings() {
    let config = |json: &'static str| {
        directory(&[("tokenizer.json", BYTE_LEVEL.as_bytes()), ("tokenizer_config.json", json.as_bytes())])
    };
    let long = "x".repeat(2 << 20);
    run(vec![
        case("T-22 BOS as a number", config(r#"{"bos_token": 1}"#), "a string", "bos_token"),
        case("T-22 BOS without text", config(r#"{"bos_token": {}}"#), "content", "bos_token"),
        case("T-19 a template as a number", config(r#"{"chat_template": 1}"#), "a string", "chat_template"),
        case("T-19 an unnamed template", config(r#"{"chat_template": [{"template": "x"}]}"#), "name", "chat_template"),
        case(
            "T-20 a template of 2 MiB",
            directory(&[("chat_template.jinja", long.as_bytes())]),
            "limit",
            "chat_template.jinja",
        ),
        case("T-20 no text", directory(&[("chat_template.jinja", b"\xff")]), "UTF-8", "chat_template.jinja"),
    ]);
}

/// T-01, T-11, T-14: no tokenizer, a huge one, and settings that are left aside with a word.
#[test]
fn what_is_left_aside_is_noted() {
    let scratch = Scratch::new();
    assert!(caught("none", &scratch.write(&directory(&[]))).expect("valid").vocabulary.is_none());
    let path = scratch.0.join("tokenizer.json");
    std::fs::File::create(&path).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
    let error = caught("1 GB", &scratch.0).expect_err("too large");
    assert!(error.to_string().contains("1073741824 bytes, the limit is"), "{error}");
    let json = BYTE_LEVEL.replacen('{', r#"{"truncation": {"max_length": 4}, "padding": {"strategy": "x"},"#, 1);
    std::fs::write(&path, json.replace("\"special\": false", "\"lstrip\": true")).expect("written");
    let notes = caught("settings", &scratch.0).expect("valid").notes;
    for part in
        ["sets truncation: ignored", "sets padding: ignored", "lstrip, rstrip and single_word of \"<x>\" are ignored"]
    {
        assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:?}");
    }
}

/// T-11: whatever an added token is, it stands for its own text.
#[test]
fn odd_added_tokens_are_their_text() {
    for name in [" ", "\\n", "<", "<s>a"] {
        let scratch = Scratch::new();
        let json = with("\"<x>\"", &format!("\"{name}\""));
        let path = scratch.write(&directory(&[("tokenizer.json", json.as_bytes())]));
        let vocabulary = caught(name, &path).expect("valid").vocabulary.expect("a vocabulary");
        assert_eq!(vocabulary.tokens[7].bytes, name.replace("\\n", "\n").as_bytes());
    }
}

/// T-05, T-22: merges of both forms, BOS as an object, and which chat template goes first.
#[test]
fn both_kinds_are_read() {
    let scratch = Scratch::new();
    let config = br#"{"bos_token": {"content": "<s>"}, "eos_token": null,
        "chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    let path =
        scratch.write(&directory(&[("tokenizer.json", BYTE_LEVEL.as_bytes()), ("tokenizer_config.json", config)]));
    let source = caught("byte-level", &path).expect("valid");
    let vocabulary = source.vocabulary.expect("vocabulary");
    assert_eq!((vocabulary.tokens.len(), vocabulary.bos, vocabulary.add_bos), (8, Some(0), true));
    assert_eq!(source.chat_template.as_deref(), Some("d"));
    std::fs::write(scratch.0.join("tokenizer_config.json"), r#"{"chat_template": ""}"#).expect("write");
    assert_eq!(caught("an empty template", &path).expect("valid").chat_template, None);
    std::fs::write(scratch.0.join("tokenizer_config.json"), config).expect("write");
    std::fs::write(scratch.0.join("chat_template.jinja"), "j").expect("write");
    std::fs::write(scratch.0.join("tokenizer.json"), SENTENCE_PIECE).expect("write");
    let source = caught("SentencePiece", &path).expect("valid");
    assert_eq!(source.chat_template.as_deref(), Some("j"));
    let vocabulary = source.vocabulary.expect("vocabulary");
    assert_eq!((vocabulary.unk, vocabulary.tokens[7].score, vocabulary.add_bos), (Some(0), -1.0, false));
}

/// A number in a configuration costs no memory before weights have answered for it.
#[test]
fn a_vocabulary_is_filled_up_to_stored_rows_only() {
    let scratch = Scratch::new();
    let rows = |n: usize| LLAMA.replace("\"vocab_size\": 8", &format!("\"vocab_size\": {n}"));
    for (n, filled) in [(1 << 20, 8), (32, 32)] {
        let config = rows(n);
        let files = directory(&[("config.json", config.as_bytes()), ("tokenizer.json", BYTE_LEVEL.as_bytes())]);
        let source = caught("rows", &scratch.write(&files)).expect("valid but for its weights");
        assert_eq!(source.vocabulary.map(|vocabulary| vocabulary.tokens.len()), Some(filled), "{n} rows");
    }
}

#[test]
fn no_byte_of_a_tokenizer_panics() {
    sweep("byte-level", &directory(&[("tokenizer.json", BYTE_LEVEL.as_bytes())]), "tokenizer.json", BYTE_LEVEL.len());
    let other = SENTENCE_PIECE.as_bytes();
    sweep("SentencePiece", &directory(&[("tokenizer.json", other)]), "tokenizer.json", other.len());
}

/// A vocabulary and merges of 100,000: what is quadratic takes minutes.
#[test]
fn reading_takes_linear_time() {
    let n = 100_000;
    let names: Vec<String> = (0..n).map(|i| format!("\"{i:x}g\": {}", i + 8)).collect();
    let merges = |form: &str| form.repeat(n / 2) + "\"a b\"";
    let document = |form: &str| {
        with("\"ab\": 3", &format!("\"ab\": 3, {}", names.join(","))).replace("\"a b\", [\"Ġ\", \"a\"]", &merges(form))
    };
    let start = std::time::Instant::now();
    for form in ["\"a b\", ", "[\"a\", \"b\"], ", "[\"\\u0061\", \"b\"], "] {
        let scratch = Scratch::new();
        let json = document(form);
        let error = caught("100,000", &scratch.write(&directory(&[("tokenizer.json", json.as_bytes())])));
        assert!(error.expect_err("too many").to_string().contains("100008 tokens"));
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

/// M-25: added tokens without a row are left out, also where one of them begins or ends texts.
#[test]
fn added_tokens_beyond_the_embedding_are_left_out() {
    let added =
        r#"{"id": 8, "content": "<pad>", "special": true}, {"id": 9, "content": "<end>", "special": false}, {"id": 7"#;
    let tokenizer = with("{\"id\": 7", added);
    let settings = br#"{"eos_token": "<end>", "bos_token": "<pad>", "add_bos_token": true}"#;
    let scratch = Scratch::new();
    let config = LLAMA.replacen(",\n \"eos_token_id\": 2", "", 1);
    let files = directory(&[
        ("config.json", config.as_bytes()),
        ("tokenizer.json", tokenizer.as_bytes()),
        ("tokenizer_config.json", settings),
    ]);
    let source = caught("M-25", &scratch.write(&files)).expect("valid");
    let note = "no row for added tokens, which are left out: \"<pad>\"; \"<end>\"";
    assert!(source.notes.iter().any(|told| told.contains(note)), "{:?}", source.notes);
    let vocabulary = source.vocabulary.expect("a vocabulary");
    assert_eq!((vocabulary.tokens.len(), vocabulary.eos, source.generation.eos), (8, None, vec![]));
}
