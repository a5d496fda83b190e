//! Foreign checkpoints, each format read into the same [`Checkpoint`]: a configuration, a tokenizer and tensors that are
//! decoded to f32 piece by piece out of the mapped files.
//!
//! Every byte is untrusted. Counts are compared with the bytes left before anybody multiplies or allocates, names
//! from a file never become paths unless they are a plain base name, and each error names the file and a field or
//! offset.

mod checkpoint;
mod encoding;
pub(crate) mod gguf;
pub(crate) mod hf;
mod json;
mod llama2c;
mod lora;
mod reader;
pub(crate) mod rope;
mod safetensors;
mod source_file;
mod tensor;
mod tokenizer;
mod torch;
mod words;

use std::path::Path;

use whit::error::{Error, Kind, Result};
use whit::tokenizer::Vocabulary;

pub use checkpoint::{Checkpoint, OpenOptions, SourceFormat};
pub use reader::TensorReader;
pub use source_file::SourceFile;
pub use tensor::SourceTensor;
pub use words::WordVectors;

impl Checkpoint {
    /// Opens the checkpoint at `path`: a Hugging Face directory, a GGUF file or a llama2.c file.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Checkpoint> {
        let shown = path.display().to_string();
        let metadata = std::fs::metadata(path)
            .map_err(|e| Error::new(Kind::NoInput, format!("cannot be opened: {e}")).in_file(shown.clone()))?;
        let mut source = match metadata.is_dir() {
            true if hf::consolidated::is_consolidated(path) => hf::consolidated::open(path, options)?,
            true => hf::open(path, options)?,
            false => open_file(path, options)?,
        };
        source.config.check().map_err(|e| e.in_file(shown))?;
        source.fit_vocabulary()?;
        Ok(source)
    }
}

/// The vocabulary alone of a GGUF file, a tokenizer.json or a tokenizer.model, as read without a model.
pub fn open_vocabulary(path: &Path) -> Result<Vocabulary> {
    let file = SourceFile::open(path)?;
    if file.map.starts_with(b"GGUF") {
        return gguf::vocabulary(&file).map_err(|e| file.error(e));
    }
    if path.extension().is_some_and(|extension| extension == "model") {
        return tokenizer::sentencepiece::read(&file.map).map_err(|e| file.error(e));
    }
    hf::files::with_object(&file, |object| Ok(tokenizer::json::read(object)?.vocabulary))
}

fn open_file(path: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    let file = SourceFile::open(path)?;
    if !options.lora.is_empty() {
        let error = Error::usage("an adapter is merged into a Hugging Face directory").field("--lora");
        return Err(file.error(error.hint("give the base model as its authors published it")));
    }
    match &file.map[..file.map.len().min(4)] {
        b"GGUF" => return gguf::open(file, options),
        b"24ka" => return llama2c::open(file, options),
        _ => {}
    }
    if let Some((what, hint)) = known_but_not_readable(&file) {
        return Err(file.error(Error::data(what).field("magic").at(0).hint(hint)));
    }
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("bin")) {
        return llama2c::open(file, options);
    }
    let error = Error::data("not a checkpoint that quantize knows").field("magic").at(0);
    Err(file.error(error.hint("it reads Hugging Face directories, GGUF files, llama2.c .bin files and word vectors")))
}

/// What a file is that is no readable checkpoint, and what to do about it.
fn known_but_not_readable(file: &SourceFile) -> Option<(&'static str, &'static str)> {
    let bytes = &file.map[..];
    let text: Vec<u8> = bytes.iter().take(64).map(u8::to_ascii_lowercase).collect();
    let text = text.trim_ascii_start();
    let big = "convert it to little endian, as gguf-convert-endian does";
    let old = "a format before GGUF; find the model as GGUF or as safetensors";
    let torch = "give the directory that holds it, config.json and the tokenizer";
    Some(match bytes {
        [b'F', b'U', b'G', b'G', ..] => ("a big-endian GGUF file", big),
        [b'l', b'm', b'g', b'g', ..] | [b'g', b'g', b'm', b'l', ..] => ("a ggml file", old),
        [b't', b'j', b'g', b'g', ..] | [b'g', b'g', b'j', b't', ..] => ("a ggjt file", old),
        [b'f', b'm', b'g', b'g', ..] | [b'g', b'g', b'm', b'f', ..] => ("a ggmf file", old),
        [b'P', b'K', 3, 4, ..] => ("a ZIP archive, perhaps a PyTorch file of tensors", torch),
        [0x80, 2..=5, ..] => ("a Python pickle, perhaps a PyTorch file of tensors", torch),
        [0x1f, 0x8b, ..] => ("a gzip file", "unpack it first"),
        [_, _, _, _, _, _, 0, 0, b'{', ..] => {
            ("a safetensors file", "give the directory that holds it and config.json")
        }
        _ if text.starts_with(b"version https://git-lfs") => {
            ("a git-lfs pointer, not the file it stands for", "run `git lfs pull` in its repository")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("a text in UTF-16", "save it as UTF-8"),
        _ if text.starts_with(b"<!doctype") || text.starts_with(b"<html") => {
            ("an HTML page", "the download fetched a web page: download the file itself")
        }
        _ if text.starts_with(b"{") => ("a JSON file", "give the directory that holds it and the weights"),
        _ => return None,
    })
}
