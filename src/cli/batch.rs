//! `whit batch`: answers to many requests, some at a time. A row depends on its request, the model and the settings alone, and rows
//! stand in the order of the requests: however often a run was ended, and however many were answered together, the file is the same.

mod kept;
mod likely;
mod rows;

use super::args::{Batch, Shard};
use super::input::{self, ModelFile};
use super::output::{End, Outcome, note, tell};
use super::plan::Wanted;
use super::sampling::sampler_options;
use super::setup::{compute, context_length};
use super::{progress, streaming};
use crate::requests::{Asked, Prompt, Sending, openai};
use indicatif::ProgressBar;
use kept::Kept;
use likely::LikelyTokens;
use rows::{Answer, Model as Shown, Named, answered, refused};
use serde_json::Value;
use std::cell::OnceCell;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use whit::chat::Conversation;
use whit::chat::tools::{Reader, ReplyRules};
use whit::error::{Error, Kind, Result};
use whit::generate::grammar::{Grammar, Grammars};
use whit::generate::{Finished, Many, ManyOptions, OnFull, StopRules, Writer, prompt_tokens};
use whit::model::{Model, SessionOptions};
use whit::ops::NUMERICS_VERSION;
use whit::os::interrupt;
use whit::sampler::{Sampler, SamplerOptions};
use whit::tokenizer::Specials;
use whit::{Compute, TokenId};

/// Tokens of a pass beside one of each text under way: so many of a prompt.
const BATCH: usize = 64;

pub(super) fn run(args: &Batch) -> Outcome<()> {
    let source = ModelFile::open(args.model.model.as_deref())?;
    let model = source.model()?;
    let name = args.input.display().to_string();
    let text = input::text(&args.input)?;
    let all = requests(&text).map_err(|error| error.in_file(&name))?;
    let mut sampling = sampler_options(&args.sampling, &model)?;
    sampling.seed = args.sampling.seed.unwrap_or(0);
    let sampling = sampling.checked(model.config().vocab_size)?;
    let context_length = context_length(&args.context, &model)?;
    let mut answerer = Answerer::new(args, &model, &source, context_length, sampling)?;
    let mut kept = Kept::open(&args.output)?;
    let left = left(&all, args.shard, &kept, &answerer).map_err(|error| error.in_file(kept.name()))?;
    let compute = compute(&args.compute)?;
    let has_rules = left.iter().any(Asking::has_rules);
    let mut many = Many::new(&model, &compute, options(args, &model, &compute, context_length, has_rules)?)?;
    interrupt::watch();
    let n_all = left.len() + kept.answered.len();
    let bar = progress::steps(n_all as u64, args.progress.quiet);
    bar.set_position(kept.answered.len() as u64);
    bar.reset_eta();
    let rows = RefCell::new(Rows::new(&left, &answerer.model, &bar));
    let mut waiting = VecDeque::new();
    let mut requests = left.iter().enumerate();
    let mut next = || loop {
        if let Some(text) = waiting.pop_front() {
            return Some(text);
        }
        let (place, request) = requests.next()?;
        match answerer.begin(request) {
            Ok(Begun { reader, n_prompt, writers, n_logprobs }) => {
                rows.borrow_mut().begin(place, reader, n_prompt, writers.len());
                let text = |(answer, writer)| ((place, answer), writer, LikelyTokens::asked(n_logprobs));
                waiting.extend(writers.into_iter().enumerate().map(text));
            }
            Err(error) => rows.borrow_mut().refuse(place, &error),
        }
    };
    let mut done = |(place, i): (usize, usize), likely: LikelyTokens, finished: Result<Finished>| {
        rows.borrow_mut().finish(place, i, finished, &|is_chat| likely.field(&model, is_chat));
        source.check_unchanged()?;
        kept.append(&rows.borrow_mut().ready())
    };
    let whole = many.write(&mut next, &mut done, &mut || !interrupt::requested());
    // Also those after the last answer, which were refused.
    let written = whole.and_then(|whole| kept.append(&rows.borrow_mut().ready()).map(|()| whole));
    bar.finish_and_clear();
    if !written? {
        note(format_args!("whit: interrupted; the same command goes on"));
        return Err(End::Interrupted);
    }
    if !args.progress.quiet {
        let n_refused = rows.borrow().n_refused;
        let refused = if n_refused > 0 { format!(", {n_refused} of them refused") } else { String::new() };
        tell(&format!("whit: {} requests answered{refused}; {n_all} rows", left.len()));
    }
    Ok(())
}

