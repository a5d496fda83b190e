//! Where things lie in a file: the header, the section table and the sizes of tensors.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::cursor::{Cursor, Encoder};
use crate::error::{Error, Result, moves_cursor, printable};
use crate::quant::{self, Dtype};

/// The first eight bytes. The line ends and the control-Z are damaged by anything that takes the file for text.
pub const MAGIC: [u8; 8] = *b"WHIT\r\n\x1a\n";
/// The major version this code reads and writes.
pub const MAJOR: u16 = 1;
/// The minor version this code writes; higher ones are read too.
pub const MINOR: u16 = 0;
/// Reads as itself in little-endian order only.
pub const ENDIANNESS: u32 = 0x0a0b_0c0d;
/// Bytes of the header; the section table follows it.
pub const HEADER_BYTES: usize = 128;
/// Bytes of one entry of the section table.
pub const ENTRY_BYTES: usize = 32;
/// Sections and tensors start at multiples of this.
pub const ALIGNMENT: u64 = 64;
/// The weights start at a multiple of this, so that they start on a page wherever pages are at most 64 KiB.
pub const WEIGHTS_ALIGNMENT: u64 = 65_536;
/// Most sections of a file.
pub const MAX_SECTIONS: usize = 64;
/// Most tensors of a file.
pub const MAX_TENSORS: usize = 65_536;
/// Longest name of a tensor or a source file, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Largest dimension of a tensor.
pub const MAX_DIM: u64 = (1 << 31) - 1;

/// Where the header's own checksum lies in the header.
pub(crate) const CHECKSUM_AT: usize = 32;
/// The flag of a section that a reader must know.
pub(crate) const REQUIRED: u32 = 1;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A language model: configuration, tokenizer, weights.
    LanguageModel,
    /// Word vectors.
    WordVectors,
}

impl FileKind {
    /// The code in a file.
    pub fn code(self) -> u32 {
        match self {
            FileKind::LanguageModel => 1,
            FileKind::WordVectors => 2,
        }
    }

    /// The kind of a code in a file.
    pub fn from_code(code: u32) -> Option<Self> {
        [FileKind::LanguageModel, FileKind::WordVectors].into_iter().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::LanguageModel => "language model",
            FileKind::WordVectors => "word vectors",
        })
    }
}

/// The four characters that name a section.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionId(pub [u8; 4]);

impl SectionId {
    /// Configuration of the network.
    pub const CONF: SectionId = SectionId(*b"CONF");
    /// Tokenizer tables.
    pub const TOKN: SectionId = SectionId(*b"TOKN");
    /// Tensor directory.
    pub const TDIR: SectionId = SectionId(*b"TDIR");
    /// Generation defaults.
    pub const GENR: SectionId = SectionId(*b"GENR");
    /// Chat template.
    pub const TMPL: SectionId = SectionId(*b"TMPL");
    /// Provenance.
    pub const PROV: SectionId = SectionId(*b"PROV");
    /// Quality report.
    pub const QUAL: SectionId = SectionId(*b"QUAL");
    /// Licence text.
    pub const LICE: SectionId = SectionId(*b"LICE");
    /// Weights.
    pub const WGTS: SectionId = SectionId(*b"WGTS");

    /// The sections of this version, in the order in which they are written.
    pub const ALL: [SectionId; 9] =
        [Self::CONF, Self::TOKN, Self::TDIR, Self::GENR, Self::TMPL, Self::PROV, Self::QUAL, Self::LICE, Self::WGTS];

    /// Whether a reader that does not know this section must refuse the file.
    pub fn is_required(self) -> bool {
        [Self::CONF, Self::TOKN, Self::TDIR, Self::WGTS].contains(&self)
    }

    pub(crate) fn is_known(self) -> bool {
        Self::ALL.contains(&self)
    }

    /// Multiple at which the section starts.
    pub(crate) fn alignment(self) -> u64 {
        if self == Self::WGTS { WEIGHTS_ALIGNMENT } else { ALIGNMENT }
    }

    /// Most bytes of the section.
    pub(crate) fn max_bytes(self) -> u64 {
        match self {
            Self::WGTS => u64::MAX,
            Self::TOKN => 256 << 20,
            Self::TMPL => 1 << 20,
            _ => 16 << 20,
        }
    }
}

impl fmt::Display for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The header's values that are not fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) minor: u16,
    pub(crate) file_bytes: u64,
    pub(crate) kind: FileKind,
    pub(crate) content_hash: [u8; 32],
}

/// One entry of the section table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) id: SectionId,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
}

