#![doc = include_str!("FORMAT.md")]

mod bytes;
pub mod cast;
mod check;
pub mod cursor;
mod directory;
mod foreign;
mod layout;
mod provenance;
mod quality;
mod reader;
#[cfg(feature = "std")]
pub mod writer;

pub use bytes::Bytes;
pub use directory::{TensorEntry, TensorErrors};
pub use foreign::{Foreign, recognise};
pub(crate) use layout::check_name;
pub use layout::{
    ALIGNMENT, ENDIANNESS, ENTRY_BYTES, FileKind, HEADER_BYTES, MAGIC, MAJOR, MAX_DIM, MAX_NAME_BYTES, MAX_SECTIONS,
    MAX_TENSORS, MINOR, SectionId, WEIGHTS_ALIGNMENT,
};
pub use provenance::{MAX_SOURCES, Provenance, SourceRecord};
pub use quality::{Figures, MAX_OUTCOMES, MAX_WINDOW, MAX_WINDOWS, Quality};
pub use reader::File;
