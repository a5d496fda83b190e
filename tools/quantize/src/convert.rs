//! From a foreign checkpoint to a `.whit` file, a tensor at a time: find each tensor of the family's table, read its rows
//! as f32, encode them into panels on all cores, measure the error, write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use rayon::prelude::*;
use whit::error::{Error, Result, listed, printable};
use whit::format::writer::{TensorPlan, Writer};
use whit::format::{self, FileKind, Provenance, SectionId, TensorErrors};
use whit::model::spec::{self, Origin, Role, Shape, TensorSpec};
use whit::os::atomic::Leftover;
use whit::quant::{self, ALIGNMENT, Dtype, Matrix, PANEL_ROWS};

use crate::source::{Source, SourceFile, WordVectors};

/// Output bytes encoded before they are written: bounds the private memory.
const CHUNK_BYTES: usize = 4 << 20;

/// Which dtype each role gets.
#[derive(Debug, Clone)]
pub struct Dtypes {
    /// For every matrix without a word of its own.
    pub weights: Dtype,
    /// Per role.
    pub keep: BTreeMap<&'static str, Dtype>,
}

impl Dtypes {
    /// The dtype of a role: what was asked for, or the smallest the role allows where that is too small.
    pub fn of(&self, role: Role) -> Dtype {
        let wanted = *self.keep.get(role.name()).unwrap_or(&self.weights);
        if role.allows(wanted) { wanted } else { role.min_dtype() }
    }
}

/// A tensor as it was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Name in the file.
    pub name: String,
    /// Dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Type of the stored weights.
    pub dtype: Dtype,
    /// Stored bytes.
    pub bytes: u64,
    /// Errors against the checkpoint's values.
    pub errors: TensorErrors,
}

/// A tensor of the table with the source tensor it is read from.
struct Planned {
    spec: TensorSpec,
    origin: Origin,
    tensor: usize,
    dtype: Dtype,
    /// Row permutation of interleaved rotary pairs: rows per head.
    interleaved_head: Option<usize>,
}

/// What a conversion did.
#[derive(Debug)]
pub struct Conversion {
    /// The tensors, in file order.
    pub tensors: Vec<Written>,
    /// Partial files of the same target that lay beside it.
    pub leftovers: Vec<Leftover>,
}

/// Told the bytes written so far and in all, from 0 on, before there is a file, to the last, before it takes its name. Its error
/// ends the conversion and leaves no file.
pub type Progress<'p> = dyn FnMut(u64, u64) -> Result<()> + 'p;

/// Converts `source` into `output`.
pub fn convert(
    source: &Source,
    output: &Path,
    dtypes: &Dtypes,
    force: bool,
    progress: &mut Progress<'_>,
) -> Result<Conversion> {
    let planned = plan(source, dtypes)?;
    let plans: Vec<TensorPlan> = planned
        .iter()
        .map(|p| TensorPlan { name: p.spec.name.clone(), dtype: p.dtype, dims: p.spec.shape.dims() })
        .collect();
    let total = planned.iter().map(|p| stored_bytes(p.dtype, p.spec.shape)).sum::<u64>();
    let sections = sections(source)?;
    progress(0, total)?;
    let mut writer = Writer::create(output, FileKind::LanguageModel, sections, plans, force)?;
    let mut written = Vec::with_capacity(planned.len());
    let mut done = 0;
    for p in &planned {
        let field = format!("tensor \"{}\"", p.spec.name);
        let errors = write_tensor(source, p, &mut writer, &mut |bytes| {
            done += bytes;
            progress(done, total)
        })
        .map_err(|e| e.field(field))?;
        written.push(Written {
            name: p.spec.name.clone(),
            dims: p.spec.shape.dims(),
            dtype: p.dtype,
            bytes: stored_bytes(p.dtype, p.spec.shape),
            errors,
        });
    }
    let leftovers = writer.leftovers().to_vec();
    source.check_unchanged()?;
    progress(done, total)?;
    writer.finish()?;
    Ok(Conversion { tensors: written, leftovers })
}

