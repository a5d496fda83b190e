//! The rules of header and section table, in the order in which they are checked.

use super::cursor::Cursor;
use super::foreign;
use super::layout::{
    self, CHECKSUM_AT, ENDIANNESS, ENTRY_BYTES, FileKind, HEADER_BYTES, Header, MAGIC, MAJOR, MAX_SECTIONS, REQUIRED,
    Section, SectionId,
};
use crate::error::{Error, Result};
use alloc::{borrow::ToOwned, string::String, vec::Vec};

const COPY: &str = "copy the file again";

/// Header and section table of the file that `bytes` are.
pub(crate) fn front(bytes: &[u8]) -> Result<(Header, Vec<Section>)> {
    if !bytes.starts_with(&MAGIC) {
        if bytes.is_empty() || !MAGIC.starts_with(bytes) {
            return Err(foreign::refuse(bytes));
        }
        return Err(too_short(bytes, "header", HEADER_BYTES));
    }
    let Some(head) = bytes.get(..HEADER_BYTES) else {
        return Err(too_short(bytes, "header", HEADER_BYTES));
    };
    let mut cursor = Cursor::new(head, "header");
    cursor.take(MAGIC.len(), "magic")?;
    let (major, minor) = (cursor.u16("major version")?, cursor.u16("minor version")?);
    match cursor.u32("endianness")? {
        ENDIANNESS => {}
        other if other == ENDIANNESS.swap_bytes() => {
            return Err(header("endianness", 12, "the file is big-endian").hint("convert the model again"));
        }
        other => return Err(header("endianness", 12, &format!("marker {other:#010x} is unknown")).hint(COPY)),
    }
    if major != MAJOR {
        let message = format!("version {major}.{minor} is not one of {MAJOR}.x, which this program reads");
        let hint = if major > MAJOR { "update whit" } else { "convert the model again" };
        return Err(header("version", 8, &message).hint(hint));
    }
    let file_bytes = cursor.u64("file length")?;
    let kind = cursor.u32("kind")?;
    let n = cursor.u32("section count")? as usize;
    let stored = cursor.u64("checksum")?;
    cursor.take(24, "reserved")?;
    let mut content_hash = [0; 32];
    content_hash.copy_from_slice(cursor.take(32, "content hash")?);

    if n == 0 || n > MAX_SECTIONS {
        return Err(header("section count", 28, &format!("{n} sections, not 1..={MAX_SECTIONS}")).hint(COPY));
    }
    let front_bytes = HEADER_BYTES + n * ENTRY_BYTES;
    let Some(front) = bytes.get(..front_bytes) else {
        return Err(too_short(bytes, "section table", front_bytes));
    };
    if layout::front_checksum(front) != stored {
        let message = "the checksum of header and section table is wrong";
        return Err(header("checksum", CHECKSUM_AT as u64, message).hint(COPY));
    }
    // From here on the header is what its writer meant.
    if let Some(at) = (40..64).chain(96..128).find(|at| front[*at] != 0) {
        return Err(header("reserved bytes", at as u64, "a byte is not zero"));
    }
    let kind = FileKind::from_code(kind)
        .ok_or_else(|| header("kind", 24, &format!("kind {kind} is unknown")).hint("update whit"))?;
    check_length(bytes.len() as u64, file_bytes)?;
    let mut table = Cursor::based(&front[HEADER_BYTES..], "section table", HEADER_BYTES as u64);
    let sections = (0..n).map(|_| Section::decode(&mut table)).collect::<Result<Vec<_>>>()?;
    Ok((Header { minor, file_bytes, kind, content_hash }, sections))
}

fn header(field: &str, at: u64, message: &str) -> Error {
    Error::data(message).field(format!("header {field}")).at(at)
}

fn too_short(bytes: &[u8], what: &str, needed: usize) -> Error {
    let left = bytes.len() as u64;
    let message = format!("the file ends after {left} bytes, within its {what} of {needed} bytes");
    Error::data(message).field(what).at(left).hint("the copy is not complete: copy it again")
}

