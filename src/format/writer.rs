//! Writes a file in one pass over the weights; it appears whole or not at all.

use core::fmt;
use std::path::Path;

use super::cursor::Encoder;
use super::directory::{self, TensorEntry, TensorErrors};
use super::layout::{
    self, ALIGNMENT, ENTRY_BYTES, FileKind, HEADER_BYTES, Header, MAX_TENSORS, MINOR, REQUIRED, Section, SectionId,
};
use crate::error::{Error, Result, printable};
use crate::os::atomic::{AtomicFile, Leftover};
use crate::quant::Dtype;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorPlan {
    /// Unique name.
    pub name: String,
    /// Type of the stored weights; f32 for vectors.
    pub dtype: Dtype,
    /// `[n]` of a vector, `[rows, cols]` of a matrix.
    pub dims: Vec<u64>,
}

/// Writes a file: its layout is planned first, then the tensors are written in order, and the tables last.
///
/// ```no_run
/// # use whit::format::{FileKind, SectionId, TensorErrors, writer::{TensorPlan, Writer}};
/// # use whit::quant::Dtype;
/// # fn example(config: Vec<u8>) -> whit::Result<()> {
/// let plan = vec![TensorPlan { name: "norm".into(), dtype: Dtype::F32, dims: vec![1] }];
/// let sections = vec![(SectionId::CONF, config)];
/// let mut writer = Writer::create("model.whit", FileKind::LanguageModel, sections, plan, false)?;
/// writer.write(&1.0_f32.to_le_bytes())?;
/// writer.finish_tensor(TensorErrors { rms: 0.0, max: 0.0, signal_rms: 1.0 })?;
/// writer.finish()
/// # }
/// ```
pub struct Writer {
    file: AtomicFile,
    kind: FileKind,
    /// Contents by the order of the file, without directory and weights.
    contents: Vec<(SectionId, Vec<u8>)>,
    sections: Vec<Section>,
    tensors: Vec<Planned>,
    /// Index of the tensor being written.
    current: usize,
    /// Bytes of it that were written.
    written: u64,
    hasher: blake3::Hasher,
}

/// A complete file without a name of its own, which is removed with this.
#[derive(Debug)]
pub struct Draft(AtomicFile);

impl Draft {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.0.partial()
    }
}

struct Planned {
    plan: TensorPlan,
    offset: u64,
    bytes: u64,
    hash: [u8; 32],
    errors: TensorErrors,
}

impl Writer {
    /// Plans the file at `path` out of `sections` (any but directory and weights; CONF for a
    /// language model) and `tensors`, and reserves the
    /// space for all of it. An existing file is replaced only with `force`.
    pub fn create(
        path: impl AsRef<Path>,
        kind: FileKind,
        sections: Vec<(SectionId, Vec<u8>)>,
        tensors: Vec<TensorPlan>,
        force: bool,
    ) -> Result<Writer> {
        let contents = order_sections(sections)?;
        if kind == FileKind::LanguageModel && !contents.iter().any(|(id, _)| *id == SectionId::CONF) {
            return Err(Error::usage("a language model needs the section CONF"));
        }
        let (tensors, weights_bytes) = plan_tensors(tensors)?;
        let sections = plan_sections(&contents, &tensors, weights_bytes)?;
        let file = AtomicFile::create(path, force)?;
        let hasher = blake3::Hasher::new();
        let mut writer = Writer { file, kind, contents, sections, tensors, current: 0, written: 0, hasher };
        writer.file.reserve(writer.file_bytes())?;
        writer.file.seek(writer.weights().offset)?;
        Ok(writer)
    }

    /// Length of a file out of `sections` and `tensors`, as [`Writer::create`] takes them.
    pub fn planned_bytes(sections: Vec<(SectionId, Vec<u8>)>, tensors: Vec<TensorPlan>) -> Result<u64> {
        let contents = order_sections(sections)?;
        let (tensors, weights_bytes) = plan_tensors(tensors)?;
        let sections = plan_sections(&contents, &tensors, weights_bytes)?;
        Ok(sections.iter().filter_map(Section::end).max().unwrap_or(u64::MAX))
    }

    /// Length that the file will have.
    pub fn file_bytes(&self) -> u64 {
        let weights = self.weights();
        weights.offset + weights.bytes
    }

    /// Partial files of the same target that killed runs left or running ones are writing.
    pub fn leftovers(&self) -> &[Leftover] {
        self.file.leftovers()
    }

    /// The tensor that is to be written next, or being written.
    pub fn current(&self) -> Option<&TensorPlan> {
        self.tensors.get(self.current).map(|tensor| &tensor.plan)
    }

    /// Stored bytes of tensor `index`.
    pub fn tensor_bytes(&self, index: usize) -> Option<u64> {
        self.tensors.get(index).map(|tensor| tensor.bytes)
    }

