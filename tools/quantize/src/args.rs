//! The command line of `quantize`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use whit::error::{Error, Result};
use whit::model::spec::Role;
use whit::quant::{Dtype, Inputs};

use crate::convert::{Budget, Dtypes, Texts};
use crate::source::{OpenOptions, SourceFile};

/// Bytes of a calibration text that are read: more than the tokens that count.
const MOST_TEXT: usize = 1 << 20;

/// Converts a published checkpoint into one flat .whit file.
///
/// INPUT is a Hugging Face directory (config.json, model.safetensors, pytorch_model.bin or shards of either, tokenizer.json), one of
/// Mistral or Meta (params.json, consolidated.safetensors or consolidated.00.pth), a GGUF file or a part of a split one, a llama2.c
/// checkpoint with its tokenizer.bin, or word vectors as GloVe, word2vec and fastText write them (for `whit words`). Of PyTorch's
/// files tensors are read; nothing in them is run.
#[derive(Debug, Parser)]
#[command(name = "quantize", version, max_term_width = 100)]
pub struct Args {
    /// The checkpoint: a directory or a file.
    pub input: PathBuf,

    /// The file to write.
    #[arg(short, long, value_name = "OUT.whit")]
    pub output: PathBuf,

    /// Type of the weights: int8 (groups of 32 with an f16 scale), q6, q5 or q4 (with a byte of scale), t2 (three values), fp16 or f32.
    ///
    /// Matrices whose weights have three values, as those of BitNet, become t2 where others become int8: it holds them as they are.
    /// Where q4, q5 or q6 is asked for, matrices of a GGUF file in Q4_0, IQ4_NL, MXFP4, Q4_1, Q5_0 or Q5_1 become q4h, q4m, q5h or q5m, of as many bits
    /// or fewer, which hold them as they are (with f16 scales, and offsets of f16 in q4m and q5m); int8 holds those without offsets, and Q8_0.
    #[arg(short, long, value_name = "DTYPE", default_value = "int8", value_parser = dtype)]
    pub weights: Dtype,

    /// Bytes of the file, at most, as in 180M or 1.5GiB: q4, q5, q6 or int8 for each matrix, by what each adds to the divergence.
    ///
    /// Of a model with weights of int8, which is written to the folder of the output for that and removed, one matrix at a time becomes q4, and
    /// two windows of 128 tokens of the calibration text show what that changes; what other formats change goes with their squared errors.
    /// An embedding that is also the unembedding has 5 bits at least.
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with_all = ["weights", "no_quality"])]
    pub max_size: Option<u64>,

    /// Mean KL divergence from the checkpoint in nats, at most: the smallest file that is found, measured on the held-out text.
    #[arg(long, value_name = "NATS", value_parser = nats, conflicts_with_all = ["weights", "no_quality", "max_size"])]
    pub max_kl: Option<f64>,

    /// Formats as --max-size chooses them, so that the file fits into memory beside a run: `doctor` is what this machine has free now, a
    /// size what there is, a board its memory less 192 MiB for its system: zero-2w, pi-3, pi-4-1g to pi-4-8g, pi-5-2g to pi-5-16g.
    #[arg(long, value_name = "BOARD", value_parser = memory, conflicts_with_all = ["weights", "no_quality", "max_size", "max_kl"])]
    pub fit: Option<u64>,

    /// Positions of the text that --fit keeps memory for [default: the model's, up to 4096].
    #[arg(long, value_name = "N", requires = "fit", value_parser = clap::value_parser!(u32).range(1..))]
    pub fit_ctx: Option<u32>,

    /// Another type for the matrices of one role, as in embedding=fp16; may be repeated.
    ///
    /// Roles: embedding (also the unembedding where they are tied), position, query, key, value, output, gate, up, down,
    /// unembedding. Norms and biases are always f32, positions at least fp16.
    #[arg(long, value_name = "ROLE=DTYPE", value_parser = keep)]
    pub keep: Vec<(&'static str, Dtype)>,

    /// How weights of 8 bits and less are chosen: fast, in seconds; good; best, in minutes.
    #[arg(long, default_value = "good")]
    pub effort: Effort,

    /// The text that the model reads to find out which inputs matter; without it a text of 16 kB, in several languages, with some code.
    ///
    /// The first 8192 tokens are read, by the model as int8, which is written to the folder of the output for that and removed. Where
    /// there is a quality report, the last quarter of the text, of 16 KiB at most, is held out for it.
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<PathBuf>,

    /// Puts a quality report into the file, as weights of less than 8 bits get one that are calibrated.
    ///
    /// Up to 1024 tokens that calibrate nothing are read by the checkpoint as f32, which is written to the folder of the output for that and
    /// removed, and by the model that was made. `whit verify --quality` computes the figures again.
    #[arg(long)]
    pub quality: bool,

    /// Makes no quality report.
    #[arg(long, conflicts_with = "quality")]
    pub no_quality: bool,

    /// Positions that the model has to have. Models with LongRoPE (Phi-3, MiniCPM) are made for the texts of their first training,
    /// unless they are asked for more: their factors for long texts count for all texts then.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub context: Option<u32>,

    /// The llama2.c tokenizer.bin, where it does not lie beside the checkpoint.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,

    /// A low-rank adapter of PEFT (adapter_config.json, adapter_model.safetensors or .bin) that is merged into the model;
    /// DIR=0.5 merges half of it. May be repeated.
    #[arg(long, value_name = "DIR")]
    pub lora: Vec<PathBuf>,

    /// Overwrites an existing output.
    #[arg(long)]
    pub force: bool,

    /// Prints the report as one JSON document.
    #[arg(long)]
    pub json: bool,

    /// Keeps the right to open any file and to make any system call.
    #[arg(long)]
    pub no_sandbox: bool,

    /// Prints no progress and no report.
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Reports every tensor, not every kind of them and the worst.
    #[arg(short, long)]
    pub verbose: bool,
}

