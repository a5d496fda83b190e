//! Foreign checkpoints, each format read into the same [`Checkpoint`]: a configuration, a tokenizer and tensors that are
//! decoded to f32 piece by piece out of the mapped files.
//!
//! Every byte is untrusted. Counts are compared with the bytes left before anybody multiplies or allocates, names
//! from a file never become paths unless they are a plain base name, and each error names the file and a field or
//! offset.

mod encoding;
mod ggml_blocks;
mod gguf;
pub(crate) mod gguf_config;
mod gguf_meta;
mod gguf_vocabulary;
mod hf;
pub(crate) mod hf_config;
mod hf_tokenizer;
mod json;
mod json_parser;
mod llama2c;
mod rope;
mod safetensors;
mod tokenizer_bin;
mod tokenizer_json;
mod tokenizer_pipeline;
mod word_vectors;

use std::path::{Path, PathBuf};

use whit::error::{Error, Kind, Result, moves_cursor};
use whit::model::spec::Part;
use whit::model::{Config, GenerationDefaults};
use whit::os::Mapping;
use whit::tokenizer::{Token, TokenKind, Vocabulary};

use crate::families::{Family, Layout};
use encoding::Encoding;

pub use word_vectors::WordVectors;

/// Tensors of a checkpoint, at most.
const MAX_TENSORS: usize = 65_536;
/// Bytes of a name, at most.
const MAX_NAME: usize = 256;

/// The format of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFormat {
    /// A directory with config.json and safetensors.
    HuggingFace,
    /// One GGUF file.
    Gguf,
    /// A llama2.c checkpoint with its tokenizer.bin.
    Llama2c,
}

impl SourceFormat {
    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            SourceFormat::HuggingFace => "Hugging Face",
            SourceFormat::Gguf => "GGUF",
            SourceFormat::Llama2c => "llama2.c",
        }
    }
}

/// What the user may say about a source.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The tokenizer, where it is not with the checkpoint: a tokenizer.json or, for llama2.c, a tokenizer.bin.
    pub tokenizer: Option<PathBuf>,
}

/// One input file.
#[derive(Debug)]
pub struct SourceFile {
    /// Base name.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Where it lies.
    pub path: PathBuf,
    map: Mapping,
}

impl SourceFile {
    fn open(path: &Path) -> Result<Self> {
        let map = Mapping::open(path)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(SourceFile { name, bytes: map.len() as u64, path: path.to_path_buf(), map })
    }

    /// BLAKE3 of the content, computed on all cores.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::Hasher::new().update_rayon(&self.map).finalize().as_bytes()
    }

    /// Refuses to go on where the file was changed or cut since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.map.check_unchanged()
    }

    fn error(&self, error: Error) -> Error {
        error.in_file(self.path.display().to_string())
    }
}

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceTensor {
    /// Name as the format has it: of Hugging Face (also for llama2.c) or of GGUF.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Name of the encoding, as F32 or Q4_K.
    pub dtype: &'static str,
}

impl SourceTensor {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// Where a tensor's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Location {
    file: usize,
    offset: u64,
    bytes: u64,
    encoding: Encoding,
}

/// An opened checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its format.
    pub format: SourceFormat,
    /// The network's configuration, checked.
    pub config: Config,
    /// The model's name.
    pub name: String,
    /// The tokenizer; `None` where a directory has none.
    pub vocabulary: Option<Vocabulary>,
    /// The chat template (Jinja).
    pub chat_template: Option<String>,
    /// Recommended generation settings. `eos`: of generation_config.json, else config.json, else the tokenizer.
    pub generation: GenerationDefaults,
    /// Licence text.
    pub licence: Option<String>,
    /// The family that it is a checkpoint of.
    pub family: &'static Family,
    /// How its tensors are named and their rotary rows ordered.
    pub layout: Layout,
    /// The files that were read.
    pub files: Vec<SourceFile>,
    /// The tensors, in the order of the files.
    pub tensors: Vec<SourceTensor>,
    /// What the user should know: what was ignored or assumed.
    pub notes: Vec<String>,
    locations: Vec<Location>,
    /// The file that `vocabulary` comes from.
    vocabulary_file: usize,
}

