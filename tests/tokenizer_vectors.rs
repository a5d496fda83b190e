//! Token ids against the reference vectors of ../shared: five vocabularies with 47 texts each, and SmolLM2 on prompts and
//! Wikitext. Without that folder the tests say so and pass, unless WHIT_REQUIRE_SHARED is set.

mod tokenizer_gguf;

use std::path::PathBuf;

use tokenizer_gguf::Metadata;
use whit::TokenId;
use whit::tokenizer::{Decoder, Specials, Token, TokenKind, Tokenizer, Vocabulary, VocabularyModel};

/// The path of a shared file, if it is there.
fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("WHIT_REQUIRE_SHARED").is_none(), "{} is missing", path.display());
    eprintln!("SKIPPED: {} is missing", path.display());
    None
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).expect("a shared text is readable")
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<TokenId> {
    let mut ids = Vec::new();
    tokenizer.encode(text, Specials::AsText, &mut ids);
    ids
}

fn decode(tokenizer: &Tokenizer, ids: &[TokenId]) -> String {
    let mut decoder = Decoder::new(tokenizer);
    let mut text: String = ids.iter().map(|id| decoder.push(tokenizer, *id).to_owned()).collect();
    text.push_str(decoder.finish());
    text
}

fn vectors(name: &str) {
    let Some(path) = shared(&format!("vocab/ggml-vocab-{name}.gguf")) else { return };
    let section = Metadata::read(&path).vocabulary().build().expect("the vocabulary builds");
    let tokenizer = Tokenizer::open(&section).expect("the section opens");
    let with = |suffix: &str| read(&PathBuf::from(format!("{}{suffix}", path.display())));
    let (texts, ids) = (with(".inp"), with(".out"));
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let mut compared = 0;
    for (text, ids) in texts.iter().zip(ids.split('\n')) {
        let expected: Vec<TokenId> = ids.split_whitespace().map(|id| id.parse().expect("an id")).collect();
        assert_eq!(encode(&tokenizer, text), expected, "{name}: {text:?}");
        assert_eq!(decode(&tokenizer, &expected), *text, "{name}");
        compared += 1;
    }
    assert_eq!(compared, 47, "{name}");
}

#[test]
fn gpt2() {
    vectors("gpt-2");
}

#[test]
fn llama3() {
    vectors("llama-bpe");
}

#[test]
fn llama2() {
    vectors("llama-spm");
}

#[test]
fn qwen2() {
    vectors("qwen2");
}

#[test]
fn phi3() {
    vectors("phi-3");
}

/// The JSON array of numbers that follows the first `"ids": ` of `json`, and what comes after it.
fn next_ids(json: &str) -> Option<(Vec<TokenId>, &str)> {
    let (list, rest) = json.split_once("\"ids\": [")?.1.split_once(']')?;
    let ids = list.split(',').map(|id| id.trim().parse().expect("an id")).collect();
    Some((ids, rest))
}

/// The ids of each entry of a part of the reference file.
fn ids_of(json: &str, part: &str) -> Vec<Vec<TokenId>> {
    let (_, mut rest) = json.split_once(&format!("\"{part}\": [")).expect("the reference has this part");
    let mut out = Vec::new();
    while let Some((ids, tail)) = next_ids(rest) {
        out.push(ids);
        rest = tail;
    }
    out
}

#[test]
fn smollm2() {
    let Some(model) = shared("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let Some(reference) = shared("reference/smollm2.json") else { return };
    let Some(wikitext) = shared("texts/wikitext2-test.txt") else { return };
    let section = Metadata::read(&model).vocabulary().build().expect("the vocabulary builds");
    let tokenizer = Tokenizer::open(&section).expect("the section opens");
    let reference = read(&reference);

    let prompts = ids_of(&reference, "prompts");
    assert_eq!(prompts[0], encode(&tokenizer, "Once upon a time, there was a little"));
    assert_eq!(prompts[2], encode(&tokenizer, "def fibonacci(n):\n    "));
    assert_eq!(prompts[5], encode(&tokenizer, "Leg est un mot français. Le chat est"));
    assert_eq!(prompts[6], encode(&tokenizer, "1 2 3 4 5 6 7 8 9 10 11"));

    let mut chat = Vec::new();
    let text = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
                <|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";
    tokenizer.encode(text, Specials::Parse, &mut chat);
    assert_eq!(ids_of(&reference, "chats")[0], chat);
    let plain = encode(&tokenizer, text);
    assert!(plain.iter().all(|id| tokenizer.kind(*id) == TokenKind::Normal), "text became a control token");
    assert_eq!(decode(&tokenizer, &plain), text);

    let windows: Vec<TokenId> = ids_of(&reference, "windows").concat();
    let wikitext = read(&wikitext);
    let ids = encode(&tokenizer, &wikitext);
    assert_eq!(windows.len(), 4096);
    assert_eq!(ids[..4096], windows);
    assert!(decode(&tokenizer, &ids) == wikitext, "Wikitext does not come back");
}

/// llama2.c's `tok512.bin`: (score, length, bytes) each, ids 0 to 2 unknown, BOS, EOS, then the bytes.
#[test]
fn stories260k() {
    let Some(path) = shared("models/stories260k/tok512.bin") else { return };
    let file = std::fs::read(path).expect("a shared file is readable");
    let mut rest = &file[4..];
    let mut tokens = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let score = f32::from_le_bytes(head[..4].try_into().expect("4 bytes"));
        let length = u32::from_le_bytes(head[4..].try_into().expect("4 bytes")) as usize;
        let kind = match tokens.len() {
            0 => TokenKind::Unknown,
            1 | 2 => TokenKind::Control,
            3..259 => TokenKind::Byte,
            _ => TokenKind::Normal,
        };
        tokens.push(Token { bytes: tail[..length].to_vec(), kind, score });
        rest = &tail[length..];
    }
    let model = VocabularyModel::SentencePiece { add_dummy_prefix: true };
    let vocabulary = Vocabulary { tokens, model, bos: Some(1), eos: Some(2), unk: Some(0), add_bos: true };
    let section = vocabulary.build().expect("the vocabulary builds");
    let tokenizer = Tokenizer::open(&section).expect("the section opens");
    assert_eq!(tokenizer.vocab_size(), 512);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(1), Some(2), true));
    assert_eq!(encode(&tokenizer, "Once upon a time"), [403, 407, 261, 378]);
    for text in ["Once upon a time, there was a little girl.\n\"Hi!\"", "想 in 🦙", "", " ", "  x"] {
        assert_eq!(decode(&tokenizer, &encode(&tokenizer, text)), text);
    }
}
