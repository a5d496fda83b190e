//! What a command reads: model files and texts.

use super::args::TextArg;
use super::output::Outcome;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use whit::error::{Error, Kind, Result};
use whit::format::File;
use whit::generate;
use whit::model::Model;
use whit::os::Mapping;

/// The largest text a command reads.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// The bytes of a model: a mapped file or the one in the binary.
#[derive(Debug)]
pub(crate) enum ModelFile {
    /// A file.
    Mapped(Arc<Mapping>),
    /// The embedded story model.
    Embedded(&'static [u8]),
}

impl ModelFile {
    /// The file at `path`, or the embedded model where there is none.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        match (path, whit::default_model()) {
            (Some(path), _) => Ok(ModelFile::Mapped(Arc::new(generate::ModelFile::map(path)?))),
            (None, Some(bytes)) => Ok(ModelFile::Embedded(bytes)),
            (None, None) => Err(Error::usage("this build has no model of its own").hint("name one with -m FILE")),
        }
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            ModelFile::Mapped(mapping) => mapping.path().display().to_string(),
            ModelFile::Embedded(_) => "the embedded model".into(),
        }
    }

    /// The name without its folders.
    pub(crate) fn short_name(&self) -> String {
        match self {
            ModelFile::Mapped(mapping) => {
                let path = mapping.path();
                path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy()).into_owned()
            }
            ModelFile::Embedded(_) => self.name(),
        }
    }

    /// The file's front, checked.
    pub(crate) fn file(&self) -> Result<File<'_>> {
        let bytes = match self {
            ModelFile::Mapped(mapping) => mapping,
            ModelFile::Embedded(bytes) => *bytes,
        };
        File::open(bytes).map_err(|error| error.in_file(self.name()))
    }

    /// The network in the file.
    pub(crate) fn model(&self) -> Result<Arc<Model>> {
        self.opened().map(|file| Arc::clone(file.model()))
    }

    /// The network with its file.
    pub(crate) fn opened(&self) -> Result<generate::ModelFile> {
        let opened = match self {
            ModelFile::Mapped(mapping) => generate::ModelFile::of_mapping(Arc::clone(mapping)),
            ModelFile::Embedded(bytes) => generate::ModelFile::of_bytes(*bytes),
        };
        opened.map_err(|error| error.in_file(self.name()))
    }

    /// What came of work with the file; where the file was changed meanwhile that is the error, whatever came of it.
    pub(crate) fn if_unchanged<T>(&self, outcome: Outcome<T>) -> Outcome<T> {
        self.check_unchanged()?;
        outcome
    }

    /// An error where the file changed since it was opened: results so far may be wrong.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        match self {
            ModelFile::Mapped(mapping) => mapping.check_unchanged(),
            ModelFile::Embedded(_) => Ok(()),
        }
    }
}

/// The text that the arguments give, if they give one.
pub(crate) fn given(args: &TextArg) -> Result<Option<String>> {
    match (args.text.as_ref().or(args.prompt.as_ref()), &args.file) {
        (_, Some(path)) => text(path).map(Some),
        (Some(given), None) if given == "-" => text(Path::new("-")).map(Some),
        (given, None) => Ok(given.cloned()),
    }
}

/// The text in a file, or in standard input where the path is `-`. It must be UTF-8.
pub(crate) fn text(path: &Path) -> Result<String> {
    let (name, bytes) = if path == Path::new("-") {
        let name = "standard input".to_string();
        let mut bytes = Vec::new();
        let read = io::stdin().lock().take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::new(Kind::Io, error.to_string()).in_file(&name))?;
        (name, bytes)
    } else {
        let name = path.display().to_string();
        let file = fs::File::open(path).map_err(|error| Error::new(Kind::NoInput, error.to_string()).in_file(&name))?;
        let mut bytes = Vec::new();
        let read = file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::new(Kind::Io, error.to_string()).in_file(&name))?;
        (name, bytes)
    };
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(Error::data(format!("the text is longer than {MAX_TEXT_BYTES} bytes")).in_file(name));
    }
    utf8(bytes).map_err(|error| error.in_file(name))
}

pub(super) fn utf8(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = match (error.utf8_error().error_len(), error.as_bytes().get(at)) {
            (None, _) => "the text ends within a UTF-8 character".to_string(),
            (_, Some(byte)) => format!("the text is not UTF-8: unexpected byte {byte:#04x}"),
            (_, None) => "the text is not UTF-8".to_string(),
        };
        Error::data(message).at(at as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_utf8_is_told_by_its_offset() {
        let cases: [(&[u8], u64); 6] = [
            (b"ab\x80c", 2),
            (b"\xc0\x80", 0),
            (b"x\xed\xa0\x80", 1),
            (b"\xf4\x90\x80\x80", 0),
            (b"abc\xf0\x9f\x98", 3),
            (b"\xff", 0),
        ];
        for (bytes, offset) in cases {
            assert_eq!(utf8(bytes.to_vec()).expect_err("not UTF-8").offset(), Some(offset));
        }
        assert_eq!(utf8("é\0".into()), Ok("é\0".into()));
    }
}
