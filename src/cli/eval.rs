//! `whit eval`: how well a model predicts a text, and how far it is from a reference.

use super::args::{Eval, Score};
use super::input::{self, ModelFile};
use super::json::Object;
use super::output::{End, Outcome, Output, note};
use super::plan::Wanted;
use super::setup::compute;
use super::{progress, streaming};
use std::ops::Range;
use whit::TokenId;
use whit::compute::Compute;
use whit::error::{Error, Result};
use whit::inspect::{Summary, agreement, nll, perplexity};
use whit::model::{Model, Session, SessionOptions};
use whit::os::interrupt;
use whit::tokenizer::Specials;

/// Positions computed at a time; with a reference, its logits are kept for so many.
const BATCH: usize = 32;
/// Tokens a window.
const DEFAULT_WINDOW: usize = 512;

pub(super) fn run(args: &Eval) -> Outcome<()> {
    let source = ModelFile::open(args.model.model.as_deref())?;
    let model = source.model()?;
    let reference_source = args.against.as_deref().map(|path| ModelFile::open(Some(path))).transpose()?;
    let reference = reference_source.as_ref().map(ModelFile::model).transpose()?;
    let text = input::text(&args.text)?;
    let window = window(args, &model, reference.as_deref())?;
    let tokens = encode(&source, &model, &text)?;
    let n_windows = (tokens.len() / window).min(args.windows.map_or(usize::MAX, |n| n as usize));
    if n_windows == 0 {
        let message = format!("{} tokens are fewer than a window of {window}", tokens.len());
        return Err(Error::data(message).in_file(args.text.display().to_string()).hint("see --window").into());
    }

    let compute = compute(&args.compute)?;
    let kv = args.compute.kv.into();
    let options = SessionOptions { context_length: window, kv, batch: BATCH, logit_rows: BATCH, hold_all: false };
    let n_sessions = if reference.is_some() { 2 } else { 1 };
    let reference_options = SessionOptions { kv: args.against_kv.map_or(kv, Into::into), ..options };
    let largest = [options, reference_options].into_iter().max_by_key(|options| options.bytes(model.config()).kv);
    let wanted = Wanted::one(&model, largest.unwrap_or(options), &compute, &args.compute, "--window");
    let plan = Wanted { n_sessions, ..wanted }.check()?;
    let mut run = Run {
        session: Session::new(&model, &compute, options)?,
        reference: reference.as_ref().map(|model| Session::new(model, &compute, reference_options)).transpose()?,
        kept: vec![0.0; if reference.is_some() { BATCH * model.config().vocab_size } else { 0 }],
        scored: match args.score {
            Score::All => 0..window - 1,
            Score::SecondHalf => window / 2..window - 1,
        },
        tally: Tally::default(),
    };
    streaming::pace(&mut run.session, &source, &model, &plan, args.compute.max_memory, args.progress.quiet)?;
    interrupt::watch();
    let bar = progress::steps(n_windows as u64, args.progress.quiet);
    let mut n_done = 0;
    for tokens in tokens.chunks_exact(window).take(n_windows) {
        if !run.window(tokens)? {
            break;
        }
        n_done += 1;
        bar.set_position(n_done);
        bar.set_message(format!("perplexity {:.4}", run.tally.perplexity().0));
    }
    bar.finish_and_clear();
    source.check_unchanged()?;
    reference_source.as_ref().map_or(Ok(()), ModelFile::check_unchanged)?;
    if n_done > 0 {
        let mut out = Output::new();
        report(args, &mut run.tally, (n_done as usize, window), &compute, &mut out)?;
    }
    if (n_done as usize) < n_windows {
        note(format_args!("whit: interrupted after {n_done} of {n_windows} windows"));
        return Err(End::Interrupted);
    }
    Ok(())
}

/// The window's length, which both models hold; an error too where their vocabularies differ.
fn window(args: &Eval, model: &Model, reference: Option<&Model>) -> Result<usize> {
    if let Some(n) = reference.map(|r| r.config().vocab_size).filter(|n| *n != model.config().vocab_size) {
        let message = format!("the reference has {n} tokens, the model {}", model.config().vocab_size);
        return Err(Error::data(message).field("against"));
    }
    let lengths = [Some(model), reference].into_iter().flatten().map(|model| model.config().context_length);
    let most = lengths.min().unwrap_or(0);
    let window = args.window.map_or(most.min(DEFAULT_WINDOW), |window| window as usize);
    if window > most {
        let message = format!("{window} is above the {most} positions that the model was made for");
        return Err(Error::usage(message).field("window"));
    }
    if window < 2 {
        return Err(Error::data("a context of one position predicts nothing").field("context_length"));
    }
    Ok(window)
}

