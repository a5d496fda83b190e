//! The `quantize` command: parse, convert, verify, report.

use std::io::{IsTerminal, Write};
use std::process::{ExitCode, exit};

use clap::Parser;
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quantize::args::{Args, Effort};
use quantize::convert::{self, Conversion, Progress, Texts};
use quantize::report::{self, Read};
use quantize::source::{Checkpoint, WordVectors};
use whit::error::{Error, Kind, Result, printable};
use whit::failure;
use whit::format::{Bytes, File, FileKind, SectionId};
use whit::model::Model;
use whit::model::spec::Role;
use whit::os::sandbox::{self, Paths};
use whit::os::{Mapping, fault, interrupt};
use whit::tokenizer::Tokenizer;

#[global_allocator]
static ALLOCATOR: whit::os::allocator::Telling = whit::os::allocator::Telling;

/// What users call the format of word vectors.
const WORDS: &str = "word vectors";

fn main() -> ExitCode {
    // As the arguments were typed: they may be what is wrong.
    let as_json = std::env::args_os().skip(1).any(|argument| argument == "--json");
    let line = move |error: &Error| failure::line_amid_text(error, as_json, std::io::stderr().is_terminal());
    fault::watch_files(line, failure::exit_code(Kind::Io));
    fault::watch_memory(line, failure::exit_code(Kind::Resources));
    fault::watch_ends();
    let outcome = match Args::try_parse() {
        Ok(args) => {
            // Before the first thread, which would keep what the others give up.
            if !args.no_sandbox {
                sandbox::confine_process(Some(&paths(&args)));
            }
            // Without a handler Ctrl-C still ends the process, only that a partial file stays.
            let _ = ctrlc::set_handler(|| {
                if !interrupt::request() {
                    exit(failure::exit_code(Kind::Interrupted).into());
                }
            });
            run(&args)
        }
        Err(error) if error.use_stderr() => {
            Err(failure::of_arguments(&error.render().to_string()).hint("see quantize --help"))
        }
        // Help or the version. Where the stream is closed, nobody reads them.
        Err(error) => error.print().or(Ok(())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("{}", failure::line(&error, as_json)));
            let signal = interrupt::ended_by().filter(|_| error.kind() == Kind::Interrupted);
            ExitCode::from(signal.map_or_else(|| failure::exit_code(error.kind()), failure::exit_code_of_signal))
        }
    }
}

/// The files of a conversion: those beside the checkpoint and of adapters, with those that links there lead to, and the folder of
/// the output.
fn paths(args: &Args) -> Paths {
    let mut folders = if args.input.is_dir() { vec![args.input.clone()] } else { sandbox::folders_of(&args.input) };
    folders.extend(args.open_options().lora.into_iter().map(|(folder, _)| folder));
    let entries = folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink())).map(|entry| entry.path());
    let read = links
        .chain(args.tokenizer.clone())
        .chain(args.calibrate.clone())
        .chain([args.input.clone()])
        .chain(folders.clone())
        .collect();
    Paths { read, write: sandbox::folders_of(&args.output), accepts: false }
}

/// A line for the user, which is lost where standard error takes none: that is no reason to stop.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn run(args: &Args) -> Result<()> {
    let input = args.input.display().to_string();
    let words = WordVectors::open(&args.input).map_err(|e| e.in_file(input.clone()))?;
    if let Some(words) = words {
        if args.tokenizer.is_some() {
            return Err(Error::usage("word vectors have no tokenizer").field("tokenizer"));
        }
        if !args.lora.is_empty() {
            return Err(Error::usage("word vectors have no adapters").field("lora"));
        }
        if args.context.is_some() {
            return Err(Error::usage("word vectors have no positions").field("context"));
        }
        if args.quality || args.budget().is_some() {
            return Err(Error::usage("word vectors have no quality report").field("quality"));
        }
        let read = Read { name: &words.name, format: WORDS, notes: &words.notes };
        let dtype = args.dtypes().of(Role::Embedding);
        return write(args, read, &mut |progress| {
            convert::convert_words(&words, &args.output, dtype, args.force, progress)
        });
    }
    let source = Checkpoint::open(&args.input, &args.open_options()).map_err(|e| e.in_file(input))?;
    let read = Read { name: &source.name, format: source.format.name(), notes: &source.notes };
    let own = args.own_text()?;
    let texts = match &source.vocabulary {
        Some(_) => args.texts(own.as_deref()),
        None => without_tokenizer(args, own.as_deref())?,
    };
    let note = |note: &str| {
        if !args.quiet {
            tell(format_args!("note: {note}"));
        }
    };
    let texts = Texts { pairs: (args.effort == Effort::Best).then_some(&note), ..texts };
    write(args, read, &mut |progress| {
        let (output, dtypes) = (&args.output, args.dtypes());
        match args.budget() {
            None => convert::convert(&source, output, &dtypes, texts, args.force, progress),
            Some(budget) => convert::convert_within(&source, output, &dtypes, budget, texts, args.force, progress),
        }
    })
}