/// How much is done to choose the codes of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Effort {
    /// By their own errors.
    Fast,
    /// By errors that count as much as the inputs that a weight meets on a text; and large inputs are made smaller, what they are
    /// multiplied with larger, as far as the products gain by it.
    Good,
    /// By the errors of outputs on a text: weights make up for each other.
    Best,
}

impl Args {
    /// Which dtype each role gets.
    pub fn dtypes(&self) -> Dtypes {
        Dtypes { weights: self.weights, keep: self.keep.iter().copied().collect::<BTreeMap<_, _>>() }
    }

    /// Whether the model reads a text before it is written: where products are of integers.
    fn calibrates(&self) -> bool {
        let integers = self.any_weights(|dtype| dtype.format().inputs == Inputs::Quantized);
        (integers || self.budget().is_some()) && self.effort != Effort::Fast
    }

    fn any_weights(&self, of: impl Fn(Dtype) -> bool) -> bool {
        self.keep.iter().map(|(_, dtype)| *dtype).chain([self.weights]).any(of)
    }

    /// What the file is to keep to.
    pub fn budget(&self) -> Option<Budget> {
        let context = self.fit_ctx.map(|n| n as usize);
        let memory = self.fit.map(|bytes| Budget::Memory { bytes, context });
        self.max_size.map(Budget::Size).or(self.max_kl.map(Budget::Kl)).or(memory)
    }

    /// Whether a quality report is wanted: where weights have less than 8 bits, or most is done for 8.
    pub fn reports(&self) -> bool {
        let few_bits = self.any_weights(|dtype| dtype.format().bits < Dtype::Int8.format().bits);
        let judged = few_bits || self.budget().is_some() || self.effort == Effort::Best;
        self.quality || (judged && self.calibrates() && !self.no_quality)
    }

    /// The text of the user's own, if one is named and is to be read.
    pub fn own_text(&self) -> Result<Option<String>> {
        if self.budget().is_some() && self.effort == Effort::Fast {
            let error = Error::usage("--effort fast reads no text, and a budget is kept by measuring").field("effort");
            return Err(error.hint("leave one of the two out"));
        }
        let Some(path) = &self.calibrate else { return Ok(None) };
        if self.effort == Effort::Fast && !self.quality {
            let error = Error::usage("--effort fast reads no text").field("calibrate");
            return Err(error.hint("leave one of the two out"));
        }
        if !self.calibrates() && !self.reports() {
            return Ok(None);
        }
        let file = SourceFile::open(path)?;
        file.check_not(&self.output)?;
        file.text(MOST_TEXT).map(Some)
    }

    /// What the model reads: the text of the user's `own`, or ours.
    pub fn texts<'t>(&self, own: Option<&'t str>) -> Texts<'t> {
        let texts = match own {
            Some(text) if self.reports() => Texts::of(text),
            Some(text) => Texts { calibration: Some(text), ..Texts::default() },
            None => Texts::ours(),
        };
        Texts {
            calibration: texts.calibration.filter(|_| self.calibrates()),
            held_out: texts.held_out.filter(|_| self.reports()),
            pairs: None,
        }
    }

    /// What is said about the source.
    pub fn open_options(&self) -> OpenOptions {
        OpenOptions {
            tokenizer: self.tokenizer.clone(),
            lora: self.lora.iter().map(|text| adapter(text)).collect(),
            context: self.context.map(|n| n as usize),
        }
    }
}

