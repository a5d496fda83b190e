//! `whit chat`: a conversation, by the model's own template.

mod commands;
mod lines;

use super::args::{Chat, Full};
use super::input::{self, ModelFile};
use super::keeping::{self, SessionFile};
use super::output::{self, End, Outcome, Output, bytes, note};
use super::plan::Wanted;
use super::sampling::sampler_options;
use super::setup::{compute, context_length, ends, session_options};
use super::{streaming, writing};
use commands::{HELP, Input};
use lines::{Line, Lines};
use std::path::Path;
use std::sync::Arc;
use whit::TokenId;
use whit::chat::{Conversation, Turn, from_note, to_note};
use whit::error::{Error, Result};
use whit::failure::with_flags;
use whit::generate::{PrefixCache, StopReason, StopRules, Writer};
use whit::model::{Model, Session};
use whit::ops::KvDtype;
use whit::os::{clock::Stopwatch, interrupt, memory, terminal};
use whit::sampler::{Sampler, SamplerOptions};

pub(super) fn run(args: &Chat) -> Outcome<()> {
    let question = input::given(&args.text)?;
    let source = ModelFile::open(args.model.model.as_deref())?;
    let model = source.model()?;
    let mut conversation = conversation(args, &model, &source)?;
    conversation.begin(args.system.clone());
    conversation.check_system().map_err(no_system)?;
    let ends = ends(&args.end, &model)?;
    let context_length = context_length(&args.context, &model)?;
    // An error in it is reported before anybody has said anything.
    keeping::on_full(&args.keeping, 0, context_length)?;
    let options = sampler_options(&args.sampling, model.generation())?;
    let compute = compute(&args.compute)?;
    let session_options = session_options(context_length, args.compute.kv);
    let plan = Wanted::one(&model, session_options, &compute, &args.compute, "--ctx").check()?;
    let mut session = Session::new(&model, &compute, session_options)?;
    streaming::pace(&mut session, &source, &model, &plan, args.compute.max_memory, args.quiet)?;
    let kv = args.compute.kv.into();
    let session_file = SessionFile::of(&args.keeping, &model, kv)?;
    let mut lines = if question.is_some() { Lines::Pipe } else { Lines::new()? };
    let mut talk = Chatting {
        args,
        source: &source,
        model: &model,
        conversation,
        ends,
        session,
        cache: keeping::cache(&args.keeping, &model, kv)?,
        options,
        n_again: 0,
        out: if args.raw.raw { Output::new().raw() } else { Output::new() },
        at_terminal: lines.is_terminal(),
        is_alone: question.is_some(),
        stats: None,
        failure: None,
    };
    if let Some(turns) = session_file.as_ref().map(|file| talk.restore(file)).transpose()?.flatten() {
        talk.conversation.resume(turns);
    }
    if !args.quiet && (question.is_none() || args.verbose) {
        let (name, private, seed) = (source.short_name(), bytes(plan.private()), talk.options.seed);
        output::tell(&format!("whit: {name}, context {context_length}, {private} private at most, seed {seed}"));
        if lines.is_terminal() {
            output::tell("whit: /help lists commands, Ctrl-C stops a reply, Ctrl-D ends");
        }
    }
    interrupt::watch();
    match question {
        Some(question) => talk.say(question)?,
        None => talk.talk(&mut lines, kv)?,
    }
    if let Some(file) = &session_file {
        talk.save(file)?;
    }
    match talk.failure {
        Some(error) if talk.is_alone => Err(error.into()),
        Some(error) if !talk.at_terminal => Err(Error::new(error.kind(), "not every line was answered").into()),
        _ if talk.is_alone && talk.was_interrupted() => Err(End::Interrupted),
        _ => Ok(()),
    }
}

/// The conversation that the arguments ask for.
fn conversation(args: &Chat, model: &Arc<Model>, source: &ModelFile) -> Result<Conversation> {
    let template = args.chat_template.as_deref().map(input::text).transpose()?;
    let Some(template) = template.as_deref().or_else(|| model.chat_template()) else {
        let error = Error::data("this model has no chat template, so it cannot talk").in_file(source.name());
        return Err(error.hint("--chat-template FILE gives it one, whit generate continues a text"));
    };
    Conversation::with_template(model, template, args.template_arg.clone())
        .map_err(|error| error.in_file(source.name()))
}

/// The error of a template that takes questions, but none after this system prompt.
fn no_system(error: Error) -> Error {
    error.hint("it takes no such system prompt: leave it out")
}

/// A conversation under way.
struct Chatting<'c> {
    args: &'c Chat,
    source: &'c ModelFile,
    model: &'c Arc<Model>,
    conversation: Conversation,
    /// Tokens that end a reply besides those of the conversation.
    ends: Vec<TokenId>,
    session: Session,
    cache: Option<PrefixCache>,
    options: SamplerOptions,
    /// Replies that were drawn and taken back.
    n_again: u64,
    out: Output,
    /// Somebody sits there, for whom turns are set apart.
    at_terminal: bool,
    stats: Option<Stats>,
    /// One question is asked and no other.
    is_alone: bool,
    /// The last error for which a line was not answered.
    failure: Option<Error>,
}

