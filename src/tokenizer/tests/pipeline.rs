//! Vocabularies whose text goes through steps. That published ones give the ids of the `tokenizers` library is held by the
//! converter's tests and `tools/tokenizer-check`; here is each rule by itself, and that no section does harm.

use super::hostile::{refused, survives};
use super::*;
use alloc::collections::BTreeMap;

/// The pattern of one of `chars`, all of them ASCII.
fn one_of(chars: &str) -> Pattern {
    let mut ascii = [0; 128];
    chars.bytes().for_each(|byte| ascii[usize::from(byte)] = 1);
    let matched = Pattern::MATCHED;
    let transitions = vec![0, 0, 0, 0, 2, 0, matched, matched, matched];
    Pattern { n_classes: 2, ascii, ranges: vec![(0x80, 0)], transitions }
}

/// The pattern `a*b|a`, by which a plain search reads the rest of a text for each of its letters.
fn greedy() -> Pattern {
    let mut ascii = [0; 128];
    (ascii[usize::from(b'a')], ascii[usize::from(b'b')]) = (1, 2);
    let m = Pattern::MATCHED;
    #[rustfmt::skip]
    let transitions = vec![
        0, 0, 0, 0,
        0, 2, 4, 0,
        m, m | 3, m | 4, m,
        0, 3, 4, 0,
        m, m, m, m,
    ];
    Pattern { n_classes: 3, ascii, ranges: vec![(0x80, 0)], transitions }
}

const MARK: char = '\u{2581}';

/// A vocabulary over the characters `▁abc` with bytes for `é`, and a token of each merge, a control and a user-defined token.
fn characters(change: impl FnOnce(&mut Pipeline)) -> Vocabulary {
    let mut tokens = vec![token(b"<unk>", TokenKind::Unknown, 0.0), token(b"<end>", TokenKind::Control, 0.0)];
    tokens.push(token(b"[x]", TokenKind::UserDefined, 0.0));
    let mut pipeline = Pipeline { characters: Some(BTreeMap::new()), ..Pipeline::default() };
    for (c, text) in [(MARK, " "), ('a', "a"), ('b', "b"), ('c', "c")] {
        pipeline.characters.as_mut().unwrap().insert(c, tokens.len() as TokenId);
        tokens.push(token(text.as_bytes(), TokenKind::Normal, 0.0));
    }
    for byte in [0xc3, 0xa9] {
        pipeline.bytes.insert(byte, tokens.len() as TokenId);
        tokens.push(token(&[byte], TokenKind::Byte, 0.0));
    }
    // "bc", "ab", "abc" as ab and c, " a", " a" and "bc" in one.
    for (left, right, text) in [(5, 6, "bc"), (4, 5, "ab"), (10, 6, "abc"), (3, 4, " a"), (12, 9, " abc")] {
        pipeline.merges.push([left, right, tokens.len() as TokenId]);
        tokens.push(token(text.as_bytes(), TokenKind::Normal, 0.0));
    }
    let named = |id, name: &str| AddedToken {
        id,
        name: name.into(),
        lstrip: false,
        rstrip: false,
        single_word: false,
        normalized: false,
    };
    pipeline.added = vec![named(1, "<end>"), named(2, "[x]")];
    change(&mut pipeline);
    Vocabulary {
        tokens,
        model: VocabularyModel::Pipeline(pipeline),
        bos: None,
        eos: Some(1),
        unk: Some(0),
        add_bos: false,
    }
}

fn cut(text: &str, change: impl FnOnce(&mut Pipeline)) -> Vec<String> {
    let section = characters(change).build().unwrap();
    shown(&Tokenizer::open(&section).unwrap(), text, Specials::Parse)
}

fn mark(pipeline: &mut Pipeline) {
    pipeline.normalizer.push(Step::Replace { pattern: one_of(" "), by: MARK.into() });
}

#[test]
fn merges_go_by_their_list_and_characters_without_a_token_by_their_bytes() {
    let plain = |text| cut(text, |_| {});
    assert_eq!(plain("abc"), ["a", "bc"]);
    assert_eq!(plain("ab"), ["ab"]);
    assert_eq!(cut("cé", |_| {}), ["c", "\u{fffd}", "\u{fffd}"]);
    assert_eq!(plain("zza"), ["<unk>", "<unk>", "a"]);
    assert_eq!(cut("zza", |p| p.fuse_unknown = true), ["<unk>", "a"]);
    // Unknown characters wait for the next one that is known, as in the library that is followed here.
    let ids = |text| {
        let section = characters(|_| {}).build().unwrap();
        super::ids(&Tokenizer::open(&section).unwrap(), text, Specials::AsText)
    };
    assert_eq!(ids("zéa"), [7, 8, 0, 4]);
    let mut vocabulary = characters(|_| {});
    vocabulary.unk = None;
    let section = vocabulary.build().unwrap();
    assert_eq!(shown(&Tokenizer::open(&section).unwrap(), "zazb", Specials::AsText), ["ab"]);
}

