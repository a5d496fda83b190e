//! Token ids against the `tokenizers` crate, on random text of every class and on real text. The vocabularies are those of
//! ../shared; without that folder the tests say so and pass, unless WHIT_REQUIRE_SHARED is set. PROPTEST_CASES sets the
//! number of texts, and makes them other ones each time.
#![cfg(target_arch = "x86_64")]

#[path = "../../../tests/tokenizer_gguf/mod.rs"]
mod tokenizer_gguf;

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use regex::Regex;
use tokenizer_gguf::Metadata;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NFC, Prepend, Replace, Sequence as NormalizerSequence};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer as Reference};
use whit::TokenId;
use whit::tokenizer::{Specials, TokenKind, Tokenizer};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const CASES: u32 = 3000;

fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("WHIT_REQUIRE_SHARED").is_none(), "{} is missing", path.display());
    eprintln!("SKIPPED: {} is missing", path.display());
    None
}

/// The reference over the file's own pieces and merges.
fn byte_level(metadata: &Metadata, pre: Vec<PreTokenizerWrapper>, ignore_merges: bool) -> Reference {
    let normal = metadata.pieces().into_iter().zip(0..).filter(|((_, kind), _)| *kind == TokenKind::Normal);
    let vocab: ahash::AHashMap<String, u32> = normal.map(|((piece, _), id)| (piece.to_owned(), id)).collect();
    let merges = metadata.merges().into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let model = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(ignore_merges).build();
    let mut reference = Reference::new(model.expect("the reference takes the vocabulary"));
    reference.with_pre_tokenizer(Some(Sequence::new(pre)));
    reference
}

/// Llama-2 as Hugging Face converts it: a merge for every way to cut a piece in two, by falling score, then by the lengths
/// of the two.
fn sentence_piece(metadata: &Metadata) -> Reference {
    let (pieces, scores) = (metadata.pieces(), metadata.scores());
    let pieces: Vec<&str> = pieces.into_iter().map(|(piece, _)| piece).collect();
    let known: std::collections::HashSet<&str> = pieces.iter().copied().collect();
    let mut merges = Vec::new();
    for (piece, score) in pieces.iter().zip(scores).skip(259) {
        let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        merges.extend(cuts.filter(|(a, b)| known.contains(a) && known.contains(b)).map(|cut| (score, cut)));
    }
    merges.sort_by(|(s, (a, b)), (t, (c, d))| {
        t.total_cmp(s).then_with(|| (a.chars().count(), b.chars().count()).cmp(&(c.chars().count(), d.chars().count())))
    });
    let merges = merges.into_iter().map(|(_, (a, b))| (a.to_owned(), b.to_owned())).collect();
    let vocab: ahash::AHashMap<String, u32> =
        pieces.iter().zip(0..).map(|(piece, id)| ((*piece).to_owned(), id)).collect();
    let builder = BPE::builder().vocab_and_merges(vocab, merges).unk_token("<unk>".into());
    let mut reference =
        Reference::new(builder.fuse_unk(true).byte_fallback(true).build().expect("the reference builds"));
    let replace = Replace::new(" ", "▁").expect("a plain pattern");
    let steps = vec![Prepend::new("▁".into()).into(), replace.into()];
    reference.with_normalizer(Some(NormalizerSequence::new(steps)));
    reference
}

fn split(pattern: &str) -> Vec<PreTokenizerWrapper> {
    let pattern = SplitPattern::Regex(pattern.into());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("the pattern compiles");
    vec![split.into(), ByteLevel::new(false, true, false).into()]
}

fn compare(tokenizer: &Tokenizer, reference: &Reference, text: &str) {
    let expected = reference.encode(text, false).expect("the reference encodes");
    let mut ids: Vec<TokenId> = Vec::new();
    tokenizer.encode(text, Specials::AsText, &mut ids);
    assert_eq!(ids, expected.get_ids(), "{text:?}");
}