/// The directory of an adapter, and what stands after it: what it is multiplied by.
fn adapter(text: &Path) -> (PathBuf, f64) {
    let parts = text.to_str().and_then(|text| text.rsplit_once('='));
    let scaled = parts.and_then(|(dir, scale)| Some((dir.into(), scale.parse().ok()?)));
    scaled.filter(|(_, scale): &(PathBuf, f64)| scale.is_finite()).unwrap_or_else(|| (text.into(), 1.0))
}

/// A type by its name; `f16`, as `whit` spells it, is `fp16`.
fn dtype(text: &str) -> std::result::Result<Dtype, String> {
    let name = if text == "f16" { Dtype::F16.name() } else { text };
    Dtype::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Dtype::ALL.iter().map(|d| d.name()).collect();
        format!("not one of {}", names.join(", "))
    })
}

/// Bytes, with a unit of powers of 1000 or 1024.
fn size(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(&str, f64); 13] = [
        ("KiB", 1024.0),
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("k", 1e3),
        ("K", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("B", 1.0),
        ("", 1.0),
    ];
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let value = unit.and_then(|(number, factor)| Some(number.trim().parse::<f64>().ok()? * factor));
    let value = value.filter(|value| (1.0..1e18).contains(value));
    value.map(|value| value as u64).ok_or_else(|| "expected a size such as 180M or 1.5GiB".into())
}

/// Memory that a program can have: of this machine, of a board, or so many bytes.
fn memory(text: &str) -> std::result::Result<u64, String> {
    const MIB: u64 = 1 << 20;
    const SYSTEM: u64 = 192 * MIB;
    const BOARDS: [(&str, u64); 10] = [
        ("zero-2w", 512),
        ("pi-3", 1024),
        ("pi-4-1g", 1024),
        ("pi-4-2g", 2048),
        ("pi-4-4g", 4096),
        ("pi-4-8g", 8192),
        ("pi-5-2g", 2048),
        ("pi-5-4g", 4096),
        ("pi-5-8g", 8192),
        ("pi-5-16g", 16_384),
    ];
    if text == "doctor" {
        let free = whit::os::memory::rooms().iter().map(|room| room.bytes).min();
        return free.ok_or_else(|| "this system does not say how much memory it has".into());
    }
    if let Some((_, mib)) = BOARDS.iter().find(|(board, _)| *board == text) {
        return Ok(mib * MIB - SYSTEM);
    }
    let boards: Vec<_> = BOARDS.iter().map(|(board, _)| *board).collect();
    size(text).map_err(|_| format!("expected doctor, a size such as 300M, or a board: {}", boards.join(", ")))
}

fn nats(text: &str) -> std::result::Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0);
    value.ok_or_else(|| "expected a number above 0, such as 0.02".into())
}

fn keep(text: &str) -> std::result::Result<(&'static str, Dtype), String> {
    let (role, name) = text.split_once('=').ok_or("not of the form ROLE=DTYPE")?;
    let Some(role) = Role::MATRICES.into_iter().find(|r| r.name() == role) else {
        let names: Vec<_> = Role::MATRICES.iter().map(|r| r.name()).collect();
        return Err(format!("role {role:?} is not one of {}", names.join(", ")));
    };
    let dtype = dtype(name)?;
    if !role.allows(dtype) {
        return Err(format!("{} is at least {}", role.name(), role.min_dtype().name()));
    }
    Ok((role.name(), dtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_dtypes_are_checked() {
        for name in ["embedding=fp16", "embedding=f16"] {
            assert_eq!(keep(name), Ok(("embedding", Dtype::F16)));
        }
        assert_eq!(dtype("f17"), Err("not one of f32, fp16, int8, q4, q5, q6, t2, q4h, q4m, q5h, q5m".into()));
        for bad in ["embedding", "norm=f32", "embedding=int4", "position=int8", "=int8"] {
            assert!(keep(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_after_an_adapter_is_its_scale() {
        for (text, dir, scale) in [
            ("a", "a", 1.0),
            ("a=0.5", "a", 0.5),
            ("a=b", "a=b", 1.0),
            ("a=b=-2", "a=b", -2.0),
            ("a=inf", "a=inf", 1.0),
        ] {
            assert_eq!(adapter(Path::new(text)), (PathBuf::from(dir), scale), "{text}");
        }
    }

    #[test]
    fn the_command_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
