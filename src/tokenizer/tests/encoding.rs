use super::*;

const MERGES: [(&str, &str); 8] =
    [("a", "b"), ("b", "c"), ("a", "a"), ("aa", "aa"), ("ab", "c"), ("a", "bc"), (" ", "a"), (" a", "bc")];

/// The definition: of all pairs the one of lowest rank, leftmost, again and again.
fn by_definition(merges: &[(&str, &str)], piece: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = piece.iter().map(|byte| vec![*byte]).collect();
    loop {
        let rank = |pair: &[Vec<u8>]| merges.iter().position(|(a, b)| pair == [a.as_bytes(), b.as_bytes()]);
        let best = (0..parts.len().saturating_sub(1)).filter_map(|i| Some((rank(&parts[i..i + 2])?, i))).min();
        let Some((_, i)) = best else { return parts };
        let right = parts.remove(i + 1);
        parts[i].extend(right);
    }
}

#[test]
fn merges_follow_the_definition() {
    let section = byte_level(PreTokenizer::Gpt2, &MERGES).build().unwrap();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let mut numbers = Numbers(1);
    for _ in 0..3000 {
        let n = numbers.below(24);
        let word: String = (0..n).map(|_| ["a", "b", "c"][numbers.below(3)]).collect();
        let tokens: Vec<Vec<u8>> =
            ids(&tokenizer, &word, Specials::AsText).iter().map(|id| tokenizer.bytes(*id).to_vec()).collect();
        assert_eq!(tokens, by_definition(&MERGES, word.as_bytes()), "{word}");
    }
}

#[test]
fn ranks_decide_and_equal_ranks_go_from_left_to_right() {
    let section = byte_level(PreTokenizer::Gpt2, &MERGES).build().unwrap();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let shown = |text| shown(&tokenizer, text, Specials::AsText);
    assert_eq!(shown("abc"), ["abc"]);
    assert_eq!(shown("aaaaa"), ["aaaa", "a"]);
    assert_eq!(shown(" abc"), [" ", "abc"]);
    assert_eq!(shown(" a"), [" a"]);
    assert!(shown("").is_empty());
}

#[test]
fn added_tokens_are_leftmost_longest_and_control_only_on_demand() {
    let section = byte_level(PreTokenizer::Gpt2, &MERGES).build().unwrap();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let text = "a<|end|>b<|en<\u{1f999}";
    assert_eq!(shown(&tokenizer, text, Specials::Parse), ["a", "<|end|>", "b", "<|en", "<", "\u{1f999}"]);
    assert_eq!(shown(&tokenizer, text, Specials::AsText), ["a", "<|en", "d", "|", ">", "b", "<|en", "<", "\u{1f999}"]);
    assert_eq!(tokenizer.special("<|end|>"), tokenizer.eos());
    assert_eq!(tokenizer.special("<|en"), Some(tokenizer.vocab_size() as u32 - 2));
    assert_eq!(tokenizer.special("a"), None);
    assert_eq!(tokenizer.special(""), None);
}

#[test]
fn text_never_becomes_a_control_token() {
    let section = sentence_piece(&["▁", "<", "s", ">", "/", "<s", "</", "s>"]).build().unwrap();
    let spm = Tokenizer::open(&section).unwrap();
    let section = byte_level(PreTokenizer::Llama3, &[("<", "|"), ("|", ">"), ("e", "n"), ("en", "d")]).build().unwrap();
    let bpe = Tokenizer::open(&section).unwrap();
    for tokenizer in [spm, bpe] {
        for name in ["<s>", "</s>", "<unk>", "<|end|>"] {
            for text in [name.to_owned(), format!("{name}{name}"), format!(" {name} x"), format!("<{name}>")] {
                let ids = ids(&tokenizer, &text, Specials::AsText);
                let control = |id: &u32| matches!(tokenizer.kind(*id), TokenKind::Control | TokenKind::Unknown);
                assert!(!ids.iter().any(control), "{text}");
            }
        }
    }
}

