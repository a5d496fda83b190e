//! llama2.c's tokenizer.bin: the length of the longest piece, then score, length and bytes of each piece.

use whit::error::{Error, Result};
use whit::format::cursor::Cursor;
use whit::tokenizer::{Token, TokenKind, Vocabulary, VocabularyModel, byte_token};

/// Bytes of a piece, at most.
const MAX_PIECE: i32 = 1024;
/// Token ids of this format.
pub(in crate::source) const BOS: u32 = 1;
pub(in crate::source) const EOS: u32 = 2;

/// Reads the file, which has to hold `n` tokens.
pub(in crate::source) fn read(bytes: &[u8], n: usize) -> Result<Vocabulary> {
    let mut input = Cursor::new(bytes, "tokenizer.bin");
    input.u32("max_token_length")?;
    if n > input.left() / 8 {
        let message = format!("{} bytes left for the {n} tokens of the checkpoint", input.left());
        return Err(Error::data(message).field("vocab_size").at(4).hint("is this the checkpoint's tokenizer?"));
    }
    if n <= EOS as usize {
        return Err(Error::data(format!("{n} tokens, BOS is 1 and EOS is 2")).field("vocab_size").at(4));
    }
    let mut tokens = Vec::with_capacity(n);
    for id in 0..n as u32 {
        let at = input.position() as u64;
        let place = |e: Error| e.field(format!("token {id}")).at(at);
        let score = input.f32("score").map_err(place)?;
        let length = input.u32("length").map_err(place)? as i32;
        if !(0..=MAX_PIECE).contains(&length) {
            return Err(place(Error::data(format!("{length} bytes, the limit is {MAX_PIECE}"))));
        }
        let bytes = input.take(length as usize, "piece").map_err(place)?;
        let piece = std::str::from_utf8(bytes).map_err(|_| place(Error::data("not UTF-8")))?;
        if score.is_nan() {
            return Err(place(Error::data("its score is not a number")));
        }
        // The marks are written with the newlines that llama2.c prints around them.
        let (bytes, kind) = match id {
            0 => (bytes, TokenKind::Unknown),
            BOS | EOS => (bytes.trim_ascii(), TokenKind::Control),
            _ if byte_token(piece).is_some() => (bytes, TokenKind::Byte),
            _ if bytes.is_empty() => (bytes, TokenKind::Unused),
            _ => (bytes, TokenKind::Normal),
        };
        tokens.push(Token { bytes: bytes.to_vec(), kind, score });
    }
    let left = input.left();
    if left > 0 {
        let message = format!("{left} bytes after the {n} tokens of the checkpoint");
        let error = Error::data(message).field("vocab_size").at(input.position() as u64);
        return Err(error.hint("is this the checkpoint's tokenizer?"));
    }
    let model = VocabularyModel::SentencePiece { add_dummy_prefix: true };
    Ok(Vocabulary { tokens, model, bos: Some(BOS), eos: Some(EOS), unk: Some(0), add_bos: true })
}