/// The text's tokens, without BOS.
fn encode(source: &ModelFile, model: &Model, text: &str) -> Result<Vec<TokenId>> {
    let tokenizer = model
        .tokenizer()
        .ok_or_else(|| Error::data("this model has no tokenizer, so no text can be read").in_file(source.name()))?;
    let mut tokens = Vec::new();
    tokenizer.encode(text, Specials::AsText, &mut tokens);
    Ok(tokens)
}

/// The state of a measurement.
struct Run {
    session: Session,
    reference: Option<Session>,
    /// The reference's logits of a batch.
    kept: Vec<f32>,
    /// Positions of a window that count; position i predicts token i + 1.
    scored: Range<usize>,
    tally: Tally,
}

/// One value a scored position.
#[derive(Default)]
struct Tally {
    nll: Vec<f64>,
    reference_nll: Vec<f64>,
    kl: Vec<f64>,
    n_same_top: usize,
}

impl Run {
    /// Measures a window from an empty context; false: interrupted, and nothing is counted.
    fn window(&mut self, tokens: &[TokenId]) -> Result<bool> {
        let Run { session, reference, kept, scored, tally } = self;
        let before = (tally.nll.len(), tally.n_same_top);
        session.rewind(0);
        if let Some(reference) = reference {
            reference.rewind(0);
        }
        // The last token is only predicted.
        let inputs = &tokens[..tokens.len() - 1];
        for (batch, start) in inputs.chunks(BATCH).zip((0..).step_by(BATCH)) {
            if interrupt::requested() {
                tally.truncate(before);
                return Ok(false);
            }
            if let Some(reference) = reference {
                reference.extend_each(batch, &mut |i, logits| {
                    kept[i * logits.len()..][..logits.len()].copy_from_slice(logits);
                    if scored.contains(&(start + i)) {
                        tally.reference_nll.push(nll(logits, tokens[start + i + 1]));
                    }
                })?;
            }
            session.extend_each(batch, &mut |i, logits| {
                if !scored.contains(&(start + i)) {
                    return;
                }
                tally.nll.push(nll(logits, tokens[start + i + 1]));
                if !kept.is_empty() {
                    let pair = agreement(&kept[i * logits.len()..][..logits.len()], logits);
                    tally.kl.push(pair.kl);
                    tally.n_same_top += usize::from(pair.same_top);
                }
            })?;
        }
        Ok(true)
    }
}

impl Tally {
    fn truncate(&mut self, (n, n_same_top): (usize, usize)) {
        for values in [&mut self.nll, &mut self.reference_nll, &mut self.kl] {
            values.truncate(n);
        }
        self.n_same_top = n_same_top;
    }

    /// Perplexity of the model and of the reference.
    fn perplexity(&self) -> (f64, f64) {
        (perplexity(&self.nll), perplexity(&self.reference_nll))
    }
}

fn report(
    args: &Eval,
    tally: &mut Tally,
    (n_windows, window): (usize, usize),
    compute: &Compute,
    out: &mut Output,
) -> Outcome<()> {
    let (perplexity, reference) = tally.perplexity();
    let n = tally.nll.len();
    let error = Summary::of(&mut tally.nll).map_or(f64::NAN, |summary| summary.error * perplexity);
    let kl = Summary::of(&mut tally.kl);
    let same_top = tally.n_same_top as f64 / n as f64;
    if args.print.json {
        let mut object = Object::default()
            .raw("windows", n_windows)
            .raw("window", window)
            .raw("positions", n)
            .number("perplexity", perplexity)
            .number("perplexity_error", error)
            .text("kernels", compute.kernels.name);
        if let Some(kl) = kl {
            let divergence = Object::default()
                .number("mean", kl.mean)
                .number("error", kl.error)
                .number("median", kl.median)
                .number("p99", kl.p99)
                .number("max", kl.max);
            object = object
                .number("reference_perplexity", reference)
                .raw("kl", divergence.line())
                .number("same_top", same_top);
        }
        out.line(&object.line())?;
        return out.flush();
    }
    out.line(&format!("windows      {n_windows} x {window} tokens, {n} positions"))?;
    out.line(&format!("perplexity   {perplexity:.4} +- {error:.4}"))?;
    if let Some(kl) = kl {
        let change = 100.0 * (perplexity / reference - 1.0);
        out.line(&format!("reference    {reference:.4} ({change:+.3} % from it)"))?;
        out.line(&format!("KL mean      {:.6} +- {:.6}", kl.mean, kl.error))?;
        out.line(&format!("KL median    {:.6}", kl.median))?;
        out.line(&format!("KL 99 %      {:.6}", kl.p99))?;
        out.line(&format!("KL max       {:.6}", kl.max))?;
        out.line(&format!("same top-1   {:.3} %", 100.0 * same_top))?;
    }
    out.flush()
}