/// A request.
struct Request {
    custom_id: String,
    url: String,
    body: Value,
    /// A hash of the line and of the settings.
    line: String,
}

/// The requests of a file. Each has an id of its own; what else is wrong with one is its answer.
fn requests(text: &str) -> Result<Vec<Request>> {
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let field = || format!("line {number}");
        let mut request: Value =
            serde_json::from_str(line).map_err(|error| Error::data(error.to_string()).field(field()))?;
        let custom_id = request["custom_id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
        let custom_id = custom_id.ok_or_else(|| Error::data("it has no custom_id, a string").field(field()))?;
        if let Some(before) = lines.insert(custom_id.clone(), number) {
            let message = format!("custom_id {custom_id:?} is that of line {before}, too");
            return Err(Error::data(message).field(field()).hint("answers are told apart by it"));
        }
        let url = match request["method"].as_str() {
            None | Some("POST") => request["url"].as_str().unwrap_or_default().to_owned(),
            Some(_) => String::new(),
        };
        let body = request.get_mut("body").map(Value::take).unwrap_or_default();
        all.push(Request { custom_id, url, body, line: line.trim().into() });
    }
    Ok(all)
}

/// The requests of the shard that are not answered yet. Fails where an answer is one to another request, or was written with other
/// settings.
fn left<'r>(all: &'r [Request], shard: Option<Shard>, kept: &Kept, answerer: &Answerer<'_>) -> Result<Vec<Asking<'r>>> {
    let Shard { index, of } = shard.unwrap_or(Shard { index: 0, of: 1 });
    let mut n_known = 0;
    let mut left = Vec::new();
    for request in all.iter().skip(index).step_by(of) {
        let asking = Asking { request, hash: answerer.hash(request) };
        match kept.answered.get(&request.custom_id) {
            None => left.push(asking),
            Some((id, line)) if *id != format!("batch_req_{}", asking.hash) => {
                let message =
                    format!("line {line} answers {:?} as it was, or by another model or settings", request.custom_id);
                return Err(Error::data(message).hint("name another file"));
            }
            Some(_) => n_known += 1,
        }
    }
    if n_known < kept.answered.len() {
        let message = format!("{} rows answer no request of these", kept.answered.len() - n_known);
        return Err(Error::data(message).hint("name another file"));
    }
    Ok(left)
}

/// A request that is to be answered.
struct Asking<'r> {
    request: &'r Request,
    /// Of all that the answer depends on.
    hash: String,
}

impl Asking<'_> {
    /// Whether its answers may be under a constraint.
    fn has_rules(&self) -> bool {
        ["response_format", "tools"].iter().any(|field| !self.request.body[field].is_null())
    }

    fn named(&self) -> Named<'_> {
        Named { custom_id: &self.request.custom_id, hash: &self.hash }
    }
}

/// Makes writers of requests.
struct Answerer<'a> {
    args: &'a Batch,
    of: &'a Arc<Model>,
    model: Shown,
    conversation: Result<Conversation>,
    sampling: SamplerOptions,
    context_length: usize,
    settings: blake3::Hasher,
    grammars: OnceCell<Grammars>,
}

/// The texts of a request.
struct Begun {
    /// Of a conversation: what parts its answers.
    reader: Option<Reader>,
    n_prompt: usize,
    writers: Vec<Writer>,
    /// With the probabilities of their tokens.
    n_logprobs: Option<usize>,
}

