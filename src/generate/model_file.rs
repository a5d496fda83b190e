//! A model and the file that it lies in.

use crate::error::Result;
use crate::format::{Bytes, File};
use crate::model::Model;
use crate::os::Mapping;
use alloc::sync::Arc;
use std::path::Path;

/// An opened model with its file, if it has one. Copies share both.
#[derive(Clone)]
pub struct ModelFile {
    model: Arc<Model>,
    mapping: Option<Arc<Mapping>>,
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
        let model = Arc::new(Model::open(Bytes::new(Shared(Arc::clone(&mapping))))?);
        Ok(ModelFile { model, mapping: Some(mapping) })
    }

    /// Opens a file that is in memory.
    pub fn of_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        Ok(ModelFile { model: Arc::new(Model::open(bytes)?), mapping: None })
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
}

/// A mapping that many own, as bytes.
struct Shared(Arc<Mapping>);

impl core::ops::Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
