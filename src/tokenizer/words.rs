//! Tables of numbers, borrowed from a section.

use super::header::wrong;
use crate::error::Result;
use crate::format::cursor::Cursor;

/// A table of little-endian u32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a>(pub(super) &'a [[u8; 4]]);

impl<'a> Words<'a> {
    /// An empty table.
    pub(super) const NONE: Words<'static> = Words(&[]);

    pub(super) fn read(cursor: &mut Cursor<'a>, n: usize, field: &'static str) -> Result<Self> {
        // A product that wraps on a 32-bit host is more than any slice holds.
        Ok(Words(cursor.take(n.saturating_mul(4), field)?.as_chunks().0))
    }

    pub(super) fn len(self) -> usize {
        self.0.len()
    }

    pub(super) fn at(self, i: usize) -> u32 {
        u32::from_le_bytes(self.0[i])
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().map(|word| u32::from_le_bytes(*word))
    }

    /// The place of `value` in a table that ascends.
    pub(super) fn find(self, value: u32) -> Option<usize> {
        self.0.binary_search_by_key(&value, |word| u32::from_le_bytes(*word)).ok()
    }
}

/// Refuses anything but zeros up to the next multiple of 4.
pub(super) fn padding(cursor: &mut Cursor) -> Result<()> {
    let at = cursor.position();
    let bytes = cursor.take(at.next_multiple_of(4) - at, "padding")?;
    if bytes.iter().any(|b| *b != 0) {
        return Err(wrong("padding is not zero".into(), at));
    }
    Ok(())
}