impl<'a> Answerer<'a> {
    fn new(
        args: &'a Batch,
        of: &'a Arc<Model>,
        source: &ModelFile,
        context_length: usize,
        sampling: SamplerOptions,
    ) -> Result<Self> {
        let template = args.chat_template.as_deref().map(input::text).transpose()?;
        let conversation = match template.as_deref().or_else(|| of.chat_template()) {
            Some(template) => Conversation::with_template(of, template, args.template_arg.clone()),
            None => Err(Error::data("this model has no chat template, so it cannot talk").field("url")),
        };
        let content = blake3::Hash::from_bytes(of.content_hash()).to_hex();
        let model = Shown { name: source.short_name(), fingerprint: of.fingerprint() };
        let mut settings = blake3::Hasher::new();
        let said =
            (args.n_tokens, context_length, &sampling, &args.sampling.banned_string, &args.stop, args.compute.kv);
        for part in [content.as_bytes(), model.name.as_bytes(), format!("{NUMERICS_VERSION} {said:?}").as_bytes()] {
            settings.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        settings.update(format!("{:?} {:?}", template, args.template_arg).as_bytes());
        Ok(Answerer { args, of, model, conversation, sampling, context_length, settings, grammars: OnceCell::new() })
    }

    /// What names the answer to a request: equal where the request, the model and all settings are.
    fn hash(&self, request: &Request) -> String {
        let hash = self.settings.clone().update(request.line.as_bytes()).finalize();
        hash.to_hex()[..24].to_owned()
    }

    /// The writers of the answers to a request.
    fn begin(&mut self, asking: &Asking<'_>) -> Result<Begun> {
        let asked = openai::asked(&asking.request.url, &asking.request.body, &self.sampling)?;
        refuse(&asked)?;
        let is_chat = matches!(asked.prompt, Prompt::Turns(_));
        if let Ok(conversation) = self.conversation.as_mut() {
            conversation.set_tools(asked.tools.clone());
        }
        let (prompt, end_tokens) = self.prompt(asked.prompt.clone())?;
        if prompt.len() >= self.context_length {
            let message = format!("{} tokens leave no room in a context of {}", prompt.len(), self.context_length);
            return Err(Error::usage(message).field(if is_chat { "messages" } else { "prompt" }));
        }
        let content = asked.rule.as_ref().map(|rule| {
            let compiled = self.grammars()?.compile(rule);
            compiled.map_err(|error| within("response_format", &error))
        });
        let content = content.transpose()?;
        let rules = if is_chat { Some(self.rules(content.as_ref(), asked.tools.is_some())?) } else { None };
        let writers = (0..asked.n_answers as u64).map(|i| {
            let mut writer = self.writer(&asked, &prompt, &end_tokens, i)?;
            match (&rules, &content) {
                (Some(rules), _) => rules.apply(&mut writer, &prompt)?,
                (None, Some(content)) => writer.keep_to(content.begin()?)?,
                (None, None) => {}
            }
            Ok(writer)
        });
        let writers = writers.collect::<Result<_>>()?;
        let reader = rules.map(|rules| rules.reader(&prompt));
        Ok(Begun { reader, n_prompt: prompt.len(), writers, n_logprobs: asked.n_logprobs })
    }

    /// The engine of grammars, which is made where it is first needed.
    fn grammars(&self) -> Result<&Grammars> {
        if self.grammars.get().is_none() {
            let _ = self.grammars.set(Grammars::new(self.of)?);
        }
        self.grammars.get().ok_or_else(|| Error::data("this model has no tokenizer"))
    }

    /// What the answers to the conversation keep to.
    fn rules(&self, content: Option<&Grammar>, has_tools: bool) -> Result<ReplyRules> {
        let conversation = self.conversation.as_ref().map_err(|error| error.clone())?;
        let grammars = if has_tools { Some(self.grammars()?) } else { None };
        conversation.reply_rules(content.map(Grammar::again), grammars).map_err(|error| within("tools", &error))
    }

    /// The tokens of a prompt, and those that end an answer to it.
    fn prompt(&mut self, prompt: Prompt) -> Result<(Vec<TokenId>, Vec<TokenId>)> {
        let plain = |tokens| Ok((tokens, self.of.end_tokens()));
        match prompt {
            Prompt::Text(text) => plain(prompt_tokens(self.of, &[], &text, Specials::AsText)?),
            #[cfg(feature = "server")]
            Prompt::Marked(text) => plain(prompt_tokens(self.of, &[], &text, Specials::Parse)?),
            Prompt::Tokens(tokens) => plain(tokens),
            Prompt::Turns(turns) => {
                let conversation = self.conversation.as_mut().map_err(|error| error.clone())?;
                conversation.begin(None);
                conversation.resume(turns);
                Ok((conversation.tokens()?, conversation.end_tokens().to_vec()))
            }
        }
    }

    /// The writer of the `i`-th answer.
    fn writer(&self, asked: &Asked, prompt: &[TokenId], end_tokens: &[TokenId], i: u64) -> Result<Writer> {
        let seed = asked.sampling.seed.wrapping_add(i);
        let options = SamplerOptions { seed, ..asked.sampling.clone() };
        let sampler = Sampler::new(options, self.of.config().vocab_size)?;
        let rules = StopRules {
            n_tokens: asked.n_tokens.or(usize::try_from(self.args.n_tokens).ok()),
            stops: [&self.args.stop[..], &asked.stops].concat(),
            end_tokens: end_tokens.to_vec(),
            banned: self.args.sampling.banned_string.clone(),
            on_full: OnFull::Stop,
        };
        Writer::new(self.of, prompt, self.context_length, sampler, rules)
    }
}

/// Refuses what a server answers and rows do not hold.
fn refuse(asked: &Asked) -> Result<()> {
    match asked.sending {
        Sending::Streamed | Sending::StreamedWithUsage => Err(Error::usage("it is not supported").field("stream")),
        Sending::Whole => Ok(()),
    }
}

/// The error of a field, with the place within it.
fn within(field: &str, error: &Error) -> Error {
    let place = error.named_field().map(|place| format!(" {place}")).unwrap_or_default();
    Error::usage(error.message()).field(format!("{field}{place}"))
}

/// Rows that are being made, and those that wait for one before them.
struct Rows<'r> {
    asked: &'r [Asking<'r>],
    model: Shown,
    bar: &'r ProgressBar,
    open: HashMap<usize, Open>,
    whole: BTreeMap<usize, String>,
    /// The place of the next row in the file.
    next: usize,
    n_refused: usize,
}

