//! `whit verify`: every byte against the checksums, and the quality report against what the weights compute.

use super::args::Verify;
use super::input::ModelFile;
use super::json::Object;
use super::output::{End, Outcome, Output, bytes, hex};
use super::{progress, quality, setup};
use std::sync::Arc;
use whit::compute::Compute;
use whit::error::{Error, Kind, Result};
use whit::format::{Figures, File, FileKind, Quality};
use whit::inspect::compare;
use whit::kernels;
use whit::os::interrupt;

pub(super) fn run(args: &Verify) -> Outcome<()> {
    let source = ModelFile::open(args.model.path())?;
    let file = source.file()?;
    let bar = progress::bytes(file.weights_bytes(), args.progress.quiet);
    let checked = file.verify(&mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let report = checked.and_then(|()| file.quality()).map_err(|error| End::Failed(error.in_file(source.name())))?;
    let found = match (args.quality, &report) {
        (false, _) => None,
        (true, Some(report)) => {
            let figures = again(args, &source, &file, report);
            Some((report, figures.map_err(|error| error.in_file(source.name()))?))
        }
        (true, None) => return Err(without_report(&file).in_file(source.name()).into()),
    };
    source.check_unchanged()?;
    print(args, &source.name(), &file, found.as_ref().map(|(report, figures)| (*report, figures)))?;
    match found {
        Some((report, figures)) if figures.bits() != report.figures.bits() => {
            let error = Error::data("the figures in the file are not those that its weights compute");
            Err(error.field("section QUAL").in_file(source.name()).into())
        }
        _ => Ok(()),
    }
}

/// The figures, computed again.
fn again(args: &Verify, source: &ModelFile, file: &File<'_>, report: &Quality) -> Result<Figures> {
    if file.kind() != FileKind::LanguageModel {
        return Err(without_report(file));
    }
    let kernels = args.kernels.as_deref().map_or_else(|| Ok(kernels::detect()), kernels::by_name)?;
    let compute = match args.threads {
        Some(n) => Compute::new(kernels, n.into())?,
        None => setup::up_to(kernels, setup::default_threads())?,
    };
    interrupt::watch();
    let bar = progress::steps(report.tokens.len() as u64, args.progress.quiet);
    let figures = compare(report, &source.model()?, &Arc::new(compute), &mut |share| {
        if interrupt::requested() {
            return Err(Error::new(Kind::Interrupted, "stopped before all was compared").field("quality"));
        }
        bar.set_position((share * report.tokens.len() as f64) as u64);
        Ok(())
    });
    bar.finish_and_clear();
    figures
}

fn without_report(file: &File<'_>) -> Error {
    let hint = match file.kind() {
        FileKind::LanguageModel => "quantize --quality writes one",
        FileKind::WordVectors => "word vectors have none",
    };
    Error::data("the file has no quality report").field("section QUAL").hint(hint)
}

fn print(args: &Verify, name: &str, file: &File<'_>, found: Option<(&Quality, &Figures)>) -> Outcome<()> {
    let mut out = Output::new();
    if args.print.json {
        let object = Object::default()
            .text("file", name)
            .raw("bytes", file.file_bytes())
            .text("content_hash", &hex(&file.content_hash()));
        let object = match found {
            None => object,
            Some((report, figures)) => object.raw("quality", quality::as_json(report, file, Some(figures))),
        };
        out.line(&object.line())?;
        return out.flush();
    }
    out.foreign(name)?;
    out.line(&format!(": {} in order, content {}", bytes(file.file_bytes()), hex(&file.content_hash())))?;
    if let Some((report, figures)) = found {
        out.page(&format!("\n{}\n\n", quality::measured(report)))?;
        out.write(&quality::figures(report, Some(figures)))?;
        out.line("")?;
        out.write(&quality::formats(file))?;
        if figures.bits() == report.figures.bits() {
            out.line("\nequal to the last bit")?;
        }
    }
    out.flush()
}
