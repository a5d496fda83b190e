//! A saved session, or an entry of a cache, of a valid model, and what was said since. Most cases have the right checksums.

use std::ops::Range;
use std::sync::Arc;

use super::{Target, whit_file};
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::{put_edge, scramble};
use crate::random::Random;
use whit::chat::{Speaker, Turn, apply_record, to_record};
use whit::format::Bytes;
use whit::model::journal::{record, records};
use whit::model::saved::{Key, Part, Saved, Settings, save};
use whit::ops::KvDtype;
use whit::{Compute, Model, Session, SessionOptions, kernels};

pub(super) struct SavedSession;

const HASH_BYTES: usize = 32;
/// Positions of the sessions, in four blocks of the cache: more than the rings of short windows hold.
const CONTEXT: usize = 100;

impl Target for SavedSession {
    fn name(&self) -> &'static str {
        "session"
    }

    /// A session is verified as a whole and lists its tokens, 4 bytes each.
    fn bound(&self) -> Bound {
        Bound::PLAIN
    }

    fn make(&self, random: &mut Random) -> Files {
        let model = whit_file::valid(random);
        let kv = random.pick(&KvDtype::ALL);
        let mut bytes = saved(&model, kv, random).unwrap_or_default();
        match random.below(8) {
            0..=3 if !bytes.is_empty() => {
                let numbers = numbers(&bytes);
                let at = random.within(0, numbers.end / 4 - 1) * 4;
                let at = if random.once_in(2) { numbers.start + at % numbers.len() } else { at };
                put_edge(&mut bytes, at, random);
            }
            4 | 5 => scramble(&mut bytes, random),
            6 => bytes.resize(random.below(bytes.len() + 40), 0),
            _ => {}
        }
        if bytes.len() > HASH_BYTES && !random.once_in(6) {
            let end = bytes.len() - HASH_BYTES;
            let hash = blake3::hash(&bytes[..end]);
            bytes[end..].copy_from_slice(hash.as_bytes());
        }
        for _ in 0..random.below(4) {
            let mut said = said(random);
            if random.once_in(2) {
                scramble(&mut said, random);
            }
            bytes.extend(record(bytes.len() as u64, &said).unwrap_or_default());
        }
        if random.once_in(8) {
            bytes.truncate(bytes.len() - random.below(60).min(bytes.len()));
        }
        vec![(format!("{}.whit", kv.name()), model), ("text.session".into(), bytes)]
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let [(name, model), (_, bytes)] = &files[..] else { return Ok(()) };
        let kv = KvDtype::from_name(name.trim_end_matches(".whit")).unwrap_or_default();
        let model = Arc::new(Model::open(Bytes::copy(model))?);
        let settings = Settings::new(&model, kv);
        let saved = bench.reading(bytes.len(), || {
            let (saved, end) = Saved::read_first(bytes, &settings)?;
            let mut turns = Vec::new();
            for said in records(bytes, end)?.contents {
                apply_record(&mut turns, said)?;
            }
            Ok(saved)
        })?;
        bench.go_on(&model, kv, &saved, random)
    }
}

/// Where the numbers after the parent's key are: the first token's position, tokens, held ones, bytes of the note.
fn numbers(saved: &[u8]) -> Range<usize> {
    let start = if saved[8] == 1 { 96 } else { 88 + 16 * usize::from(saved[20]) };
    start..start + 16
}

/// Some turns after none or after some, as a record tells them.
fn said(random: &mut Random) -> Vec<u8> {
    let turns = |n: usize| -> Vec<Turn> {
        let turn = |i| Turn { tokens: vec![i as u32; i], ..Turn::new(Speaker::User, format!("said {i}")) };
        (0..n).map(turn).collect()
    };
    to_record(&turns(random.below(3)), &turns(random.below(4)))
}

/// A text with its keys and values, saved.
fn saved(model: &[u8], kv: KvDtype, random: &mut Random) -> whit::Result<Vec<u8>> {
    let model = Arc::new(Model::open(Bytes::copy(model))?);
    let compute = Arc::new(Compute::new(kernels::detect(), 1)?);
    let config = model.config();
    let context_length = if config.learned_positions { config.context_length.min(CONTEXT) } else { CONTEXT };
    // Some hold more than their windows need.
    let hold_all = random.once_in(4);
    let options = SessionOptions { context_length, kv, batch: 8, hold_all, ..SessionOptions::default() };
    let mut session = Session::new(&model, &compute, options)?;
    let vocab_size = model.config().vocab_size;
    let mut n_held = random.below(context_length);
    let mut tokens: Vec<u32> = (0..n_held + random.below(2)).map(|_| random.below(vocab_size) as u32).collect();
    if n_held > 0 {
        session.extend(&tokens[..n_held])?;
        if random.once_in(4) {
            n_held = session.rewind(random.below(n_held));
            tokens.truncate(n_held + random.below(3));
        }
    }
    let part = Part { start: 0, parent: Key::default(), tokens: &tokens, n_held, note: b"\x01\0\0\0note" };
    let mut out = Vec::new();
    save(session.state_mut(), &compute, &Settings::new(&model, kv), part, &mut |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(out)
}
