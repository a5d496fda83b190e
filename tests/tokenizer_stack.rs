//! Encoding and decoding need no stack that grows with the text: a thread of 64 KiB does for every kind of text.

use whit::TokenId;
use whit::tokenizer::{Decoder, PreTokenizer, Specials, Token, TokenKind, Tokenizer, Vocabulary, VocabularyModel};

const BYTES: usize = 1 << 18;

/// Normal tokens with scores that fall by id.
fn normal(bytes: &[u8], id: usize) -> Token {
    Token { bytes: bytes.to_vec(), kind: TokenKind::Normal, score: -(id as f32) }
}

/// Bytes, and runs of one character up to 64 by doubling.
fn byte_level(pre: PreTokenizer) -> Vocabulary {
    let mut tokens: Vec<Token> = (0..=255).map(|byte| normal(&[byte], 0)).collect();
    let mut merges = Vec::new();
    for unit in ["a", " ", "0", "\n", "_"] {
        for power in 0..6 {
            let half = unit.repeat(1 << power).into_bytes();
            tokens.push(normal(&[&half[..], &half].concat(), 0));
            merges.push((half.clone(), half));
        }
    }
    let model = VocabularyModel::ByteLevel { pre, merges, ignore_merges: true };
    Vocabulary { tokens, model, bos: None, eos: None, unk: None, add_bos: false }
}

fn sentence_piece() -> Vocabulary {
    let byte = |byte: u8| Token { bytes: format!("<0x{byte:02X}>").into_bytes(), kind: TokenKind::Byte, score: 0.0 };
    let mut tokens: Vec<Token> = (0..=255).map(byte).collect();
    for unit in ["a", "\u{2581}", "_"] {
        tokens.extend((0..7).map(|power| normal(unit.repeat(1 << power).as_bytes(), power)));
    }
    let model = VocabularyModel::SentencePiece { add_dummy_prefix: true };
    Vocabulary { tokens, model, bos: None, eos: None, unk: None, add_bos: false }
}

#[test]
fn a_stack_of_64_kib_is_enough() {
    let units = [
        "a",
        "_",
        " ",
        "\n",
        "   \n \n",
        "0123456789",
        "+/Zx9",
        "想在",
        "\u{1f468}\u{200d}",
        "e\u{323}\u{301}x",
        "שלום ",
        "'",
    ];
    let byte_levels = [PreTokenizer::Gpt2, PreTokenizer::Llama3, PreTokenizer::SmolLm2].map(byte_level);
    for vocabulary in byte_levels.into_iter().chain([sentence_piece()]) {
        let section = vocabulary.build().expect("the vocabulary builds");
        let round_trip = move || {
            let tokenizer = Tokenizer::open(&section).expect("the section opens");
            for unit in units {
                let text = unit.repeat(BYTES / unit.len());
                let mut ids: Vec<TokenId> = Vec::new();
                tokenizer.encode(&text, Specials::AsText, &mut ids);
                let mut decoder = Decoder::new(&tokenizer);
                let mut back: String = ids.iter().map(|id| decoder.push(&tokenizer, *id).to_owned()).collect();
                back.push_str(decoder.finish());
                assert!(back == text, "{unit:?} does not come back");
            }
        };
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(round_trip).expect("a thread starts");
        thread.join().expect("the thread ends well");
    }
}