fn stored_bytes(dtype: Dtype, shape: Shape) -> u64 {
    match shape {
        Shape::Vector(n) => n as u64 * 4,
        Shape::Matrix(rows, cols) => quant::matrix_bytes(dtype, rows as u64, cols as u64).unwrap_or(u64::MAX),
    }
}

/// Converts word vectors into `output`, in one matrix named as a model's token vectors are.
pub fn convert_words(
    words: &WordVectors,
    output: &Path,
    dtype: Dtype,
    force: bool,
    progress: &mut Progress<'_>,
) -> Result<Conversion> {
    let (rows, cols) = (words.len(), words.dim);
    let name = "embedding".to_string();
    let dims = vec![rows as u64, cols as u64];
    let total = stored_bytes(dtype, Shape::Matrix(rows, cols));
    let provenance = provenance("word vectors", std::slice::from_ref(&words.file))?;
    let sections = vec![(SectionId::TOKN, words.vocabulary().build()?), (SectionId::PROV, provenance)];
    let plan = TensorPlan { name: name.clone(), dtype, dims: dims.clone() };
    progress(0, total)?;
    let mut writer = Writer::create(output, FileKind::WordVectors, sections, vec![plan], force)?;
    let matrix = Rows { rows, cols, dtype, read: &|row, out| words.read(row, out) };
    let mut done = 0;
    let errors = matrix.write(&mut writer, &mut |bytes| {
        done += bytes;
        progress(done, total)
    })?;
    let errors = errors.finish();
    writer.finish_tensor(errors)?;
    let leftovers = writer.leftovers().to_vec();
    words.file.check_unchanged()?;
    progress(done, total)?;
    writer.finish()?;
    Ok(Conversion { tensors: vec![Written { name, dims, dtype, bytes: total, errors }], leftovers })
}

/// All sections but the directory and the weights.
fn sections(source: &Source) -> Result<Vec<(SectionId, Vec<u8>)>> {
    let mut sections = vec![(SectionId::CONF, source.config.encode())];
    if let Some(tokenizer) = source.tokenizer_section()? {
        sections.push((SectionId::TOKN, tokenizer));
    }
    sections.push((SectionId::GENR, source.generation.encode()));
    if let Some(template) = &source.chat_template {
        sections.push((SectionId::TMPL, template.clone().into_bytes()));
    }
    sections.push((SectionId::PROV, provenance(source.format.name(), &source.files)?));
    if let Some(licence) = &source.licence {
        sections.push((SectionId::LICE, licence.clone().into_bytes()));
    }
    Ok(sections)
}

/// Where the weights come from, as a section.
fn provenance(source_format: &str, files: &[SourceFile]) -> Result<Vec<u8>> {
    let record = |file: &SourceFile| format::Source { name: file.name.clone(), bytes: file.bytes, hash: file.hash() };
    let provenance = Provenance {
        converter: concat!("quantize ", env!("CARGO_PKG_VERSION")).into(),
        source_format: source_format.into(),
        sources: files.par_iter().map(record).collect(),
    };
    provenance.encode()
}

/// Finds the source of every tensor; refuses missing, misshapen and left-over tensors, all in one message.
fn plan(source: &Source, dtypes: &Dtypes) -> Result<Vec<Planned>> {
    let config = &source.config;
    let by_name: HashMap<&str, usize> = source.tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    let mut planned = Vec::new();
    let mut used = HashSet::new();
    let mut problems = Vec::new();
    for spec in spec::tensors(config) {
        let found = spec.origins.iter().find_map(|origin| Some((origin.clone(), *by_name.get(origin.name.as_str())?)));
        let Some((origin, tensor)) = found else {
            problems.push(format!(
                "missing {}",
                spec.origins.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(" or ")
            ));
            continue;
        };
        used.insert(tensor);
        let (got, want) = (&source.tensors[tensor].shape, source_dims(&spec, &origin));
        if *got != want {
            problems.push(format!("{} has shape {got:?}, not {want:?}", origin.name));
        }
        let interleaved_head = (spec.rotary && source.interleaved_rope).then_some(config.head_dim);
        let dtype = dtypes.of(spec.role);
        planned.push(Planned { spec, origin, tensor, dtype, interleaved_head });
    }
    let left_over = source.tensors.iter().enumerate().filter(|(i, _)| !used.contains(i));
    problems.extend(left_over.map(|(_, t)| format!("left over: {}", printable(&t.name))));
    if problems.is_empty() {
        return Ok(planned);
    }
    Err(Error::data(listed(&problems)).field("tensors").hint("the checkpoint does not fit its own configuration"))
}

