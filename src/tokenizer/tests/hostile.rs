use super::*;

const N_TOKENS: usize = 12;
const TEXT_BYTES: usize = 28;
const N_ADDED: usize = 32;
const N_ENTRIES: usize = 36;
const BITS: usize = 40;
const N_WORDS: usize = 44;
const ENDS: usize = 48;

fn word(section: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(section[at..at + 4].try_into().unwrap())
}

fn with_word(section: &[u8], at: usize, value: u32) -> Vec<u8> {
    let mut section = section.to_vec();
    section[at..at + 4].copy_from_slice(&value.to_le_bytes());
    section
}

/// Where the tables lie: kinds, text, added, byte ids, buckets, entries, and what follows the entries.
fn places(section: &[u8]) -> [usize; 7] {
    let field = |at| word(section, at) as usize;
    let kinds = ENDS + 4 * field(N_TOKENS);
    let text = (kinds + field(N_TOKENS)).next_multiple_of(4);
    let added = (text + field(TEXT_BYTES)).next_multiple_of(4);
    let byte_ids = added + 4 * field(N_ADDED);
    let buckets = byte_ids + 1024;
    let entries = buckets + 4 * ((1 << field(BITS)) + 1);
    let after = entries + field(N_ENTRIES) * if word(section, 0) == 1 { 16 } else { 4 };
    [kinds, text, added, byte_ids, buckets, entries, after]
}

fn bpe() -> Vec<u8> {
    let merges = [("a", "b"), ("b", "c"), ("a", "bc"), ("ab", "ab"), ("c", "c"), ("cc", "c")];
    let mut vocabulary = byte_level(PreTokenizer::Gpt2, &merges);
    let VocabularyModel::ByteLevel { ignore_merges, .. } = &mut vocabulary.model else { unreachable!() };
    *ignore_merges = true;
    vocabulary.build().unwrap()
}

fn spm() -> Vec<u8> {
    sentence_piece(&["▁a", "ab", "▁", "a", "b", "c", "bc"]).build().unwrap()
}

pub(super) fn refused(section: &[u8], says: &str) {
    let error = Tokenizer::open(section).expect_err(says).to_string();
    assert!(error.contains(says), "{error:?} does not say {says:?}");
    assert!(error.contains("tokenizer"), "{error:?} names no section");
}

/// Opens a damaged section and, if that goes, uses it: nothing may panic or hang.
pub(super) fn survives(section: &[u8]) {
    let Ok(tokenizer) = Tokenizer::open(section) else { return };
    let text = "<|end|> abcabcc <s>a\u{1f999}é'll 12\n<unk>";
    let mut decoder = Decoder::new(&tokenizer);
    for specials in [Specials::AsText, Specials::Parse] {
        for id in ids(&tokenizer, text, specials) {
            assert!((id as usize) < tokenizer.vocab_size());
            decoder.push(&tokenizer, id);
        }
    }
    assert!(tokenizer.special("nothing").is_none_or(|id| (id as usize) < tokenizer.vocab_size()));
}

#[test]
fn a_section_cut_anywhere_is_refused() {
    for section in [bpe(), spm()] {
        for end in 0..section.len() {
            assert!(Tokenizer::open(&section[..end]).is_err(), "cut at {end}");
        }
        let mut longer = section.clone();
        longer.push(0);
        refused(&longer, "1 unexpected bytes at the end");
    }
}

#[test]
fn a_section_with_any_byte_changed_does_no_harm() {
    for section in [bpe(), spm()] {
        for at in 0..section.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = section.clone();
                damaged[at] ^= change;
                survives(&damaged);
            }
        }
    }
}

#[test]
fn pieces_that_share_a_bucket_make_no_table_of_millions() {
    let shared = |piece: &String| tables::bucket(tables::piece_hash(piece.as_bytes()).0, 12) == 0;
    let pieces: Vec<String> = (0..).map(|i| format!("{i:x}")).filter(shared).take(65).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    assert!(sentence_piece(&pieces[..64]).build().is_ok());
    let error = sentence_piece(&pieces).build().expect_err("too many").to_string();
    assert!(error.contains("65 entries do not spread"), "{error}");
}

#[test]
fn header_fields_are_checked() {
    let section = bpe();
    let n = word(&section, N_TOKENS);
    refused(&with_word(&section, 0, 3), "unknown model 3");
    refused(&with_word(&section, 4, 0), "unknown model 1 with pre-tokenizer 0");
    refused(&with_word(&section, 4, 6), "unknown model 1 with pre-tokenizer 6");
    refused(&with_word(&section, 8, 4), "unknown flags 0x4");
    refused(&with_word(&spm(), 8, 8), "unknown flags 0x8");
    refused(&with_word(&section, 8, 2), "unknown flags 0x2");
    refused(&with_word(&section, N_TOKENS, 0), "0 tokens");
    refused(&with_word(&section, N_TOKENS, (1 << 20) + 1), "1048577 tokens");
    refused(&with_word(&section, N_TOKENS, u32::MAX), "4294967295 tokens");
    for (at, name) in [(16, "BOS"), (20, "EOS"), (24, "unknown token")] {
        refused(&with_word(&section, at, n), &format!("{name} is token {n} of {n}"));
    }
    refused(&with_word(&section, TEXT_BYTES, u32::MAX), "the tokens end at byte");
    refused(&with_word(&section, TEXT_BYTES, 3), "of 3 bytes");
    refused(&with_word(&section, N_ADDED, n + 1), "added tokens of");
    refused(&with_word(&section, N_ENTRIES, u32::MAX), "there are 4294967295 entries");
    refused(&with_word(&section, BITS, 25), "25 bucket bits");
    refused(&with_word(&section, BITS, 24), "bytes needed");
    refused(&with_word(&section, N_WORDS, n + 1), "whole words");
    let section = spm();
    refused(&with_word(&section, 4, 1), "unknown model 2 with pre-tokenizer 1");
    refused(&with_word(&section, N_WORDS, 1), "and 1 whole words");
}