    /// Writes the next bytes of the current tensor, as they are to be stored.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(tensor) = self.tensors.get(self.current) else {
            return Err(Error::usage("all tensors were written already"));
        };
        let written = self.written.saturating_add(bytes.len() as u64);
        if written > tensor.bytes {
            let message = format!("{written} bytes written, {} planned", tensor.bytes);
            return Err(Error::usage(message).field(tensor_field(&tensor.plan.name)));
        }
        self.hasher.update(bytes);
        self.file.write(bytes)?;
        self.written = written;
        Ok(())
    }

    /// Ends the current tensor, of which all bytes were written, and goes on to the next.
    pub fn finish_tensor(&mut self, errors: TensorErrors) -> Result<()> {
        let Some(tensor) = self.tensors.get_mut(self.current) else {
            return Err(Error::usage("all tensors were written already"));
        };
        let wrong = |message| Err(Error::usage(message).field(tensor_field(&tensor.plan.name)));
        if self.written != tensor.bytes {
            return wrong(format!("{} bytes written, {} planned", self.written, tensor.bytes));
        }
        if let Err(message) = directory::check_errors(&errors) {
            return wrong(message);
        }
        tensor.hash = *self.hasher.finalize().as_bytes();
        tensor.errors = errors;
        let end = tensor.offset + tensor.bytes;
        self.hasher.reset();
        self.written = 0;
        self.current += 1;
        if let Some(next) = self.tensors.get(self.current) {
            let zeros = [0; ALIGNMENT as usize];
            self.file.write(&zeros[..(next.offset - end) as usize])?;
        }
        Ok(())
    }

    /// Writes the tables, makes the file durable and gives it its name.
    pub fn finish(mut self) -> Result<()> {
        self.complete()?;
        self.file.commit()
    }

    /// Writes the tables into a file that never takes its name: it can be read until it is dropped.
    pub fn draft(mut self) -> Result<Draft> {
        self.readable()?;
        Ok(Draft(self.file))
    }

    /// Writes the tables as they now are; where the file, of which all tensors were written, can be read before it has its name.
    pub fn readable(&mut self) -> Result<&Path> {
        self.complete()?;
        self.file.flush()?;
        Ok(self.file.partial())
    }

    /// Puts `bytes` in the place of as many that were given for section `id`.
    pub fn replace(&mut self, id: SectionId, bytes: Vec<u8>) -> Result<()> {
        let found = self.contents.iter_mut().find(|(other, given)| *other == id && given.len() == bytes.len());
        let Some((_, given)) = found else {
            let message = format!("no {} bytes were given for it", bytes.len());
            return Err(Error::usage(message).field(format!("section {id}")));
        };
        *given = bytes;
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        if let Some(tensor) = self.tensors.get(self.current) {
            let message = format!("{} of {} tensors were written", self.current, self.tensors.len());
            return Err(Error::usage(message).field(tensor_field(&tensor.plan.name)));
        }
        let entries: Vec<TensorEntry<'_>> = self.tensors.iter().map(Planned::entry).collect();
        let directory = encode_directory(&entries);
        let mut hashes = Vec::with_capacity(self.sections.len());
        for section in &mut self.sections {
            let hash = match section.id {
                SectionId::WGTS => directory::weights_hash(&entries),
                id => *blake3::hash(content(&self.contents, &directory, id)).as_bytes(),
            };
            section.checksum = layout::checksum_of(&hash);
            hashes.push(hash);
        }
        let content_hash = layout::content_hash(self.kind, self.sections.iter().zip(hashes));
        let header = Header { minor: MINOR, file_bytes: self.file_bytes(), kind: self.kind, content_hash };

        let front = layout::encode_front(&header, &self.sections);
        self.file.seek(0)?;
        self.file.write(&front)?;
        let mut end = front.len() as u64;
        for section in &self.sections {
            // The gap before the weights may be large: it is read as zeros where it was reserved as such.
            if section.id == SectionId::WGTS {
                break;
            }
            let zeros = [0; ALIGNMENT as usize];
            self.file.write(&zeros[..(section.offset - end) as usize])?;
            self.file.write(content(&self.contents, &directory, section.id))?;
            end = section.offset + section.bytes;
        }
        Ok(())
    }

    fn weights(&self) -> Section {
        self.sections[self.sections.len() - 1]
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Writer");
        out.field("file", &self.file.target()).field("sections", &self.sections).field("current", &self.current);
        out.finish_non_exhaustive()
    }
}

impl Planned {
    fn entry(&self) -> TensorEntry<'_> {
        let mut dims = [1; 2];
        let rank = self.plan.dims.len();
        dims[..rank].copy_from_slice(&self.plan.dims);
        let Planned { offset, bytes, hash, errors, .. } = *self;
        TensorEntry { name: &self.plan.name, dtype: self.plan.dtype, dims, rank, offset, bytes, hash, errors }
    }
}