impl Checkpoint {
    /// Opens the checkpoint at `path`: a Hugging Face directory, a GGUF file or a llama2.c file.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Checkpoint> {
        let shown = path.display().to_string();
        let metadata = std::fs::metadata(path)
            .map_err(|e| Error::new(Kind::NoInput, format!("cannot be opened: {e}")).in_file(shown.clone()))?;
        let mut source = if metadata.is_dir() { hf::open(path, options)? } else { open_file(path, options)? };
        source.config.check().map_err(|e| e.in_file(shown))?;
        source.fit_vocabulary()?;
        Ok(source)
    }

    /// The tokenizer's section of a flat file: `vocabulary`, checked and built, with the file in the error.
    pub fn tokenizer_section(&self) -> Result<Option<Vec<u8>>> {
        let Some(vocabulary) = &self.vocabulary else { return Ok(None) };
        let named = |e: Error| self.files[self.vocabulary_file].error(e.field("tokenizer"));
        vocabulary.build().map(Some).map_err(named)
    }

    /// Refuses to go on where an input file was changed or cut since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(SourceFile::check_unchanged)
    }

    /// As many tokens as the embedding has rows: more are refused, missing ones never occur in a text.
    fn fit_vocabulary(&mut self) -> Result<()> {
        let (Some(vocabulary), rows) = (&mut self.vocabulary, self.config.vocab_size) else { return Ok(()) };
        let n = vocabulary.tokens.len();
        if n > rows {
            let error = Error::data(format!("{n} tokens, the embedding has {rows} rows")).field("tokenizer");
            return Err(self.files[self.vocabulary_file].error(error));
        }
        // Weights for as many rows are there, so the padding is no longer than the file.
        let stored = self.tensors.iter().any(|tensor| tensor.shape.contains(&(rows as u64)));
        if n < rows && stored {
            self.notes.push(format!("the tokenizer has {n} tokens, the embedding {rows} rows: the others stay unused"));
            vocabulary.tokens.resize(rows, Token { bytes: Vec::new(), kind: TokenKind::Unused, score: 0.0 });
        }
        Ok(())
    }

    /// Decodes elements `start..start + out.len()` of a tensor, in row-major order of its shape.
    pub fn read(&self, tensor: usize, start: u64, out: &mut [f32]) -> Result<()> {
        let range = |what: String| Error::usage(what).field("tensor");
        let found = self.tensors.get(tensor).zip(self.locations.get(tensor));
        let (tensor, location) = found.ok_or_else(|| range(format!("no tensor {tensor}")))?;
        let end = start.checked_add(out.len() as u64).filter(|end| *end <= tensor.elements());
        if end.is_none() {
            let message = format!("{} elements from {start} of {}", out.len(), tensor.elements());
            return Err(range(message).field(format!("tensor \"{}\"", tensor.name)));
        }
        let Location { file, offset, bytes, encoding } = *location;
        let file = &self.files[file];
        let data = (offset as usize).checked_add(bytes as usize).and_then(|end| file.map.get(offset as usize..end));
        let Some(data) = data else {
            let error = Error::data("ends past the end of the file").field(format!("tensor \"{}\"", tensor.name));
            return Err(file.error(error.at(offset)));
        };
        encoding.decode(data, start as usize, out);
        Ok(())
    }

    /// The bytes of a tensor as they lie in the file.
    fn raw(&self, tensor: usize) -> &[u8] {
        let Location { file, offset, bytes, .. } = self.locations[tensor];
        &self.files[file].map[offset as usize..(offset + bytes) as usize]
    }

    /// Leaves out the unembedding where it is a copy of the embedding, and says so.
    fn tie(&mut self) {
        let name = |part| self.family.tensor_name(part, None, false, self.layout.naming);
        let (Some(name), Some(embedding)) = (name(Part::Unembedding), name(Part::Embedding)) else { return };
        let find = |name: &str| self.tensors.iter().position(|t| t.name == name);
        let (Some(output), Some(input)) = (find(&name), find(&embedding)) else { return };
        let same = self.locations[output].encoding == self.locations[input].encoding
            && self.tensors[output].shape == self.tensors[input].shape
            && self.raw(output) == self.raw(input);
        if same {
            self.notes.push(format!("{name} is a copy of {embedding}: stored once"));
        } else if self.config.tied {
            self.notes.push(format!("{name} is ignored: the configuration ties it to {embedding}"));
        } else {
            return;
        }
        self.config.tied = true;
        self.tensors.remove(output);
        self.locations.remove(output);
    }
}