/// The answers to a request, of which some are still written.
struct Open {
    /// Of a conversation: what parts its answers.
    reader: Option<Reader>,
    n_prompt: usize,
    answers: Vec<Option<Result<Answer>>>,
}

impl<'r> Rows<'r> {
    fn new(asked: &'r [Asking<'r>], model: &Shown, bar: &'r ProgressBar) -> Self {
        let model = Shown { name: model.name.clone(), fingerprint: model.fingerprint.clone() };
        let (open, whole) = (HashMap::new(), BTreeMap::new());
        Rows { asked, model, bar, open, whole, next: 0, n_refused: 0 }
    }

    fn begin(&mut self, place: usize, reader: Option<Reader>, n_prompt: usize, n_answers: usize) {
        self.open.insert(place, Open { reader, n_prompt, answers: (0..n_answers).map(|_| None).collect() });
    }

    fn refuse(&mut self, place: usize, error: &Error) {
        self.n_refused += 1;
        self.add(place, refused(&self.asked[place].named(), error));
    }

    /// An answer has ended; `logprobs` gives the field of its tokens' probabilities, of a conversation or not.
    fn finish(&mut self, place: usize, i: usize, ended: Result<Finished>, logprobs: &dyn Fn(bool) -> String) {
        let Some(open) = self.open.get_mut(&place) else { return };
        let is_chat = open.reader.is_some();
        open.answers[i] = Some(ended.map(|finished| Answer { finished, logprobs: logprobs(is_chat) }));
        if open.answers.iter().any(Option::is_none) {
            return;
        }
        let Some(Open { reader, n_prompt, answers }) = self.open.remove(&place) else { return };
        match answers.into_iter().flatten().collect::<Result<Vec<_>>>() {
            Ok(answers) => {
                let row = answered(&self.asked[place].named(), &self.model, reader.as_ref(), n_prompt, &answers);
                self.add(place, row);
            }
            Err(error) => self.refuse(place, &error),
        }
    }

    fn add(&mut self, place: usize, row: String) {
        self.whole.insert(place, row);
        self.bar.inc(1);
    }

    /// The rows that are next in the file.
    fn ready(&mut self) -> String {
        let mut lines = String::new();
        while let Some(row) = self.whole.remove(&self.next) {
            lines += &row;
            self.next += 1;
        }
        lines
    }
}

/// As many texts at a time as the arguments say, or as memory holds; `has_rules` where some may be under a constraint.
fn options(
    args: &Batch,
    model: &Model,
    compute: &Compute,
    context_length: usize,
    has_rules: bool,
) -> Result<ManyOptions> {
    let kv = args.compute.kv.into();
    let mut n_texts = usize::from(args.parallel);
    loop {
        let batch = BATCH + n_texts;
        let session = SessionOptions { context_length, kv, batch, logit_rows: n_texts, hold_all: false };
        let n_constrained = if has_rules { n_texts as u64 } else { 0 };
        let wanted = Wanted::one(model, session, compute, &args.compute, "--ctx");
        match (Wanted { n_texts: n_texts as u64, n_constrained, ..wanted }.check(), n_texts) {
            (Ok(plan), _) => {
                streaming::refuse(&plan, args.compute.max_memory)?;
                if n_texts < usize::from(args.parallel) && !args.progress.quiet {
                    note(format_args!("whit: memory holds {n_texts} texts at a time"));
                }
                return Ok(ManyOptions { n_texts, context_length, kv, batch });
            }
            (Err(error), n) if n == 1 || error.kind() != Kind::Resources => return Err(error),
            (Err(_), n) => n_texts = n / 2,
        }
    }
}