/// The shape of the source tensor, outermost first.
fn source_dims(spec: &TensorSpec, origin: &Origin) -> Vec<u64> {
    let mut dims = spec.shape.dims();
    if origin.third.is_some() {
        dims[0] *= 3;
    }
    if origin.transposed {
        dims.reverse();
    }
    dims
}

fn write_tensor(
    source: &Source,
    p: &Planned,
    writer: &mut Writer,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<TensorErrors> {
    let mut total = Errors::default();
    match p.spec.shape {
        Shape::Vector(n) => {
            let mut values = vec![0.0; n];
            read_vector(source, p, &mut values)?;
            check_finite(&values, 0, n)?;
            total.add(&values, &values);
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            writer.write(&bytes)?;
            progress(bytes.len() as u64)?;
        }
        Shape::Matrix(rows, cols) => {
            let read = |row: usize, out: &mut [f32]| read_rows(source, p, row, out);
            total = Rows { rows, cols, dtype: p.dtype, read: &read }.write(writer, progress)?;
        }
    }
    let errors = total.finish();
    writer.finish_tensor(errors)?;
    Ok(errors)
}

/// A matrix (rows, cols) to be encoded as `dtype`.
struct Rows<'r> {
    rows: usize,
    cols: usize,
    dtype: Dtype,
    /// Reads rows from the one given on, as many as the buffer holds.
    read: &'r (dyn Fn(usize, &mut [f32]) -> Result<()> + Sync),
}

