//! `whit embed`: texts as vectors.

use super::args::{Embed, Pool, VectorFormat};
use super::input::{self, ModelFile};
use super::json::{self, Object};
use super::output::{End, Outcome, Output, note};
use super::plan::Wanted;
use super::progress;
use super::setup::{compute, held_by};
use super::streaming;
use serde_json::Value;
use std::path::Path;
use whit::error::{Error, Result};
use whit::generate::prompt_tokens;
use whit::inspect::{EmbedOptions, Embedder, Pooling};
use whit::model::{Model, SessionOptions};
use whit::os::atomic::AtomicFile;
use whit::os::interrupt;
use whit::quant::Inputs;
use whit::tokenizer::Specials;
use whit::{Compute, TokenId};

/// Tokens of a pass.
const BATCH: usize = 192;
/// Texts in memory together, if there is room.
const MOST_TEXTS: usize = 16;

/// A text, and what its line calls it, as JSON.
struct Given {
    /// Which line of a file it is, from 1 on.
    line: usize,
    id: Option<String>,
    text: String,
}

pub(super) fn run(args: &Embed) -> Outcome<()> {
    let format = format(args)?;
    keeps_what_it_reads(args)?;
    let source = ModelFile::open(args.model.model.as_deref())?;
    let model = source.model()?;
    let given = given(args)?;
    let specials = if args.special { Specials::Parse } else { Specials::AsText };
    let tokens = given.iter().map(|given| {
        let tokens = prompt_tokens(&model, &[], &given.text, specials);
        let tokens = tokens.and_then(|tokens| held_by(&model, tokens.len()).map(|_| tokens));
        tokens.map_err(|error| match &args.jsonl {
            Some(path) => of_line(&error, given.line, path),
            None => error.field("tokens of the text"),
        })
    });
    let tokens = tokens.collect::<Result<Vec<_>>>()?;
    // Nothing is computed for a file that cannot be written.
    let file = args.output.as_deref().map(|path| AtomicFile::create(path, args.force)).transpose()?;
    let compute = compute(&args.compute)?;
    let options = options(args, &model, &compute, &tokens)?;
    tell_of_scales(args, &model);
    let mut embedder = Embedder::new(&model, &compute, options)?;
    interrupt::watch();
    let bar = progress::steps(tokens.len() as u64, args.progress.quiet || tokens.len() < 2);
    let vectors = embedder.embed(&tokens, &mut |n_done| {
        bar.set_position(n_done as u64);
        !interrupt::requested()
    });
    bar.finish_and_clear();
    source.check_unchanged()?;
    let vectors = vectors.map_err(|error| match args.jsonl.as_deref() {
        Some(path) => error.in_file(path.display().to_string()),
        None => error,
    })?;
    let Some(vectors) = vectors else { return Err(End::Interrupted) };
    let dim = model.config().dim;
    let rows = || given.iter().zip(&tokens).zip(vectors.chunks_exact(dim)).enumerate();
    let lines = rows().map(|(i, ((given, tokens), vector))| row(i, given, tokens.len(), vector));
    let written = match format {
        VectorFormat::Npy => npy(tokens.len(), dim, &vectors),
        VectorFormat::Jsonl => lines.map(|line| line + "\n").collect::<String>().into_bytes(),
        VectorFormat::Json => {
            let head = Object::default().text("model", &source.short_name()).raw("dim", dim);
            let head = head.text("pooling", name(args.pooling)).raw("normalized", !args.no_normalize);
            (head.raw("embeddings", json::list(lines)).line() + "\n").into_bytes()
        }
    };
    write(file, &written)
}

/// The form that is asked for, in words or by the name of the file.
fn format(args: &Embed) -> Result<VectorFormat> {
    let ending = args.output.as_deref().and_then(Path::extension).map(|ending| ending.to_string_lossy().to_lowercase());
    let named = match ending.as_deref() {
        Some("npy") => VectorFormat::Npy,
        Some("jsonl") => VectorFormat::Jsonl,
        _ => VectorFormat::Json,
    };
    match args.format.unwrap_or(named) {
        VectorFormat::Npy if args.output.is_none() => {
            Err(Error::usage("npy is no text, and needs a file").field("format").hint("name one with -o FILE"))
        }
        format => Ok(format),
    }
}

/// The texts of the arguments.
fn given(args: &Embed) -> Result<Vec<Given>> {
    let Some(path) = &args.jsonl else {
        let text = input::given(&args.text)?;
        let missing = || Error::usage("there is no text").field("TEXT").hint("give one, or --jsonl FILE");
        return Ok(vec![Given { line: 1, id: None, text: text.ok_or_else(missing)? }]);
    };
    let text = input::text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let given = lines.map(|(i, line)| line_of(i + 1, line).map_err(|error| of_line(&error, i + 1, path)));
    let given = given.collect::<Result<Vec<_>>>()?;
    if given.is_empty() {
        return Err(Error::data("there is no line with a text").in_file(path.display().to_string()));
    }
    Ok(given)
}

