//! Word vectors in word2vec's binary form: a line with the number of words and of numbers, then each word, a space, its numbers as
//! f32, and mostly the end of a line.

use whit::error::{Error, Result, printable};

use super::layout::{Layout, Row, promised};

/// Bytes of the first line, at most.
const MAX_HEADER: usize = 64;
/// Bytes up to the space after a word, at most.
const MAX_WORD: usize = 1 << 16;

/// The layout of `file`; `None` where it is no word vectors in this form.
pub(in crate::source) fn layout(file: &[u8]) -> Option<Layout> {
    let head = &file[..file.len().min(MAX_HEADER)];
    let end = head.iter().position(|byte| *byte == b'\n')?;
    let (n, dim) = promised(&head[..end])?;
    let layout = Layout { dim, n_words: Some(n), start: end + 1, binary: true };
    // What follows is a word and numbers, not text: at least one byte of a few numbers is none that texts have.
    let first = row(file, layout.start, 1, dim).ok()?;
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    (n > 0 && !file[first.vector..first.end].iter().all(is_text)).then_some(layout)
}

/// Finds the words, and hands each to `add`.
pub(in crate::source) fn rows(bytes: &[u8], layout: Layout, add: &mut dyn FnMut(Row)) -> Result<()> {
    let n = layout.n_words.unwrap_or_default();
    let mut at = layout.start;
    for number in 1..=n {
        let row = row(bytes, at, number as usize, layout.dim).map_err(|what| {
            let error = Error::data(format!("line 1 promises {n} words, {what} word {number}")).at(at as u64);
            error.hint("the file was cut: copy it again")
        })?;
        at = row.end;
        add(row);
    }
    let rest = bytes[at..].trim_ascii();
    if rest.is_empty() {
        return Ok(());
    }
    let shown = printable(&String::from_utf8_lossy(&rest[..rest.len().min(32)]));
    let error = Error::data(format!("{} bytes follow the {n} words that line 1 promises: \"{shown}\"", rest.len()));
    Err(error.at(at as u64).hint("are the numbers f32? write the vectors anew, as text"))
}

/// The word at `at` and its numbers, or how the file ends there. Ends of lines before a word are none of it.
fn row(bytes: &[u8], mut at: usize, number: usize, dim: usize) -> std::result::Result<Row, &'static str> {
    while bytes.get(at) == Some(&b'\n') {
        at += 1;
    }
    let ahead = &bytes[at.min(bytes.len())..bytes.len().min(at + MAX_WORD)];
    let word_bytes = ahead.iter().position(|byte| *byte == b' ').ok_or("there is no space after")?;
    let vector = at + word_bytes + 1;
    let end = vector + 4 * dim;
    if end > bytes.len() {
        return Err("the file ends within");
    }
    Ok(Row { number, start: at, word_bytes, vector, end })
}

/// Reads the numbers of a word; of one that cannot be stored, its text.
pub(in crate::source) fn read(bytes: &[u8], vector: &mut [f32]) -> std::result::Result<(), String> {
    for (x, b) in vector.iter_mut().zip(bytes.chunks_exact(4)) {
        *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        if !x.is_finite() {
            return Err(x.to_string());
        }
    }
    Ok(())
}
