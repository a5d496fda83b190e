//! `whit generate`: continue a text.

use super::args::{Generate, Sampling};
use super::input::{self, ModelFile};
use super::json::{self, Object};
use super::keeping::{self, Each, SessionFile};
use super::output::{End, Outcome, Output, bytes, note};
use super::plan::Wanted;
use super::views::Show;
use super::views::branch::{self, Branching};
use super::{BATCH, OPEN_CONTEXT, compute, held_by, interrupt, session_options, streaming};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::time::SystemTime;
use whit::error::{Error, Result};
use whit::generate::{Generator, Limits, PrefixCache, StopReason};
use whit::inspect::MemoryPlan;
use whit::model::{GenerationDefaults, Model, Session};
use whit::os::{clock::Stopwatch, memory};
use whit::sampler::{Sampler, SamplerOptions, Watcher};
use whit::tokenizer::{Specials, Tokenizer};
use whit::{Compute, TokenId};

pub(super) fn run(args: &Generate) -> Outcome<()> {
    let text = prompt_text(args)?;
    let source = ModelFile::open(args.model.model.as_deref())?;
    let file = source.file()?;
    let model = source.model(&file)?;
    let tokenizer = *model.tokenizer().ok_or_else(|| {
        Error::data("this model has no tokenizer, so no text can be generated").in_file(source.name())
    })?;
    let session_file = SessionFile::of(&args.keeping, &model, args.compute.kv.into())?;
    let saved = session_file.as_ref().map(SessionFile::read).transpose()?.flatten();
    let cache = keeping::cache(&args.keeping, &model, args.compute.kv.into())?;
    let before = saved.as_ref().map_or(&[][..], |saved| &saved.tokens);
    let prompt = prompt_tokens(&tokenizer, before, &text, args.special)?;
    let context_length = context_length(args, &model, prompt.len())?;
    let options = sampler_options(&args.sampling, model.generation())?;
    let seed = options.seed;
    let n_tokens = usize::try_from(args.n_tokens).ok();
    let on_full = keeping::on_full(&args.keeping, prompt.len(), context_length)?;
    let limits = Limits { n_tokens, stops: args.stop.clone(), end_tokens: model.end_tokens(), on_full };
    let compute = compute(&args.compute)?;
    let session_options = session_options(context_length, args.compute.kv);
    let plan = Wanted::one(&model, &file, session_options, &compute, &args.compute, "--ctx").check()?;
    let sampler = Sampler::new(options, model.config().vocab_size)?;
    let mut show = shows(args, tokenizer, sampler.options())?;
    let mut session = Session::new(&model, &compute, session_options)?;
    streaming::pace(&mut session, &source, &model, &plan, args.compute.max_memory, args.quiet)?;
    tell_start(args, &source, &model, &compute, &plan, context_length);
    interrupt::watch();
    if args.interactive {
        let (prompt, end_tokens, n_top) = (&prompt[..], limits.end_tokens, args.top.into());
        let branching = Branching { session: &mut session, tokenizer, sampler, prompt, end_tokens, n_top };
        branch::run(branching, &args.display, args.tree.as_deref())?;
        source.check_unchanged()?;
        return Ok(());
    }
    let mut printer = Printer::new(args);
    if !args.no_echo {
        printer.prompt(&text, &prompt[before.len()..])?;
    }

    let clock = Stopwatch::start();
    let n_restored = match (&saved, &cache) {
        (Some(saved), _) => keeping::restore(saved, &mut session, &prompt)?,
        (None, Some(cache)) => cache.restore(&mut session, &prompt)?,
        (None, None) => 0,
    };
    let mut generator = Generator::new(&mut session, tokenizer, sampler, limits);
    let clocks = write_shown(&mut generator, cache.as_ref(), &prompt, clock, show.as_mut(), &mut printer)?;
    let report = Report {
        n_prompt: prompt.len(),
        n_restored,
        n_generated: generator.n_generated(),
        prefill_seconds: clocks.prefill,
        decode_seconds: clocks.decode,
        bytes_per_token: model.bytes_per_token(),
        planned_bytes: plan.private(),
        context_length,
        kernels: compute.kernels.name,
        threads: compute.threads.len(),
        seed,
        reason: generator.stop_reason().unwrap_or(StopReason::Length),
    };
    source.check_unchanged()?;
    if let Some(file) = &session_file {
        let tokens = generator.tokens().to_vec();
        file.write(generator.session(), &tokens, &[])?;
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
    if report.reason == StopReason::Interrupted { Err(End::Interrupted) } else { Ok(()) }
}

/// Seconds that a text took.
struct Clocks {
    prefill: f64,
    decode: f64,
}

/// Computes `prompt` and writes the text after it to its end; `clock` runs since the first was begun.
fn write<W: Watcher>(
    generator: &mut Generator<'_, '_, '_>,
    cache: Option<&PrefixCache>,
    prompt: &[TokenId],
    clock: Stopwatch,
    watcher: &mut W,
    each: &mut Each<'_, W>,
) -> Outcome<Clocks> {
    generator.prefill_watched(prompt, BATCH, &mut || !interrupt::requested(), watcher)?;
    let prefill = clock.seconds();
    let clock = Stopwatch::start();
    keeping::write(generator, cache, prompt, watcher, each)?;
    Ok(Clocks { prefill, decode: clock.seconds() })
}

/// [`write`], with the choices where they are shown.
fn write_shown(
    generator: &mut Generator<'_, '_, '_>,
    cache: Option<&PrefixCache>,
    prompt: &[TokenId],
    clock: Stopwatch,
    show: Option<&mut Show<'_>>,
    printer: &mut Printer,
) -> Outcome<Clocks> {
    let Some(show) = show else {
        return write(generator, cache, prompt, clock, &mut (), &mut |(), token, text| printer.piece(token, text));
    };
    let clocks =
        write(generator, cache, prompt, clock, show, &mut |show, token, text| printer.choice(show, token, text))?;
    // A token that ends the text is no piece of it, but it was chosen.
    printer.last_choice(show)?;
    Ok(clocks)
}

/// The view of each choice, if the arguments ask for it.
fn shows<'a>(args: &Generate, tokenizer: Tokenizer<'a>, options: &SamplerOptions) -> Result<Option<Show<'a>>> {
    if !args.show && args.display.html.is_some() {
        return Err(Error::usage("it is of use with --show only").field("html"));
    }
    Ok(args.show.then(|| Show::new(&args.display, tokenizer, options, args.top.into())))
}

