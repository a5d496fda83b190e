//! Word vectors as text, as GloVe (Pennington et al. 2014) and word2vec (Mikolov et al. 2013) write them: a line a word, the
//! word and then its numbers, parted by spaces. word2vec puts a line with the number of words and of numbers before them.

use std::collections::HashSet;
use std::path::Path;

use whit::error::{Error, Result, printable};
use whit::tokenizer::{PreTokenizer, Token, TokenKind, Vocabulary, VocabularyModel};

use super::source_file::SourceFile;

/// Words that a file can hold.
const MAX_WORDS: usize = 1 << 20;
/// Numbers of a word.
const MAX_DIM: usize = 1 << 16;
/// Bytes of a word.
const MAX_WORD_BYTES: usize = 256;
/// Bytes that are looked at to recognise what a file is.
const HEAD_BYTES: usize = 1 << 20;

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
    words: Vec<Line>,
}

/// Where a word's line lies.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// From 1 on.
    number: usize,
    start: usize,
    end: usize,
    word_bytes: usize,
}

impl WordVectors {
    /// The vectors in the file at `path`; `None` where it is something else.
    pub fn open(path: &Path) -> Result<Option<WordVectors>> {
        if !path.is_file() {
            return Ok(None);
        }
        let file = SourceFile::open(path)?;
        let Some(Layout { dim, n_words }) = layout(&file.map[..file.map.len().min(HEAD_BYTES)]) else {
            return Ok(None);
        };
        let mut vectors = WordVectors { name: file.name.clone(), notes: Vec::new(), file, dim, words: Vec::new() };
        vectors.index(n_words).map_err(|error| vectors.file.error(error))?;
        Ok(Some(vectors))
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// There is no word.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Finds the words, after the line that promises `n_words` of them if there is one.
    fn index(&mut self, n_words: Option<u64>) -> Result<()> {
        let bytes = &self.file.map[..];
        let mut seen = HashSet::new();
        let (mut twice, mut unreadable, mut beyond, mut n_lines) = (0, 0, 0, 0);
        for line in lines(bytes).skip(usize::from(n_words.is_some())) {
            let text = &bytes[line.start..line.end];
            if text.is_empty() {
                continue;
            }
            n_lines += 1;
            let Some(word_bytes) = word_length(text, self.dim) else {
                let fields = text.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).count();
                let message =
                    format!("line {}: {fields} fields, a word and {} numbers were expected", line.number, self.dim);
                return Err(Error::data(message).at(line.start as u64));
            };
            let word = &text[..word_bytes];
            if word.len() > MAX_WORD_BYTES || core::str::from_utf8(word).is_err() {
                unreadable += 1;
            } else if self.words.len() == MAX_WORDS {
                beyond += 1;
            } else if !seen.insert(word) {
                twice += 1;
            } else {
                self.words.push(Line { word_bytes, ..line });
            }
        }
        if let Some(n) = n_words.filter(|n| *n != n_lines) {
            let error = Error::data(format!("line 1 promises {n} words, {n_lines} follow")).at(0);
            return Err(error.hint("the file was cut: copy it again"));
        }
        for (n, what) in [
            (twice, "occur again and are left out there"),
            (unreadable, "are longer than 256 bytes or no UTF-8, and are left out"),
            (beyond, "come after the first 1048576 and are left out"),
        ] {
            if n > 0 {
                self.notes.push(format!("{n} words {what}"));
            }
        }
        if self.words.is_empty() { Err(Error::data("no word is left")) } else { Ok(()) }
    }

    /// The words as tokens: each stands for itself, none is made of others.
    pub fn vocabulary(&self) -> Vocabulary {
        let token = |line: &Line| Token {
            bytes: self.file.map[line.start..line.start + line.word_bytes].to_vec(),
            kind: TokenKind::UserDefined,
            score: 0.0,
        };
        let model = VocabularyModel::ByteLevel { pre: PreTokenizer::Gpt2, merges: Vec::new(), ignore_merges: false };
        let tokens = self.words.iter().map(token).collect();
        Vocabulary { tokens, model, bos: None, eos: None, unk: None, add_bos: false }
    }

    /// The vectors of words `row..`, (n, dim), as many as `out` holds.
    pub fn read(&self, row: usize, out: &mut [f32]) -> Result<()> {
        for (line, vector) in self.words[row..].iter().zip(out.chunks_exact_mut(self.dim)) {
            let text = &self.file.map[line.start + line.word_bytes..line.end];
            let fields = text.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
            for (x, field) in vector.iter_mut().zip(fields) {
                *x = number(field).filter(|x| x.is_finite()).ok_or_else(|| {
                    let shown = printable(&String::from_utf8_lossy(field));
                    let error = Error::data(format!("line {}: {shown:?} is no number that can be stored", line.number));
                    self.file.error(error.at(line.start as u64))
                })?;
            }
        }
        Ok(())
    }
}

/// How a file is laid out.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Numbers of a word.
    dim: usize,
    /// Words, where the first line says how many there are.
    n_words: Option<u64>,
}

/// The layout of a file that begins with `head`; `None` where it is no word vectors.
fn layout(head: &[u8]) -> Option<Layout> {
    let text = |line: Line| core::str::from_utf8(&head[line.start..line.end]).ok();
    let mut first = lines(head);
    let fields: Vec<&str> = text(first.next()?)?.split(' ').filter(|field| !field.is_empty()).collect();
    if let [n, dim] = fields[..]
        && let Ok(n) = n.parse()
    {
        let dim = dim.parse().ok().filter(|dim| (1..=MAX_DIM).contains(dim))?;
        let line = first.next()?;
        word_length(&head[line.start..line.end], dim)?;
        return Some(Layout { dim, n_words: Some(n) });
    }
    // The word may have spaces in it: numbers are counted from the end.
    let n_numbers = fields.iter().rev().take_while(|field| number(field.as_bytes()).is_some()).count();
    let dim = n_numbers.min(fields.len().saturating_sub(1));
    (2..=MAX_DIM).contains(&dim).then_some(Layout { dim, n_words: None })
}

fn number(field: &[u8]) -> Option<f32> {
    core::str::from_utf8(field).ok()?.parse().ok()
}

/// Bytes of the word that `dim` fields follow in `line`; `None` where there are fewer.
fn word_length(line: &[u8], dim: usize) -> Option<usize> {
    let mut end = line.len();
    for _ in 0..dim {
        let field = line[..end].trim_ascii_end();
        end = field.iter().rposition(|byte| *byte == b' ')?;
    }
    let word = line[..end].trim_ascii_end().len();
    (word > 0).then_some(word)
}

/// The lines of `bytes` without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Line> {
    let mut start = 0;
    let mut number = 0;
    core::iter::from_fn(move || {
        if start >= bytes.len() {
            return None;
        }
        let rest = &bytes[start..];
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        number += 1;
        let line = Line { number, start, end: start + rest[..length].trim_ascii_end().len(), word_bytes: 0 };
        start += length + 1;
        Some(line)
    })
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
        let vectors = open(b"a 1 2\n. . 3 4\na 5 6\n\xff 7 8\n\n42 9 1\n").expect("vectors").expect("vectors");
        assert_eq!(words(&vectors), ["a", ". .", "42"]);
        assert_eq!(vectors.notes.len(), 2, "{:?}", vectors.notes);
    }

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
        for other in [&b"GGUF\x03\0\0\0"[..], b"{\"a\": 1}", b"some text 1", b"\xff\xfe 1 2 3", b"12 3\nno vector"] {
            assert!(open(other).expect("no error").is_none(), "{other:?}");
        }
    }
}