/// The vocabulary alone of a GGUF file or a tokenizer.json, as read without a model.
pub fn open_vocabulary(path: &Path) -> Result<Vocabulary> {
    let file = SourceFile::open(path)?;
    if file.map.starts_with(b"GGUF") {
        return gguf::vocabulary(&file).map_err(|e| file.error(e));
    }
    hf::with_object(&file, |object| Ok(tokenizer_json::read(object)?.vocabulary))
}

fn open_file(path: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    let file = SourceFile::open(path)?;
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
    Err(file.error(
        error.hint("it reads Hugging Face directories, GGUF files, llama2.c .bin files and word vectors as text"),
    ))
}

/// What a file is that is no readable checkpoint, and what to do about it.
fn known_but_not_readable(file: &SourceFile) -> Option<(&'static str, &'static str)> {
    let bytes = &file.map[..];
    let text: Vec<u8> = bytes.iter().take(64).map(u8::to_ascii_lowercase).collect();
    let text = text.trim_ascii_start();
    let big = "convert it to little endian, as gguf-convert-endian does";
    let old = "a format before GGUF; find the model as GGUF or as safetensors";
    let torch = "pickled files run code when loaded; save the model as safetensors";
    Some(match bytes {
        [b'F', b'U', b'G', b'G', ..] => ("a big-endian GGUF file", big),
        [b'l', b'm', b'g', b'g', ..] | [b'g', b'g', b'm', b'l', ..] => ("a ggml file", old),
        [b't', b'j', b'g', b'g', ..] | [b'g', b'g', b'j', b't', ..] => ("a ggjt file", old),
        [b'f', b'm', b'g', b'g', ..] | [b'g', b'g', b'm', b'f', ..] => ("a ggmf file", old),
        [b'P', b'K', 3, 4, ..] => ("a ZIP archive, perhaps a PyTorch checkpoint", torch),
        [0x80, 2..=5, ..] => ("a Python pickle, perhaps a PyTorch checkpoint", torch),
        [0x1f, 0x8b, ..] => ("a gzip file", "unpack it first"),
        [_, _, _, _, _, _, 0, 0, b'{', ..] => {
            ("a safetensors file", "give the directory that holds it and config.json")
        }
        _ if text.starts_with(b"version https://git-lfs") => {
            ("a git-lfs pointer, not the file it stands for", "run `git lfs pull` in its repository")
        }
        _ if text.starts_with(b"<!doctype") || text.starts_with(b"<html") => {
            ("an HTML page", "the download fetched a web page: download the file itself")
        }
        _ if text.starts_with(b"{") => ("a JSON file", "give the directory that holds it and the weights"),
        _ => return None,
    })
}

/// Why `name` cannot be a tensor's name or a key, if so.
fn check_name(name: &str) -> std::result::Result<(), String> {
    if name.is_empty() {
        return Err("an empty name".into());
    }
    if name.len() > MAX_NAME {
        return Err(format!("a name of {} bytes, the limit is {MAX_NAME}", name.len()));
    }
    if name.chars().any(moves_cursor) {
        return Err("a name with control characters or direction marks".into());
    }
    Ok(())
}

/// Why `shape` cannot be a tensor's shape, if so.
fn check_dimensions(shape: &[u64]) -> std::result::Result<(), String> {
    if !(1..=4).contains(&shape.len()) {
        return Err(format!("{} dimensions, expected 1 to 4", shape.len()));
    }
    match shape.iter().find(|d| !(1..1 << 31).contains(*d)) {
        Some(d) => Err(format!("a dimension of {d} in shape {shape:?}, expected 1 to 2^31 - 1")),
        None => Ok(()),
    }
}