#[test]
fn tables_of_both_models_are_checked() {
    for section in [bpe(), spm()] {
        let n = word(&section, N_TOKENS);
        let [kinds, text, added, byte_ids, buckets, ..] = places(&section);
        refused(&with_word(&section, ENDS + 4, 0), "token 1 is text");
        refused(&with_word(&section, ENDS, u32::MAX), "token 0 is text 0..4294967295");
        let last = ENDS + 4 * (n as usize - 1);
        refused(&with_word(&section, last, word(&section, last - 4)), "the tokens end at byte");
        let mut kind = section.clone();
        kind[kinds + 5] = 6;
        refused(&kind, "token 5 is of unknown kind 6");
        if text > kinds + n as usize {
            let mut padding = section.clone();
            padding[text - 1] = 1;
            refused(&padding, "padding is not zero");
        }
        refused(&with_word(&section, added, n), &format!("token {n} of {n}"));
        refused(&with_word(&section, added, word(&section, added + 4)), "added tokens do not ascend at entry 1");
        let normal = (0..n as usize).find(|id| section[kinds + id] < 2).unwrap();
        let least = with_word(&section, added, normal as u32);
        let error = Tokenizer::open(&least).unwrap_err().to_string();
        assert!(error.contains("may not be an added token") || error.contains("do not ascend"), "{error}");
        refused(&with_word(&section, byte_ids + 40, n), "tokenizer byte ids: token");
        refused(&with_word(&section, buckets, 1), "bucket 0 begins at 1");
        refused(&with_word(&section, buckets + 4, u32::MAX), "bucket 1 begins at 4294967295");
        refused(&with_word(&section, N_ENTRIES, word(&section, N_ENTRIES) - 1), "the buckets end at");
    }
}

#[test]
fn merges_and_words_are_checked() {
    let section = bpe();
    let n = word(&section, N_TOKENS);
    let [.., entries, words] = places(&section);
    refused(&with_word(&section, entries + 12, n), "tokenizer merges at byte");
    let control = word(&section, 16);
    refused(
        &with_word(&section, entries + 12, control),
        &format!("token {control} of {n} is none that text may become"),
    );
    let row = |i: usize| entries + 16 * i..entries + 16 * (i + 1);
    let mut swapped = section.clone();
    let first = section[row(0)].to_vec();
    let last = section[row(5)].to_vec();
    swapped[row(0)].copy_from_slice(&last);
    swapped[row(5)].copy_from_slice(&first);
    refused(&swapped, "is not in its place");
    assert!(word(&section, N_WORDS) > 0);
    refused(&with_word(&section, words, n), &format!("whole words: token {n} of {n}"));
    let crowded = crowded_bucket();
    refused(&crowded, "bucket 1 begins at 65, the one before at 0");
}

/// One bucket of 65 merges, all in order: what the builder never writes.
fn crowded_bucket() -> Vec<u8> {
    let section = bpe();
    let [.., buckets, _, words] = places(&section);
    let mut rows: Vec<[u32; 4]> = (0..65).map(|right| [97, right, right, 0]).collect();
    rows.sort_unstable();
    let mut out = with_word(&section[..buckets], N_ENTRIES, 65);
    out[BITS..BITS + 4].copy_from_slice(&[0; 4]);
    out.extend([0, 65].iter().chain(rows.as_flattened()).flat_map(|word: &u32| word.to_le_bytes()));
    out.extend_from_slice(&section[words..]);
    out
}

#[test]
fn pieces_and_scores_are_checked() {
    let section = spm();
    let n = word(&section, N_TOKENS);
    let [.., entries, scores] = places(&section);
    refused(&with_word(&section, entries, n), &format!("tokenizer pieces: token {n} of {n}"));
    refused(&with_word(&section, scores + 20, f32::NAN.to_bits()), "the score of token 5 is not a number");
    let [.., buckets, _, _] = places(&section);
    let shared = (0..1 << word(&section, BITS)).find(|i| {
        let [start, end] = [0, 4].map(|offset| word(&section, buckets + 4 * i + offset));
        end - start > 1
    });
    let first = entries + 4 * word(&section, buckets + 4 * shared.unwrap()) as usize;
    let [a, b] = [word(&section, first), word(&section, first + 4)];
    refused(&with_word(&with_word(&section, first, b), first + 4, a), "is not in its place");
}