impl Rows<'_> {
    /// Encodes all panels, on all cores, and writes them; the errors against what was read.
    fn write(&self, writer: &mut Writer, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<Errors> {
        let panel_bytes = quant::panel_bytes(self.dtype, self.cols);
        let panels = self.rows.div_ceil(PANEL_ROWS);
        let step = (CHUNK_BYTES / panel_bytes).clamp(1, panels);
        let mut buffer = vec![0; step * panel_bytes + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        let mut total = Errors::default();
        for first in (0..panels).step_by(step) {
            let n = step.min(panels - first);
            let chunk = &mut buffer[start..start + n * panel_bytes];
            let errors = chunk
                .par_chunks_exact_mut(panel_bytes)
                .enumerate()
                .map_init(Vec::new, |values, (i, out)| self.encode_panel((first + i) * PANEL_ROWS, values, out))
                .collect::<Result<Vec<_>>>()?;
            errors.iter().for_each(|e| total.merge(e));
            writer.write(chunk)?;
            progress(chunk.len() as u64)?;
        }
        Ok(total)
    }

    /// Reads, checks and encodes the panel whose first row is `row`.
    fn encode_panel(&self, row: usize, values: &mut Vec<f32>, out: &mut [u8]) -> Result<Errors> {
        let Rows { rows, cols, dtype, .. } = *self;
        let n = PANEL_ROWS.min(rows - row);
        values.resize((n + 1) * cols, 0.0);
        let (values, decoded) = values.split_at_mut(n * cols);
        (self.read)(row, values)?;
        check_finite(values, row, cols)?;
        check_range(values, dtype, row, cols)?;
        quant::encode_panel(dtype, values, cols, out);
        let mut errors = Errors::default();
        if let Some(matrix) = Matrix::new(dtype, n, cols, out) {
            for (r, want) in values.chunks_exact(cols).enumerate() {
                matrix.read_row(r, decoded);
                errors.add(want, decoded);
            }
        }
        Ok(errors)
    }
}

/// The source row of row `r`: thirds of a fused tensor, and rotary pairs from interleaved to halves.
fn source_row(p: &Planned, rows: usize, r: usize) -> usize {
    let row = match p.interleaved_head {
        Some(head_dim) => {
            let (head, i) = (r / head_dim, r % head_dim);
            let half = head_dim / 2;
            head * head_dim + if i < half { 2 * i } else { 2 * (i - half) + 1 }
        }
        None => r,
    };
    p.origin.third.unwrap_or(0) * rows + row
}

/// Rows `row..` of the tensor as f32, as many as `out` holds.
fn read_rows(source: &Source, p: &Planned, row: usize, out: &mut [f32]) -> Result<()> {
    let Shape::Matrix(rows, cols) = p.spec.shape else { return Ok(()) };
    if !p.origin.transposed {
        for (i, x) in out.chunks_exact_mut(cols).enumerate() {
            source.read(p.tensor, (source_row(p, rows, row + i) * cols) as u64, x)?;
        }
        return Ok(());
    }
    let outputs = source_dims(&p.spec, &p.origin)[1];
    let mut column = [0.0; PANEL_ROWS];
    let n = out.len() / cols;
    for k in 0..cols {
        let at = k as u64 * outputs + source_row(p, rows, row) as u64;
        source.read(p.tensor, at, &mut column[..n])?;
        for (i, v) in column[..n].iter().enumerate() {
            out[i * cols + k] = *v;
        }
    }
    Ok(())
}

fn read_vector(source: &Source, p: &Planned, out: &mut [f32]) -> Result<()> {
    let n = out.len();
    if p.interleaved_head.is_none() {
        return source.read(p.tensor, source_row(p, n, 0) as u64, out);
    }
    for (r, x) in out.iter_mut().enumerate() {
        source.read(p.tensor, source_row(p, n, r) as u64, core::slice::from_mut(x))?;
    }
    Ok(())
}

/// Refuses NaN and infinities by index.
fn check_finite(values: &[f32], row: usize, cols: usize) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(i) => {
            let at = format!("element [{}, {}]", row + i / cols, i % cols);
            Err(Error::data(format!("{at} is {}", values[i]))
                .hint("the checkpoint is damaged or was not trained to the end"))
        }
    }
}

/// Refuses values beyond the range of `dtype`.
fn check_range(values: &[f32], dtype: Dtype, row: usize, cols: usize) -> Result<()> {
    let limit = dtype.format().max_weight;
    match values.iter().position(|v| v.abs() > limit) {
        None => Ok(()),
        Some(i) => {
            let at = format!("element [{}, {}]", row + i / cols, i % cols);
            let message = format!("{at} is {}, beyond {limit} of {}", values[i], dtype.name());
            Err(Error::data(message).hint("--keep ROLE=f32 keeps such a matrix as it is"))
        }
    }
}

/// Sums for the errors of a tensor, in f64.
#[derive(Default)]
struct Errors {
    n: u64,
    squared: f64,
    signal: f64,
    max: f64,
}

impl Errors {
    fn add(&mut self, want: &[f32], got: &[f32]) {
        self.n += want.len() as u64;
        for (w, g) in want.iter().zip(got) {
            let (w, e) = (f64::from(*w), f64::from(*g) - f64::from(*w));
            self.squared += e * e;
            self.signal += w * w;
            self.max = self.max.max(e.abs());
        }
    }

    fn merge(&mut self, other: &Errors) {
        self.n += other.n;
        self.squared += other.squared;
        self.signal += other.signal;
        self.max = self.max.max(other.max);
    }

    fn finish(self) -> TensorErrors {
        let n = self.n as f64;
        TensorErrors {
            rms: (self.squared / n).sqrt() as f32,
            max: self.max as f32,
            signal_rms: (self.signal / n).sqrt() as f32,
        }
    }
}
