//! The command line of `quantize`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use whit::error::{Error, Result};
use whit::model::spec::Role;
use whit::quant::{Dtype, Inputs};

use crate::convert::{Dtypes, TEXT};
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

    /// Type of the weights: int8 (groups of 32 with an f16 scale), q6, q5 or q4 (with a byte of scale), fp16 or f32.
    #[arg(short, long, value_name = "DTYPE", default_value = "int8", value_parser = dtype)]
    pub weights: Dtype,

    /// Another type for the matrices of one role, as in embedding=fp16; may be repeated.
    ///
    /// Roles: embedding (also the unembedding where they are tied), position, query, key, value, output, gate, up, down,
    /// unembedding. Norms and biases are always f32, positions at least fp16.
    #[arg(long, value_name = "ROLE=DTYPE", value_parser = keep)]
    pub keep: Vec<(&'static str, Dtype)>,

    /// How weights of 8 bits and less are chosen: good where some have less than 8 bits or a text is named, else fast.
    #[arg(long)]
    pub effort: Option<Effort>,

    /// The text that the model reads to find out which inputs matter; without it a text of 16 kB, in several languages, with some code.
    ///
    /// The first 8192 tokens are read, by the model as int8, which is written to the folder of the output for that and removed.
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<PathBuf>,

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
}

impl Args {
    /// Which dtype each role gets.
    pub fn dtypes(&self) -> Dtypes {
        Dtypes { weights: self.weights, keep: self.keep.iter().copied().collect::<BTreeMap<_, _>>() }
    }

    /// The text to calibrate with, if any is wanted.
    pub fn calibration(&self) -> Result<Option<String>> {
        let dtypes = || self.keep.iter().map(|(_, dtype)| *dtype).chain([self.weights]);
        let few_bits = dtypes().any(|dtype| dtype.format().bits < Dtype::Int8.format().bits);
        let usual = if few_bits || self.calibrate.is_some() { Effort::Good } else { Effort::Fast };
        let integers = dtypes().any(|dtype| dtype.format().inputs == Inputs::Quantized);
        match (self.effort.unwrap_or(usual), &self.calibrate) {
            (Effort::Fast, Some(_)) => {
                let error = Error::usage("--effort fast reads no text").field("calibrate");
                Err(error.hint("leave one of the two out"))
            }
            (Effort::Fast, None) => Ok(None),
            (Effort::Good, _) if !integers => Ok(None),
            (Effort::Good, None) => Ok(Some(TEXT.into())),
            (Effort::Good, Some(path)) => {
                let file = SourceFile::open(path)?;
                file.check_not(&self.output)?;
                file.text(MOST_TEXT).map(Some)
            }
        }
    }

    /// What is said about the source.
    pub fn open_options(&self) -> OpenOptions {
        OpenOptions { tokenizer: self.tokenizer.clone(), lora: self.lora.iter().map(|text| adapter(text)).collect() }
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
        assert_eq!(dtype("f17"), Err("not one of f32, fp16, int8, q4, q5, q6".into()));
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
