//! Word vectors, as GloVe (Pennington et al. 2014), word2vec (Mikolov et al. 2013) and fastText (Bojanowski et al. 2017) write them:
//! a word and its numbers, as text a line each, or with the numbers as f32.

pub(in crate::source) mod binary;
pub(in crate::source) mod layout;
pub(in crate::source) mod text;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use whit::error::{Error, Result, printable};
use whit::tokenizer::{PreTokenizer, Token, TokenKind, Vocabulary, VocabularyModel};

use crate::source::source_file::SourceFile;
use layout::{Layout, Row};

/// Words that a file can hold.
const MAX_WORDS: usize = 1 << 20;
/// Bytes of a word.
const MAX_WORD_BYTES: usize = 256;

/// An opened file of word vectors.
#[derive(Debug)]
pub struct WordVectors {
    /// The file's name.
    pub name: String,
    /// What the user should know: what was left out.
    pub notes: Vec<String>,
    /// The file.
    pub file: SourceFile,
    /// Numbers of a word.
    pub dim: usize,
    words: Vec<Row>,
    /// Words that are no UTF-8 in the file, by their places, as they are here.
    spelt: HashMap<usize, String>,
    /// The numbers are f32, not text.
    binary: bool,
}

/// Words that are found, and how many are not kept, by the reason.
#[derive(Default)]
struct Found<'f> {
    seen: HashSet<&'f [u8]>,
    words: Vec<Row>,
    /// The places among `words` of those that are no UTF-8.
    no_utf8: Vec<usize>,
    /// Some word has letters beyond ASCII, in UTF-8.
    utf8: bool,
    twice: usize,
    long: usize,
    empty: usize,
    beyond: usize,
}

impl<'f> Found<'f> {
    fn add(&mut self, bytes: &'f [u8], row: Row) {
        let word = &bytes[row.start..row.start + row.word_bytes];
        if word.is_empty() {
            self.empty += 1;
        } else if word.len() > MAX_WORD_BYTES {
            self.long += 1;
        } else if self.words.len() == MAX_WORDS {
            self.beyond += 1;
        } else if !self.seen.insert(word) {
            self.twice += 1;
        } else {
            match core::str::from_utf8(word) {
                Ok(word) => self.utf8 |= !word.is_ascii(),
                Err(_) => self.no_utf8.push(self.words.len()),
            }
            self.words.push(row);
        }
    }

    /// Spells the words that are no UTF-8: as Latin-1 where the file has no UTF-8 beyond ASCII at all, else with U+FFFD in place
    /// of what is none. Words that then are as others, or too long, are left out. Returns the spellings by place, and a note.
    fn spell(&mut self, bytes: &[u8]) -> (HashMap<usize, String>, Option<String>) {
        let mut spelt = HashMap::new();
        let mut spellings = HashSet::new();
        let (mut dropped, mut too_long) = (HashSet::new(), HashSet::new());
        for at in &self.no_utf8 {
            let Row { start, word_bytes, .. } = self.words[*at];
            let word = &bytes[start..start + word_bytes];
            let text = if self.utf8 {
                String::from_utf8_lossy(word).into_owned()
            } else {
                word.iter().map(|byte| char::from(*byte)).collect()
            };
            if text.len() > MAX_WORD_BYTES {
                self.long += 1;
                too_long.insert(start);
            } else if self.seen.contains(text.as_bytes()) || !spellings.insert(text.clone()) {
                dropped.insert(start);
            } else {
                spelt.insert(start, text);
            }
        }
        self.twice += dropped.len();
        self.words.retain(|row| !dropped.contains(&row.start) && !too_long.contains(&row.start));
        let n = self.no_utf8.len();
        let how = if self.utf8 {
            "no UTF-8: what is none of it is U+FFFD"
        } else {
            "taken for Latin-1: the file has no UTF-8"
        };
        (spelt, (n > 0).then(|| format!("{n} words are {how}")))
    }
}

