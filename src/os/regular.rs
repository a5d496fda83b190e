//! Regular files, opened without waiting for what is none: directories, pipes, sockets and devices are refused by name.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::path::Path;

use super::failed;
use crate::error::{Error, Kind, Result};

/// Opens the file at `path` as `options` say.
pub(super) fn open(path: &Path, options: OpenOptions) -> Result<(File, Metadata)> {
    let no_input = |error| failed(Kind::NoInput, path, "cannot open", &error);
    let metadata = fs::metadata(path).map_err(|error| match fs::symlink_metadata(path) {
        Ok(link) if link.is_symlink() && error.kind() == std::io::ErrorKind::NotFound => {
            refuse(path, "a symbolic link to a file that does not exist")
        }
        _ => no_input(error),
    })?;
    check_type(path, metadata.file_type())?;
    // A pipe that took the file's place since it was looked at must not hang us.
    #[cfg(unix)]
    let options = {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = options;
        options.custom_flags(libc::O_NONBLOCK);
        options
    };
    let file = options.open(path).map_err(no_input)?;
    // The name may lead elsewhere by now.
    let metadata = file.metadata().map_err(no_input)?;
    check_type(path, metadata.file_type())?;
    Ok((file, metadata))
}

fn refuse(path: &Path, what: &str) -> Error {
    let error = Error::new(Kind::NoInput, format!("this is {what}, not a regular file"));
    error.in_file(path.display().to_string())
}

fn check_type(path: &Path, file_type: FileType) -> Result<()> {
    match super::type_name(file_type) {
        None => Ok(()),
        Some(what) => Err(refuse(path, what)),
    }
}