#[test]
fn ignore_merges_takes_a_whole_word_that_merges_miss() {
    let mut vocabulary = byte_level(PreTokenizer::Gpt2, &[("a", "b"), ("b", "c"), ("a", "bc")]);
    let abc = vocabulary.tokens.iter().position(|token| token.bytes == b"abc").unwrap() as u32;
    let without = vocabulary.build().unwrap();
    assert_eq!(shown(&Tokenizer::open(&without).unwrap(), "abc", Specials::AsText), ["ab", "c"]);
    let VocabularyModel::ByteLevel { ignore_merges, .. } = &mut vocabulary.model else { unreachable!() };
    *ignore_merges = true;
    let with = vocabulary.build().unwrap();
    let tokenizer = Tokenizer::open(&with).unwrap();
    assert_eq!(ids(&tokenizer, "abc", Specials::AsText), [abc]);
    assert_eq!(shown(&tokenizer, "abcc", Specials::AsText), ["ab", "c", "c"]);
    assert_eq!(with.len(), without.len() + 4, "only the word that merges miss is in the table");
}

#[test]
fn a_missing_byte_is_the_unknown_token_or_nothing() {
    let mut vocabulary = byte_level(PreTokenizer::Gpt2, &[("a", "b")]);
    let place = vocabulary.tokens.iter().position(|token| token.bytes == b"x").unwrap();
    vocabulary.tokens[place].kind = TokenKind::Unused;
    let section = vocabulary.build().unwrap();
    assert_eq!(shown(&Tokenizer::open(&section).unwrap(), "axb", Specials::AsText), ["ab"]);
    vocabulary.unk = vocabulary.eos;
    let section = vocabulary.build().unwrap();
    assert_eq!(shown(&Tokenizer::open(&section).unwrap(), "axb", Specials::AsText), ["a", "<|end|>", "b"]);
}

#[test]
fn qwen2_normalizes_its_text() {
    let section = byte_level(PreTokenizer::Qwen2, &[]).build().unwrap();
    let tokenizer = Tokenizer::open(&section).unwrap();
    assert_eq!(ids(&tokenizer, "e\u{301}", Specials::AsText), ids(&tokenizer, "\u{e9}", Specials::AsText));
}

#[test]
fn sentence_piece_merges_by_score_with_a_space_in_front() {
    let section = sentence_piece(&["▁a", "bc", "ab", "▁ab", "▁", "a", "b", "c", "é"]).build().unwrap();
    let tokenizer = Tokenizer::open(&section).unwrap();
    let shown = |text| shown(&tokenizer, text, Specials::Parse);
    assert_eq!(shown("abc"), [" a", "bc"]);
    assert_eq!(shown(" ab"), [" ", " ab"]);
    assert_eq!(shown("a▁b"), [" a", " ", "b"]);
    assert_eq!(shown("é"), [" ", "é"]);
    assert_eq!(shown("a<s>b"), [" a", "<s>", " ", "b"]);
    assert!(shown("").is_empty());
    assert_eq!(ids(&tokenizer, "à", Specials::AsText)[1..], [3 + 0xc3, 3 + 0xa0]);
}

/// Words merge apart from each other only where no piece crosses them, and then to the same tokens.
#[test]
fn words_merge_apart_to_the_same_tokens() {
    let pieces = ["▁", "a", "b", "▁a", "ab", "▁▁", "▁▁b"];
    let crossing = sentence_piece(&[&pieces[..], &["b▁a"]].concat()).build().unwrap();
    assert_eq!(crossing[8] & 4, 0);
    assert_eq!(
        shown(&Tokenizer::open(&crossing).unwrap(), "b▁b b▁a", Specials::AsText),
        [" ", "b", " ", "b", " ", "b a"]
    );
    let mut vocabulary = sentence_piece(&pieces);
    vocabulary.tokens[3 + 0xe6].kind = TokenKind::Unused;
    let apart = vocabulary.build().unwrap();
    let mut whole = apart.clone();
    assert_eq!(apart[8] & 4, 4);
    whole[8] &= !4;
    let [apart, whole] = [&apart, &whole].map(|section| Tokenizer::open(section).unwrap());
    let mut numbers = Numbers(5);
    for _ in 0..3000 {
        let n = numbers.below(16);
        let text: String = (0..n).map(|_| [" ", "a", "b", "想"][numbers.below(4)]).collect();
        assert_eq!(ids(&whole, &text, Specials::AsText), ids(&apart, &text, Specials::AsText), "{text}");
    }
}

