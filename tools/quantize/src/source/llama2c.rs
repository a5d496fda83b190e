//! Checkpoints of llama2.c: version 0 (no magic) and version 1, both f32.

use std::path::PathBuf;

use whit::error::{Error, Kind, Result};
use whit::format::cursor::Cursor;
use whit::model::{self, GenerationDefaults, Uniform};

use super::checkpoint::{Checkpoint, OpenOptions, SourceFormat};
use super::encoding::Encoding;
use super::rope;
use super::source_file::SourceFile;
use super::tensor::{Location, SourceTensor};
use super::tokenizer::bin;
use crate::families::{Factors, LLAMA, Layout, Naming};

const MAGIC: u32 = 0x616b_3432;
/// Bytes before the weights of version 1.
const HEADER_V1: u64 = 256;

/// The header, checked.
#[derive(Debug, Clone, Copy)]
struct Header {
    version: u32,
    /// Bytes before the weights.
    bytes: u64,
    dim: u64,
    hidden_dim: u64,
    n_layers: u64,
    n_heads: u64,
    n_kv_heads: u64,
    vocab_size: u64,
    context_length: u64,
    tied: bool,
}

impl Header {
    fn head_dim(&self) -> u64 {
        self.dim / self.n_heads
    }
}

/// Opens a llama2.c checkpoint.
pub(super) fn open(file: SourceFile, options: &OpenOptions) -> Result<Checkpoint> {
    let header = header(&file).map_err(|e| file.error(e))?;
    let (tensors, locations) = tensors(&header, file.bytes).map_err(|e| file.error(e))?;
    let network = Uniform {
        family: model::Family::Llama,
        dim: header.dim as usize,
        hidden_dim: header.hidden_dim as usize,
        n_layers: header.n_layers as usize,
        n_heads: header.n_heads as usize,
        n_kv_heads: header.n_kv_heads as usize,
        head_dim: header.head_dim() as usize,
        vocab_size: header.vocab_size as usize,
        context_length: header.context_length as usize,
        norm_eps: 1e-5,
        sliding_window: None,
        tied: header.tied,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        rope_freqs: rope::frequencies(header.head_dim() as usize, 10_000.0),
    };
    network.check().map_err(|e| file.error(e))?;
    let config = network.config();
    let tokenizer = tokenizer(&file, options, config.vocab_size)?;
    let vocabulary = bin::read(&tokenizer.map, config.vocab_size).map_err(|e| tokenizer.error(e))?;
    let name = file.path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Checkpoint {
        format: SourceFormat::Llama2c,
        config,
        name,
        vocabulary: Some(vocabulary),
        vocabulary_file: 1,
        chat_template: None,
        // These models were trained on texts that BOS parts; llama2.c stops there.
        generation: GenerationDefaults { eos: vec![bin::BOS, bin::EOS], ..GenerationDefaults::default() },
        licence: None,
        family: &LLAMA,
        layout: Layout { naming: Naming::HuggingFace, interleaved_rotary: true, turning: None },
        files: vec![file, tokenizer],
        tensors,
        notes: Vec::new(),
        locations,
        factors: Factors::default(),
        merges: Default::default(),
    })
}

/// The tokenizer that was named, or one beside the checkpoint.
fn tokenizer(file: &SourceFile, options: &OpenOptions, vocab_size: usize) -> Result<SourceFile> {
    if let Some(path) = &options.tokenizer {
        return SourceFile::open(path);
    }
    let names = [format!("tok{vocab_size}.bin"), "tokenizer.bin".to_string()];
    let paths: Vec<PathBuf> = names.iter().map(|name| file.path.with_file_name(name)).collect();
    match paths.iter().find(|path| path.exists()) {
        Some(path) => SourceFile::open(path),
        None => {
            let error = Error::new(Kind::NoInput, format!("neither {} nor {} lies beside it", names[0], names[1]));
            Err(file.error(error.field("tokenizer").hint("name the checkpoint's tokenizer with --tokenizer")))
        }
    }
}

fn header(file: &SourceFile) -> Result<Header> {
    let mut input = Cursor::new(&file.map, "llama2.c header");
    let mut version = 0;
    if file.map.starts_with(&MAGIC.to_le_bytes()) {
        input.take(4, "magic")?;
        version = input.u32("version")?;
        if version == 2 {
            let error = Error::data("a llama2.c checkpoint of version 2, quantized to int8").field("version").at(4);
            return Err(error.hint("convert the f32 checkpoint instead: quantizing twice loses quality"));
        }
        if version != 1 {
            let error = Error::data(format!("llama2.c version {version}")).field("version").at(4);
            return Err(error.hint("versions 0 and 1 are read"));
        }
    }
    let vocab_at = input.position() + 20;
    let limits = [
        ("dim", 1 << 16),
        ("hidden_dim", 1 << 20),
        ("n_layers", 1024),
        ("n_heads", 1024),
        ("n_kv_heads", 1024),
        ("vocab_size", 1 << 20),
        ("seq_len", 1 << 20),
    ];
    let mut untied = false;
    let mut values = [0; 7];
    for ((field, limit), value) in limits.into_iter().zip(&mut values) {
        let at = input.position();
        let mut number = input.u32(field)? as i32;
        if version == 0 && at == vocab_at && number < 0 {
            untied = true;
            number = number.checked_neg().unwrap_or(0);
        }
        if !(1..=limit).contains(&number) {
            let error = Error::data(format!("{number} is outside 1..={limit}")).field(field).at(at as u64);
            return Err(error.hint("is this a llama2.c checkpoint?"));
        }
        *value = number as u64;
    }
    let mut bytes = 28;
    if version == 1 {
        let at = input.position() as u64;
        let flag = input.take(1, "shared_classifier")?[0];
        if flag > 1 {
            return Err(Error::data(format!("{flag}, expected 0 or 1")).field("shared_classifier").at(at));
        }
        untied = flag == 0;
        bytes = HEADER_V1;
    }
    let [dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, context_length] = values;
    let relation = |field: &str, message| Err(Error::data(message).field(field.to_string()).at(0));
    if !dim.is_multiple_of(n_heads) || !(dim / n_heads).is_multiple_of(2) {
        return relation("n_heads", format!("dim {dim} / n_heads {n_heads} is no even number"));
    }
    if !n_heads.is_multiple_of(n_kv_heads) {
        return relation("n_kv_heads", format!("{n_kv_heads} does not divide n_heads {n_heads}"));
    }
    let tied = !untied;
    Ok(Header { version, bytes, dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, context_length, tied })
}

