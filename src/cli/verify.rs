//! `whit verify`: every byte against the checksums.

use super::args::Verify;
use super::input::ModelFile;
use super::output::{End, Outcome, Output, bytes, hex};
use super::progress;

pub(super) fn run(args: &Verify) -> Outcome<()> {
    let source = ModelFile::open(args.model.path())?;
    let file = source.file()?;
    let bar = progress::bytes(file.weights_bytes(), args.progress.quiet);
    let checked = file.verify(&mut |done| bar.set_position(done));
    bar.finish_and_clear();
    checked.map_err(|error| End::Failed(error.in_file(source.name())))?;
    source.check_unchanged()?;
    let mut out = Output::new();
    out.foreign(&source.name())?;
    out.line(&format!(": {} in order, content {}", bytes(file.file_bytes()), hex(&file.content_hash())))?;
    out.flush()
}
