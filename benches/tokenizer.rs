//! How fast text becomes tokens: 1 MB each of the texts that have made tokenizers slow, and of Wikitext.
//!
//! usage: cargo bench --bench tokenizer [-- VOCABULARY.gguf ...]; without a vocabulary those of ../shared.

use std::path::PathBuf;
use std::time::Instant;

use whit::tokenizer::{Decoder, Specials, Tokenizer};

#[path = "../tests/tokenizer_gguf/mod.rs"]
mod tokenizer_gguf;

const BYTES: usize = 1 << 20;

fn base64() -> String {
    let mut state = 3_u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 58) as usize]
    };
    (0..BYTES).map(|_| char::from(next())).collect()
}

fn main() {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let mut paths: Vec<PathBuf> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).map(PathBuf::from).collect();
    if paths.is_empty() {
        paths.extend(
            ["gpt-2", "llama-bpe", "qwen2", "llama-spm"]
                .map(|name| shared.join(format!("vocab/ggml-vocab-{name}.gguf"))),
        );
    }
    let mut texts = vec![
        ("one letter", "a".repeat(BYTES)),
        ("spaces", " ".repeat(BYTES)),
        ("digits", "0123456789".repeat(BYTES / 10)),
        ("base64", base64()),
        ("Han", "想在工作".repeat(BYTES / 12)),
    ];
    if let Ok(text) = std::fs::read_to_string(shared.join("texts/wikitext2-test.txt")) {
        texts.push(("Wikitext", text));
    }
    for path in paths.iter().filter(|path| path.exists()) {
        let metadata = tokenizer_gguf::Metadata::read(path);
        let begin = Instant::now();
        let section = metadata.vocabulary().build().expect("the vocabulary builds");
        let built = begin.elapsed();
        let begin = Instant::now();
        let tokenizer = Tokenizer::open(&section).expect("the section opens");
        let opened = begin.elapsed();
        let name = path.file_stem().unwrap_or_default().display();
        println!("{name}: {} bytes, built in {built:.1?}, opened in {opened:.1?}", section.len());
        for (text_name, text) in &texts {
            let mut ids = Vec::new();
            let encode = || {
                ids.clear();
                let begin = Instant::now();
                tokenizer.encode(text, Specials::AsText, &mut ids);
                begin.elapsed()
            };
            // The best of five: the others were disturbed.
            let encoded = std::iter::repeat_with(encode).take(5).min().unwrap_or_default();
            let begin = Instant::now();
            let mut decoder = Decoder::new(&tokenizer);
            let bytes: usize = ids.iter().map(|id| decoder.push(&tokenizer, *id).len()).sum();
            let decoded = begin.elapsed();
            let rate = text.len() as f64 / 1e6 / encoded.as_secs_f64();
            println!(
                "  {text_name:<12} {encoded:>9.1?} {rate:>6.1} MB/s, {} tokens; {bytes} bytes back in {decoded:.1?}",
                ids.len()
            );
        }
    }
}