/// Texts of words, contractions, runs of white space, digits, and characters of every class that `allowed` takes.
fn texts(allowed: &'static str) -> impl Strategy<Value = String> {
    let allowed = Regex::new(allowed).expect("the class compiles");
    let ranges = [0_u32..0x80, 0x80..0x300, 0x300..0x600, 0x600..0xe00, 0xe00..0x2000, 0x2000..0x3100, 0x3100..0xa000]
        .into_iter()
        .chain([0xa000..0xd800, 0xf900..0x1_0000, 0x1_0000..0x1_2000, 0x1_d000..0x1_f000, 0x1_f000..0x1_fb00])
        .chain([0..0x11_0000, 0x2_0000..0x2_3400, 0xe_0000..0xe_0200, 0x1_6000..0x1_7000, 0xac00..0xd7b0]);
    let character =
        proptest::sample::select(ranges.collect::<Vec<_>>()).prop_flat_map(|range| range).prop_map(move |code| {
            let c = char::from_u32(code).map(String::from).filter(|c| allowed.is_match(c));
            c.unwrap_or_else(|| "x".into())
        });
    let marked = (character.clone(), proptest::collection::vec(0x300_u32..0x370, 1..4))
        .prop_map(|(base, marks)| base + &marks.into_iter().filter_map(char::from_u32).collect::<String>());
    let fragment = prop_oneof![
        4 => "[a-zA-Z]{1,10}",
        2 => "[ ]?[a-z]{1,8}",
        3 => "'(s|S|t|re|RE|rE|ve|m|M|ll|lL|d|D|ſ|x|l|r|v)",
        3 => "[ \t\r\n\u{b}\u{85}\u{a0}\u{2003}\u{3000}]{1,6}",
        2 => "[ ]{1,5}",
        2 => "[\r\n]{1,3}",
        2 => "[0-9]{1,8}",
        1 => "[٠-٩०-९½²Ⅷ〇]{1,5}",
        2 => "[!-/:-@\\[-`{-~]{1,5}",
        2 => "[想在工作一二三가힣ぁァ]{1,5}",
        1 => "[\u{1f600}-\u{1f64f}\u{200d}\u{fe0f}\u{1f3fb}-\u{1f3ff}]{1,4}",
        1 => "[\u{1100}-\u{1112}][\u{1161}-\u{1175}][\u{11a8}-\u{11c2}]?",
        1 => "\u{2581}{1,2}",
        2 => marked,
        6 => character,
    ];
    proptest::collection::vec(fragment, 0..16).prop_map(|parts| parts.concat())
}

fn check(file: &str, allowed: &'static str, reference: impl Fn(&Metadata) -> Reference) {
    check_with(file, allowed, |text| text, reference);
}

/// U-04, U-07: texts that look like no text.
fn torture() -> Vec<String> {
    let object = r#"{"id":12345,"tags":["a","b_c"],"ok":true,"x":[0.5,-1e9,null],"name":"\u00e9"},"#;
    vec![
        // One letter under 10,000 marks.
        "e".to_owned() + &"\u{301}\u{323}\u{336}\u{489}".repeat(2500),
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}\u{1f3fd}\u{fe0f} ".repeat(20),
        "क्षत्रिय नमस्ते हिन्दी र्\u{200d}क ".repeat(10),
        "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}\u{ac00}\u{11a8}".repeat(20),
        "\u{202e}abc\u{202c} \u{200f}שלום\u{2067}مرحبا\u{2069} 123".repeat(10),
        // 11 kB without a space.
        format!("[{}]", object.repeat(11_000 / object.len())),
    ]
}

/// Compares on random texts, on the torture and on the start of Wikitext.
fn check_with(
    file: &str,
    allowed: &'static str,
    prepare: impl Fn(String) -> String,
    reference: impl Fn(&Metadata) -> Reference,
) {
    let Some(path) = shared(file) else { return };
    let metadata = Metadata::read(&path);
    let section = metadata.vocabulary().build().expect("the vocabulary builds");
    let tokenizer = Tokenizer::open(&section).expect("the section opens");
    let reference = reference(&metadata);
    let config = Config { failure_persistence: None, ..Config::default() };
    let config = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => Config { cases: CASES, rng_seed: RngSeed::Fixed(1), ..config },
    };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&texts(allowed), |text| {
        compare(&tokenizer, &reference, &prepare(text));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{file}: {error}");
    }
    for text in torture() {
        compare(&tokenizer, &reference, &prepare(text));
    }
    let Some(wikitext) = shared("texts/wikitext2-test.txt") else { return };
    let wikitext = std::fs::read_to_string(wikitext).expect("Wikitext is readable");
    for line in wikitext.split_inclusive('\n').take(400) {
        compare(&tokenizer, &reference, line);
    }
}