/// An error as that of a line of a file.
fn of_line(error: &Error, line: usize, path: &Path) -> Error {
    Error::new(error.kind(), error.message()).field(format!("line {line}")).in_file(path.display().to_string())
}

/// The text of a line of JSON.
fn line_of(number: usize, line: &str) -> Result<Given> {
    let wrong = || Error::data("this is neither a string nor an object with a string \"text\" or \"input\"");
    match serde_json::from_str(line).map_err(|error| Error::data(error.to_string()))? {
        Value::String(text) => Ok(Given { line: number, id: None, text }),
        Value::Object(fields) => {
            let text = fields.get("text").or(fields.get("input")).and_then(Value::as_str).ok_or_else(wrong)?;
            Ok(Given { line: number, id: fields.get("id").map(Value::to_string), text: text.into() })
        }
        _ => Err(wrong()),
    }
}

/// Refuses an output that is a file which the command reads, also where others may be replaced.
fn keeps_what_it_reads(args: &Embed) -> Result<()> {
    let place = |path: &Path| path.canonicalize().ok();
    let Some(output) = args.output.as_deref().filter(|path| place(path).is_some()) else { return Ok(()) };
    let read = [&args.model.model, &args.jsonl, &args.text.file];
    if read.into_iter().flatten().any(|path| place(path) == place(output)) {
        let error = Error::usage("it is a file that this command reads").in_file(output.display().to_string());
        return Err(error.hint("name another output"));
    }
    Ok(())
}

/// Options of as many texts together as there is room for.
fn options(args: &Embed, model: &Model, compute: &Compute, tokens: &[Vec<TokenId>]) -> Result<EmbedOptions> {
    let longest = tokens.iter().map(Vec::len).max().unwrap_or(1);
    let kv = args.compute.kv.into();
    let session = SessionOptions { context_length: longest, kv, batch: BATCH, logit_rows: 1, hold_all: false };
    let mut n_texts = MOST_TEXTS.min(tokens.len()).max(1);
    loop {
        let wanted = Wanted::one(model, session, compute, &args.compute, "a text of tokens");
        match (Wanted { n_texts: n_texts as u64, ..wanted }.check(), n_texts) {
            (Ok(plan), _) => break streaming::refuse(&plan, args.compute.max_memory)?,
            (Err(error), 1) => return Err(error),
            (Err(_), n) => n_texts = n / 2,
        }
    }
    let pooling = match args.pooling {
        Pool::Mean => Pooling::Mean,
        Pool::Last => Pooling::Last,
        Pool::Cls => Pooling::First,
    };
    let normalizes = !args.no_normalize;
    Ok(EmbedOptions { pooling, normalizes, context_length: longest, kv, batch: BATCH, n_texts })
}

/// Says where the states of a file are not those of its checkpoint: `quantize` smooths what an unembedding of integers reads.
fn tell_of_scales(args: &Embed, model: &Model) {
    let smoothed = model.file().provenance().is_some_and(|provenance| provenance.converter.contains("inputs smoothed"));
    let reads_integers = model.unembedding().dtype().format().inputs == Inputs::Quantized;
    if !args.progress.quiet && smoothed && reads_integers && !model.config().tied {
        note(format_args!(
            "whit: elements of these vectors may be scaled by powers of two; `quantize --effort fast` or `-w fp16` scales none"
        ));
    }
}

fn name(pooling: Pool) -> &'static str {
    match pooling {
        Pool::Mean => "mean",
        Pool::Last => "last",
        Pool::Cls => "cls",
    }
}

/// A vector as a JSON object; each number is the shortest that is read as this f32.
fn row(i: usize, given: &Given, n_tokens: usize, vector: &[f32]) -> String {
    let object = Object::default().raw("index", i);
    let object = match &given.id {
        Some(id) => object.raw("id", id),
        None => object,
    };
    object.raw("tokens", n_tokens).raw("embedding", json::list(vector.iter().map(|value| format!("{value:?}")))).line()
}

/// NumPy's array file, version 1.0, of `vectors` (rows, dim): a header that fills whole units of 64 bytes, then the numbers.
fn npy(rows: usize, dim: usize, vectors: &[f32]) -> Vec<u8> {
    const START: usize = 10;
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    let filled = (START + header.len() + 1).next_multiple_of(64) - START;
    header = format!("{header:<0$}\n", filled - 1);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(vectors.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Writes the bytes to the file, or to standard output.
fn write(file: Option<AtomicFile>, bytes: &[u8]) -> Outcome<()> {
    if let Some(mut file) = file {
        file.write(bytes)?;
        return Ok(file.commit()?);
    }
    let mut out = Output::new();
    out.write(&String::from_utf8_lossy(bytes))?;
    out.flush()
}
