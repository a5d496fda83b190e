//! The files of a Hugging Face directory, each one optional and of bounded length, and the JSON in them.

use std::path::Path;

use whit::error::{Error, Result};

use crate::source::json::{Json, Value};
use crate::source::source_file::SourceFile;

/// Bytes of a configuration, at most.
pub(in crate::source) const MAX_CONFIG: u64 = 16 << 20;

/// The file `name` of the directory, if there is one.
pub(in crate::source) fn optional(dir: &Path, name: &str, limit: u64) -> Result<Option<SourceFile>> {
    let path = dir.join(name);
    if std::fs::symlink_metadata(&path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    check_link(dir, &path)?;
    let file = SourceFile::open(&path)?;
    if file.bytes > limit {
        return Err(file.error(Error::data(format!("{} bytes, the limit is {limit}", file.bytes)).at(limit)));
    }
    Ok(Some(file))
}

/// Refuses a link at `path` that leads out of the directory: a checkpoint could have any file of this machine put into what is
/// made of it. In a hub's cache (`snapshots/REVISION`), all files are links to `../../blobs`, which belong to it.
pub(in crate::source) fn check_link(dir: &Path, path: &Path) -> Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Ok(());
    }
    // A link that leads nowhere is told when it is opened.
    let (Ok(target), Ok(dir)) = (path.canonicalize(), dir.canonicalize()) else { return Ok(()) };
    let snapshots = dir.parent().filter(|parent| parent.ends_with("snapshots"));
    let blobs = snapshots.and_then(Path::parent).map(|model| model.join("blobs"));
    if target.starts_with(&dir) || blobs.is_some_and(|blobs| target.starts_with(blobs)) {
        return Ok(());
    }
    let error = Error::data("this is a link out of the directory").in_file(path.display().to_string());
    Err(error.hint("copy the directory with its links resolved, as `cp -rL` does"))
}

/// What `read` makes of the JSON object in `file`.
pub(in crate::source) fn with_object<T>(file: &SourceFile, read: impl FnOnce(Value<'_>) -> Result<T>) -> Result<T> {
    let json = Json::parse(&file.map, 0).map_err(|e| file.error(e))?;
    json.object().and_then(read).map_err(|e| file.error(e))
}
