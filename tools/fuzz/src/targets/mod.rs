//! One file a format: how its inputs are made, and who reads them. A new format is a file here and a line in [`all`].

mod bodies;
mod broken;
mod calls;
mod config;
mod gguf;
mod http;
mod llama2c;
mod lora;
mod requests;
mod rules;
mod safetensors;
mod sentencepiece;
mod session;
mod template;
mod tokenizer;
mod torch;
mod whit_file;
mod words;

use crate::bench::{Bench, Bound, Files, Verdict};
use crate::random::Random;

/// An input format.
pub trait Target: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// The heap that its readers may take.
    fn bound(&self) -> Bound {
        Bound::PLAIN
    }

    /// The files of one case: random, then changed.
    fn make(&self, random: &mut Random) -> Files;

    /// Reads the files as the programs do and has the model write, if there is one.
    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict;
}

/// All formats.
pub fn all() -> Vec<Box<dyn Target>> {
    vec![
        Box::new(whit_file::WhitFile),
        Box::new(safetensors::Safetensors),
        Box::new(torch::Torch),
        Box::new(lora::Lora),
        Box::new(gguf::Gguf),
        Box::new(llama2c::Llama2c),
        Box::new(words::Words),
        Box::new(config::ConfigJson),
        Box::new(tokenizer::TokenizerJson),
        Box::new(sentencepiece::SentencePiece),
        Box::new(session::SavedSession),
        Box::new(template::ChatTemplate),
        Box::new(rules::Rules),
        Box::new(calls::Calls),
        Box::new(requests::Requests),
        Box::new(http::Http),
    ]
}

/// The formats that `name` asks for: one, or `all`. Readers that break promises are found by their own names only.
pub fn named(name: &str) -> Vec<Box<dyn Target>> {
    let broken = broken::Broken::ALL.into_iter().filter(|target| target.name() == name);
    let formats = all().into_iter().filter(|target| name == "all" || target.name() == name);
    broken.map(|target| Box::new(target) as Box<dyn Target>).chain(formats).collect()
}

/// The bytes of all files.
fn size(files: &Files) -> usize {
    files.iter().map(|(_, bytes)| bytes.len()).sum()
}