fn tensor_field(name: &str) -> String {
    format!("tensor \"{}\"", printable(name))
}

/// The bytes of section `id`, which is planned.
fn content<'w>(contents: &'w [(SectionId, Vec<u8>)], directory: &'w [u8], id: SectionId) -> &'w [u8] {
    contents.iter().find(|(other, _)| *other == id).map_or(directory, |(_, bytes)| bytes)
}

fn encode_directory(entries: &[TensorEntry<'_>]) -> Vec<u8> {
    let mut out = Encoder::default();
    out.u32(entries.len() as u32);
    for entry in entries {
        entry.encode(&mut out);
    }
    out.into_bytes()
}

/// `sections` in the order of the file.
fn order_sections(mut sections: Vec<(SectionId, Vec<u8>)>) -> Result<Vec<(SectionId, Vec<u8>)>> {
    for (index, (id, bytes)) in sections.iter().enumerate() {
        let wrong = |message: String| Err(Error::usage(message).field(format!("section {id}")));
        if !id.is_known() || matches!(*id, SectionId::TDIR | SectionId::WGTS) {
            return wrong("the section is not one that is given".into());
        }
        if sections[..index].iter().any(|(other, _)| other == id) {
            return wrong("the section is given twice".into());
        }
        if bytes.is_empty() || bytes.len() as u64 > id.max_bytes() {
            return wrong(format!("{} bytes, not 1..={}", bytes.len(), id.max_bytes()));
        }
        if matches!(*id, SectionId::TMPL | SectionId::LICE) && core::str::from_utf8(bytes).is_err() {
            return wrong("the text is not UTF-8".into());
        }
    }
    sections.sort_by_key(|(id, _)| SectionId::ALL.iter().position(|other| other == id));
    Ok(sections)
}

/// Places of the tensors and the bytes of all of them.
fn plan_tensors(plans: Vec<TensorPlan>) -> Result<(Vec<Planned>, u64)> {
    if plans.is_empty() || plans.len() > MAX_TENSORS {
        return Err(Error::usage(format!("{} tensors, not 1..={MAX_TENSORS}", plans.len())));
    }
    let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    if let Err((first, second)) = directory::order_by_name(&names) {
        let message = format!("tensors {first} and {second} have the same name");
        return Err(Error::usage(message).field(tensor_field(names[first])));
    }
    let mut planned = Vec::with_capacity(plans.len());
    let mut end = 0_u64;
    for plan in plans {
        let wrong = |message: String| Error::usage(message).field(tensor_field(&plan.name));
        layout::check_name(plan.name.as_bytes()).map_err(wrong)?;
        let bytes = layout::tensor_bytes(plan.dtype, &plan.dims).map_err(wrong)?;
        let offset = layout::align(end, ALIGNMENT);
        let place = offset.and_then(|offset| Some((offset, offset.checked_add(bytes)?)));
        let (offset, next) = place.ok_or_else(|| wrong("the file would be longer than 2^64 bytes".into()))?;
        end = next;
        planned.push(Planned { plan, offset, bytes, hash: [0; 32], errors: TensorErrors::default() });
    }
    Ok((planned, end))
}

/// Places of all sections; the weights are the last.
fn plan_sections(contents: &[(SectionId, Vec<u8>)], tensors: &[Planned], weights_bytes: u64) -> Result<Vec<Section>> {
    let entry = |tensor: &Planned| directory::entry_bytes(tensor.plan.name.len(), tensor.plan.dims.len()) as u64;
    let directory_bytes = 4 + tensors.iter().map(entry).sum::<u64>();
    if directory_bytes > SectionId::TDIR.max_bytes() {
        let message = format!("{directory_bytes} bytes of names and shapes, at most {}", SectionId::TDIR.max_bytes());
        return Err(Error::usage(message).field("section TDIR"));
    }
    let length = |id| match id {
        SectionId::TDIR => Some(directory_bytes),
        SectionId::WGTS => Some(weights_bytes),
        id => contents.iter().find(|(other, _)| *other == id).map(|(_, bytes)| bytes.len() as u64),
    };
    let lengths: Vec<(SectionId, u64)> = SectionId::ALL.into_iter().filter_map(|id| Some((id, length(id)?))).collect();
    let mut end = (HEADER_BYTES + lengths.len() * ENTRY_BYTES) as u64;
    let mut sections = Vec::with_capacity(lengths.len());
    for (id, bytes) in lengths {
        let place = layout::align(end, id.alignment()).and_then(|offset| Some((offset, offset.checked_add(bytes)?)));
        let Some((offset, next)) = place else {
            return Err(Error::usage("the file would be longer than 2^64 bytes"));
        };
        let flags = if id.is_required() { REQUIRED } else { 0 };
        sections.push(Section { id, flags, offset, bytes, checksum: 0 });
        end = next;
    }
    Ok(sections)
}