/// What a reply took.
struct Stats {
    n_prompt: usize,
    n_computed: usize,
    prefill_seconds: f64,
    n_generated: usize,
    decode_seconds: f64,
    reason: StopReason,
}

impl Chatting<'_> {
    /// Reads lines and does what they say, until there are no more.
    fn talk(&mut self, lines: &mut Lines, kv: KvDtype) -> Outcome<()> {
        loop {
            let line = match lines.next()? {
                Line::Text(line) => line,
                Line::Dropped => continue,
                Line::End => return Ok(()),
            };
            match Input::of(&line) {
                Input::Nothing => {}
                Input::Quit => return Ok(()),
                Input::Say(text) => self.say(text)?,
                Input::Help => output::tell(HELP.trim_end()),
                Input::System(text) => {
                    self.conversation.begin(text);
                    if let Err(error) = self.conversation.check_system() {
                        self.conversation.begin(None);
                        self.failed(no_system(error));
                    }
                }
                Input::Reset => self.conversation.reset(),
                Input::Undo => self.undo(),
                Input::Regenerate => self.regenerate()?,
                Input::Save(path) => tell(self.save_to(&path, kv), "saved"),
                Input::Load(path) => tell(self.load_from(&path, kv), "loaded"),
                Input::Temperature(value) => self.options.temperature = value,
                Input::Stats => self.tell_stats(),
                Input::Wrong(message) => note(format_args!("whit: {message}")),
            }
        }
    }

    fn undo(&mut self) {
        if !self.conversation.undo() {
            note(format_args!("whit: nothing was said yet"));
        }
    }

    fn regenerate(&mut self) -> Outcome<()> {
        if !self.conversation.undo_reply() {
            note(format_args!("whit: nothing was said yet"));
            return Ok(());
        }
        self.n_again += 1;
        self.reply()
    }

    fn say(&mut self, text: String) -> Outcome<()> {
        self.conversation.say(text);
        self.reply()
    }

    /// A line cannot be answered, and the conversation goes on without it.
    fn failed(&mut self, error: Error) {
        if !self.is_alone {
            note(format_args!("whit: {}", with_flags(&error)));
        }
        self.failure = Some(error);
    }

    /// Lets the model reply to the last turn, which is taken back where it cannot.
    fn reply(&mut self) -> Outcome<()> {
        let tokens = match self.prompt() {
            Ok(tokens) => tokens,
            Err(error) => {
                self.undo();
                self.failed(error);
                return Ok(());
            }
        };
        let _typing = terminal::hide_typing();
        let clock = Stopwatch::start();
        self.hold(&tokens)?;
        let n_computed = tokens.len() - self.session.position();
        let mut options = self.options.clone();
        // Each reply draws its own numbers, the same ones after a restart.
        let n_replies = self.conversation.n_replies() as u64;
        options.seed = options.seed.wrapping_add((n_replies << 32) + self.n_again);
        let sampler = Sampler::new(options, self.model.config().vocab_size)?;
        let n_tokens = self.args.n_tokens.and_then(|n| usize::try_from(n).ok());
        let on_full = keeping::on_full(&self.args.keeping, self.n_system(&tokens)?, self.session.context_length())?;
        let end_tokens = [self.conversation.end_tokens(), &self.ends].concat();
        let rules = StopRules { n_tokens, stops: self.args.stop.clone(), end_tokens, on_full };
        let mut writer = Writer::new(self.model, &tokens, self.session.context_length(), sampler, rules)?;
        let cache = self.cache.as_ref();
        writing::prefill(&mut writer, &mut self.session, cache, &tokens, self.args.quiet, &mut ())?;
        let prefill_seconds = clock.seconds();
        let clock = Stopwatch::start();
        let mut said = String::new();
        writing::write(&mut writer, &mut self.session, cache, &tokens, &mut (), &mut |(), _, text| {
            said.push_str(text);
            self.out.foreign(text)
        })?;
        self.source.check_unchanged()?;
        self.out.line(if self.at_terminal { "\n" } else { "" })?;
        self.out.flush()?;
        let reason = writer.stop_reason().unwrap_or(StopReason::Length);
        let n_generated = writer.n_generated();
        let n_prompt = tokens.len();
        self.stats =
            Some(Stats { n_prompt, n_computed, prefill_seconds, n_generated, decode_seconds: clock.seconds(), reason });
        if reason == StopReason::Interrupted && said.is_empty() {
            // Nothing was answered, so nothing was asked.
            self.undo();
        } else {
            self.conversation.reply(said, writer.written());
        }
        self.tell_end(reason);
        interrupt::handled();
        Ok(())
    }

    /// The tokens of all turns, with room for a reply; old turns go where the context would be full, if they may.
    fn prompt(&mut self) -> Result<Vec<TokenId>> {
        let context_length = self.session.context_length();
        let mut n_dropped = 0;
        loop {
            let tokens = self.conversation.tokens()?;
            let most = if n_dropped > 0 { context_length / 2 } else { context_length - 1 };
            if tokens.len() <= most {
                if n_dropped > 0 {
                    note(format_args!(
                        "whit: the context is full; the model no longer sees the first {n_dropped} turns"
                    ));
                }
                return Ok(tokens);
            }
            let may_forget = self.args.keeping.on_full == Full::Shift;
            if !(may_forget && self.conversation.forget_first()) {
                let message = format!("{} tokens leave no room in a context of {context_length}", tokens.len());
                let error = Error::usage(message).field("conversation");
                return Err(error.hint("/undo, /reset, a longer --ctx, or --on-full shift"));
            }
            n_dropped += 2;
        }
    }

    /// How many of `tokens` the system prompt takes, as far as it stands at the beginning.
    fn n_system(&self, tokens: &[TokenId]) -> Result<usize> {
        Ok(common(&self.conversation.system_tokens()?, tokens))
    }

    /// Has the session hold as much of `tokens` as it can without computing, all but one at most.
    fn hold(&mut self, tokens: &[TokenId]) -> Result<()> {
        let n_before = self.session.position();
        let n = self.session.state_mut().hold(tokens);
        if self.args.verbose && n < n_before {
            note(format_args!("whit: {n} of {n_before} positions are used again: from there on the text is another"));
        }
        if let Some(cache) = self.cache.as_ref().filter(|_| n == 0) {
            writing::restore(cache, &mut self.session, tokens, self.args.verbose)?;
        }
        Ok(())
    }

    fn was_interrupted(&self) -> bool {
        self.stats.as_ref().is_some_and(|stats| stats.reason == StopReason::Interrupted)
    }

    fn tell_end(&self, reason: StopReason) {
        match reason {
            StopReason::Interrupted => note(format_args!("whit: stopped")),
            StopReason::ContextFull => {
                let n = self.session.context_length();
                note(format_args!("whit: the context of {n} tokens is full; see /reset, /undo and --on-full"));
            }
            _ => {}
        }
        if self.args.verbose {
            self.tell_stats();
        } else if let Some(stats) = self.stats.as_ref().filter(|_| !self.args.quiet) {
            let rate = stats.n_generated.saturating_sub(1) as f64 / stats.decode_seconds;
            let rate = if rate > 0.0 { format!(", {rate:.1}/s") } else { String::new() };
            let seed = if self.is_alone { format!("; seed {}", self.options.seed) } else { String::new() };
            if self.at_terminal || self.is_alone {
                note(format_args!("whit: {} tokens{rate}{seed}", stats.n_generated));
            }
        }
    }

    fn tell_stats(&self) {
        let Some(stats) = &self.stats else { return note(format_args!("whit: there was no reply yet")) };
        let rate =
            |n: usize, seconds: f64| if n > 0 { format!(" ({:.1}/s)", n as f64 / seconds) } else { String::new() };
        note(format_args!(
            "whit: {} of {} tokens computed in {:.2} s{}, {} written in {:.2} s{}: {}",
            stats.n_computed,
            stats.n_prompt,
            stats.prefill_seconds,
            rate(stats.n_computed, stats.prefill_seconds),
            stats.n_generated,
            stats.decode_seconds,
            rate(stats.n_generated.saturating_sub(1), stats.decode_seconds),
            stats.reason.name(),
        ));
        let private = memory::private_bytes().map_or("unknown".into(), bytes);
        let (position, context_length) = (self.session.position(), self.session.context_length());
        note(format_args!("whit: {position} of {context_length} positions in use; memory: {private} private"));
    }

    /// Has the session hold what `file` saved, and returns its turns; `None` where there is no file. After an error the session
    /// is as it was.
    fn restore(&mut self, file: &SessionFile<'_>) -> Result<Option<Vec<Turn>>> {
        let Some(saved) = file.read()? else { return Ok(None) };
        let turns = from_note(saved.note).map_err(|error| error.in_file(file.name()))?;
        saved.restore(self.session.state_mut())?;
        Ok(Some(turns))
    }

    fn save(&mut self, file: &SessionFile<'_>) -> Result<()> {
        let held = self.session.state().tokens().to_vec();
        file.write(&mut self.session, &held, &to_note(self.conversation.turns()))
    }

    fn save_to(&mut self, path: &Path, kv: KvDtype) -> Result<()> {
        self.save(&SessionFile::at(path, self.model, kv)?)
    }

    fn load_from(&mut self, path: &Path, kv: KvDtype) -> Result<()> {
        let file = SessionFile::at(path, self.model, kv)?;
        let Some(turns) = self.restore(&file)? else {
            return Err(Error::new(whit::error::Kind::NoInput, "it does not exist").in_file(file.name()));
        };
        self.conversation.begin(None);
        self.conversation.resume(turns);
        Ok(())
    }
}

/// How many tokens two texts have in common at their beginnings.
fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn tell(result: Result<()>, done: &str) {
    match result {
        Ok(()) => note(format_args!("whit: {done}")),
        Err(error) => note(format_args!("whit: {}", with_flags(&error))),
    }
}