fn tell_start(
    args: &Generate,
    source: &ModelFile,
    model: &Model<'_>,
    compute: &Compute,
    plan: &MemoryPlan,
    context_length: usize,
) {
    if args.verbose {
        let (kernels, threads) = (compute.kernels.name, compute.threads.len());
        note(format_args!("whit: {}, {} of weights, mapped", source.name(), bytes(model.weight_bytes())));
        let private = bytes(plan.private());
        note(format_args!("whit: context {context_length}, {private} private; {kernels}, {threads} threads"));
    }
    if model.chat_template().is_some() && !args.quiet {
        note(format_args!("whit: this model has a chat template; generate continues plain text, chat talks"));
    }
}

fn prompt_text(args: &Generate) -> Result<String> {
    match (&args.prompt, &args.file) {
        (_, Some(path)) => input::text(path),
        (Some(text), None) if text == "-" => input::text(Path::new("-")),
        (Some(text), None) => Ok(text.clone()),
        (None, None) => Ok(String::new()),
    }
}

/// The text's tokens after those `before` it: BOS at the beginning where the model wants one, or where there is nothing else.
pub(super) fn prompt_tokens(
    tokenizer: &Tokenizer<'_>,
    before: &[TokenId],
    text: &str,
    special: bool,
) -> Result<Vec<TokenId>> {
    let mut tokens = before.to_vec();
    let begin = tokenizer.bos().or(tokenizer.eos());
    if tokens.is_empty() && (tokenizer.adds_bos() || text.is_empty()) {
        tokens.extend(begin);
    }
    let specials = if special { Specials::Parse } else { Specials::AsText };
    tokenizer.encode(text, specials, &mut tokens);
    if tokens.is_empty() {
        let error = Error::usage("it is empty, and this model has no token that begins a text").field("prompt");
        return Err(error.hint("give a prompt"));
    }
    Ok(tokens)
}

