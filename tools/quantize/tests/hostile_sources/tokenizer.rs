//! tokenizer.json, tokenizer_config.json and chat templates.

use whit::tokenizer::{Specials, TokenKind, Tokenizer};

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
 "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
  {"type": "ByteFallback"}, {"type": "Fuse"}]},
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
        row("T-02 an id twice", vocab("\"x\": 2"), "\"b\" and \"x\"", "token 2"),
        row("T-02 a negative id", vocab("\"ab\": -3"), "-3", "model.vocab \"ab\""),
        row("T-02 an id of u32::MAX", vocab("\"ab\": 4294967295"), "limit", "model.vocab \"ab\""),
        row("T-02 an id as text", vocab("\"ab\": \"3\""), "number", "model.vocab \"ab\""),
        row("T-02 a name twice", vocab("\"ab\": 3, \"ab\": 8"), "twice", "key \"ab\""),
        row("M-25 nine tokens, eight rows", longer, "the tokenizer that this model", "8 rows").nowhere(),
        row("T-04 an unknown piece", merges("\"a x\""), "merge 1", "tokenizer").nowhere(),
        row("T-04 three pieces", merges("\"a b c\""), "merge 1", "model.merges"),
        row("T-04 one piece", merges("[\"a\"]"), "merge 1", "model.merges"),
        row("T-04 a number", merges("1"), "string", "model.merges"),
        row("T-04 no byte-level piece", merges("[\"a\", \"\\u2581\"]"), "merge 1", "model.merges"),
        row("T-04 a merge with itself", merges("\"ab ab\""), "merge 1", "tokenizer").nowhere(),
        row("T-04 a merge before its parts", merges("\"Ġ ab\", \"a b\""), "merge 1", "tokenizer").nowhere(),
        row("T-07 a pattern that looks back", split("(?<=a)b"), "what stands before a match", "pre_tokenizer.Split"),
        row("T-10 an empty pattern", split(""), "reads nothing", "pre_tokenizer.Split"),
        row(
            "T-10 an empty replace",
            norm(r#"{"type":"Replace","pattern":{"String":""},"content":"x"}"#),
            "reads nothing",
            "normalizer.Replace",
        ),
        row("T-08 a normalizer", norm(r#"{"type":"BertNormalizer"}"#), "BertNormalizer", "normalizer"),
        row("T-08 a pre-tokenizer", pre(r#"{"type":"BertPreTokenizer"}"#), "BertPreTokenizer", "pre_tokenizer"),
        row(
            "T-08 a sequence 1,000 deep",
            norm(&format!("{}null{}", r#"{"type":"Sequence","normalizers":["#.repeat(1000), "]}".repeat(1000))),
            "deep",
            "byte",
        ),
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
        row("T-11 an id outside", with("\"id\": 7", "\"id\": 70"), "71 tokens, the embedding", "tokenizer").nowhere(),
        row("T-13 WordPiece", with("\"BPE\"", "\"WordPiece\""), "supported: BPE", "model.type"),
        row("T-13 no model", with("\"model\"", "\"x\""), "missing", "model"),
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
    std::fs::write(&path, json.replace(r#""decoder": {"type": "ByteLevel"}"#, r#""decoder": null"#)).expect("written");
    let notes = caught("settings", &scratch.0).expect("valid").notes;
    for part in ["sets truncation: ignored", "sets padding: ignored", "has no decoder"] {
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
    std::fs::write(scratch.0.join("chat_template.json"), r#"{"chat_template": "p"}"#).expect("write");
    assert_eq!(caught("a processor's", &path).expect("valid").chat_template.as_deref(), Some("p"));
    std::fs::write(scratch.0.join("tokenizer_config.json"), config).expect("write");
    std::fs::write(scratch.0.join("chat_template.jinja"), "j").expect("write");
    std::fs::write(scratch.0.join("tokenizer.json"), SENTENCE_PIECE).expect("write");
    let source = caught("SentencePiece", &path).expect("valid");
    assert_eq!(source.chat_template.as_deref(), Some("j"));
    let vocabulary = source.vocabulary.expect("vocabulary");
    assert_eq!(
        (vocabulary.unk, vocabulary.tokens[7].bytes.as_slice(), vocabulary.add_bos),
        (Some(0), &b" ab"[..], false)
    );
}

/// T-02, T-04: numbers that no token has stay unused; of a merge that is listed again, the last one counts.
#[test]
fn holes_and_merges_that_repeat_are_read() {
    let scratch = Scratch::new();
    let config = LLAMA.replace("\"vocab_size\": 8", "\"vocab_size\": 32");
    let json = with("\"id\": 7", "\"id\": 20").replace("\"a b\",", &"\"a b\", ".repeat(100_000));
    let files = directory(&[("config.json", config.as_bytes()), ("tokenizer.json", json.as_bytes())]);
    let vocabulary = caught("holes", &scratch.write(&files)).expect("valid").vocabulary.expect("a vocabulary");
    let kinds = |kind| vocabulary.tokens.iter().filter(|token| token.kind == kind).count();
    assert_eq!((kinds(TokenKind::Normal), kinds(TokenKind::UserDefined), kinds(TokenKind::Unused)), (6, 1, 24));
    let section = vocabulary.build().expect("a section");
    assert!(section.len() < 1 << 16, "{}", section.len());
}

/// T-24: a directory without a tokenizer.json, but with other files of a tokenizer.
#[test]
fn other_files_of_a_tokenizer_are_read_or_named() {
    let vocab = r#"{"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3, "Ġ": 4, "Ġa": 5, "Ċ": 6}"#;
    let files = |more: &[(&'static str, &[u8])]| directory(more);
    let pair: [(&'static str, &[u8]); 2] =
        [("vocab.json", vocab.as_bytes()), ("merges.txt", "#version: 0.2\na b\n\nĠ a\n".as_bytes())];
    let scratch = Scratch::new();
    let source = caught("vocab.json", &scratch.write(&files(&pair))).expect("valid");
    assert!(source.notes.iter().any(|note| note.contains("read as GPT2Tokenizer does")), "{:?}", source.notes);
    let section = source.vocabulary.expect("a vocabulary").build().expect("a section");
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let ids = |text: &str| {
        let mut ids = Vec::new();
        tokenizer.encode(text, Specials::Parse, &mut ids);
        ids
    };
    assert_eq!(ids("ab a<|endoftext|>\n"), [3, 5, 0, 6]);
    let qwen = br#"{"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": {"7": {"content": "<x>", "special": true, "rstrip": true}}}"#;
    let more = [pair[0], pair[1], ("tokenizer_config.json", qwen)];
    let scratch = Scratch::new();
    let source = caught("Qwen2", &scratch.write(&files(&more))).expect("valid");
    let section = source.vocabulary.expect("a vocabulary").build().expect("a section");
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let mut tokens = Vec::new();
    tokenizer.encode("<x>  ab", Specials::Parse, &mut tokens);
    assert_eq!(tokens, [7, 3]);
    let alone = |name: &'static str, bytes: &[u8], says: &str| {
        let scratch = Scratch::new();
        let error = caught(name, &scratch.write(&files(&[(name, bytes)]))).expect_err(says).to_string();
        assert!(error.contains(name) && error.contains(says), "{error}");
    };
    alone("vocab.json", vocab.as_bytes(), "writes a tokenizer.json");
    alone("tekken.json", b"{}", "writes a tokenizer.json");
    alone("spiece.model", b"x", "writes a tokenizer.json");
    type Named = (&'static str, Vec<u8>);
    let run = |change: &dyn Fn(&mut Vec<Named>), says: &str| {
        let mut list: Vec<Named> = pair.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect();
        change(&mut list);
        let list: Vec<(&'static str, &[u8])> = list.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        let scratch = Scratch::new();
        let error = caught(says, &scratch.write(&files(&list))).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    };
    run(&|list| list[1].1 = b"#version: 0.2\na b c\n".to_vec(), "line 2 is no pair");
    run(&|list| list[1].1 = b"a x\n".to_vec(), "merge 1");
    run(&|list| list[1].1 = b"\xff\n".to_vec(), "not UTF-8");
    run(&|list| list[0].1 = b"{".to_vec(), "vocab.json");
    run(
        &|list| list.push(("tokenizer_config.json", br#"{"tokenizer_class": "BertTokenizer"}"#.to_vec())),
        "BertTokenizer",
    );
}

/// The bytes of a tokenizer.model: a field's tag and its value.
fn field(number: u64, value: &[u8]) -> Vec<u8> {
    let mut out = varint(number << 3 | 2);
    out.extend(varint(value.len() as u64));
    out.extend_from_slice(value);
    out
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn number(field: u64, n: u64) -> Vec<u8> {
    [varint(field << 3), varint(n)].concat()
}

/// A tokenizer.model of BPE with these pieces, their kinds and scores.
fn sentencepiece(pieces: &[(&str, u64, f32)], trainer: &[u8], normalizer: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (piece, kind, score) in pieces {
        let score = [varint(2 << 3 | 5), score.to_le_bytes().to_vec()].concat();
        out.extend(field(1, &[field(1, piece.as_bytes()), score, number(3, *kind)].concat()));
    }
    out.extend(field(2, trainer));
    out.extend(field(3, normalizer));
    out
}

/// T-25: SentencePiece's own file, whole and damaged.
#[test]
fn tokenizer_model_is_read_or_refused() {
    let pieces = [
        ("<unk>", 2, 0.0),
        ("<s>", 3, 0.0),
        ("</s>", 3, 0.0),
        ("<0x0A>", 6, 0.0),
        ("▁", 1, -3.0),
        ("a", 1, -4.0),
        ("▁a", 1, -1.0),
    ];
    let trainer = [number(3, 2), number(35, 1), number(42, u64::MAX)].concat();
    let normalizer = [number(3, 1), number(4, 0)].concat();
    let whole = sentencepiece(&pieces, &trainer, &normalizer);
    let read = |bytes: &[u8], more: &[(&'static str, &[u8])]| {
        let scratch = Scratch::new();
        let mut list = vec![("tokenizer.model", bytes)];
        list.extend_from_slice(more);
        caught("tokenizer.model", &scratch.write(&directory(&list)))
    };
    let source = read(&whole, &[("added_tokens.json", br#"{"<x>": 7}"#)]).expect("valid");
    let vocabulary = source.vocabulary.expect("a vocabulary");
    assert_eq!((vocabulary.bos, vocabulary.eos, vocabulary.unk, vocabulary.add_bos), (Some(1), None, Some(0), true));
    let section = vocabulary.build().expect("a section");
    let mut ids = Vec::new();
    Tokenizer::open(&section).expect("a tokenizer").encode("a\n<x>", Specials::Parse, &mut ids);
    assert_eq!(ids, [6, 3, 7]);
    let refused = |bytes: &[u8], says: &str| {
        let error = read(bytes, &[]).expect_err(says).to_string();
        assert!(error.contains("tokenizer.model") && error.contains(says), "{error}");
    };
    refused(&sentencepiece(&pieces, &[], &normalizer), "a model of the type Unigram is not supported");
    refused(&sentencepiece(&pieces, &number(3, 3), &normalizer), "a model of words");
    refused(&sentencepiece(&pieces, &trainer, &number(3, 1)), "removing of spaces");
    refused(
        &sentencepiece(&pieces, &trainer, &[normalizer.clone(), field(2, b"xx")].concat()),
        "normalization of text",
    );
    refused(&sentencepiece(&[("a", 9, 0.0)], &trainer, &normalizer), "piece 0");
    refused(&sentencepiece(&[("a", 1, f32::NAN)], &trainer, &normalizer), "not a number");
    refused(&field(1, &field(1, b"\xff")), "not UTF-8");
    refused(&[0x0a, 0xff, 0x7f], "bytes needed");
    refused(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "more than 64 bits");
    refused(&[field(2, &trainer), field(3, &normalizer)].concat(), "");
    sweep("tokenizer.model", &directory(&[("tokenizer.model", &whole)]), "tokenizer.model", whole.len());
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
