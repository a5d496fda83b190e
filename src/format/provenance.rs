//! Where the weights come from.

use super::cursor::{Cursor, Encoder};
use super::layout::{self, MAX_NAME_BYTES};
use crate::error::{Error, Result};
use alloc::{borrow::ToOwned, string::String, vec::Vec};

/// Most source files of a model.
pub const MAX_SOURCES: usize = 65_536;

/// The provenance section: who made this file out of what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Name and version of the converter.
    pub converter: String,
    /// Format of the source.
    pub source_format: String,
    /// The files that were read.
    pub sources: Vec<SourceRecord>,
}

/// What the file records of one that the converter read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRecord {
    /// Name without its directory.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of the whole file.
    pub hash: [u8; 32],
}

impl Provenance {
    /// The section's bytes; refuses names that [`Provenance::decode`] would.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = Encoder::default();
        text(&mut out, &self.converter, "converter")?;
        text(&mut out, &self.source_format, "source format")?;
        if self.sources.len() > MAX_SOURCES {
            return Err(Error::usage(format!("{} source files, at most {MAX_SOURCES}", self.sources.len())));
        }
        out.u32(self.sources.len() as u32);
        for source in &self.sources {
            check_base_name(&source.name).map_err(|message| Error::usage(message).field("PROV source"))?;
            text(&mut out, &source.name, "source")?;
            out.u64(source.bytes);
            out.bytes(&source.hash);
        }
        Ok(out.into_bytes())
    }

    /// The provenance in `section`, which starts at byte `base` of the file.
    pub fn decode(section: &[u8], base: u64) -> Result<Provenance> {
        let mut cursor = Cursor::based(section, "PROV", base);
        let converter = read_text(&mut cursor, "converter")?;
        let source_format = read_text(&mut cursor, "source format")?;
        let at = cursor.offset();
        let n = cursor.count(2 + 1 + 8 + 32, "sources")?;
        if n > MAX_SOURCES {
            return Err(Error::data(format!("{n} source files, at most {MAX_SOURCES}")).field("PROV sources").at(at));
        }
        let mut sources = Vec::with_capacity(n);
        for _ in 0..n {
            let at = cursor.offset();
            let name = read_text(&mut cursor, "source")?;
            check_base_name(&name).map_err(|message| Error::data(message).field("PROV source").at(at))?;
            let bytes = cursor.u64("source bytes")?;
            let mut hash = [0; 32];
            hash.copy_from_slice(cursor.take(32, "source hash")?);
            sources.push(SourceRecord { name, bytes, hash });
        }
        cursor.finish()?;
        Ok(Provenance { converter, source_format, sources })
    }
}

fn text(out: &mut Encoder, text: &str, field: &str) -> Result<()> {
    layout::check_name(text.as_bytes()).map_err(|message| Error::usage(message).field(format!("PROV {field}")))?;
    debug_assert!(text.len() <= MAX_NAME_BYTES);
    out.u16(text.len() as u16);
    out.bytes(text.as_bytes());
    Ok(())
}

fn read_text(cursor: &mut Cursor<'_>, field: &'static str) -> Result<String> {
    let at = cursor.offset();
    let length = cursor.u16(field)?;
    let bytes = cursor.take(usize::from(length), field)?;
    let text = layout::check_name(bytes);
    text.map(str::to_owned).map_err(|message| Error::data(message).field(format!("PROV {field}")).at(at))
}

/// Refuses what names another place than the directory it is read in.
fn check_base_name(name: &str) -> core::result::Result<(), String> {
    if name == "." || name == ".." || name.contains(['/', '\\']) {
        return Err(format!("\"{}\" is not the name of a file in its directory", crate::error::printable(name)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance(name: &str) -> Provenance {
        Provenance {
            converter: "quantize 0.1.0".into(),
            source_format: "safetensors".into(),
            sources: vec![SourceRecord { name: name.into(), bytes: 7, hash: [3; 32] }],
        }
    }

    #[test]
    fn provenance_survives_and_every_cut_is_found() {
        let p = provenance("model.safetensors");
        let bytes = p.encode().expect("valid");
        assert_eq!(Provenance::decode(&bytes, 0), Ok(p));
        for n in 0..bytes.len() {
            let error = Provenance::decode(&bytes[..n], 100).expect_err("cut");
            assert!(error.to_string().contains("PROV") && error.offset() >= Some(100), "{error}");
        }
    }

    #[test]
    fn names_stay_in_their_directory() {
        for name in ["..", ".", "a/b", "/etc/passwd", "a\\b", "", "a\nb"] {
            assert!(provenance(name).encode().is_err(), "{name:?}");
        }
        let mut bytes = provenance("a_b").encode().expect("valid");
        let at = bytes.iter().position(|byte| *byte == b'_').expect("name");
        bytes[at] = b'/';
        assert!(Provenance::decode(&bytes, 0).is_err());
    }
}
