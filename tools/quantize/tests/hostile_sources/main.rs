//! Hostile checkpoints: each has to end in an error of class data (or no-input) that names the file and a field or
//! offset, and nothing may panic. Rows are named as in docs/bad-inputs.md.

mod config;
mod families;
mod gguf;
mod kinds;
mod llama2c;
mod safetensors;
mod split;
mod tokenizer;
mod torch;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use quantize::source::{Checkpoint, OpenOptions};
use whit::error::{Error, Kind, Result};

/// The files of a checkpoint; one file stands for itself, several for their directory.
type Files = Vec<(&'static str, Vec<u8>)>;

/// One row of a table.
struct Case {
    name: &'static str,
    files: Files,
    /// Part of the message.
    expected: &'static str,
    /// The field it names.
    field: &'static str,
    /// It also names an offset.
    offset: bool,
    class: Kind,
}

fn case(name: &'static str, files: Files, expected: &'static str, field: &'static str) -> Case {
    Case { name, files, expected, field, offset: true, class: Kind::Data }
}

impl Case {
    /// The error is about something that is not there and so has no offset.
    fn nowhere(mut self) -> Self {
        self.offset = false;
        self
    }

    /// Something is missing or no file: exit code 66 instead of 65.
    fn no_input(mut self) -> Self {
        self.class = Kind::NoInput;
        self.nowhere()
    }
}

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("quantize-hostile-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("scratch directory");
        Scratch(path)
    }

    /// Writes `files`; returns what to open.
    fn write(&self, files: &Files) -> PathBuf {
        for (name, bytes) in files {
            std::fs::write(self.0.join(name), bytes).expect("scratch file");
        }
        match files.iter().find(|(name, _)| name.ends_with(".gguf") || name.ends_with(".bin")) {
            Some((name, _)) => self.0.join(name),
            None if files.len() == 1 => self.0.join(files[0].0),
            None => self.0.clone(),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Opens, builds the tokenizer, decodes every tensor.
fn everything(path: &Path) -> Result<Checkpoint> {
    let source = Checkpoint::open(path, &OpenOptions::default())?;
    source.tokenizer_section()?;
    for (i, tensor) in source.tensors.iter().enumerate() {
        let mut values = vec![0.0; tensor.elements().min(1 << 20) as usize];
        source.read(i, tensor.elements() - values.len() as u64, &mut values)?;
    }
    Ok(source)
}

/// As `everything`; a panic fails with the name of the row.
fn caught(name: &str, path: &Path) -> std::result::Result<Checkpoint, Error> {
    std::panic::catch_unwind(|| everything(path)).unwrap_or_else(|_| panic!("{name}: panicked"))
}

/// Whether `quantize` ends without an error of the class on one line, or leaves a file.
fn program_ends_otherwise(path: &Path, class: Kind) -> bool {
    let scratch = Scratch::new();
    let mut quantize = Command::new(env!("CARGO_BIN_EXE_quantize"));
    let run = quantize.arg(path).arg("-q").arg("-o").arg(scratch.0.join("out.whit")).output().expect("quantize starts");
    let told = String::from_utf8_lossy(&run.stderr);
    let left = std::fs::read_dir(&scratch.0).expect("the folder").count();
    run.status.code() != Some(whit::failure::exit_code(class).into())
        || !told.starts_with(&format!("error[{}]: ", class.name()))
        || told.lines().count() != 1
        || !run.stdout.is_empty()
        || left != 0
}

fn run(cases: Vec<Case>) {
    let mut failures = Vec::new();
    for Case { name, files, expected, field, offset, class } in cases {
        let scratch = Scratch::new();
        let path = scratch.write(&files);
        let error = match caught(name, &path) {
            Ok(_) => {
                failures.push(format!("{name}: accepted"));
                continue;
            }
            Err(error) => error,
        };
        let text = error.to_string();
        let file = scratch.0.file_name().expect("name").to_string_lossy();
        let complaint = if error.kind() != class {
            "the wrong class"
        } else if !text.contains(expected) {
            "without what is expected"
        } else if !text.contains(field) {
            "without the field"
        } else if !text.contains(&*file) {
            "without the file"
        } else if offset && error.offset().is_none() {
            "without an offset"
        } else if text.contains(|c: char| c.is_control()) || text.len() > 2000 {
            "not fit to print"
        } else if program_ends_otherwise(&path, class) {
            "but the program ends otherwise"
        } else {
            continue;
        };
        failures.push(format!("{name}: {complaint}: {text}"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every prefix of a file and every byte set to some values: refused or read, never a panic.
fn sweep(name: &str, files: &Files, target: &str, header: usize) {
    let scratch = Scratch::new();
    let path = scratch.write(files);
    caught(name, &path).unwrap_or_else(|e| panic!("{name}: the unharmed files: {e}"));
    let (_, whole) = files.iter().find(|(file, _)| *file == target).expect("target");
    for length in (0..whole.len()).filter(|n| n % if *n < header { 3 } else { 61 } == 0) {
        std::fs::write(scratch.0.join(target), &whole[..length]).expect("write");
        assert!(caught(name, &path).is_err(), "{name}: cut to {length} bytes");
    }
    for at in 0..header.min(whole.len()) {
        for value in [0, 0x39, 0xff, whole[at] ^ 4] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            std::fs::write(scratch.0.join(target), &bytes).expect("write");
            if let Err(error) = caught(name, &path) {
                assert!(matches!(error.kind(), Kind::Data | Kind::NoInput), "{name} byte {at}: {error}");
            }
        }
    }
}