#[test]
fn without_bytes_a_run_of_unknown_characters_is_one_unknown_token() {
    let mut vocabulary = sentence_piece(&["▁", "a"]);
    vocabulary.tokens[3 + 0xa0].kind = TokenKind::Unused;
    let section = vocabulary.build().unwrap();
    let tokenizer = Tokenizer::open(&section).unwrap();
    assert_eq!(shown(&tokenizer, "ààaà", Specials::AsText), [" ", "<unk>", "a", "<unk>"]);
}

#[test]
fn what_the_builder_refuses_is_named() {
    let base = || byte_level(PreTokenizer::Gpt2, &MERGES);
    let says = |vocabulary: Vocabulary, text: &str| {
        let error = vocabulary.build().expect_err(text).to_string();
        assert!(error.contains(text), "{error:?} does not say {text:?}");
    };
    let mut twice = base();
    twice.tokens.push(token(b"abc", TokenKind::Normal, 0.0));
    says(twice, "token 267 \"abc\" is the same as token 260");
    let mut twice = base();
    twice.tokens.push(token(b"<|end|>", TokenKind::UserDefined, 0.0));
    says(twice, "token 267 \"<|end|>\" is the same as token 263");
    let merge = |left: &str, right: &str| {
        let mut vocabulary = base();
        let VocabularyModel::ByteLevel { merges, .. } = &mut vocabulary.model else { unreachable!() };
        merges.push((left.into(), right.into()));
        vocabulary
    };
    says(merge("a", "zz"), "merge 9 names \"zz\", which is no token");
    says(merge("z", "z"), "merge 9 names \"zz\", which is no token");
    says(merge("", "a"), "merge 9 names \"\", which is no token");
    says(merge("<|end|>", "a"), "merge 9 names \"<|end|>\", which is no token");
    says(merge("a", "a"), "merge 9 is the same as merge 3");
    says(Vocabulary { eos: Some(999), ..base() }, "EOS is token 999, but there are 267");
    says(Vocabulary { tokens: Vec::new(), ..base() }, "0 tokens");
    let with = |bytes: &[u8], kind, score| {
        let mut vocabulary = sentence_piece(&["a"]);
        vocabulary.tokens.push(token(bytes, kind, score));
        vocabulary
    };
    says(with(b"", TokenKind::Control, 0.0), "token 260 \"\" is empty");
    says(with(&[b'x'; 257], TokenKind::UserDefined, 0.0), "of 257 bytes, the limit is 256");
    says(with(b"<0x0A>", TokenKind::Byte, 0.0), "token 260 \"<0x0A>\" is the same byte as token 13");
    says(with(b"0A", TokenKind::Byte, 0.0), "is a byte token but not <0x00> to <0xFF>");
    says(with(b"b", TokenKind::Normal, f32::NAN), "has a score that is not a number");
    says(with(b"\xff", TokenKind::Normal, 0.0), "is not UTF-8");
    let mut spaced = sentence_piece(&["▁a", " a"]);
    spaced.tokens[259].score = 1.0;
    says(spaced, "token 260 \" a\" is the same as token 259");
}

#[test]
fn the_builder_is_deterministic() {
    assert_eq!(sentence_piece(&["a", "b"]).build().unwrap(), sentence_piece(&["a", "b"]).build().unwrap());
    let vocabulary = byte_level(PreTokenizer::Gpt2, &MERGES);
    assert_eq!(vocabulary.build().unwrap(), vocabulary.clone().build().unwrap());
}

#[test]
fn the_byte_alphabet_reads_back() {
    assert_eq!(byte_level_decode("ĠHi").as_deref(), Some(&b" Hi"[..]));
    assert_eq!(byte_level_decode("ĊÃ©ÿŃ¡").as_deref(), Some(&b"\n\xc3\xa9\xff\xad\xa1"[..]));
    assert_eq!(byte_level_decode("ń"), None);
    assert_eq!(byte_level_decode(" "), None);
    assert_eq!(byte_level_decode("想"), None);
    assert_eq!(
        [byte_token("<0x0A>"), byte_token("<0xff>"), byte_token("<0x+1>"), byte_token("<0x1>")],
        [Some(10), Some(255), None, None]
    );
}
