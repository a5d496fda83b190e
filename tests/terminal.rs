//! A conversation at a terminal: what is typed meanwhile, and what an interrupt leaves.
#![cfg(all(feature = "cli", unix))]

mod program;
mod support;

use program::whit;
use std::path::Path;
use std::process::Command;
use support::{Folder, TinyModel};
use whit::generate::{StopReason, StopRules, Writer};
use whit::sampler::{Sampler, SamplerOptions};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}assistant: ";

/// What is written of `bytes`, a token each, where an interrupt comes after the first `n`; then why it ended.
fn interrupted(bytes: &[u8], n: usize) -> (String, Option<StopReason>) {
    let folder = Folder::new(&format!("terminal-writer-{n}-{}", bytes.len()));
    let model = TinyModel::llama().open(&folder.path("m"));
    let vocab_size = model.config().vocab_size;
    let options = SamplerOptions { temperature: 0.0, ..SamplerOptions::default() };
    let sampler = Sampler::new(options, vocab_size).expect("options");
    let mut writer = Writer::new(&model, &[97], 64, sampler, StopRules::default()).expect("a prompt");
    let mut said = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        if i == n {
            writer.interrupt();
        }
        if writer.wants().is_none() {
            break;
        }
        let mut logits = vec![0.0; vocab_size];
        logits[usize::from(*byte)] = 9.0;
        writer.take(&logits, &mut ()).expect("finite logits");
        said.extend(writer.piece().map(|piece| piece.text.to_owned()));
    }
    said.extend(writer.piece().map(|piece| piece.text.to_owned()));
    (said, writer.stop_reason())
}

#[test]
fn an_interrupt_cuts_no_character() {
    for (text, n, whole) in [
        ("a€b", 1, "a"),
        ("a€b", 2, "a€"),
        ("a€b", 3, "a€"),
        ("a€b", 4, "a€"),
        ("😀😀", 1, "😀"),
        ("😀😀", 5, "😀😀"),
        ("é", 1, "é"),
    ] {
        assert_eq!(interrupted(text.as_bytes(), n), (whole.into(), Some(StopReason::Interrupted)), "{text} after {n}");
    }
    // What never becomes a character holds nothing up.
    assert_eq!(interrupted(b"\xe2bcdef", 1), ("\u{fffd}b".into(), Some(StopReason::Interrupted)));
}

/// By tests/terminal.py, which has a terminal: what it finds is its exit code.
#[test]
fn what_is_typed_during_a_reply_does_not_land_in_it() {
    let folder = Folder::new("terminal-chat");
    let path = folder.path("m.whit");
    let mut tiny = TinyModel { template: Some(TEMPLATE), has_end: false, ..TinyModel::llama() };
    tiny.config.context_length = 1 << 15;
    tiny.write(&path);
    let program = whit();
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal.py");
    let ran = Command::new("python3").arg(script).arg(&path).args(words).output();
    let Ok(output) = ran else { return println!("SKIPPED: there is no python3") };
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{out}{err}");
}
