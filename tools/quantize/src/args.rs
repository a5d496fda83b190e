//! The command line of `quantize`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use whit::model::spec::Role;
use whit::quant::Dtype;

use crate::convert::Dtypes;

/// Converts a published checkpoint into one flat .whit file.
///
/// INPUT is a Hugging Face directory (config.json, model.safetensors or shards, tokenizer.json), a GGUF file, a llama2.c
/// checkpoint with its tokenizer.bin, or word vectors as text, as GloVe and word2vec write them (for `whit words`).
#[derive(Debug, Parser)]
#[command(name = "quantize", version, max_term_width = 100)]
pub struct Args {
    /// The checkpoint: a directory or a file.
    pub input: PathBuf,

    /// The file to write.
    #[arg(short, long, value_name = "OUT.whit")]
    pub output: PathBuf,

    /// Type of the weights: int8 (groups of 32 with an f16 scale), fp16 or f32.
    #[arg(short, long, value_name = "DTYPE", default_value = "int8", value_parser = dtype)]
    pub weights: Dtype,

    /// Another type for the matrices of one role, as in embedding=fp16; may be repeated.
    ///
    /// Roles: embedding (also the unembedding where they are tied), position, query, key, value, output, gate, up, down,
    /// unembedding. Norms and biases are always f32, positions at least fp16.
    #[arg(long, value_name = "ROLE=DTYPE", value_parser = keep)]
    pub keep: Vec<(&'static str, Dtype)>,

    /// The llama2.c tokenizer.bin, where it does not lie beside the checkpoint.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,

    /// Overwrites an existing output.
    #[arg(long)]
    pub force: bool,

    /// Prints the report as one JSON document.
    #[arg(long)]
    pub json: bool,

    /// Prints no progress and no report.
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Reports every tensor, not every kind of them and the worst.
    #[arg(short, long)]
    pub verbose: bool,
}

impl Args {
    /// Which dtype each role gets.
    pub fn dtypes(&self) -> Dtypes {
        Dtypes { weights: self.weights, keep: self.keep.iter().copied().collect::<BTreeMap<_, _>>() }
    }
}

/// A type by its name; `f16`, as `whit` spells it, is `fp16`.
fn dtype(text: &str) -> Result<Dtype, String> {
    let name = if text == "f16" { Dtype::F16.name() } else { text };
    Dtype::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Dtype::ALL.iter().map(|d| d.name()).collect();
        format!("not one of {}", names.join(", "))
    })
}

fn keep(text: &str) -> Result<(&'static str, Dtype), String> {
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
        assert_eq!(dtype("f17"), Err("not one of f32, fp16, int8".into()));
        for bad in ["embedding", "norm=f32", "embedding=int4", "position=int8", "=int8"] {
            assert!(keep(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
