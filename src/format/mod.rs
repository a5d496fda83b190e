//! The flat file.

pub mod cursor;
