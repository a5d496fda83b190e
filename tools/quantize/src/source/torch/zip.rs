//! The directory of a ZIP archive whose entries are stored as they are, so that they can be used where they lie: PyTorch's files.
//! Archives beyond 4 GiB are read by their second form of every number (Zip64). Nothing is unpacked.

use std::collections::HashMap;

use whit::error::{Error, Result, printable};
use whit::format::cursor::Cursor;

use crate::source::tensor::MAX_TENSORS;

/// Entries of an archive: a tensor each, and some about them.
const MAX_ENTRIES: u64 = MAX_TENSORS as u64 + 1024;
/// Bytes of an entry in the directory, at least.
const ENTRY_BYTES: u64 = 46;
/// Bytes of the record at the end, without its comment.
const END_BYTES: usize = 22;
/// Bytes of the record that says where the Zip64 form of the end is; it stands just before the end.
const LOCATOR_BYTES: usize = 20;

/// Where an entry's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) struct Place {
    pub(in crate::source) start: u64,
    pub(in crate::source) bytes: u64,
}

/// The entries of the archive `file` by their names.
pub(in crate::source) fn entries(file: &[u8]) -> Result<HashMap<&str, Place>> {
    let (n, directory) = end(file)?;
    if n > MAX_ENTRIES || n > directory.bytes / ENTRY_BYTES {
        let message = format!("{n} entries in {} bytes, the limit is {MAX_ENTRIES}", directory.bytes);
        return Err(error(message, directory.start));
    }
    let bytes = slice(file, directory).ok_or_else(|| cut("its directory ends past the end of the file", file))?;
    let mut input = Cursor::based(bytes, "ZIP", directory.start);
    let mut found = HashMap::with_capacity(n as usize);
    for _ in 0..n {
        let at = input.offset();
        let (name, place) = entry(file, &mut input, directory.start)?;
        if found.insert(name, place).is_some() {
            return Err(error(format!("\"{}\" appears twice", printable(name)), at));
        }
    }
    Ok(found)
}

/// The number of entries and the directory, as the end of the archive says.
fn end(file: &[u8]) -> Result<(u64, Place)> {
    let first = file.len().saturating_sub(END_BYTES + usize::from(u16::MAX));
    let is_end = |at: usize| {
        let comment = file.get(at + 20..at + 22).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        file[at..].starts_with(b"PK\x05\x06") && comment.is_some_and(|n| at + END_BYTES + n == file.len())
    };
    let Some(at) = (first..file.len().saturating_sub(END_BYTES - 1)).rev().find(|at| is_end(*at)) else {
        return Err(cut("a ZIP archive without its end", file));
    };
    let mut input = Cursor::based(&file[at..], "ZIP", at as u64);
    input.take(10, "end")?;
    let (n, bytes, start) = (input.u16("end")?, input.u32("end")?, input.u32("end")?);
    let plain = (u64::from(n), Place { start: start.into(), bytes: bytes.into() });
    let locator = at.checked_sub(LOCATOR_BYTES).map(|at| &file[at..]).filter(|b| b.starts_with(b"PK\x06\x07"));
    let Some(locator) = locator else { return Ok(plain) };
    let mut input = Cursor::based(locator, "ZIP", (at - LOCATOR_BYTES) as u64);
    input.take(8, "Zip64 locator")?;
    let wide_at = input.u64("Zip64 locator")?;
    let wide = usize::try_from(wide_at).ok().and_then(|at| file.get(at..)).unwrap_or_default();
    let mut input = Cursor::based(wide, "ZIP", wide_at);
    if input.take(4, "Zip64 end")? != b"PK\x06\x06" {
        return Err(error("no Zip64 end where its locator says".into(), wide_at));
    }
    input.take(28, "Zip64 end")?;
    let (n, bytes, start) = (input.u64("Zip64 end")?, input.u64("Zip64 end")?, input.u64("Zip64 end")?);
    Ok((n, Place { start, bytes }))
}

/// The next entry of the directory, which begins at `end` of the file: its name, and where its bytes lie before the directory.
fn entry<'a>(file: &'a [u8], input: &mut Cursor<'a>, end: u64) -> Result<(&'a str, Place)> {
    let at = input.offset();
    if input.take(4, "entry")? != b"PK\x01\x02" {
        return Err(error("no entry of the directory where one should be".into(), at));
    }
    input.take(4, "entry")?;
    let (flags, method) = (input.u16("flags")?, input.u16("method")?);
    input.take(8, "entry")?;
    let (packed, whole) = (input.u32("size")?, input.u32("size")?);
    let lengths = [input.u16("length")?, input.u16("length")?, input.u16("length")?].map(usize::from);
    input.take(8, "entry")?;
    let header = input.u32("offset")?;
    let name = input.take(lengths[0], "name")?;
    let extra = input.take(lengths[1], "extra field")?;
    input.take(lengths[2], "comment")?;
    let name = core::str::from_utf8(name).map_err(|_| error("a name that is no UTF-8".into(), at))?;
    let refused = |what: &str| {
        let error = error(format!("entry \"{}\" is {what}", printable(name)), at);
        error.hint("PyTorch stores its tensors as they are: save the model again, or as safetensors")
    };
    if flags & 1 != 0 {
        return Err(refused("encrypted"));
    }
    let [whole, packed, header] = wide([whole, packed, header], extra).ok_or_else(|| refused("without its size"))?;
    if method != 0 || packed != whole {
        return Err(refused("compressed"));
    }
    let local = usize::try_from(header).ok().and_then(|header| file.get(header..)).unwrap_or_default();
    let lengths = match local.first_chunk::<30>() {
        Some(local) if local.starts_with(b"PK\x03\x04") => {
            [26, 28].map(|i| u64::from(u16::from_le_bytes([local[i], local[i + 1]])))
        }
        _ => return Err(refused("not where the directory says")),
    };
    let start = header + 30 + lengths[0] + lengths[1];
    if start.checked_add(whole).is_none_or(|stop| stop > end) {
        return Err(refused("longer than the archive: copy the file again, as it is damaged"));
    }
    Ok((name, Place { start, bytes: whole }))
}

/// Numbers of an entry, each of them taken from its Zip64 field where 32 bits do not hold it; `None` where that is too short.
fn wide(numbers: [u32; 3], mut extra: &[u8]) -> Option<[u64; 3]> {
    let mut field: &[u8] = &[];
    while let Some((head, rest)) = extra.split_first_chunk::<4>() {
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let (body, later) = rest.split_at_checked(length)?;
        if head[..2] == [1, 0] {
            field = body;
        }
        extra = later;
    }
    let mut out = [0; 3];
    for (wide, number) in out.iter_mut().zip(numbers) {
        *wide = number.into();
        if number == u32::MAX {
            let (first, rest) = field.split_first_chunk()?;
            *wide = u64::from_le_bytes(*first);
            field = rest;
        }
    }
    Some(out)
}

/// The bytes of `file` at `place`, if it has them.
pub(in crate::source) fn slice(file: &[u8], place: Place) -> Option<&[u8]> {
    let start = usize::try_from(place.start).ok()?;
    file.get(start..start.checked_add(usize::try_from(place.bytes).ok()?)?)
}

fn error(message: String, at: u64) -> Error {
    Error::data(message).field("ZIP").at(at)
}

fn cut(message: &str, file: &[u8]) -> Error {
    error(message.into(), file.len() as u64).hint("the file is cut short: copy it again")
}
