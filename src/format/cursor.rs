//! The one way through foreign bytes: every read is checked against what is left.

use crate::error::{Error, Result};
use alloc::vec::Vec;

/// Reads little-endian values from a section, front to back.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    section: &'static str,
    base: u64,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`; `section` names them in errors.
    pub fn new(bytes: &'a [u8], section: &'static str) -> Self {
        Cursor { bytes, position: 0, section, base: 0 }
    }

    /// A cursor whose errors count bytes from the start of a file in which `bytes` starts at `base`.
    pub fn based(bytes: &'a [u8], section: &'static str, base: u64) -> Self {
        Cursor { bytes, position: 0, section, base }
    }

    /// Offset of the next byte as errors give it: in the file for a cursor made by [`Cursor::based`].
    pub fn offset(&self) -> u64 {
        self.base.saturating_add(self.position as u64)
    }

    /// Bytes not yet read.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The next `n` bytes; `field` names them in the error.
    pub fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8]> {
        let end = self.position.checked_add(n).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            let message = format!("{n} bytes needed, {} left", self.left());
            return Err(Error::data(message).field(format!("{} {field}", self.section)).at(self.offset()));
        };
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, field)?);
        Ok(out)
    }

    /// The next u16.
    pub fn u16(&mut self, field: &'static str) -> Result<u16> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// The next u32.
    pub fn u32(&mut self, field: &'static str) -> Result<u32> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// The next u64.
    pub fn u64(&mut self, field: &'static str) -> Result<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// The next f32.
    pub fn f32(&mut self, field: &'static str) -> Result<f32> {
        self.array(field).map(f32::from_le_bytes)
    }

    /// The next u32 as a number of elements of `element_bytes` each, checked against the bytes left before anybody
    /// multiplies or allocates.
    pub fn count(&mut self, element_bytes: usize, field: &'static str) -> Result<usize> {
        let at = self.offset();
        let n = self.u32(field)? as usize;
        if n > self.left() / element_bytes.max(1) {
            let message = format!("{n} elements of {element_bytes} bytes, {} bytes left", self.left());
            return Err(Error::data(message).field(format!("{} {field}", self.section)).at(at));
        }
        Ok(n)
    }

    /// Refuses bytes that nothing has read.
    pub fn finish(self) -> Result<()> {
        if self.left() == 0 {
            return Ok(());
        }
        let message = format!("{} unexpected bytes at the end", self.left());
        Err(Error::data(message).field(self.section).at(self.offset()))
    }
}

/// Writes little-endian values, the counterpart of [`Cursor`].
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a u16.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    /// Appends a u32.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// Appends a u64.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Appends an f32.
    pub fn f32(&mut self, value: f32) {
        self.bytes(&value.to_le_bytes());
    }

    /// Appends zeros up to a multiple of `alignment`.
    pub fn pad(&mut self, alignment: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