#[test]
fn a_space_is_put_where_the_step_says() {
    let prepend = |unless_there, first| {
        move |p: &mut Pipeline| {
            mark(p);
            p.pre_tokenizer.push(Step::Prepend { text: MARK.into(), unless_there, first });
        }
    };
    assert_eq!(cut("b[x]b", prepend(false, false)), [" ", "b", "[x]", " ", "b"]);
    assert_eq!(cut(" b[x] b", prepend(true, false)), [" ", "b", "[x]", " ", "b"]);
    assert_eq!(cut("b[x]b", prepend(true, true)), [" ", "b", "[x]", "b"]);
    let section = characters(prepend(true, true)).build().unwrap();
    let mut ids = Vec::new();
    Tokenizer::open(&section).unwrap().encode_on("b", Specials::AsText, &mut ids);
    assert_eq!(ids, [5]);
}

#[test]
fn parts_join_as_the_behavior_says() {
    let with = |behavior, invert| {
        cut("a  b c", move |p| {
            mark(p);
            p.pre_tokenizer.push(Step::Replace { pattern: one_of("c"), by: "b".into() });
            let pattern = Pattern { ranges: vec![(0x80, 0), (MARK as u32, 1), (MARK as u32 + 1, 0)], ..one_of("") };
            p.pre_tokenizer.push(Step::Split { pattern, behavior, invert });
            // Pieces are told apart by what is put before each.
            p.pre_tokenizer.push(Step::Prepend { text: "c".into(), unless_there: false, first: false });
        })
        .concat()
    };
    assert_eq!(with(Behavior::Isolated, false), "cac c cbc cb");
    assert_eq!(with(Behavior::Removed, false), "cacbcb");
    assert_eq!(with(Behavior::Removed, true), "c c c ");
    assert_eq!(with(Behavior::Contiguous, false), "cac  cbc cb");
    assert_eq!(with(Behavior::MergedWithPrevious, false), "ca c cb cb");
    assert_eq!(with(Behavior::MergedWithNext, false), "cac c bc b");
}

#[test]
fn added_tokens_take_their_neighbours_along() {
    let with = |text, rule: fn(&mut AddedToken)| {
        cut(text, |p| {
            mark(p);
            rule(&mut p.added[1]);
        })
    };
    assert_eq!(with("a [x] b", |_| {}), ["a", " ", "[x]", " ", "b"]);
    assert_eq!(with("a [x] b", |token| token.lstrip = true), ["a", "[x]", " ", "b"]);
    assert_eq!(with("a [x]\n b", |token| token.rstrip = true), ["a", " ", "[x]", "b"]);
    assert_eq!(with("[x] [x]", |token| (token.lstrip, token.rstrip) = (true, true)), ["[x]", "[x]"]);
    assert_eq!(with("a[x]", |token| token.single_word = true), ["a", "<unk>", "<unk>", "<unk>"]);
    assert_eq!(with("a [x]", |token| token.single_word = true), ["a", " ", "[x]"]);
    // Whoever asks what words could be a name is told of all.
    let section = characters(|p| p.added[1].single_word = true).build().unwrap();
    let tokenizer = Tokenizer::open(&section).unwrap();
    assert_eq!(tokenizer.next_special("a[x]"), Some((1..4, 2)));
    assert_eq!(tokenizer.next_special_from("a[x]", 0), None);
}

#[test]
fn a_normalized_name_is_found_in_normalized_text() {
    let change = |p: &mut Pipeline| {
        p.normalizer.push(Step::Characters([('A', "[".into()), ('X', "x".into())].into()));
        p.added[1].normalized = true;
    };
    assert_eq!(cut("aAX]b", change), ["a", "[x]", "b"]);
    let section = characters(change).build().unwrap();
    assert_eq!(Tokenizer::open(&section).unwrap().special("[x]"), Some(2));
}

