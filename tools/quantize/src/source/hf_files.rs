//! The files of a Hugging Face directory, each one optional and of bounded length, and the JSON in them.

use std::path::Path;

use whit::error::{Error, Result};

use super::json::{Json, Value};
use super::source_file::SourceFile;

/// Bytes of a configuration, at most.
pub(super) const MAX_CONFIG: u64 = 16 << 20;

/// The file `name` of the directory, if there is one.
pub(super) fn optional(dir: &Path, name: &str, limit: u64) -> Result<Option<SourceFile>> {
    let path = dir.join(name);
    if std::fs::symlink_metadata(&path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let file = SourceFile::open(&path)?;
    if file.bytes > limit {
        return Err(file.error(Error::data(format!("{} bytes, the limit is {limit}", file.bytes)).at(limit)));
    }
    Ok(Some(file))
}

/// What `read` makes of the JSON object in `file`.
pub(super) fn with_object<T>(file: &SourceFile, read: impl FnOnce(Value<'_>) -> Result<T>) -> Result<T> {
    let json = Json::parse(&file.map, 0).map_err(|e| file.error(e))?;
    json.object().and_then(read).map_err(|e| file.error(e))
}
