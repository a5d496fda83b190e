//! Word vectors as text: a line a word, the word and then its numbers, parted by spaces or tabs. A line with the number of words
//! and of numbers may stand before them.

use whit::error::{Error, Result};

use super::layout::{Layout, MAX_DIM, Row, promised};

/// Bytes that are looked at to recognise what a file is.
const HEAD_BYTES: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The layout of `file`; `None` where it is no word vectors as text.
pub(in crate::source) fn layout(file: &[u8]) -> Option<Layout> {
    let head = &file[..file.len().min(HEAD_BYTES)];
    let start = if head.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let mut lines = lines(head, start);
    let first = lines.next()?;
    let line = &head[first.start..first.end];
    if let Some((n, dim)) = promised(line) {
        let second = lines.next()?;
        let row = row(head, second, dim)?;
        number(fields(&head[row.vector..row.end]).last()?)?;
        return Some(Layout { dim, n_words: Some(n), start: second.start, binary: false });
    }
    // The word may have spaces in it: numbers are counted from the end.
    let fields: Vec<&[u8]> = fields(line).collect();
    let n_numbers = fields.iter().rev().take_while(|field| number(field).is_some()).count();
    // A line that begins with a separator has all its fields after an empty word.
    let word = usize::from(!line.first().is_some_and(is_separator));
    let dim = n_numbers.min(fields.len().saturating_sub(word));
    (2..=MAX_DIM).contains(&dim).then_some(Layout { dim, n_words: None, start, binary: false })
}

/// Finds the words, and hands each to `add`.
pub(in crate::source) fn rows(bytes: &[u8], layout: Layout, add: &mut dyn FnMut(Row)) -> Result<()> {
    let mut n_lines = 0;
    let header = usize::from(layout.n_words.is_some());
    for line in lines(bytes, layout.start) {
        if line.start == line.end {
            continue;
        }
        n_lines += 1;
        let Some(row) = row(bytes, line, layout.dim) else {
            let found = fields(&bytes[line.start..line.end]).count();
            let number = line.number + header;
            let message = format!("line {number}: {found} fields, a word and {} numbers were expected", layout.dim);
            return Err(Error::data(message).at(line.start as u64).hint("copy the file again, or write the line anew"));
        };
        add(Row { number: row.number + header, ..row });
    }
    match layout.n_words.filter(|n| *n != n_lines) {
        None => Ok(()),
        Some(n) => {
            let error = Error::data(format!("line 1 promises {n} words, {n_lines} follow")).at(0);
            Err(error.hint("the file was cut: copy it again"))
        }
    }
}

/// Reads the numbers of a word; of one that is none, its text.
pub(in crate::source) fn read(text: &[u8], vector: &mut [f32]) -> std::result::Result<(), String> {
    for (x, field) in vector.iter_mut().zip(fields(text)) {
        let read = number(field).filter(|x| x.is_finite());
        *x = read.ok_or_else(|| String::from_utf8_lossy(field).into_owned())?;
    }
    Ok(())
}

fn fields(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(is_separator).filter(|field| !field.is_empty())
}

fn number(field: &[u8]) -> Option<f32> {
    core::str::from_utf8(field).ok()?.parse().ok()
}

/// A line of a file, without what ends it.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// From 1 on.
    number: usize,
    start: usize,
    end: usize,
}

/// The word of `line`, before its last `dim` fields; `None` where there are fewer.
fn row(bytes: &[u8], line: Line, dim: usize) -> Option<Row> {
    let text = &bytes[line.start..line.end];
    let mut end = text.len();
    for _ in 0..dim {
        let field = &text[..text[..end].iter().rposition(|byte| !is_separator(byte))?];
        end = field.iter().rposition(is_separator)? + 1;
    }
    let word_bytes = text[..end].iter().rposition(|byte| !is_separator(byte)).map_or(0, |last| last + 1);
    Some(Row { number: line.number, start: line.start, word_bytes, vector: line.start + end, end: line.end })
}

/// The lines of `bytes` from `start` on.
fn lines(bytes: &[u8], mut start: usize) -> impl Iterator<Item = Line> {
    let mut number = 0;
    core::iter::from_fn(move || {
        if start >= bytes.len() {
            return None;
        }
        let rest = &bytes[start..];
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        number += 1;
        let line = Line { number, start, end: start + rest[..length].trim_ascii_end().len() };
        start += length + 1;
        Some(line)
    })
}
