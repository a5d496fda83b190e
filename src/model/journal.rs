//! Records behind a saved text in its file: each is appended whole, so that what they tell is kept without writing the text anew.
//!
//! Little-endian, one after the other up to the end of the file:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `whitREC` and a zero |
//! | 4 | bytes of the content |
//! | 32 | BLAKE3 of the position of the record in the file, in 8 bytes, and of its content |
//! | as said | content: what the program that saved the text wants to know again |
//!
//! What stands at the end and is no whole record was being written when its program ended, and was never told to be kept. It is
//! left out. Before a whole record, it is damage.

use crate::error::{Error, Result};
use crate::format::cursor::{Cursor, Encoder};
use alloc::vec::Vec;

const MAGIC: &[u8; 8] = b"whitREC\0";

/// The records of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records<'b> {
    /// Their contents, the first first.
    pub contents: Vec<&'b [u8]>,
    /// Where the last ends: the next begins here.
    pub end: usize,
}

/// The bytes of the record of `content` that begins at `position` of a file.
pub fn record(position: u64, content: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(content.len()).map_err(|_| Error::data("too long to be saved").field("record"))?;
    let mut out = Encoder::default();
    out.bytes(MAGIC);
    out.u32(length);
    out.bytes(&checksum(position, content));
    out.bytes(content);
    Ok(out.into_bytes())
}

/// The records from byte `start` of the file `bytes` on.
pub fn records(bytes: &[u8], start: usize) -> Result<Records<'_>> {
    let mut found = Records { contents: Vec::new(), end: start };
    while let Some((content, end)) = claimed(bytes, found.end).filter(|_| is_whole(bytes, found.end)) {
        found.contents.push(content);
        found.end = end;
    }
    match whole_after(bytes, found.end) {
        false => Ok(found),
        true => {
            let error = Error::data("the record is damaged, and others follow it").field("saved session");
            Err(error.at(found.end as u64).hint("restore the file from a copy"))
        }
    }
}

/// The content of what begins at `at` as a record does, and where it ends.
fn claimed(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let mut cursor = Cursor::new(bytes.get(at..)?, "record");
    if cursor.take(MAGIC.len(), "magic").ok()? != MAGIC {
        return None;
    }
    let length = cursor.u32("length").ok()? as usize;
    cursor.take(blake3::OUT_LEN, "checksum").ok()?;
    let content = cursor.take(length, "content").ok()?;
    Some((content, at + cursor.position()))
}

/// Whether a whole record begins at `at`.
fn is_whole(bytes: &[u8], at: usize) -> bool {
    let Some((content, end)) = claimed(bytes, at) else { return false };
    let hash = &bytes[..end - content.len()];
    hash.ends_with(&checksum(at as u64, content))
}

/// Whether a whole record stands behind `from`. Where so much looks like one that it cannot be told in linear work, there is.
fn whole_after(bytes: &[u8], from: usize) -> bool {
    let mut work = bytes.len() - from;
    for at in from + 1..bytes.len() {
        let Some((content, _)) = claimed(bytes, at) else { continue };
        if content.len() > work || is_whole(bytes, at) {
            return true;
        }
        work -= content.len();
    }
    false
}

fn checksum(position: u64, content: &[u8]) -> [u8; blake3::OUT_LEN] {
    let mut hash = blake3::Hasher::new();
    hash.update(&position.to_le_bytes());
    hash.update(content);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: usize = 5;

    /// A file of [`START`] bytes and these records, and where each begins.
    fn file(contents: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut places) = (vec![9; START], Vec::new());
        for content in contents {
            places.push(bytes.len());
            bytes.extend(record(bytes.len() as u64, content).expect("short"));
        }
        (bytes, places)
    }

    #[test]
    fn what_is_cut_loses_its_last_record_alone() {
        let contents: [&[u8]; 4] = [b"one", b"", b"three", b"whitREC\0 within"];
        let (bytes, mut places) = file(&contents);
        places.push(bytes.len());
        for n in START..=bytes.len() {
            let n_whole = places.iter().filter(|end| **end <= n).count() - 1;
            let found = records(&bytes[..n], START).expect("cut at its end");
            assert_eq!((&found.contents[..], found.end), (&contents[..n_whole], places[n_whole]), "{n}");
            // The space was given, the bytes were not yet written.
            let mut zeros = bytes[..n].to_vec();
            zeros.resize(bytes.len() + 100, 0);
            assert_eq!(records(&zeros, START).expect("zeros").contents, contents[..n_whole], "{n}");
        }
    }

    #[test]
    fn a_flipped_bit_is_damage_before_the_last_record_and_its_end_within() {
        let contents: [&[u8]; 3] = [b"one", b"two", b"three"];
        let (mut bytes, places) = file(&contents);
        for bit in START * 8..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            match records(&bytes, START) {
                Ok(found) => {
                    assert!(bit / 8 >= places[2], "bit {bit}");
                    assert_eq!(found.contents, contents[..2], "bit {bit}");
                }
                Err(error) => {
                    let damaged = places.iter().rev().find(|place| **place <= bit / 8).expect("a record");
                    assert_eq!(error.offset(), Some(*damaged as u64), "bit {bit}");
                }
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_record_holds_at_its_own_place_alone() {
        let (bytes, places) = file(&[b"one", b"two"]);
        let moved = [&bytes[..START], &bytes[places[1]..]].concat();
        assert_eq!(records(&moved, START).expect("nothing whole").contents, [&[0; 0]; 0]);
    }

    #[test]
    fn what_looks_like_many_records_is_looked_at_in_linear_work() {
        let mut bytes = vec![0; START];
        for left in (0..20_000_u32).rev() {
            bytes.extend_from_slice(MAGIC);
            bytes.extend_from_slice(&(left * 44).to_le_bytes());
            bytes.extend_from_slice(&[0; 32]);
        }
        records(&bytes, START).expect_err("it may be a whole one");
    }
}
