//! llama2.c: a checkpoint of version 0 or 1 and its tokenizer.bin.

use whit::model::Uniform;
use whit::tokenizer::TokenKind;

use super::{Target, size};
use crate::bench::{Bench, Files, Verdict};
use crate::bytes::{put_edge, put_word, scramble};
use crate::model::{self, Naming, Style};
use crate::pieces::Pieces;
use crate::random::Random;

pub(super) struct Llama2c;

const CHECKPOINT: &str = "model.bin";
/// Bytes before the weights of version 1.
const HEADER_V1: usize = 256;

impl Target for Llama2c {
    fn name(&self) -> &'static str {
        "llama2c"
    }

    fn make(&self, random: &mut Random) -> Files {
        let mut pieces = Pieces::new(false, random);
        // The format knows no user-defined tokens.
        pieces.tokens.retain(|token| token.kind != TokenKind::UserDefined);
        let mut config = model::config(Style::Llama, pieces.tokens.len(), false, random);
        config.context_length = random.within(4, 16);
        let (words, mut checkpoint) = checkpoint(&config, random);
        let mut tokenizer = tokenizer_bin(&pieces);
        match random.below(10) {
            0..=3 => put_word(&mut checkpoint[words.0..], words.1, random),
            4 => scramble(&mut checkpoint, random),
            5 => checkpoint.resize(random.below(checkpoint.len() + 9), 0),
            6 => put_edge(&mut tokenizer, 4 * random.below(4), random),
            7 => scramble(&mut tokenizer, random),
            8 => {
                let at = checkpoint.len() - 4 * random.within(1, 8);
                checkpoint[at..at + 4].copy_from_slice(&random.float().to_le_bytes());
            }
            _ => {}
        }
        let name = if random.once_in(2) { "tokenizer.bin".into() } else { format!("tok{}.bin", config.vocab_size) };
        vec![(CHECKPOINT.to_string(), checkpoint), (name, tokenizer)]
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let path = bench.checkpoint(files, Some(CHECKPOINT))?;
        bench.convert(&path, size(files), random)
    }
}

/// A checkpoint, and where the numbers of its header begin and how many they are.
fn checkpoint(c: &Uniform, random: &mut Random) -> ((usize, usize), Vec<u8>) {
    let first = random.once_in(2);
    let vocab_size = c.vocab_size as i32;
    let signed = if first && !c.tied { -vocab_size } else { vocab_size };
    let [dim, hidden_dim, n_layers, n_heads, n_kv_heads, context_length] =
        [c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads, c.context_length].map(|n| n as i32);
    let numbers = [dim, hidden_dim, n_layers, n_heads, n_kv_heads, signed, context_length];
    let mut out = Vec::new();
    if !first {
        out.extend(b"24ka\x01\0\0\0");
    }
    out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    let tensors = model::tensors(c, Style::Llama, Naming::HuggingFace);
    let mut n: usize = tensors.iter().map(|(_, dims)| dims.iter().product::<u64>() as usize).sum();
    if first {
        n += c.context_length * c.head_dim;
    } else {
        out.push(c.tied.into());
        out.resize(HEADER_V1, 0);
    }
    out.extend(model::floats(n, 4, random));
    (if first { (0, 7) } else { (4, 9) }, out)
}

fn tokenizer_bin(pieces: &Pieces) -> Vec<u8> {
    let mut out = 20_u32.to_le_bytes().to_vec();
    for token in &pieces.tokens {
        let text = match token.kind {
            TokenKind::Control => format!("\n{}\n", token.text),
            _ => token.text.replace('\u{2581}', " "),
        };
        out.extend(token.score.to_le_bytes());
        out.extend((text.len() as i32).to_le_bytes());
        out.extend(text.as_bytes());
    }
    out
}
