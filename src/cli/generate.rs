//! `whit generate`: continue a text.

mod printer;
mod receipt;
mod report;

use super::args::Generate;
use super::constraint;
use super::guessing::{self, Guessing};
use super::input::{self, ModelFile};
use super::keeping;
use super::output::{End, Outcome, bytes, tell};
use super::plan::Wanted;
use super::sampling::sampler_options;
use super::session_file::{Content, SessionFile};
use super::setup::{compute, ends, held_by, session_options};
use super::streaming;
use super::views::Show;
use super::views::branch::{self, Branching};
use super::writing::{self, Each};
use printer::Printer;
use report::Report;
use whit::error::{Error, Result};
use whit::generate::guess::Guesses;
use whit::generate::{OPEN_CONTEXT, PrefixCache, StopReason, StopRules, Writer, prompt_tokens};
use whit::inspect::MemoryPlan;
use whit::model::{Model, Session};
use whit::os::clock::Stopwatch;
use whit::os::interrupt;
use whit::sampler::{Sampler, SamplerOptions, Watcher};
use whit::tokenizer::{Specials, Tokenizer};
use whit::{Compute, TokenId};

pub(super) fn run(args: &Generate) -> Outcome<()> {
    let text = input::given(&args.text)?.unwrap_or_default();
    let source = ModelFile::open(args.model.model.as_deref())?;
    let opened = source.opened()?;
    let model = opened.model();
    let tokenizer = *model.tokenizer().ok_or_else(|| {
        Error::data("this model has no tokenizer, so no text can be generated").in_file(source.name())
    })?;
    let cache = keeping::cache(&args.keeping, &args.compute, &opened, args.verbose)?;
    let mut session_file = SessionFile::of(&args.keeping, &opened, args.compute.kv.into())?;
    let content = session_file.as_ref().map(SessionFile::content).transpose()?.flatten();
    let saved = content.as_ref().map(Content::read_text).transpose()?;
    let before = saved.as_ref().map_or(&[][..], |saved| &saved.tokens);
    let specials = if args.special { Specials::Parse } else { Specials::AsText };
    let prompt = prompt_tokens(model, before, &text, specials)?;
    let context_length = context_length(args, model, prompt.len())?;
    let options = sampler_options(&args.sampling, model)?;
    let seed = options.seed;
    let n_tokens = usize::try_from(args.n_tokens).ok();
    let on_full = keeping::on_full(&args.keeping, prompt.len(), context_length)?;
    let end_tokens = [model.end_tokens(), ends(&args.end, model)?].concat();
    let (stops, banned) = (args.stop.clone(), args.sampling.banned_string.clone());
    let rules = StopRules { n_tokens, stops, end_tokens, banned, on_full };
    let (rule, grammar) = constraint::compiled(&args.constraints, model)?.unzip();
    let compute = compute(&args.compute)?;
    let guessing = Guessing::asked(&args.guess, model, args.compute.max_memory)?;
    let session_options = guessing::options(guessing.as_ref(), session_options(context_length, args.compute.kv));
    let wanted = Wanted::one(model, session_options, &compute, &args.compute, "--ctx");
    let n_constrained = u64::from(grammar.is_some());
    let plan = Wanted { guessing: guessing.as_ref(), n_constrained, ..wanted }.check()?;
    let sampler = Sampler::new(options, model.config().vocab_size)?;
    let mut receipt = receipt::Draft::asked(args, model, &prompt, (&sampler, &rules, rule), context_length)?;
    let mut show = shows(args, tokenizer, sampler.options())?;
    let mut session = Session::new(model, &compute, session_options)?;
    streaming::pace(&mut session, &source, model, &plan, args.compute.max_memory, args.quiet)?;
    let guesses = guessing.map(|guessing| guessing.guesses(model, &compute, session_options));
    let mut guesses = guesses.transpose()?;
    tell_start(args, &source, model, &compute, &plan, context_length);
    interrupt::watch();
    if args.interactive {
        let (prompt, end_tokens, n_top) = (&prompt[..], rules.end_tokens, n_top(args));
        let branching = Branching { session: &mut session, tokenizer, sampler, prompt, end_tokens, n_top };
        return source.if_unchanged(branch::run(branching, &args.display, args.tree.as_deref()));
    }
    let mut printer = Printer::new(args);
    if !args.no_echo {
        printer.prompt(&text, &prompt[before.len()..], show.as_ref())?;
    }

    let clock = Stopwatch::start();
    let n_restored = match (&saved, &cache) {
        (Some(saved), _) => keeping::restore(saved, &mut session, &prompt)?,
        (None, Some(cache)) => writing::restore(cache, &mut session, &prompt, args.verbose)?,
        (None, None) => 0,
    };
    let mut writer = Writer::new(model, &prompt, context_length, sampler, rules)?;
    constraint::keep_to(&mut writer, grammar.as_ref())?;
    let mut writing = Writing {
        writer: &mut writer,
        session: &mut session,
        cache: cache.as_ref(),
        prompt: &prompt,
        guesses: guesses.as_mut(),
        quiet: args.quiet,
    };
    let clocks = source.if_unchanged(writing.write_shown(clock, (show.as_mut(), receipt.as_mut()), &mut printer))?;
    let report = Report {
        n_prompt: prompt.len(),
        n_restored,
        n_generated: writer.n_generated(),
        prefill_seconds: clocks.prefill,
        decode_seconds: clocks.decode,
        bytes_per_token: model.bytes_per_token(),
        planned_bytes: plan.private(),
        context_length,
        kernels: compute.kernels.name,
        threads: compute.threads.len(),
        seed,
        reason: writer.stop_reason().unwrap_or(StopReason::Length),
        guesses: guesses.as_ref().map(Guesses::tally),
    };
    if let Some(file) = &mut session_file {
        file.write(&mut session, writer.tokens(), &[])?;
    }
    if let Some((draft, path)) = receipt.zip(args.receipt.as_deref()) {
        draft.write(path, &writer)?;
    }
    printer.end(&report)?;
    if let (Some(show), Some(path)) = (&show, &args.display.html) {
        show.write_page(path, &text)?;
    }
    if !args.quiet {
        report.tell();
    } else if report.reason == StopReason::ContextFull {
        report.tell_context();
    }
    if report.reason == StopReason::Interrupted {
        return Err(End::Interrupted);
    }
    Ok(constraint::cut_short(&mut writer)?)
}

