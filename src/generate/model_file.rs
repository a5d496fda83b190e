//! A model and the file that it lies in.

use crate::error::Result;
use crate::format::{Bytes, File};
use crate::model::Model;
use crate::os::Mapping;
use crate::os::folder::Folder;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use std::path::Path;

/// How the notes of verified files end, which a folder keeps.
const VERIFIED: &str = ".verified";

/// An opened model with its file, if it has one. Copies share both.
#[derive(Clone)]
pub struct ModelFile {
    model: Arc<Model>,
    mapping: Option<Arc<Mapping>>,
    is_verified: Arc<AtomicBool>,
}

impl ModelFile {
    /// Maps and opens the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::of_mapping(Arc::new(Self::map(path)?)).map_err(|error| error.in_file(path.display().to_string()))
    }

    /// Maps the file at `path`. Its weights stay where they are; what is before them is copied, so that a file that is changed
    /// while it is in use can change numbers and nothing else.
    pub fn map(path: impl AsRef<Path>) -> Result<Mapping> {
        let mut mapping = Mapping::open(path)?;
        // What is no model is refused where it is opened.
        if let Ok(bytes) = File::front_bytes(&mapping) {
            mapping.own(bytes)?;
        }
        Ok(mapping)
    }

    /// Opens a file that is mapped, as [`ModelFile::map`] does it.
    pub fn of_mapping(mapping: Arc<Mapping>) -> Result<Self> {
        let bytes = Bytes::new(Shared(Arc::clone(&mapping)));
        Ok(ModelFile { mapping: Some(mapping), ..Self::of_bytes(bytes)? })
    }

    /// Opens a file that is in memory.
    pub fn of_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        let is_verified = Arc::new(AtomicBool::new(false));
        Ok(ModelFile { model: Arc::new(Model::open(bytes)?), mapping: None, is_verified })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The mapping of the file; `None` where it is in memory.
    pub fn mapping(&self) -> Option<&Arc<Mapping>> {
        self.mapping.as_ref()
    }

    /// An error where the file changed since it was opened: results so far may be wrong.
    pub fn check_unchanged(&self) -> Result<()> {
        self.mapping.as_ref().map_or(Ok(()), |mapping| mapping.check_unchanged())
    }

    /// Whether [`verify`](Self::verify) takes no time: the weights were verified before, or are in memory and few.
    pub fn is_soon_verified(&self, notes: &Folder) -> bool {
        const FEW_BYTES: u64 = 64 << 20;
        let is_few = self.mapping.is_none() && self.model.weight_bytes() <= FEW_BYTES;
        let is_noted = || self.identity().is_some_and(|identity| notes.has(&note_name(&identity)));
        is_few || self.is_verified.load(Ordering::Relaxed) || is_noted()
    }

    /// What names the state of the file, where that can be told.
    fn identity(&self) -> Option<String> {
        self.mapping.as_ref().and_then(|mapping| mapping.identity())
    }

    /// Has a file that is cut, or whose storage fails, spoil what is computed with this model instead of ending the program: before
    /// results are believed, [`check_unchanged`](Self::check_unchanged) says so.
    pub fn outlive_faults(&self) {
        self.mapping.iter().for_each(|mapping| mapping.outlive_faults());
    }

    /// Whether that has happened.
    pub fn is_broken(&self) -> bool {
        self.mapping.as_ref().is_some_and(|mapping| mapping.is_broken())
    }

    /// Reads all weights and compares them with their hashes, once for this file: what is computed with them may then be kept under
    /// the model's name. Where `notes` are given, they tell later programs that it was done, until the file is changed or the
    /// machine starts anew. Where they are to stay out of memory, they are given back. Whether they were read.
    pub fn verify(&self, notes: Option<&Folder>, give_back: bool) -> Result<bool> {
        let before = self.identity();
        let name = before.as_deref().map(note_name);
        let note = notes.zip(name.as_deref());
        if self.is_verified.load(Ordering::Relaxed) || note.is_some_and(|(notes, name)| notes.has(name)) {
            self.is_verified.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        let file = self.model.file();
        let start = file.file_bytes().saturating_sub(file.weights_bytes()) as usize;
        let mut read = start;
        let verified = file.verify(&mut |done| {
            if let Some(mapping) = self.mapping.as_ref().filter(|_| give_back) {
                let before = core::mem::replace(&mut read, start + done as usize);
                mapping.give_back(before..read);
            }
        });
        verified.map_err(|error| match &self.mapping {
            Some(mapping) => error.in_file(mapping.path().display().to_string()),
            None => error,
        })?;
        self.check_unchanged()?;
        self.is_verified.store(true, Ordering::Relaxed);
        // The state of a file that is being changed now may last no longer than the clock takes to tell.
        if let Some((notes, name)) = note
            && self.identity() == before
        {
            write_note(notes, name);
        }
        Ok(true)
    }
}

/// The name of the note that the file of this identity is verified.
fn note_name(identity: &str) -> String {
    format!("{identity}{VERIFIED}")
}

/// Notes a file as verified, in place of those of a machine's earlier starts. Where that fails, it is verified again.
fn write_note(notes: &Folder, name: &str) {
    let start = |name: &str| name.split('-').next().map(str::to_owned);
    let is_note = |name: &str| {
        let parts = name.strip_suffix(VERIFIED).unwrap_or_default();
        parts.split('-').count() == Mapping::IDENTITY_PARTS && parts.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
    };
    for entry in notes.entries(&is_note).unwrap_or_default() {
        if start(&entry.name) != start(name) {
            notes.remove(&entry.name);
        }
    }
    let _ = notes.create(name).and_then(|file| file.commit_unsynced());
}

/// A mapping that many own, as bytes.
struct Shared(Arc<Mapping>);

impl core::ops::Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