/// What a checkpoint without a tokenizer reads: nothing, unless a text is named, or a report asked for, which is an error.
fn without_tokenizer<'t>(args: &Args, own: Option<&'t str>) -> Result<Texts<'t>> {
    if args.quality || args.budget().is_some() {
        let error = Error::data("the checkpoint has no tokenizer to read a held-out text with").field("quality");
        return Err(error.in_file(args.input.display().to_string()));
    }
    Ok(Texts { calibration: own, ..Texts::default() })
}

/// Has `convert` write the file, with a bar, and reports what was written.
fn write(args: &Args, read: Read<'_>, convert: &mut dyn FnMut(&mut Progress<'_>) -> Result<Conversion>) -> Result<()> {
    if !args.quiet {
        read.notes.iter().for_each(|note| tell(format_args!("note: {note}")));
    }
    let bar = progress_bar(args);
    interrupt::watch();
    let stopped = |what| Error::new(Kind::Interrupted, what).field("conversion");
    let conversion = convert(&mut |done, total| {
        if interrupt::requested() {
            return Err(stopped("stopped; the output is as it was"));
        }
        bar.set_length(total);
        bar.set_position(done);
        Ok(())
    })
    .map_err(|e| e.in_file(args.input.display().to_string()))?;
    if interrupt::unwatch() {
        return Err(stopped("stopped after the output was written").in_file(args.output.display().to_string()));
    }
    bar.finish_and_clear();
    for leftover in &conversion.leftovers {
        let state =
            if leftover.in_use { "is being written by another run" } else { "was left by a killed run; remove it" };
        tell(format_args!("note: {} {state}", printable(&leftover.path.display().to_string())));
    }
    let file_bytes = verify(args)?;
    if args.quiet {
        return Ok(());
    }
    if args.reports() && conversion.quality.is_none() && read.format != WORDS {
        tell(format_args!("note: no quality report: no tokenizer, or fewer than 16 tokens of a held-out text"));
    }
    print(args, read, &conversion, file_bytes)
}

/// A bar with size and time left on a terminal; nothing elsewhere or when asked to be quiet.
fn progress_bar(args: &Args) -> ProgressBar {
    if args.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Opens what was written as a user would, scans every checksum and gives the size.
fn verify(args: &Args) -> Result<u64> {
    let name = args.output.display().to_string();
    let check = || {
        let bytes = Bytes::new(Mapping::open(&args.output)?);
        let file = File::open(&bytes)?;
        file.verify(&mut |_| {})?;
        match file.kind() {
            FileKind::LanguageModel => drop(Model::open(bytes.clone())?),
            FileKind::WordVectors => drop(Tokenizer::open(file.require(SectionId::TOKN)?)?),
        }
        Ok(bytes.len() as u64)
    };
    check().map_err(|e: Error| e.in_file(name))
}

fn print(args: &Args, read: Read<'_>, conversion: &Conversion, file_bytes: u64) -> Result<()> {
    let Conversion { tensors: written, quality, chosen, from_blocks, .. } = conversion;
    let text = if args.json {
        report::json(read, conversion, file_bytes) + "\n"
    } else if args.verbose {
        report::table(read, written, file_bytes)
            + &report::from_blocks(from_blocks)
            + &report::chosen(chosen, true)
            + &report::quality(quality.as_ref())
    } else {
        let columns = Term::stdout().size_checked().map_or(80, |(_, columns)| columns.into());
        report::summary(read, written, file_bytes, columns)
            + &report::from_blocks(from_blocks)
            + &report::chosen(chosen, false)
            + &report::quality(quality.as_ref())
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Io, error.to_string()).in_file("standard output"))
        }
        _ => Ok(()),
    }
}