/// One kind of weight in the order of the file.
enum Part {
    /// One tensor: name, shape.
    One(&'static str, Vec<u64>),
    /// A tensor for each layer: name within the layer, shape.
    Layers(&'static str, Vec<u64>),
    /// f32 values that follow from the configuration.
    Skipped(u64),
}

fn parts(header: &Header) -> Vec<Part> {
    let Header { dim, hidden_dim, vocab_size, context_length, n_kv_heads, .. } = *header;
    let kv_dim = n_kv_heads * header.head_dim();
    let embedding = Part::One("model.embed_tokens.weight", vec![vocab_size, dim]);
    let attention_norm = Part::Layers("input_layernorm", vec![dim]);
    let attention = [
        Part::Layers("self_attn.q_proj", vec![dim, dim]),
        Part::Layers("self_attn.k_proj", vec![kv_dim, dim]),
        Part::Layers("self_attn.v_proj", vec![kv_dim, dim]),
        Part::Layers("self_attn.o_proj", vec![dim, dim]),
    ];
    let mlp_norm = Part::Layers("post_attention_layernorm", vec![dim]);
    let mlp = [
        Part::Layers("mlp.gate_proj", vec![hidden_dim, dim]),
        Part::Layers("mlp.down_proj", vec![dim, hidden_dim]),
        Part::Layers("mlp.up_proj", vec![hidden_dim, dim]),
    ];
    let norm = Part::One("model.norm.weight", vec![dim]);
    let mut out = Vec::new();
    if header.version == 0 {
        out.extend([embedding, attention_norm]);
        out.extend(attention);
        out.push(mlp_norm);
        out.extend(mlp);
        out.extend([norm, Part::Skipped(context_length * header.head_dim())]);
    } else {
        out.extend([attention_norm, mlp_norm, norm, embedding]);
        out.extend(attention);
        out.extend(mlp);
    }
    if !header.tied {
        out.push(Part::One("lm_head.weight", vec![vocab_size, dim]));
    }
    out
}

/// The bytes of the file that a header describes.
fn length(header: &Header, parts: &[Part]) -> u64 {
    let values = |shape: &[u64]| shape.iter().product::<u64>();
    let weights = parts.iter().map(|part| match part {
        Part::One(_, shape) => values(shape),
        Part::Layers(_, shape) => header.n_layers * values(shape),
        Part::Skipped(n) => *n,
    });
    header.bytes + 4 * weights.sum::<u64>()
}

/// The tensors of a file of `file_bytes`, which are listed once the file is as long as its header says.
fn tensors(header: &Header, file_bytes: u64) -> Result<(Vec<SourceTensor>, Vec<Location>)> {
    let parts = parts(header);
    let described = length(header, &parts);
    if file_bytes < described {
        let message = format!("the header describes {described} bytes, {} are missing", described - file_bytes);
        let error = Error::data(message).field("length").at(file_bytes);
        return Err(error.hint("the file is cut short: copy it again"));
    }
    if file_bytes > described {
        let message = format!("the header describes {described} bytes, {} more follow", file_bytes - described);
        return Err(Error::data(message).field("length").at(described).hint("is this a llama2.c checkpoint?"));
    }
    let (mut tensors, mut locations) = (Vec::new(), Vec::new());
    let mut offset = header.bytes;
    let mut add = |name: String, shape: &[u64], offset: &mut u64| {
        let bytes = shape.iter().product::<u64>() * 4;
        tensors.push(SourceTensor { name, shape: shape.to_vec(), dtype: "F32" });
        locations.push(Location {
            file: 0,
            offset: *offset,
            bytes,
            encoding: Encoding::F32,
            strides: None,
            factor: 1.0,
        });
        *offset += bytes;
    };
    for part in parts {
        match part {
            Part::One(name, shape) => add(name.to_string(), &shape, &mut offset),
            Part::Layers(name, shape) => {
                for layer in 0..header.n_layers {
                    add(format!("model.layers.{layer}.{name}.weight"), &shape, &mut offset);
                }
            }
            Part::Skipped(values) => offset += 4 * values,
        }
    }
    Ok((tensors, locations))
}