impl WordVectors {
    /// The vectors in the file at `path`; `None` where it is something else.
    pub fn open(path: &Path) -> Result<Option<WordVectors>> {
        if !path.is_file() {
            return Ok(None);
        }
        let file = SourceFile::open(path)?;
        let Some(layout) = text::layout(&file.map).or_else(|| binary::layout(&file.map)) else {
            return Ok(None);
        };
        let (words, spelt, notes) = index(&file.map, layout).map_err(|error| file.error(error))?;
        let Layout { dim, binary, .. } = layout;
        Ok(Some(WordVectors { name: file.name.clone(), notes, file, dim, words, spelt, binary }))
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// There is no word.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words as tokens: each stands for itself, none is made of others.
    pub fn vocabulary(&self) -> Vocabulary {
        let token = |row: &Row| Token {
            bytes: match self.spelt.get(&row.start) {
                Some(text) => text.clone().into_bytes(),
                None => self.file.map[row.start..row.start + row.word_bytes].to_vec(),
            },
            kind: TokenKind::UserDefined,
            score: 0.0,
        };
        let model = VocabularyModel::ByteLevel { pre: PreTokenizer::Gpt2, merges: Vec::new(), ignore_merges: false };
        let tokens = self.words.iter().map(token).collect();
        Vocabulary { tokens, model, bos: None, eos: None, unk: None, add_bos: false }
    }

    /// The vectors of words `row..`, (n, dim), as many as `out` holds.
    pub fn read(&self, row: usize, out: &mut [f32]) -> Result<()> {
        for (row, vector) in self.words[row..].iter().zip(out.chunks_exact_mut(self.dim)) {
            let numbers = &self.file.map[row.vector..row.end];
            let read = if self.binary { binary::read(numbers, vector) } else { text::read(numbers, vector) };
            read.map_err(|shown| {
                let place = if self.binary { "word" } else { "line" };
                let message =
                    format!("{place} {}: \"{}\" is no number that can be stored", row.number, printable(&shown));
                self.file.error(Error::data(message).at(row.start as u64))
            })?;
        }
        Ok(())
    }
}

type Index = (Vec<Row>, HashMap<usize, String>, Vec<String>);

/// The words of a file, how those are spelt that are no UTF-8, and what is to be told.
fn index(bytes: &[u8], layout: Layout) -> Result<Index> {
    let mut found = Found::default();
    let mut add = |row| found.add(bytes, row);
    if layout.binary {
        binary::rows(bytes, layout, &mut add)?
    } else {
        text::rows(bytes, layout, &mut add)?
    }
    let (spelt, note) = found.spell(bytes);
    let mut notes: Vec<String> = note.into_iter().collect();
    for (n, what) in [
        (found.twice, "occur again and are left out there"),
        (found.long, "are longer than 256 bytes and are left out"),
        (found.empty, "are empty and are left out"),
        (found.beyond, "come after the first 1048576 and are left out"),
    ] {
        if n > 0 {
            notes.push(format!("{n} words {what}"));
        }
    }
    if found.words.is_empty() {
        return Err(Error::data("no word is left").at(0).hint("are these word vectors?"));
    }
    Ok((found.words, spelt, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &[u8]) -> Result<Option<WordVectors>> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("words.txt");
        std::fs::write(&path, text).expect("written");
        WordVectors::open(&path)
    }

    fn words(vectors: &WordVectors) -> Vec<String> {
        let tokens = vectors.vocabulary().tokens;
        tokens.iter().map(|token| String::from_utf8_lossy(&token.bytes).into_owned()).collect()
    }

    #[test]
    fn both_forms_are_read() {
        for text in [&b"the 1 2.5 -3e-1\ncat 4 5 6\n"[..], b"2 3\r\nthe 1 2.5 -0.3 \r\ncat  4 5 6"] {
            let vectors = open(text).expect("vectors").expect("vectors");
            assert_eq!((vectors.dim, vectors.len(), vectors.notes.len()), (3, 2, 0));
            assert_eq!(words(&vectors), ["the", "cat"]);
            let mut out = [0.0; 6];
            vectors.read(0, &mut out).expect("numbers");
            assert_eq!(out, [1.0, 2.5, -0.3, 4.0, 5.0, 6.0]);
        }
    }

    #[test]
    fn words_have_spaces_and_what_cannot_be_a_word_is_left_out_and_told() {
        let long = "x".repeat(257);
        let text = format!("a 1 2\n. . 3 4\na 5 6\n{long} 7 8\n\n42 9 1\n 3 4\n");
        let vectors = open(text.as_bytes()).expect("vectors").expect("vectors");
        assert_eq!(words(&vectors), ["a", ". .", "42"]);
        for what in ["1 words occur again", "1 words are longer than 256 bytes", "1 words are empty"] {
            assert!(vectors.notes.iter().any(|note| note.starts_with(what)), "{what}: {:?}", vectors.notes);
        }
    }

    /// W-01. As tools write text: any separators, ends of lines, marks before it, and numbers.
    #[test]
    fn every_way_to_write_text_is_read() {
        let texts: [&[u8]; 8] = [
            b"2 3\na 1 2 3\nb 4 5 6\n",
            b"2\t3\na\t1\t2\t3\nb\t4\t5\t6\n",
            b"a\t1 2 3\nb\t4 5 6",
            b"a 1 2 3 \r\nb 4 5 6 \r\n",
            b" 2  3 \r\na 1 2 3\t\r\nb  4 \t 5 6\r\n",
            b"\xef\xbb\xbfa 1 2 3\nb 4 5 6\n",
            b"\xef\xbb\xbf2 3\na 1 2 3\nb 4 5 6\n\n\n",
            b"a 1e0 2.0E+00 0.3e1\nb +4 50e-1 6.\n",
        ];
        for text in texts {
            let shown = String::from_utf8_lossy(text);
            let vectors = open(text).expect(&shown).expect(&shown);
            assert_eq!((words(&vectors), vectors.dim), (vec!["a".into(), "b".into()], 3), "{shown}");
            let mut out = [0.0; 6];
            vectors.read(0, &mut out).expect(&shown);
            assert_eq!((out, vectors.notes.len()), ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0), "{shown}");
        }
    }

