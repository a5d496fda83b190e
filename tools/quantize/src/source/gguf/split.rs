//! Models that are split into several GGUF files, as llama-gguf-split does: NAME-00001-of-00003.gguf and so on. The first has the
//! metadata of the model, the others say only which part they are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use whit::error::{Error, Result, listed, printable};
use whit::format::cursor::Cursor;

use super::header::header;
use super::meta::Metadata;
use crate::source::hf::files::check_link;
use crate::source::source_file::SourceFile;
use crate::source::tensor::{Location, MAX_TENSORS, SourceTensor};

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSORS: &str = "split.tensors.count";
const MAX_PARTS: u64 = 1024;

/// Which part of how many a file says that it is.
#[derive(Debug, PartialEq)]
struct Part {
    /// From 0 on.
    number: u64,
    count: u64,
}

/// All files of the model that `file` is a part of, in order; `file` alone, where it is not split.
pub(in crate::source) fn parts(file: SourceFile) -> Result<Vec<SourceFile>> {
    let Some(Part { number, count }) = part(&file)? else { return Ok(vec![file]) };
    let paths = paths(&file, number, count)?;
    let missing = |path: &&PathBuf| std::fs::symlink_metadata(path).is_err();
    let missing: Vec<String> = paths.iter().filter(missing).map(|path| name(path)).collect();
    if !missing.is_empty() {
        let error = Error::data(format!(
            "{} missing: {}",
            if missing.len() == 1 { "a part is" } else { "parts are" },
            listed(&missing)
        ));
        return Err(file.error(error.field(COUNT).hint("copy all parts of the model into one directory")));
    }
    let mut files = Vec::new();
    let mut given = Some(file);
    for (i, path) in (0..).zip(&paths) {
        let file = match given.take_if(|_| i == number) {
            Some(file) => file,
            None => {
                check_link(path.parent().unwrap_or(Path::new("")), path)?;
                SourceFile::open(path)?
            }
        };
        if part(&file)? != Some(Part { number: i, count }) {
            let error = Error::data(format!("not part {} of {count}, as its name says", i + 1)).field(NUMBER);
            return Err(file.error(error.hint("copy all parts of the model again, from one place")));
        }
        files.push(file);
    }
    Ok(files)
}

/// The part that a file is; `None` where it is a whole model.
fn part(file: &SourceFile) -> Result<Option<Part>> {
    let read = || {
        let (_, metadata) = header(&mut Cursor::new(&file.map, "GGUF"))?;
        let count = metadata.integer(COUNT)?.unwrap_or(1);
        if count <= 1 {
            return Ok(None);
        }
        let number = metadata.integer(NUMBER)?.ok_or_else(|| metadata.error(COUNT, format!("missing: {NUMBER}")))?;
        if count > MAX_PARTS || number >= count {
            return Err(metadata.error(NUMBER, format!("part {number} from 0 on, of {count}, at most {MAX_PARTS}")));
        }
        Ok(Some(Part { number, count }))
    };
    read().map_err(|e| file.error(e))
}

/// The paths of all parts, which differ in their number alone.
fn paths(file: &SourceFile, number: u64, count: u64) -> Result<Vec<PathBuf>> {
    let end = |number: u64| format!("-{:05}-of-{count:05}.gguf", number + 1);
    match file.path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(&end(number))) {
        Some(stem) => Ok((0..count).map(|i| file.path.with_file_name(format!("{stem}{}", end(i)))).collect()),
        None => {
            let error = Error::data(format!("part {} of {count} of a split model, but not of such a name", number + 1));
            let hint = format!("give the parts their names again, as MODEL{}: the others are found by it", end(number));
            Err(file.error(error.field(COUNT).hint(hint)))
        }
    }
}

fn name(path: &Path) -> String {
    printable(&path.file_name().unwrap_or_default().to_string_lossy())
}

/// Refuses tensors that are in two parts, and fewer or more of them than the first part's `metadata` says.
pub(in crate::source) fn check(
    metadata: &Metadata<'_>,
    files: &[SourceFile],
    tensors: &[SourceTensor],
    locations: &[Location],
) -> Result<()> {
    if files.len() == 1 {
        return Ok(());
    }
    let mut seen = HashMap::new();
    for (tensor, location) in tensors.iter().zip(locations) {
        if let Some(other) = seen.insert(&tensor.name, location.file) {
            let error = Error::data(format!("is in {} and in {}", files[other].name, files[location.file].name));
            let error = error.field(format!("tensor \"{}\"", tensor.name)).at(location.offset);
            return Err(error.hint("copy all parts of the model again, from one place"));
        }
    }
    let said = metadata.integer(TENSORS)?.unwrap_or(tensors.len() as u64);
    if said != tensors.len() as u64 || tensors.len() > MAX_TENSORS {
        let message = format!("{said} tensors, the parts hold {}, the limit is {MAX_TENSORS}", tensors.len());
        return Err(metadata.error(TENSORS, message).hint("copy all parts of the model again, from one place"));
    }
    Ok(())
}