/// Every scalar that begins or ends a run of letters, numbers or white space, and one in 61 of the rest.
fn edges() -> Vec<char> {
    let classes = [r"^\p{L}$", r"^\p{N}$", r"^\s$"].map(|class| Regex::new(class).expect("the class compiles"));
    let class = |c: char| {
        let mut buffer = [0; 4];
        let text = c.encode_utf8(&mut buffer);
        classes.iter().position(|class| class.is_match(text))
    };
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    let kinds: Vec<Option<usize>> = all.iter().map(|c| class(*c)).collect();
    let edge = |i: usize| i == 0 || kinds[i - 1] != kinds[i] || kinds.get(i + 1).is_some_and(|kind| *kind != kinds[i]);
    (0..all.len()).filter(|i| edge(*i) || i % 61 == 0).map(|i| all[i]).collect()
}

#[test]
fn gpt2() {
    check("vocab/ggml-vocab-gpt-2.gguf", r"(?s).", |metadata| {
        byte_level(metadata, vec![ByteLevel::new(false, true, true).into()], false)
    });
}

#[test]
fn llama3() {
    check("vocab/ggml-vocab-llama-bpe.gguf", r"(?s).", |metadata| byte_level(metadata, split(LLAMA3), true));
}

#[test]
fn qwen2() {
    check("vocab/ggml-vocab-qwen2.gguf", r"(?s).", |metadata| {
        let mut reference = byte_level(metadata, split(QWEN2), false);
        reference.with_normalizer(Some(NFC));
        reference
    });
}

/// The reference asks the standard library what a digit is: characters newer than our tables differ.
#[test]
fn smollm2() {
    check("models/SmolLM2-135M-Instruct.Q4_1.gguf", r"\p{age:16.0}", |metadata| {
        byte_level(metadata, vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()], false)
    });
}

/// Of long runs of spaces, whose pieces all have one score, SentencePiece joins from the left and the reference by lengths:
/// up to 16 the outcome is the same, so longer ones are cut.
#[test]
fn llama2() {
    let long_run = Regex::new("[ \u{2581}]{13,}").expect("the pattern compiles");
    let cut = |text: String| long_run.replace_all(&text, " ").into_owned();
    check_with("vocab/ggml-vocab-llama-spm.gguf", r"(?s).", cut, sentence_piece);
}

#[test]
fn every_class_ends_where_the_reference_s_does() {
    let Some(path) = shared("vocab/ggml-vocab-gpt-2.gguf") else { return };
    let metadata = Metadata::read(&path);
    let section = metadata.vocabulary().build().expect("the vocabulary builds");
    let tokenizer = Tokenizer::open(&section).expect("the section opens");
    let reference = byte_level(&metadata, split(LLAMA3), false);
    let mut vocabulary = metadata.vocabulary();
    let whit::tokenizer::VocabularyModel::ByteLevel { pre, .. } = &mut vocabulary.model else { unreachable!() };
    *pre = whit::tokenizer::PreTokenizer::Llama3;
    let llama3 = vocabulary.build().expect("the vocabulary builds");
    let llama3 = Tokenizer::open(&llama3).expect("the section opens");
    let gpt2 = byte_level(&metadata, vec![ByteLevel::new(false, true, true).into()], false);
    let edges = edges();
    assert!(edges.len() > 15_000);
    for c in edges {
        let text = format!("re{c}1{c}{c}\n{c} a");
        compare(&tokenizer, &gpt2, &text);
        compare(&llama3, &reference, &text);
    }
}