/// Room for the prompt and what is to come, as far as the model goes.
fn context_length(args: &Generate, model: &Model<'_>, n_prompt: usize) -> Result<usize> {
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

/// What the command line says, else what the model's authors say, else ours.
pub(super) fn sampler_options(args: &Sampling, defaults: &GenerationDefaults) -> Result<SamplerOptions> {
    if args.logit_bias.len() > 1024 {
        let message = format!("{} are given, at most 1024 are taken", args.logit_bias.len());
        return Err(Error::usage(message).field("logit-bias"));
    }
    Ok(SamplerOptions {
        temperature: args.temp.or(defaults.temperature).unwrap_or(0.8),
        top_k: args.top_k.or(defaults.top_k).unwrap_or(0) as usize,
        top_p: args.top_p.or(defaults.top_p).unwrap_or(0.95),
        min_p: args.min_p.or(defaults.min_p).unwrap_or(0.0),
        typical_p: args.typical,
        repeat_penalty: args.repeat_penalty.or(defaults.repeat_penalty).unwrap_or(1.0),
        repeat_last_n: args.repeat_last_n as usize,
        presence_penalty: args.presence_penalty,
        frequency_penalty: args.frequency_penalty,
        logit_bias: args.logit_bias.clone(),
        seed: args.seed.unwrap_or_else(random_seed),
    })
}

/// A seed of 32 bits, short enough to be typed again, from the keys that the system gives to hash maps and the time.
fn random_seed() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    hasher.finish() >> 32
}

/// Prints the text as it comes: plain, or as JSON lines.
struct Printer {
    out: Output,
    json: bool,
    ends_line: bool,
}

impl Printer {
    fn new(args: &Generate) -> Self {
        let out = Output::new();
        Printer { out: if args.raw.raw { out.raw() } else { out }, json: args.display.json, ends_line: true }
    }

    fn prompt(&mut self, text: &str, tokens: &[TokenId]) -> Outcome<()> {
        if !self.json {
            return self.text(text);
        }
        let tokens = json::list(tokens.iter().map(TokenId::to_string));
        self.out.line(&Object::default().text("prompt", text).raw("tokens", tokens).line())?;
        self.out.flush()
    }

    fn piece(&mut self, token: Option<TokenId>, text: &str) -> Outcome<()> {
        if !self.json {
            return self.text(text);
        }
        let object = match token {
            Some(token) => Object::default().raw("token", token),
            None => Object::default().raw("token", "null"),
        };
        self.out.line(&object.text("text", text).line())?;
        self.out.flush()
    }

    /// A piece with the choice of its token.
    fn choice(&mut self, show: &mut Show<'_>, token: Option<TokenId>, text: &str) -> Outcome<()> {
        match show.choice(text) {
            Some(chosen) => self.chosen(&chosen),
            None => self.piece(token, text),
        }
    }

    /// The choice that no piece came with, if there is one.
    fn last_choice(&mut self, show: &mut Show<'_>) -> Outcome<()> {
        show.choice("").map_or(Ok(()), |chosen| self.chosen(&chosen))
    }

    fn chosen(&mut self, (picture, json): &(Vec<String>, String)) -> Outcome<()> {
        if self.json {
            self.out.line(json)?;
            return self.out.flush();
        }
        if !self.ends_line {
            self.out.line("")?;
            self.ends_line = true;
        }
        for line in picture {
            self.out.line(line.trim_end())?;
        }
        self.out.flush()
    }