    /// W-02. Marks, spaces of every kind, signs.
    #[test]
    fn words_of_every_kind_are_words() {
        let kinds = [
            "</s>",
            "<unk>",
            ". . .",
            "at name@domain.com",
            "new_york",
            "42",
            "-",
            "a\u{a0}b",
            "\u{a0}",
            "\u{85}",
            "\u{2028}",
            "e\u{301}",
            "\"",
            "\\n",
            "#",
            "中文",
            "😀",
            "http://a.b/c?d=e",
            "1/2",
        ];
        let text: String = kinds.iter().map(|word| format!("{word} 0.5 1.5\n")).collect();
        let headed = format!("{} 2\n{text}", kinds.len());
        for text in [text, headed] {
            let vectors = open(text.as_bytes()).expect("vectors").expect("vectors");
            assert_eq!(words(&vectors), kinds);
            vectors.vocabulary().build().expect("a section");
        }
    }

    #[test]
    fn words_that_are_no_utf8_have_a_spelling() {
        let latin = open(b"caf\xe9 1 2\nna\xefve 3 4\ntea 5 6\n").expect("vectors").expect("vectors");
        assert_eq!(words(&latin), ["café", "naïve", "tea"]);
        assert_eq!(latin.notes, ["2 words are taken for Latin-1: the file has no UTF-8"]);
        let long = open(&[&b"\xe9"[..]; 200].concat().into_iter().chain(*b" 1 2\ntea 5 6\n").collect::<Vec<u8>>());
        let long = long.expect("vectors").expect("vectors");
        assert_eq!(words(&long), ["tea"]);
        assert!(long.notes.iter().any(|note| note.contains("1 words are longer than 256 bytes")), "{:?}", long.notes);
        let cut = "th\u{e9} 1 2\n".bytes().chain(*b"a\xc3 3 4\nb\xe4\xb8 5 6\na\xe9 7 8\n").collect::<Vec<u8>>();
        let cut = open(&cut).expect("vectors").expect("vectors");
        assert_eq!(words(&cut), ["thé", "a\u{fffd}", "b\u{fffd}"]);
        assert!(cut.notes[0].starts_with("3 words are no UTF-8") && cut.notes[1].starts_with("1 words occur again"));
    }

