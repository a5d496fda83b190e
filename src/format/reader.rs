//! Opens a file: everything but the weights is checked once, then borrowed views are handed out.

use alloc::vec::Vec;
use core::ops::Range;

use core::fmt;

use super::cast;
use super::check;
use super::directory::{self, TensorEntry};
use super::layout::{self, ALIGNMENT, FileKind, Header, MAJOR, Section, SectionId};
use super::provenance::Provenance;
use super::quality::Quality;
use crate::error::{Error, Kind, Result, printable};
use crate::quant::Matrix;

/// Bytes hashed between two reports of progress.
const VERIFY_STEP: usize = 1 << 20;

/// An opened file: a view of its bytes, wherever they lie.
#[derive(Clone)]
pub struct File<'a> {
    bytes: &'a [u8],
    header: Header,
    sections: Vec<Section>,
    tensors: Vec<TensorEntry<'a>>,
    /// Indices of `tensors`, sorted by name.
    by_name: Vec<u32>,
    weights: Section,
    provenance: Option<Provenance>,
}

impl<'a> File<'a> {
    /// Opens the file that `bytes`, aligned to 64, are. Checks header, section table, directory and the checksum of
    /// every section but the weights, whose pages it does not touch.
    pub fn open(bytes: &'a [u8]) -> Result<File<'a>> {
        if cfg!(target_endian = "big") {
            return Err(Error::new(Kind::Unavailable, "whit needs a little-endian CPU"));
        }
        if !bytes.as_ptr().addr().is_multiple_of(ALIGNMENT as usize) {
            let hint = "map the file, or copy it with AlignedBytes, or include it with Aligned";
            return Err(Error::usage("the bytes of the file do not start at a multiple of 64").hint(hint));
        }
        let (header, sections) = check::front(bytes)?;
        check::places(bytes, &header, &sections)?;
        let required = |id| sections.iter().find(|section| section.id == id).ok_or_else(|| check::missing(id));
        let weights = *required(SectionId::WGTS)?;
        let directory = *required(SectionId::TDIR)?;
        if header.kind == FileKind::LanguageModel {
            required(SectionId::CONF)?;
        }

        let mut hashes = Vec::with_capacity(sections.len());
        for section in sections.iter().filter(|section| section.id != SectionId::WGTS) {
            let hash = *blake3::hash(check::slice(bytes, section)?).as_bytes();
            check::checksum(section, &hash)?;
            hashes.push(hash);
        }
        let table = check::slice(bytes, &directory)?;
        let tensors = directory::decode(table, directory.offset, weights.bytes)?;
        let hash = directory::weights_hash(&tensors);
        check::checksum(&weights, &hash)?;
        // The weights are the last section.
        hashes.push(hash);
        if layout::content_hash(header.kind, sections.iter().zip(hashes)) != header.content_hash {
            let error = Error::data("the content hash does not match the sections");
            return Err(error.field("header content hash").at(64).hint("copy the file again"));
        }

        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name).collect();
        let by_name = directory::order_by_name(&names).map_err(|(first, second)| {
            let name = names[second];
            let within = name.as_ptr().addr() - table.as_ptr().addr();
            Error::data(format!("tensors {first} and {second} have the same name"))
                .field(format!("tensor \"{}\"", printable(name)))
                .at(directory.offset + within as u64)
        })?;
        let mut file = File { bytes, header, sections, tensors, by_name, weights, provenance: None };
        file.text(SectionId::TMPL)?;
        file.text(SectionId::LICE)?;
        if let Some(section) = file.find(SectionId::PROV) {
            file.provenance = Some(Provenance::decode(check::slice(bytes, section)?, section.offset)?);
        }
        Ok(file)
    }

    /// How many of `bytes`, from the first on, are no weights: header, section table and the sections before the weights, which are
    /// the last. Nothing is checked but header and table.
    pub fn front_bytes(bytes: &[u8]) -> Result<usize> {
        let (_, sections) = check::front(bytes)?;
        let weights = sections.iter().find(|section| section.id == SectionId::WGTS);
        let weights = weights.ok_or_else(|| check::missing(SectionId::WGTS))?;
        Ok(usize::try_from(weights.offset).map_or(bytes.len(), |offset| offset.min(bytes.len())))
    }

    /// What the file holds.
    pub fn kind(&self) -> FileKind {
        self.header.kind
    }

    /// Major and minor version of the file.
    pub fn version(&self) -> (u16, u16) {
        (MAJOR, self.header.minor)
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.header.file_bytes
    }

    /// Length of the weights section.
    pub fn weights_bytes(&self) -> u64 {
        self.weights.bytes
    }

    /// The hash that names this model: equal hashes mean equal sections, byte for byte.
    pub fn content_hash(&self) -> [u8; 32] {
        self.header.content_hash
    }

