use super::*;

fn bytes_section() -> Vec<u8> {
    byte_level(PreTokenizer::Gpt2, &[]).build().unwrap()
}

/// The text of byte tokens, pushed one by one; every part that comes out is whole by its type.
fn streamed(tokenizer: &Tokenizer, decoder: &mut Decoder, bytes: &[u8], text: &mut String) {
    text.clear();
    for byte in bytes {
        text.push_str(decoder.push(tokenizer, u32::from(*byte)));
    }
    text.push_str(decoder.finish());
}

#[test]
fn every_scalar_comes_whole_with_its_last_byte() {
    let section = bytes_section();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let mut decoder = Decoder::new(&tokenizer);
    for c in '\0'..=char::MAX {
        let mut buffer = [0; 4];
        let (last, head) = c.encode_utf8(&mut buffer).as_bytes().split_last().unwrap();
        for byte in head {
            assert_eq!(decoder.push(&tokenizer, u32::from(*byte)), "", "{c:?}");
        }
        let text = decoder.push(&tokenizer, u32::from(*last));
        assert!(text.starts_with(c) && text.len() == c.len_utf8(), "{c:?}");
    }
    assert_eq!(decoder.finish(), "");
}

#[test]
fn one_and_two_bytes_decode_as_the_standard_library_does() {
    let section = bytes_section();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let (mut decoder, mut text) = (Decoder::new(&tokenizer), String::new());
    for a in 0..=255 {
        streamed(&tokenizer, &mut decoder, &[a], &mut text);
        assert_eq!(text, String::from_utf8_lossy(&[a]));
        for b in 0..=255 {
            streamed(&tokenizer, &mut decoder, &[a, b], &mut text);
            assert_eq!(text, String::from_utf8_lossy(&[a, b]));
        }
    }
}

#[test]
fn three_and_four_byte_leads_decode_as_the_standard_library_does() {
    const EDGES: [u8; 10] = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc2];
    let section = bytes_section();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let (mut decoder, mut text) = (Decoder::new(&tokenizer), String::new());
    for a in 0xe0..=0xff {
        for b in 0..=255 {
            for (c, d) in EDGES.iter().flat_map(|c| EDGES.iter().map(move |d| (*c, *d))) {
                streamed(&tokenizer, &mut decoder, &[a, b, c, d], &mut text);
                assert_eq!(text, String::from_utf8_lossy(&[a, b, c, d]));
            }
        }
    }
}

#[test]
fn random_tokens_of_any_length_decode_as_the_standard_library_does() {
    let pieces =
        [&b"\xf0\x9f"[..], b"\xa6\x99", b"\xe6", b"\x83\xb3", b"x\xc3", b"\xa9y", b"", b"plain", b"\xed\xa0\x80"];
    let mut vocabulary = byte_level(PreTokenizer::Gpt2, &[]);
    vocabulary
        .tokens
        .extend(pieces.iter().filter(|piece| piece.len() > 1).map(|piece| token(piece, TokenKind::Normal, 0.0)));
    let section = vocabulary.build().unwrap();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let (mut decoder, mut numbers) = (Decoder::new(&tokenizer), Numbers(7));
    for _ in 0..20_000 {
        let (mut text, mut bytes) = (String::new(), Vec::new());
        for _ in 0..numbers.below(12) {
            // Mostly the pieces, which follow the 260 tokens of every test vocabulary, and some bytes.
            let id = if numbers.below(4) == 0 { numbers.below(256) } else { 260 + numbers.below(7) } as u32;
            if tokenizer.kind(id) == TokenKind::Normal {
                bytes.extend_from_slice(tokenizer.bytes(id));
                text.push_str(decoder.push(&tokenizer, id));
            }
        }
        text.push_str(decoder.finish());
        assert_eq!(text, String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn the_stream_settles_into_its_memory() {
    let section = bytes_section();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let mut decoder = Decoder::new(&tokenizer);
    let before = decoder.capacity();
    for id in (0..tokenizer.vocab_size() as u32).cycle().take(10_000) {
        decoder.push(&tokenizer, id);
    }
    assert_eq!(decoder.capacity(), before);
}

#[test]
fn control_tokens_are_silent() {
    let section = sentence_piece(&["▁a", "▁", "a"]).build().unwrap();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let text = |mut decoder: Decoder, ids: &[u32]| {
        let mut text: String = ids.iter().map(|id| decoder.push(&tokenizer, *id).to_owned()).collect();
        text.push_str(decoder.finish());
        text
    };
    assert_eq!(text(Decoder::new(&tokenizer), &[1, 259, 259, 2]), "a a");
    assert_eq!(text(Decoder::continuing(&tokenizer), &[259, 259]), " a a");
    assert_eq!(text(Decoder::new(&tokenizer), &[260, 259, 999_999]), " a");
    assert_eq!(text(Decoder::new(&tokenizer), &[3 + 0xc3]), "\u{fffd}");
}