    fn binary(words: &[&[u8]], dim: usize, end: &[u8]) -> Vec<u8> {
        let mut out = format!("{} {dim}\n", words.len()).into_bytes();
        for (i, word) in words.iter().enumerate() {
            out.extend(word.iter().chain(b" "));
            out.extend((0..dim).flat_map(|k| (i as f32 + k as f32 / 10.0).to_le_bytes()));
            out.extend(end);
        }
        out
    }

    /// W-03.
    #[test]
    fn the_binary_form_is_read_with_and_without_ends_of_lines() {
        let names = [&b"</s>"[..], b"in", "中".as_bytes(), b"new_york", b"in", b"caf\xe9"];
        for end in [&b""[..], b"\n"] {
            let vectors = open(&binary(&names, 3, end)).expect("vectors").expect("vectors");
            assert_eq!(words(&vectors), ["</s>", "in", "中", "new_york", "caf\u{fffd}"]);
            let mut out = [0.0; 6];
            vectors.read(3, &mut out).expect("numbers");
            assert_eq!(out, [3.0, 3.1, 3.2, 5.0, 5.1, 5.2]);
        }
    }

    #[test]
    fn a_binary_file_that_is_cut_or_longer_is_told() {
        let whole = binary(&[b"one", b"two", b"three"], 4, b"\n");
        for (n, words) in
            [(whole.len() - 3, "the file ends within word 3"), (40, "the file ends within word 2"), (30, "word 2")]
        {
            let error = open(&whole[..n]).expect_err("cut").to_string();
            assert!(error.contains("line 1 promises 3 words") && error.contains(words), "{error}");
        }
        let error = open(&[&whole[..], b"four"].concat()).expect_err("longer").to_string();
        assert!(error.contains("4 bytes follow the 3 words"), "{error}");
        let mut bad = whole.clone();
        bad[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
        let error = open(&bad).expect("vectors").expect("vectors").read(0, &mut [0.0; 4]).expect_err("no number");
        assert!(error.to_string().contains("word 1: \"NaN\" is no number"), "{error}");
    }

    /// W-04.
    #[test]
    fn what_is_wrong_is_told_by_line_and_offset() {
        let error = open(b"a 1 2\nb 1\n").expect_err("too few");
        assert!(error.to_string().contains("line 2: 2 fields, a word and 2 numbers were expected"), "{error}");
        assert_eq!(error.offset(), Some(6));
        let vectors = open(b"a 1 2\nb x 2\n").expect("vectors").expect("vectors");
        let error = vectors.read(1, &mut [0.0; 2]).expect_err("no number");
        assert!(error.to_string().contains("line 2: \"x\" is no number"), "{error}");
        for bad in ["nan", "inf", "1e39"] {
            let vectors = open(format!("a 1 2\nb 1 {bad}\n").as_bytes()).expect("vectors").expect("vectors");
            assert_eq!(vectors.read(1, &mut [0.0; 2]).expect_err(bad).offset(), Some(6));
        }
        let error = open(b"5 2\na 1 2\nb 3 4\n").expect_err("cut");
        assert!(error.to_string().contains("line 1 promises 5 words, 2 follow"), "{error}");
    }

    #[test]
    fn other_files_are_not_taken_for_word_vectors() {
        for other in
            [&b"GGUF\x03\0\0\0"[..], b"{\"a\": 1}", b"some text 1", b"\xff\xfe1 \x002", b"12 3\nno vector", b"12 3\n"]
        {
            assert!(open(other).expect("no error").is_none(), "{other:?}");
        }
    }
}