/// Seconds that a text took.
struct Clocks {
    prefill: f64,
    decode: f64,
}

/// A text that is being written.
struct Writing<'w> {
    writer: &'w mut Writer,
    session: &'w mut Session,
    cache: Option<&'w PrefixCache>,
    prompt: &'w [TokenId],
    guesses: Option<&'w mut Guesses>,
    /// No progress is shown.
    quiet: bool,
}

impl Writing<'_> {
    /// Computes the prompt and writes the text after it to its end; `clock` runs since the first was begun.
    fn write<W: Watcher>(&mut self, clock: Stopwatch, watcher: &mut W, each: &mut Each<'_, W>) -> Outcome<Clocks> {
        let Writing { writer, session, cache, prompt, guesses, quiet } = self;
        if let Some(guesses) = guesses {
            guesses.begin(prompt, &mut || !interrupt::requested())?;
        }
        writing::prefill(writer, session, *cache, prompt, *quiet, watcher)?;
        let prefill = clock.seconds();
        let clock = Stopwatch::start();
        writing::write(writer, session, *cache, prompt, guesses.as_deref_mut(), watcher, each)?;
        Ok(Clocks { prefill, decode: clock.seconds() })
    }

    /// [`write`](Self::write), with the choices where they are shown or a receipt is of them.
    fn write_shown(
        &mut self,
        clock: Stopwatch,
        watchers: (Option<&mut Show<'_>>, Option<&mut receipt::Draft>),
        printer: &mut Printer,
    ) -> Outcome<Clocks> {
        let show = match watchers {
            (Some(show), _) => show,
            (None, Some(draft)) => {
                return self.write(clock, &mut draft.evidence, &mut |_, written| printer.piece(written));
            }
            (None, None) => return self.write(clock, &mut (), &mut |(), written| printer.piece(written)),
        };
        let clocks = self.write(clock, show, &mut |show, written| printer.choice(show, written))?;
        // A token that ends the text is no piece of it, but it was chosen.
        printer.last_choice(show)?;
        Ok(clocks)
    }
}

/// The view of each choice, if the arguments ask for it.
fn shows<'a>(args: &Generate, tokenizer: Tokenizer<'a>, options: &SamplerOptions) -> Result<Option<Show<'a>>> {
    let given = [("html", args.display.html.is_some()), ("top", args.top.is_some() && !args.interactive)];
    if let Some((name, _)) = given.iter().find(|(_, is_given)| *is_given && !args.show) {
        return Err(Error::usage("it is of use with --show only").field(*name));
    }
    Ok(args.show.then(|| Show::new(&args.display, tokenizer, options, n_top(args))))
}

/// Tokens of a distribution that are shown.
fn n_top(args: &Generate) -> usize {
    args.top.map_or(20, usize::from)
}

fn tell_start(
    args: &Generate,
    source: &ModelFile,
    model: &Model,
    compute: &Compute,
    plan: &MemoryPlan,
    context_length: usize,
) {
    if args.verbose {
        let (kernels, threads) = (compute.kernels.name, compute.threads.len());
        tell(&format!("whit: {}, {} of weights, mapped", source.name(), bytes(model.weight_bytes())));
        let private = bytes(plan.private());
        tell(&format!("whit: context {context_length}, {private} private; {kernels}, {threads} threads"));
    }
    if model.chat_template().is_some() && !args.quiet {
        tell("whit: this model has a chat template; generate continues plain text, chat talks");
    }
}

/// Room for the prompt and what is to come, as far as the model goes.
fn context_length(args: &Generate, model: &Model, n_prompt: usize) -> Result<usize> {
    let most = model.config().context_length;
    let wanted = match (args.ctx, usize::try_from(args.n_tokens)) {
        (Some(ctx), _) => ctx as usize,
        (None, Ok(n)) => most.min(n_prompt + n.max(1)),
        (None, Err(_)) => most.min(OPEN_CONTEXT.max(2 * n_prompt)),
    };
    let wanted = held_by(model, wanted)?;
    if n_prompt >= wanted {
        let message = format!("{n_prompt} tokens leave no room in a context of {wanted}");
        let error = Error::usage(message).field("prompt");
        return Err(if wanted < most { error.hint(format!("--ctx can be up to {most}")) } else { error });
    }
    Ok(wanted)
}