impl Section {
    /// End of the section, or `None` where it is past 2^64.
    pub(crate) fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.bytes)
    }

    /// The entry at the cursor.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Section> {
        let id = cursor.take(4, "id")?;
        Ok(Section {
            id: SectionId([id[0], id[1], id[2], id[3]]),
            flags: cursor.u32("flags")?,
            offset: cursor.u64("offset")?,
            bytes: cursor.u64("bytes")?,
            checksum: cursor.u64("checksum")?,
        })
    }
}

/// Header and section table as bytes, the header checksum filled in.
#[cfg_attr(not(feature = "std"), expect(dead_code, reason = "for the writer, which needs files"))]
pub(crate) fn encode_front(header: &Header, sections: &[Section]) -> Vec<u8> {
    let mut out = Encoder::default();
    out.bytes(&MAGIC);
    out.u16(MAJOR);
    out.u16(header.minor);
    out.u32(ENDIANNESS);
    out.u64(header.file_bytes);
    out.u32(header.kind.code());
    out.u32(sections.len() as u32);
    out.bytes(&[0; 32]);
    out.bytes(&header.content_hash);
    out.bytes(&[0; 32]);
    for section in sections {
        out.bytes(&section.id.0);
        out.u32(section.flags);
        out.u64(section.offset);
        out.u64(section.bytes);
        out.u64(section.checksum);
    }
    let mut bytes = out.into_bytes();
    let checksum = front_checksum(&bytes);
    bytes[CHECKSUM_AT..CHECKSUM_AT + 8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The header checksum of `front`, header and section table: taken as if the checksum itself were zero.
pub(crate) fn front_checksum(front: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&front[..CHECKSUM_AT]).update(&[0; 8]).update(&front[CHECKSUM_AT + 8..]);
    checksum_of(hasher.finalize().as_bytes())
}

/// The checksum that stands for a hash: its first eight bytes, little-endian.
pub(crate) fn checksum_of(hash: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The content hash: over the kind and, for each section in table order, its id, flags, length and hash.
pub(crate) fn content_hash<'s>(kind: FileKind, sections: impl Iterator<Item = (&'s Section, [u8; 32])>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&kind.code().to_le_bytes());
    for (section, hash) in sections {
        hasher.update(&section.id.0).update(&section.flags.to_le_bytes());
        hasher.update(&section.bytes.to_le_bytes()).update(&hash);
    }
    *hasher.finalize().as_bytes()
}

/// `offset` rounded up to a multiple of `alignment`.
pub(crate) fn align(offset: u64, alignment: u64) -> Option<u64> {
    offset.checked_next_multiple_of(alignment)
}

/// Bytes of a stored tensor, or what is wrong with its dtype and dimensions.
pub(crate) fn tensor_bytes(dtype: Dtype, dims: &[u64]) -> core::result::Result<u64, String> {
    for dim in dims {
        if !(1..=MAX_DIM).contains(dim) {
            return Err(format!("dimension {dim} is not in 1..={MAX_DIM}"));
        }
    }
    let bytes = match *dims {
        [n] if dtype == Dtype::F32 => n.checked_mul(4),
        [_] => return Err(format!("dtype {} is not allowed for a vector, which is f32", dtype.name())),
        [rows, cols] => {
            // Twice the bits of the weights covers their scales, so that no panel is larger than the address space.
            let panel = cols.checked_mul(quant::PANEL_ROWS as u64 / 4 * u64::from(dtype.format().bits));
            panel.filter(|bytes| *bytes <= isize::MAX as u64).and_then(|_| quant::matrix_bytes(dtype, rows, cols))
        }
        _ => return Err(format!("rank {} is not 1 or 2", dims.len())),
    };
    bytes.ok_or_else(|| format!("shape {dims:?} overflows"))
}

/// Refuses names that are empty, too long or hold what moves a cursor; gives what is wrong.
pub(crate) fn check_name(name: &[u8]) -> core::result::Result<&str, String> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("name of {} bytes, not 1..={MAX_NAME_BYTES}", name.len()));
    }
    let text = core::str::from_utf8(name).map_err(|_| {
        let name = printable(&String::from_utf8_lossy(name));
        format!("name \"{name}\" is not UTF-8")
    })?;
    match text.chars().find(|c| moves_cursor(*c)) {
        None => Ok(text),
        Some(c) => Err(format!("name \"{}\" holds {}", printable(text), c.escape_default())),
    }
}

/// The range `offset..offset + bytes` of `data`; `field` names it in the error.
pub(crate) fn range<'a>(data: &'a [u8], offset: u64, bytes: u64, field: &str) -> Result<&'a [u8]> {
    let end = offset.checked_add(bytes).and_then(|end| usize::try_from(end).ok());
    let slice = end.and_then(|end| data.get(usize::try_from(offset).ok()?..end));
    slice.ok_or_else(|| {
        let message = format!("{bytes} bytes do not lie within the file's {}", data.len());
        Error::data(message).field(field).at(offset)
    })
}