#[test]
fn a_whole_piece_goes_before_its_merges() {
    let whole = |p: &mut Pipeline| p.whole = vec![(b"abc".to_vec(), 11), (b"ab".to_vec(), 10)];
    assert_eq!(cut("abc", whole), ["abc"]);
    assert_eq!(cut("abca", whole), ["a", "bc", "a"]);
}

#[test]
fn decoding_takes_the_first_space_off_where_the_pipeline_says() {
    for (strips_space, text) in [(true, "a b"), (false, " a b")] {
        let section = characters(|p| p.strips_space = strips_space).build().unwrap();
        let tokenizer = Tokenizer::open(&section).unwrap();
        let mut decoder = Decoder::new(&tokenizer);
        let out: String = [12, 3, 5].iter().map(|id| decoder.push(&tokenizer, *id).to_string()).collect();
        assert_eq!(out, text);
    }
}

#[test]
fn a_search_in_vain_is_not_made_twice() {
    for n in [10_000, 100_000] {
        let text = "a".repeat(n);
        assert_eq!(greedy().matches(&text).unwrap().len(), n);
        assert_eq!(greedy().matches(&(text.clone() + "b")).unwrap().first(), Some(&(0..n + 1)));
    }
    let steps = |n: usize| greedy().steps(&"a".repeat(n)) as f64;
    let exponent = (steps(100_000) / steps(10_000)).log10();
    assert!(exponent < 1.1, "{exponent}");
}

fn section() -> Vec<u8> {
    let all = |p: &mut Pipeline| {
        mark(p);
        p.normalizer.extend([Step::FormC, Step::FormD, Step::Trim { left: true, right: false }]);
        p.normalizer.push(Step::Characters([('A', "a".into()), ('É', "e\u{301}".into())].into()));
        p.pre_tokenizer.push(Step::Prepend { text: MARK.into(), unless_there: true, first: true });
        p.pre_tokenizer.push(Step::Split { pattern: greedy(), behavior: Behavior::MergedWithNext, invert: true });
        p.added[1].normalized = true;
        p.whole = vec![(b"abc".to_vec(), 11)];
    };
    characters(all).build().unwrap()
}

#[test]
fn a_section_cut_or_changed_anywhere_does_no_harm() {
    let section = section();
    for end in 0..section.len() {
        assert!(Tokenizer::open(&section[..end]).is_err(), "cut at {end}");
    }
    for at in 0..section.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = section.clone();
            damaged[at] ^= change;
            survives(&damaged);
        }
    }
}

#[test]
fn each_rule_of_the_steps_is_checked() {
    let section = section();
    let find = |bytes: &[u8]| section.windows(bytes.len()).position(|window| window == bytes).unwrap();
    let with = |at: usize, value: u32| {
        let mut section = section.clone();
        section[at..at + 4].copy_from_slice(&value.to_le_bytes());
        section
    };
    // The first step, a replacement, and the tables of its pattern behind U+2581 and its length.
    let replace = find(&[5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0xe2, 0x96, 0x81]);
    refused(&with(replace, 9), "unknown step 9");
    refused(&with(replace + 4, 1), "unknown step 5 with 0x1");
    refused(&with(replace - 4, u32::MAX), "elements of 8 bytes");
    refused(&with(replace + 8, u32::MAX), "elements of 1 bytes");
    refused(&with(replace + 12, 0x80), "not UTF-8");
    let pattern = replace + 16;
    refused(&with(pattern, 0), "a pattern of 0 classes");
    refused(&with(pattern + 4, 1), "1 states");
    refused(&with(pattern + 8, 0), "0 ranges");
    refused(&with(pattern + 12, 7), "class 7 of a pattern with 2");
    refused(&with(pattern + 12 + 128, 0x81 << 8), "do not ascend from U+0080");
    refused(&with(pattern + 12 + 128 + 4, 3 << 16), "state 3 of a pattern with 3");
    let map = find(&[3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'A', 0, 0, 0]);
    refused(&with(map + 12, 0xff), "not in order");
    let longer = Step::Replace { pattern: one_of("a"), by: "b".repeat(600) };
    let error = characters(|p| p.normalizer.push(longer)).build().expect_err("too long").to_string();
    assert!(error.contains("600 times as long"), "{error}");
    let twice = |p: &mut Pipeline| p.added.push(AddedToken { id: 2, ..p.added[0].clone() });
    let error = characters(twice).build().expect_err("one name").to_string();
    assert!(error.contains("tokens 1 and 2 are both called \"<end>\""), "{error}");
}