fn check_length(actual: u64, stated: u64) -> Result<()> {
    if actual < stated {
        let missing = stated - actual;
        let percent = 100.0 * missing as f64 / stated as f64;
        let message = format!("missing {missing} of {stated} bytes ({percent:.1} %): the copy is not complete");
        return Err(header("file length", 16, &message).hint("copy it again"));
    }
    if actual > stated {
        let message = format!("{} bytes follow the end of the file at {stated}", actual - stated);
        return Err(Error::data(message).field("end of file").at(stated).hint(COPY));
    }
    Ok(())
}

/// Ids, flags, alignment and order of the sections, and that nothing but zeros lies between them.
pub(crate) fn places(bytes: &[u8], header: &Header, sections: &[Section]) -> Result<()> {
    let mut end = (HEADER_BYTES + sections.len() * ENTRY_BYTES) as u64;
    let mut before = "section table".to_owned();
    for (index, section) in sections.iter().enumerate() {
        let at = (HEADER_BYTES + index * ENTRY_BYTES) as u64;
        let Section { id, offset, .. } = *section;
        let field = format!("section {id}");
        let wrong = |within: u64, message: String| Err(Error::data(message).field(field.clone()).at(at + within));
        if !id.0.iter().all(u8::is_ascii_graphic) {
            return wrong(0, "the id is not four printable ASCII characters".into());
        }
        if section.flags & !REQUIRED != 0 {
            return wrong(4, format!("flags {:#x} are unknown", section.flags));
        }
        if !id.is_known() && section.flags & REQUIRED != 0 {
            let error = Error::data("the section is required and unknown").field(field).at(at);
            return Err(error.hint("update whit"));
        }
        if let Some(first) = sections[..index].iter().position(|other| other.id == id) {
            return wrong(0, format!("sections {first} and {index} have the same id"));
        }
        if section.bytes == 0 || section.bytes > id.max_bytes() {
            return wrong(16, format!("{} bytes, not 1..={}", section.bytes, id.max_bytes()));
        }
        if offset < end {
            return wrong(8, format!("starts at {offset:#x}, within {before} up to {end:#x}"));
        }
        if !offset.is_multiple_of(id.alignment()) {
            return wrong(8, format!("starts at {offset:#x}, not at a multiple of {}", id.alignment()));
        }
        if Some(offset) != layout::align(end, id.alignment()) {
            return wrong(8, format!("starts at {offset:#x}, more than an alignment after {before} up to {end:#x}"));
        }
        let section_end = section.end().filter(|end| *end <= header.file_bytes);
        let Some(section_end) = section_end else {
            let message = format!("{} bytes from {offset:#x} end past the end at {}", section.bytes, header.file_bytes);
            return wrong(8, message);
        };
        gap(layout::range(bytes, end, offset - end, &field)?, end, &field)?;
        end = section_end;
        before = field;
        if id == SectionId::WGTS && index + 1 != sections.len() {
            return Err(Error::data("the weights are not the last section").field(before).at(at));
        }
    }
    if end != header.file_bytes {
        let message = format!("the last section ends at {end:#x}, the file at {:#x}", header.file_bytes);
        return Err(Error::data(message).field("section table").at(HEADER_BYTES as u64));
    }
    Ok(())
}

/// Refuses a gap, at byte `at` of the file and before what `field` names, that holds anything but zeros.
pub(crate) fn gap(gap: &[u8], at: u64, field: &str) -> Result<()> {
    match gap.iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(first) => {
            let message = "unexpected bytes in the gap before it";
            Err(Error::data(message).field(field).at(at.saturating_add(first as u64)))
        }
    }
}

/// Compares the hash of a section with its checksum.
pub(crate) fn checksum(section: &Section, hash: &[u8; 32]) -> Result<()> {
    if layout::checksum_of(hash) == section.checksum {
        return Ok(());
    }
    let error = Error::data("the checksum is wrong").field(format!("section {}", section.id));
    Err(error.at(section.offset).hint(COPY))
}

/// The bytes of a section.
pub(crate) fn slice<'a>(bytes: &'a [u8], section: &Section) -> Result<&'a [u8]> {
    layout::range(bytes, section.offset, section.bytes, "section table")
}

/// The error for a section that is not there.
pub(crate) fn missing(id: SectionId) -> Error {
    Error::data(format!("section {id} is missing")).field("section table").at(HEADER_BYTES as u64)
}
