//! `whit chat`: a conversation, by the model's own template.

mod calling;
mod commands;
mod kept;
mod lines;
mod reply;
mod stats;

use super::args::Chat;
use super::constraint;
use super::guessing::{self, Guessing};
use super::input::{self, ModelFile};
use super::keeping;
use super::output::{self, End, Outcome, Output, bytes, note};
use super::plan::Wanted;
use super::sampling::sampler_options;
use super::session_file::{Content, SessionFile};
use super::setup::{compute, context_length, ends, session_options};
use super::streaming;
use commands::{HELP, Input};
use kept::Kept;
use lines::{Line, Lines};
use stats::Stats;
use std::path::Path;
use std::sync::Arc;
use whit::TokenId;
use whit::chat::tools::ReplyRules;
use whit::chat::{Conversation, Turn};
use whit::error::{Error, Kind, Result};
use whit::failure::with_flags;
use whit::generate::guess::Guesses;
use whit::generate::{self, PrefixCache};
use whit::model::{Model, Session};
use whit::ops::KvDtype;
use whit::os::{fault, interrupt};
use whit::sampler::SamplerOptions;

pub(super) fn run(args: &Chat) -> Outcome<()> {
    let question = input::given(&args.text)?;
    let source = ModelFile::open(args.model.model.as_deref())?;
    let opened = source.opened()?;
    let model = opened.model();
    let mut conversation = conversation(args, model, &source)?;
    conversation.begin(args.system.clone());
    conversation.check_system().map_err(no_system)?;
    calling::prepare(&mut conversation, &args.calling)?;
    let ends = ends(&args.end, model)?;
    let context_length = context_length(&args.context, model)?;
    // An error in it is reported before anybody has said anything.
    keeping::on_full(&args.keeping, 0, context_length)?;
    let options = sampler_options(&args.sampling, model)?;
    let grammar = constraint::grammar(&args.constraints, model)?;
    let rules = calling::rules(&conversation, grammar, args)?;
    let compute = compute(&args.compute)?;
    let guessing = Guessing::asked(&args.guess, model, args.compute.max_memory)?;
    let session_options = guessing::options(guessing.as_ref(), session_options(context_length, args.compute.kv));
    let wanted = Wanted::one(model, session_options, &compute, &args.compute, "--ctx");
    let n_constrained = u64::from(args.constraints.is_given() || args.calling.tools.is_some());
    let plan = Wanted { guessing: guessing.as_ref(), n_constrained, ..wanted }.check()?;
    let mut session = Session::new(model, &compute, session_options)?;
    streaming::pace(&mut session, &source, model, &plan, args.compute.max_memory, args.quiet)?;
    let guesses = guessing.map(|guessing| guessing.guesses(model, &compute, session_options)).transpose()?;
    let kv = args.compute.kv.into();
    let cache = keeping::cache(&args.keeping, &args.compute, &opened, args.verbose)?;
    let kept = Kept::open(&args.keeping, &opened, kv)?;
    let mut lines = if question.is_some() { Lines::Pipe } else { Lines::new()? };
    let mut talk = Chatting {
        args,
        source: &source,
        opened: &opened,
        model,
        conversation,
        ends,
        session,
        guesses,
        cache,
        kept,
        kv,
        options,
        rules,
        n_again: 0,
        out: if args.raw.raw { Output::new().raw() } else { Output::new() },
        at_terminal: lines.is_terminal(),
        is_alone: question.is_some(),
        stats: None,
        failure: None,
    };
    let restored = talk.kept.as_mut().map(|kept| kept.restore(talk.session.state_mut()));
    if let Some(turns) = restored.transpose()?.flatten() {
        talk.conversation.resume(turns);
    }
    // A file that cannot be written to is an error before anybody has said anything.
    talk.keep()?;
    if !args.quiet && (question.is_none() || args.verbose) {
        let (name, private, seed) = (source.short_name(), bytes(plan.private()), talk.options.seed);
        output::tell(&format!("whit: {name}, context {context_length}, {private} private at most, seed {seed}"));
        if lines.is_terminal() {
            output::tell("whit: /help lists commands, Ctrl-C stops a reply, Ctrl-D ends");
        }
        if let Some(form) = talk.conversation.form_of_calls().filter(|_| args.verbose) {
            output::tell(&format!("whit: calls are written in the form of {form}"));
        }
        if talk.conversation.tells_of_tools_itself() {
            output::tell("whit: this model's template knows no functions, so a system prompt tells of them");
        }
    }
    fault::watch_ends();
    let ended = match question {
        Some(question) => talk.ask(question),
        None => talk.talk(&mut lines),
    };
    match (talk.save(), ended) {
        (Err(error), Err(end)) => {
            note(format_args!("whit: {}", with_flags(&error)));
            return Err(end);
        }
        (saved, ended) => ended.and(saved.map_err(End::from))?,
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
    opened: &'c generate::ModelFile,
    model: &'c Arc<Model>,
    conversation: Conversation,
    /// Tokens that end a reply besides those of the conversation.
    ends: Vec<TokenId>,
    session: Session,
    guesses: Option<Guesses>,
    cache: Option<PrefixCache>,
    /// Where it is saved after every turn.
    kept: Option<Kept>,
    kv: KvDtype,
    options: SamplerOptions,
    /// What every reply keeps to and is parted by.
    rules: ReplyRules,
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

impl Chatting<'_> {
    /// Reads lines and does what they say, until there are no more. What each has changed is kept before the next is read.
    fn talk(&mut self, lines: &mut Lines) -> Outcome<()> {
        loop {
            let line = match next(lines)? {
                Line::Text(line) => line,
                Line::Dropped => continue,
                Line::End => return Ok(()),
            };
            let may_command = self.at_terminal || self.args.commands;
            let input = if may_command { Input::of(&line) } else { Input::said(&line) };
            if input == Input::Quit {
                return Ok(());
            }
            self.take(input)?;
            self.keep_or_tell();
            if let Some(signal) = interrupt::ended_by() {
                return Err(End::Signal(signal));
            }
        }
    }

    /// Has one question answered.
    fn ask(&mut self, question: String) -> Outcome<()> {
        interrupt::watch();
        self.take(Input::Say(question))?;
        self.keep_or_tell();
        interrupt::ended_by().map_or(Ok(()), |signal| Err(End::Signal(signal)))
    }

    /// Does what a line says.
    fn take(&mut self, input: Input) -> Outcome<()> {
        match input {
            Input::Nothing | Input::Quit => {}
            Input::Say(text) => {
                let before = self.conversation.turns().to_vec();
                self.say(text);
                if self.conversation.open_calls().is_empty() && !self.reply()? {
                    // Nothing was answered, so nothing was asked.
                    self.go_on_with(before);
                }
            }
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
            Input::Save(path) => tell(self.save_to(&path), "saved"),
            Input::Load(path) => tell(self.load_from(&path), "loaded"),
            Input::Temperature(value) => self.options.temperature = value,
            Input::Stats => self.tell_stats(),
            Input::Wrong(message) => note(format_args!("whit: {message}")),
        }
        Ok(())
    }

    /// Says `text`, or has it be what the first function gave whose call is open.
    fn say(&mut self, text: String) {
        match self.conversation.open_calls().first().cloned() {
            Some(call) => self.conversation.answer(&call, text),
            None => self.conversation.say(text),
        }
    }

    fn undo(&mut self) {
        if !self.conversation.undo() {
            note(format_args!("whit: nothing was said yet"));
        }
    }

    fn regenerate(&mut self) -> Outcome<()> {
        let before = self.conversation.turns().to_vec();
        if !self.conversation.undo_reply() {
            note(format_args!("whit: nothing was said yet"));
            return Ok(());
        }
        self.n_again += 1;
        if !self.reply()? {
            self.go_on_with(before);
        }
        Ok(())
    }

    /// Goes on with `turns` in place of all that was said.
    fn go_on_with(&mut self, turns: Vec<Turn>) {
        self.conversation.begin(None);
        self.conversation.resume(turns);
    }

    /// A line cannot be answered, and the conversation goes on without it.
    fn failed(&mut self, error: Error) {
        if error.kind() == Kind::Interrupted {
            interrupt::handled();
            return note(format_args!("whit: stopped"));
        }
        if !self.is_alone {
            note(format_args!("whit: {}", with_flags(&error)));
        }
        self.failure = Some(error);
    }

    fn tell_stats(&self) {
        match &self.stats {
            Some(stats) => stats.tell(&self.session),
            None => note(format_args!("whit: there was no reply yet")),
        }
    }

    /// Keeps what was said, if it is to be kept.
    fn keep(&mut self) -> Result<()> {
        let turns = self.conversation.turns();
        self.kept.as_mut().map_or(Ok(()), |kept| kept.keep(&mut self.session, turns))
    }

    /// As [`keep`](Self::keep). The conversation goes on where it cannot be kept; its end tries once more.
    fn keep_or_tell(&mut self) {
        if let Err(error) = self.keep() {
            note(format_args!("whit: not saved: {}", with_flags(&error)));
        }
    }

    /// Saves the whole conversation at its end, if it is kept. Of a changed model the turns alone are worth keeping, and they are.
    fn save(&mut self) -> Result<()> {
        match &mut self.kept {
            Some(kept) if self.source.check_unchanged().is_ok() => kept.save(&mut self.session),
            _ => Ok(()),
        }
    }

    fn save_to(&mut self, path: &Path) -> Result<()> {
        match &mut self.kept {
            Some(kept) if kept.is_at(path) => kept.save(&mut self.session),
            _ => {
                let mut file = SessionFile::at(path, self.opened, self.kv)?;
                kept::save(&mut file, &mut self.session, self.conversation.turns())
            }
        }
    }

    fn load_from(&mut self, path: &Path) -> Result<()> {
        let content = Content::at(path, self.opened, self.kv)?;
        let turns = kept::restore(&content, &content.read()?, self.session.state_mut())?;
        self.go_on_with(turns);
        Ok(())
    }
}

/// The next line. While it is waited for a signal ends the program at once: all that was said is kept.
fn next(lines: &mut Lines) -> Outcome<Line> {
    interrupt::unwatch();
    if let Some(signal) = interrupt::ended_by() {
        return Err(End::Signal(signal));
    }
    let line = lines.next();
    interrupt::watch();
    Ok(line?)
}

fn tell(result: Result<()>, done: &str) {
    match result {
        Ok(()) => note(format_args!("whit: {done}")),
        Err(error) => note(format_args!("whit: {}", with_flags(&error))),
    }
}