    fn text(&mut self, text: &str) -> Outcome<()> {
        if let Some(last) = text.chars().last() {
            self.ends_line = last == '\n';
        }
        self.out.foreign(text)
    }

    /// Ends the last line, or adds the summary.
    fn end(&mut self, report: &Report) -> Outcome<()> {
        if self.json {
            self.out.line(&report.json())?;
        } else if !self.ends_line {
            self.out.line("")?;
        }
        self.out.flush()
    }
}

/// What is told at the end.
struct Report {
    n_prompt: usize,
    n_restored: usize,
    n_generated: usize,
    prefill_seconds: f64,
    decode_seconds: f64,
    bytes_per_token: u64,
    planned_bytes: u64,
    context_length: usize,
    kernels: &'static str,
    threads: usize,
    seed: u64,
    reason: StopReason,
}

impl Report {
    fn prefill_rate(&self) -> f64 {
        (self.n_prompt - self.n_restored) as f64 / self.prefill_seconds
    }

    /// Decode steps a second; the first token came with the prefill.
    fn decode_rate(&self) -> f64 {
        self.n_generated.saturating_sub(1) as f64 / self.decode_seconds
    }

    fn tell(&self) {
        let rate =
            |n: usize, rate: f64| if n > 0 && rate.is_finite() { format!(", {rate:.1}/s") } else { String::new() };
        let restored = match self.n_restored {
            0 => String::new(),
            n => format!(" ({n} restored)"),
        };
        note(format_args!(
            "whit: prompt {} tokens{restored} in {:.3} s{}; generated {} tokens in {:.3} s{}",
            self.n_prompt,
            self.prefill_seconds,
            rate(self.n_prompt, self.prefill_rate()),
            self.n_generated,
            self.decode_seconds,
            rate(self.n_generated.saturating_sub(1), self.decode_rate()),
        ));
        let resident = |of: Option<u64>| of.map_or("unknown".into(), bytes);
        note(format_args!(
            "whit: {} read a token, {:.2} GB/s; memory: {} private ({} planned), {} mapped; {}, {} threads",
            bytes(self.bytes_per_token),
            self.bytes_per_token as f64 * self.decode_rate() / 1e9,
            resident(memory::private_bytes()),
            bytes(self.planned_bytes),
            resident(memory::mapped_bytes()),
            self.kernels,
            self.threads,
        ));
        note(format_args!("whit: seed {}; stopped: {}", self.seed, self.reason.name()));
        if self.reason == StopReason::ContextFull {
            self.tell_context();
        }
    }

    fn tell_context(&self) {
        note(format_args!("whit: the context of {} tokens is full, so the text ends here", self.context_length));
    }

    fn json(&self) -> String {
        let number = |of: Option<u64>| of.map_or("null".into(), |n| n.to_string());
        let summary = Object::default()
            .text("stop_reason", self.reason.name())
            .raw("prompt_tokens", self.n_prompt)
            .raw("restored_tokens", self.n_restored)
            .raw("generated_tokens", self.n_generated)
            .number("prefill_seconds", self.prefill_seconds)
            .number("decode_seconds", self.decode_seconds)
            .number("prefill_tokens_per_second", self.prefill_rate())
            .number("decode_tokens_per_second", self.decode_rate())
            .raw("bytes_per_token", self.bytes_per_token)
            .raw("planned_private_bytes", self.planned_bytes)
            .raw("private_bytes", number(memory::private_bytes()))
            .raw("mapped_bytes", number(memory::mapped_bytes()))
            .raw("context_length", self.context_length)
            .text("kernels", self.kernels)
            .raw("threads", self.threads)
            .raw("seed", self.seed);
        Object::default().raw("summary", summary.line()).line()
    }
}
