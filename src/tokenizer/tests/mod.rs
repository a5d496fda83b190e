//! Tests of whole tokenizers, on small vocabularies made here.

mod decoding;
mod encoding;
mod hostile;
mod pipeline;
mod work;

use super::*;

/// The token `bytes`.
fn token(bytes: &[u8], kind: TokenKind, score: f32) -> Token {
    Token { bytes: bytes.to_vec(), kind, score }
}

/// 256 bytes, then what `merges` make in order (each `(left, right)`), then one control and three user-defined tokens.
fn byte_level(pre: PreTokenizer, merges: &[(&str, &str)]) -> Vocabulary {
    let mut tokens: Vec<Token> = (0..=255).map(|byte| token(&[byte], TokenKind::Normal, 0.0)).collect();
    for (left, right) in merges {
        let whole = format!("{left}{right}");
        if !tokens.iter().any(|token| token.bytes == whole.as_bytes()) {
            tokens.push(token(whole.as_bytes(), TokenKind::Normal, 0.0));
        }
    }
    tokens.push(token(b"<|end|>", TokenKind::Control, 0.0));
    for text in ["<|", "<|en", "\u{1f999}"] {
        tokens.push(token(text.as_bytes(), TokenKind::UserDefined, 0.0));
    }
    let end = tokens.len() as u32 - 4;
    let merges = merges.iter().map(|(left, right)| (left.as_bytes().to_vec(), right.as_bytes().to_vec())).collect();
    let model = VocabularyModel::ByteLevel { pre, merges, ignore_merges: false };
    Vocabulary { tokens, model, bos: Some(end), eos: Some(end), unk: None, add_bos: false }
}

/// Unknown, BOS, EOS, 256 bytes, then `pieces` with falling scores.
fn sentence_piece(pieces: &[&str]) -> Vocabulary {
    let mut tokens = vec![token(b"<unk>", TokenKind::Unknown, 0.0)];
    tokens.extend([b"<s>".as_slice(), b"</s>"].map(|name| token(name, TokenKind::Control, 0.0)));
    tokens.extend((0..=255).map(|byte| token(format!("<0x{byte:02X}>").as_bytes(), TokenKind::Byte, 0.0)));
    tokens.extend((0_u16..).zip(pieces).map(|(i, piece)| token(piece.as_bytes(), TokenKind::Normal, -f32::from(i))));
    let model = VocabularyModel::SentencePiece { add_dummy_prefix: true };
    Vocabulary { tokens, model, bos: Some(1), eos: Some(2), unk: Some(0), add_bos: true }
}

fn ids(tokenizer: &Tokenizer, text: &str, specials: Specials) -> Vec<TokenId> {
    let mut out = Vec::new();
    tokenizer.encode(text, specials, &mut out);
    out
}

/// The tokens of `text` as text, for reading.
fn shown(tokenizer: &Tokenizer, text: &str, specials: Specials) -> Vec<String> {
    let shown = |id| String::from_utf8_lossy(tokenizer.bytes(id)).into_owned();
    ids(tokenizer, text, specials).into_iter().map(shown).collect()
}

/// A small generator of numbers for tests: the same on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % bound as u64) as usize
    }
}