    /// Id, offset and length of every section, in file order; unknown ones included.
    pub fn sections(&self) -> impl Iterator<Item = (SectionId, u64, u64)> + '_ {
        self.sections.iter().map(|section| (section.id, section.offset, section.bytes))
    }

    /// The bytes of a section, or `None` where the file has none of that id.
    pub fn section(&self, id: SectionId) -> Option<&'a [u8]> {
        self.find(id).and_then(|section| check::slice(self.bytes, section).ok())
    }

    /// The bytes of a section that must be there.
    pub fn require(&self, id: SectionId) -> Result<&'a [u8]> {
        self.section(id).ok_or_else(|| check::missing(id))
    }

    /// The chat template.
    pub fn template(&self) -> Option<&'a str> {
        self.text(SectionId::TMPL).ok().flatten()
    }

    /// The licence text.
    pub fn licence(&self) -> Option<&'a str> {
        self.text(SectionId::LICE).ok().flatten()
    }

    /// Where the weights come from.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.provenance.as_ref()
    }

    /// How near the weights are to their checkpoint; `None` where the file does not say. Decoded, and its rules checked, by each call.
    pub fn quality(&self) -> Result<Option<Quality>> {
        let Some(section) = self.find(SectionId::QUAL) else { return Ok(None) };
        Quality::decode(check::slice(self.bytes, section)?, section.offset).map(Some)
    }

    /// The tensor directory, in file order.
    pub fn tensors(&self) -> &[TensorEntry<'a>] {
        &self.tensors
    }

    /// The entry of the tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry<'a>> {
        let at = self.by_name.binary_search_by(|index| self.tensors[*index as usize].name.cmp(name)).ok()?;
        Some(&self.tensors[self.by_name[at] as usize])
    }

    /// The stored bytes of a tensor of this file.
    pub fn data(&self, entry: &TensorEntry<'_>) -> Result<&'a [u8]> {
        let offset = self.weights.offset.saturating_add(entry.offset);
        layout::range(self.bytes, offset, entry.bytes, entry.name)
    }

    /// Where the stored bytes of a tensor of this file lie in it.
    pub fn span(&self, entry: &TensorEntry<'_>) -> Result<Range<usize>> {
        let start = self.data(entry)?.as_ptr().addr() - self.bytes.as_ptr().addr();
        Ok(start..start + entry.bytes as usize)
    }

    /// The matrix of that name.
    pub fn matrix(&self, name: &str) -> Result<Matrix<'a>> {
        let entry = self.entry(name)?;
        let [rows, cols] = *entry.dims() else {
            return Err(self.misshapen(entry, "a vector, not a matrix"));
        };
        let data = self.data(entry)?;
        let (rows, cols) = (usize::try_from(rows).ok(), usize::try_from(cols).ok());
        let matrix = rows.zip(cols).and_then(|(rows, cols)| Matrix::new(entry.dtype, rows, cols, data));
        matrix.ok_or_else(|| self.misshapen(entry, "too large for this machine"))
    }

    /// The vector of that name.
    pub fn vector(&self, name: &str) -> Result<&'a [f32]> {
        let entry = self.entry(name)?;
        if entry.rank != 1 {
            return Err(self.misshapen(entry, "a matrix, not a vector"));
        }
        cast::as_f32(self.data(entry)?).ok_or_else(|| self.misshapen(entry, "not aligned"))
    }

    /// Reads all weights and compares them with their hashes; `progress` hears how many bytes are done.
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let mut end = 0;
        for entry in &self.tensors {
            let at = self.weights.offset.saturating_add(entry.offset);
            let gap = layout::range(self.bytes, self.weights.offset + end, entry.offset - end, entry.name)?;
            check::gap(gap, self.weights.offset + end, entry.name)?;
            let mut hasher = blake3::Hasher::new();
            let mut done = entry.offset;
            for step in self.data(entry)?.chunks(VERIFY_STEP) {
                hasher.update(step);
                done += step.len() as u64;
                progress(done);
            }
            if *hasher.finalize().as_bytes() != entry.hash {
                let error = Error::data(format!("the checksum of its {} bytes is wrong", entry.bytes));
                return Err(error.field(format!("tensor \"{}\"", entry.name)).at(at).hint("copy the file again"));
            }
            end = entry.offset + entry.bytes;
        }
        Ok(())
    }

    fn find(&self, id: SectionId) -> Option<&Section> {
        self.sections.iter().find(|section| section.id == id)
    }

    fn entry(&self, name: &str) -> Result<&TensorEntry<'a>> {
        let missing = || Error::data("the tensor is missing").field(format!("tensor \"{}\"", printable(name)));
        self.tensor(name).ok_or_else(missing)
    }

    fn misshapen(&self, entry: &TensorEntry<'_>, what: &str) -> Error {
        let message = format!("{} of shape {:?} is {what}", entry.dtype.name(), entry.dims());
        let at = self.weights.offset.saturating_add(entry.offset);
        Error::data(message).field(format!("tensor \"{}\"", entry.name)).at(at)
    }

    fn text(&self, id: SectionId) -> Result<Option<&'a str>> {
        let Some(section) = self.find(id) else { return Ok(None) };
        let text = core::str::from_utf8(check::slice(self.bytes, section)?).map_err(|error| {
            let at = section.offset.saturating_add(error.valid_up_to() as u64);
            Error::data("the text is not UTF-8").field(format!("section {id}")).at(at)
        })?;
        Ok(Some(text))
    }
}

impl fmt::Debug for File<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("File");
        out.field("header", &self.header).field("sections", &self.sections).field("tensors", &self.tensors.len());
        out.finish_non_exhaustive()
    }
}
