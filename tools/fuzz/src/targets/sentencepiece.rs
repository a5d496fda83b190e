//! tokenizer.model of SentencePiece, in a Hugging Face directory that is sound otherwise.

use super::{Target, size};
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::scramble;
use crate::hub::Checkpoint;
use crate::random::Random;

pub(super) struct SentencePiece;

const PIECES: &[&str] =
    &["<unk>", "<s>", "</s>", "a", "b", "ab", "\u{2581}", "\u{2581}a", "<0x0A>", "<0xC3>", "", "<0xZZ>", "é"];

impl Target for SentencePiece {
    fn name(&self) -> &'static str {
        "sentencepiece"
    }

    fn bound(&self) -> Bound {
        Bound::JSON
    }

    fn make(&self, random: &mut Random) -> Files {
        let mut checkpoint = Checkpoint::new(random);
        checkpoint.tokenizer = None;
        let mut files = checkpoint.files(random);
        let mut model = Vec::new();
        for id in 0..random.within(1, 16) {
            let piece = match PIECES.get(id).filter(|_| !random.once_in(9)) {
                Some(piece) => piece.to_string(),
                None => random.bits().to_string(),
            };
            let kind = match id {
                0 => 2,
                1 | 2 => 3,
                _ if piece.starts_with("<0x") => 6,
                _ if random.once_in(20) => random.edge(7),
                _ => 1,
            };
            let score = if random.once_in(30) { random.float() } else { -(id as f32) };
            let mut message = field(1, piece.as_bytes());
            message.push(2 << 3 | 5);
            message.extend(score.to_le_bytes());
            message.extend(number(3, kind));
            model.extend(field(1, &message));
        }
        let kind = if random.once_in(12) { random.edge(2) } else { 2 };
        let mut trainer = number(3, kind);
        for id in 40..43 {
            if random.once_in(4) {
                trainer.extend(number(id, random.edge(id - 40)));
            }
        }
        model.extend(field(2, &trainer));
        let mut normalizer = number(4, u64::from(random.once_in(12)));
        if random.once_in(2) {
            normalizer.extend(number(3, random.below(2) as u64));
        }
        model.extend(field(3, &normalizer));
        if random.once_in(3) {
            scramble(&mut model, random);
        }
        files.push(("tokenizer.model".into(), model));
        if random.once_in(4) {
            let id = random.edge(16);
            files.push(("added_tokens.json".into(), format!("{{\"<x>\": {id}}}").into_bytes()));
        }
        files
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let path = bench.checkpoint(files, None)?;
        bench.convert(&path, size(files), random)
    }
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// A field of bytes.
fn field(number: u64, value: &[u8]) -> Vec<u8> {
    let mut out = varint(number << 3 | 2);
    out.extend(varint(value.len() as u64));
    out.extend_from_slice(value);
    out
}

/// A field of a number.
fn number(field: u64, n: u64) -> Vec<u8> {
    [varint(field << 3), varint(n)].concat()
}
