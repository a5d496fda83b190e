//! The thread that reads requests: from their bodies to texts that are to be written. What takes long here, as a template, a
//! tokenizer or a grammar, keeps neither the connections waiting nor what is computed.

mod looks;
mod receipts;
mod which;

use super::form::{Form, Name};
use super::house::{House, now};
use super::job::{Events, Job, Owner, ToShow, events};
use super::limits::{KEPT_RULES, most_text};
use super::loader::Loader;
use super::offered::Offered;
use super::order::{Order, Vectors, Waiting};
use super::reply::{Refusal, Reply};
use super::routes::Route;
use super::slots::Slots;
use super::{anthropic, llama, ollama, openai};
use crate::requests::{self, Asked, Prompt, Sending, embeddings};
use hyper::body::Bytes;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use whit::TokenId;
use whit::chat::tools::{Reader, ReplyRules, Tools};
use whit::chat::{Conversation, Think, Turn};
use whit::error::{Error, Result};
use whit::generate::grammar::{Grammar, Grammars, Rule};
use whit::generate::{OnFull, StopRules, Writer, prompt_tokens};
use whit::sampler::{Sampler, SamplerOptions};
use whit::tokenizer::{Decoder, Specials};

/// A request that is to be read.
pub(super) struct Request {
    pub(super) route: Route,
    pub(super) body: Received,
    pub(super) client: IpAddr,
    pub(super) reply: oneshot::Sender<Answered>,
}

/// What became of it, and the name of the model that it asked.
pub(super) struct Answered {
    pub(super) answer: Outcome<Answer>,
    pub(super) model: Option<String>,
}

/// A body, with the room that it takes.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// What the desk does.
pub(super) enum Task {
    /// Reads a request.
    Read(Request),
    /// Looks whether a model's time has come.
    Tidy,
    /// Lets models go that nobody uses: memory is short.
    Relieve,
    /// Reads the folder of models again.
    Reload,
    /// Ends.
    End,
}

/// What becomes of a request.
pub(super) enum Answer {
    Whole(Reply),
    Texts(Box<Texts>),
    /// Vectors, in the form that is made of them.
    Vectors {
        vectors: oneshot::Receiver<Result<Vec<f32>>>,
        form: Box<dyn FnOnce(Vec<f32>) -> Value + Send>,
    },
    /// What a look into a model showed.
    Looked(oneshot::Receiver<Result<Value>>),
}

/// Texts that are written.
pub(super) struct Texts {
    pub(super) form: Box<dyn Form>,
    pub(super) n_prompt: usize,
    pub(super) n_texts: usize,
    pub(super) is_streamed: bool,
    pub(super) events: Events,
    /// What parts each of them.
    pub(super) reader: Reader,
}

type Outcome<T> = std::result::Result<T, Refusal>;

/// Reads requests.
pub(super) struct Desk {
    house: Arc<House>,
    engine: Sender<Order>,
    loader: Loader,
    /// The models in memory that were asked for.
    open: Slots<Arc<Offered>>,
    /// Of each model, once somebody asked for a rule.
    grammars: Slots<Grammars>,
    /// Rules that were compiled, the last one at the end.
    kept: VecDeque<(usize, Rule, Grammar)>,
    /// What replies keep to, likewise.
    replies: VecDeque<(ReplyKey, ReplyRules)>,
}

/// What decides what a reply keeps to.
#[derive(PartialEq)]
struct ReplyKey {
    model: usize,
    tools: Option<Tools>,
    rule: Option<Rule>,
    think: Think,
}

/// What is to be written.
struct Begin<'a> {
    model: usize,
    asked: &'a Asked,
    prompt: Vec<TokenId>,
    end_tokens: Vec<TokenId>,
    /// What a reply keeps to and is parted by, with the calls of the conversation so far; `None` of a text.
    rules: Option<(ReplyRules, usize)>,
}

impl Desk {
    pub(super) fn new(house: &Arc<House>, engine: Sender<Order>, loader: Loader) -> Desk {
        Desk {
            house: Arc::clone(house),
            engine,
            loader,
            open: Slots::default(),
            grammars: Slots::default(),
            kept: VecDeque::new(),
            replies: VecDeque::new(),
        }
    }

    /// Reads requests until it is told to end.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) {
        loop {
            match self.next_task(tasks) {
                Task::Read(request) if !request.reply.is_closed() => {
                    let mut model = None;
                    let answer = self.answer(&request, &mut model);
                    let _ = request.reply.send(Answered { answer, model });
                }
                Task::Read(_) | Task::Tidy => {}
                Task::Relieve => self.relieve(),
                Task::Reload => self.loader.reload(),
                Task::End => return,
            }
            self.tidy();
        }
    }

    /// The next task; waits for it no longer than until a model's time has come.
    fn next_task(&self, tasks: &Receiver<Task>) -> Task {
        let Some(at) = self.loader.deadline() else { return tasks.recv().unwrap_or(Task::End) };
        tasks.recv_timeout(at.saturating_duration_since(Instant::now())).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Task::Tidy,
            RecvTimeoutError::Disconnected => Task::End,
        })
    }

    /// Lets models go whose time has come, with all that was made for them.
    fn tidy(&mut self) {
        self.loader.tidy();
        for place in self.open.places() {
            let is_it = self.house.models.loaded(place).is_some_and(|offered| Arc::ptr_eq(&offered, &self.open[place]));
            if !is_it {
                self.forget(place);
            }
        }
    }

    /// Gives back what can be made again.
    fn relieve(&mut self) {
        self.loader.relieve();
        self.grammars = Slots::default();
        self.kept.clear();
        self.replies.clear();
        let _ = self.engine.send(Order::Relieve);
    }

    /// Forgets what was made for the model at `place`.
    fn forget(&mut self, place: usize) {
        drop((self.open.remove(place), self.grammars.remove(place)));
        self.kept.retain(|(of, ..)| *of != place);
        self.replies.retain(|(key, _)| key.model != place);
    }

    /// The answer to a request; `named` becomes the name of its model.
    fn answer(&mut self, request: &Request, named: &mut Option<String>) -> Outcome<Answer> {
        let body = requests::value(&request.body.bytes)?;
        if request.route == Route::OllamaPull {
            return self.pull(&body);
        }
        let model = self.place(&body)?;
        *named = self.house.models.facts(model).map(|facts| facts.name.clone());
        match request.route {
            Route::OllamaShow => return Ok(whole(&ollama::show(&self.house, &*self.loader.look(model)?))),
            Route::OllamaChat | Route::OllamaGenerate if self.is_farewell(&body, model)? => {
                return Ok(whole(&self.release(request.route, model)));
            }
            _ => self.load(request.route, &body, model)?,
        }
        match request.route {
            Route::Chat | Route::Completions => self.openai(request, &body, model),
            Route::Responses => self.responses(request, &body, model),
            Route::Messages => self.messages(request, &body, model),
            Route::CountTokens => self.count_tokens(&body, model),
            Route::OllamaChat | Route::OllamaGenerate => self.ollama(request, &body, model),
            Route::Embeddings | Route::OllamaEmbed => self.vectors(request.route, &body, model),
            Route::LlamaCompletion => {
                let asked = requests::llama::completion(&body, &self.offered(model).sampling)?;
                self.llama(request, asked, model)
            }
            Route::Infill => self.infill(request, &body, model),
            Route::Tokenize => self.tokenize(&body, model),
            Route::Detokenize => self.detokenize(&body, model),
            Route::ApplyTemplate => self.apply_template(&body, model),
            Route::Receipt => self.receipt(request, &body, model),
            Route::Next | Route::Score | Route::Tokens | Route::Lens | Route::Attend => {
                self.look(request, &body, model)
            }
            _ => Err(Refusal::new(404, "there is nothing here")),
        }
    }

    /// The model at a place, which was loaded for the request that is read.
    fn offered(&self, model: usize) -> &Offered {
        &self.open[model]
    }

    fn name(&self, model: usize) -> Name {
        Name { offered: Arc::clone(&self.open[model]), id: self.house.new_id(), created: now() }
    }

    fn openai(&mut self, request: &Request, body: &Value, model: usize) -> Outcome<Answer> {
        let is_chat = request.route == Route::Chat;
        let url = if is_chat { "/v1/chat/completions" } else { "/v1/completions" };
        let asked = requests::openai::asked(url, body, &self.offered(model).sampling)?;
        let name = self.name(model);
        let has_logprobs = asked.n_logprobs.is_some();
        let has_extension = asked.extension.n_shown.is_some();
        let has_usage = asked.sending == Sending::StreamedWithUsage;
        let form: Box<dyn Form> = match is_chat {
            true => {
                let n_calls = vec![0; asked.n_answers];
                Box::new(openai::chat::Chat { name, has_logprobs, has_extension, has_usage, n_calls })
            }
            false => Box::new(openai::completions::Completion { name, has_logprobs, has_extension, has_usage }),
        };
        let begin = self.begin(model, &asked)?;
        self.write(request.client, begin, |_| form)
    }

    fn responses(&mut self, request: &Request, body: &Value, model: usize) -> Outcome<Answer> {
        let asked = requests::responses::asked(body, &self.offered(model).sampling)?;
        let form = Box::new(openai::responses::Response::new(self.name(model)));
        let begin = self.begin(model, &asked)?;
        self.write(request.client, begin, |_| form)
    }

    fn messages(&mut self, request: &Request, body: &Value, model: usize) -> Outcome<Answer> {
        let asked = requests::anthropic::asked(body, &self.offered(model).sampling)?;
        let has_extension = asked.extension.n_shown.is_some();
        let name = self.name(model);
        let begin = self.begin(model, &asked)?;
        self.write(request.client, begin, |n_prompt| Box::new(anthropic::Message::new(name, n_prompt, has_extension)))
    }

    fn count_tokens(&self, body: &Value, model: usize) -> Outcome<Answer> {
        let turns = requests::anthropic::turns(body)?;
        let prompt = self.turns(model, turns)?;
        Ok(whole(&json!({"input_tokens": prompt.len()})))
    }

    fn ollama(&mut self, request: &Request, body: &Value, model: usize) -> Outcome<Answer> {
        let offered = self.offered(model);
        let (kind, asked) = match request.route {
            Route::OllamaChat => (ollama::Kind::Chat, requests::ollama::chat(body, &offered.sampling)?),
            _ => {
                let asked = requests::ollama::generate(body, offered.template.is_some(), &offered.sampling)?;
                (ollama::Kind::Generate, asked)
            }
        };
        let has_logprobs = asked.as_ref().is_some_and(|asked| asked.n_logprobs.is_some());
        let has_extension = asked.as_ref().is_some_and(|asked| asked.extension.n_shown.is_some());
        let form = ollama::Ollama { name: self.name(model), kind, has_logprobs, has_extension };
        let Some(asked) = asked else { return Ok(whole(&form.loaded())) };
        let begin = self.begin(model, &asked)?;
        self.write(request.client, begin, |_| Box::new(form))
    }

    fn llama(&mut self, request: &Request, asked: Asked, model: usize) -> Outcome<Answer> {
        let (has_probs, has_extension) = (asked.n_logprobs.is_some(), asked.extension.n_shown.is_some());
        let form = llama::Completion { name: self.name(model), has_probs, has_extension };
        let begin = self.begin(model, &asked)?;
        self.write(request.client, begin, |_| Box::new(form))
    }

    fn infill(&mut self, request: &Request, body: &Value, model: usize) -> Outcome<Answer> {
        let (hole, mut asked) = requests::llama::infill(body, &self.offered(model).sampling)?;
        let of = Arc::clone(self.offered(model).model());
        let filler = super::infill::Filler::of(&of);
        let filler =
            filler.ok_or_else(|| Refusal::new(501, "this model has no tokens for what stands around a hole"))?;
        asked.prompt = Prompt::Tokens(filler.prompt(&hole));
        let (has_probs, has_extension) = (asked.n_logprobs.is_some(), asked.extension.n_shown.is_some());
        let form = llama::Completion { name: self.name(model), has_probs, has_extension };
        let mut begin = self.begin(model, &asked)?;
        begin.end_tokens.extend(filler.ends);
        self.write(request.client, begin, |_| Box::new(form))
    }

    fn tokenize(&self, body: &Value, model: usize) -> Outcome<Answer> {
        let asked = requests::llama::tokenize(body)?;
        let specials = if asked.parse_special { Specials::Parse } else { Specials::AsText };
        let model = self.offered(model).model();
        let mut tokens = Vec::new();
        if let Some(tokenizer) = model.tokenizer() {
            tokens.extend(tokenizer.bos().filter(|_| asked.add_special && tokenizer.adds_bos()));
            tokenizer.encode(&asked.text, specials, &mut tokens);
        }
        let piece = |id: &TokenId| {
            let bytes = model.tokenizer().map_or(&[][..], |tokenizer| tokenizer.bytes(*id));
            let piece = core::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text));
            json!({"id": id, "piece": piece})
        };
        let tokens = if asked.with_pieces { tokens.iter().map(piece).collect() } else { json!(tokens) };
        Ok(whole(&json!({"tokens": tokens})))
    }

    fn detokenize(&self, body: &Value, model: usize) -> Outcome<Answer> {
        let tokens = requests::llama::detokenize(body)?;
        let mut text = String::new();
        if let Some(tokenizer) = self.offered(model).model().tokenizer() {
            let mut decoder = Decoder::continuing(tokenizer);
            tokens.iter().for_each(|id| text.push_str(decoder.push(tokenizer, *id)));
            text.push_str(decoder.finish());
        }
        Ok(whole(&json!({"content": text})))
    }

    fn apply_template(&self, body: &Value, model: usize) -> Outcome<Answer> {
        let tokens = self.turns(model, requests::llama::turns(body)?)?;
        let tokenizer = self.offered(model).model().tokenizer();
        let bytes: Vec<u8> =
            tokens.iter().flat_map(|id| tokenizer.map_or(&[][..], |of| of.bytes(*id))).copied().collect();
        Ok(whole(&json!({"prompt": String::from_utf8_lossy(&bytes)})))
    }

    fn vectors(&self, route: Route, body: &Value, model: usize) -> Outcome<Answer> {
        let wanted = embeddings::wanted(body)?;
        let offered = self.offered(model);
        let dim = offered.model().config().dim;
        let n_elements = wanted.n_elements.unwrap_or(dim);
        if n_elements > dim {
            let message = format!("{n_elements} are more than the {dim} of this model");
            return Err(Error::usage(message).field("dimensions").into());
        }
        let room = self.house.admit(1, model).ok_or_else(Refusal::busy)?.pop();
        let tokens = wanted.texts.iter().enumerate().map(|(i, text)| {
            check_text(offered, text.n_bytes(), &format!("input[{i}]"))?;
            let tokens = match text {
                Prompt::Text(text) => prompt_tokens(offered.model(), &[], text, Specials::AsText)?,
                Prompt::Tokens(tokens) => tokens.clone(),
                _ => Vec::new(),
            };
            check_length(tokens.len(), offered.schedule.context_length + 1, &format!("input[{i}]"))?;
            Ok(tokens)
        });
        let texts = tokens.collect::<Result<Vec<_>>>()?;
        let n_tokens = texts.iter().map(Vec::len).sum();
        let (reply, vectors) = oneshot::channel();
        let order = Vectors { model, texts, pooling: wanted.pooling, reply, room };
        self.engine.send(Order::Vectors(order)).map_err(|_| Refusal::ending())?;
        let name = offered.name.clone();
        let form: Box<dyn FnOnce(Vec<f32>) -> Value + Send> = match route {
            Route::Embeddings => Box::new(move |vectors| {
                openai::vectors::answer(&name, &vectors, dim, n_elements, wanted.is_base64, n_tokens)
            }),
            _ => Box::new(move |vectors| {
                let cut = |vector: &[f32]| openai::vectors::cut(vector, n_elements);
                let vectors: Vec<Vec<f32>> = vectors.chunks_exact(dim).map(cut).collect();
                json!({"model": name, "embeddings": vectors, "prompt_eval_count": n_tokens})
            }),
        };
        Ok(Answer::Vectors { vectors, form })
    }

    /// The tokens of what is asked for.
    fn begin<'a>(&mut self, model: usize, asked: &'a Asked) -> Outcome<Begin<'a>> {
        if self.house.is_ending() {
            return Err(Refusal::ending());
        }
        // Before anything takes time.
        if self.house.load() >= self.house.capacity() {
            return Err(Refusal::busy());
        }
        let of = &Arc::clone(self.offered(model).model());
        let field = if matches!(asked.prompt, Prompt::Turns(_)) { "messages" } else { "prompt" };
        check_text(self.offered(model), asked.prompt.n_bytes(), field)?;
        let plain = |tokens| (tokens, of.end_tokens());
        let mut rules = None;
        let (mut prompt, end_tokens) = match &asked.prompt {
            Prompt::Text(text) => plain(prompt_tokens(of, &[], text, Specials::AsText)?),
            Prompt::Marked(text) => plain(prompt_tokens(of, &[], text, Specials::Parse)?),
            Prompt::Tokens(tokens) => plain(tokens.clone()),
            Prompt::Turns(turns) => {
                let conversation = self.conversation(model, turns.clone(), asked)?;
                rules = Some((self.rules(model, &conversation, asked)?, conversation.n_calls()));
                (conversation.tokens()?, conversation.end_tokens().to_vec())
            }
        };
        prompt.extend(&asked.extension.begin);
        check_length(prompt.len(), self.offered(model).schedule.context_length, field)?;
        Ok(Begin { model, asked, prompt, end_tokens, rules })
    }

    /// The tokens of turns alone.
    fn turns(&self, model: usize, turns: Vec<Turn>) -> Result<Vec<TokenId>> {
        self.talk(model, turns)?.tokens()
    }

    /// The conversation that is asked for.
    fn conversation(&self, model: usize, turns: Vec<Turn>, asked: &Asked) -> Result<Conversation> {
        let mut conversation = self.talk(model, turns)?;
        conversation.set_tools(asked.tools.clone());
        match conversation.set_think(asked.think) {
            // A model that cannot think does not.
            Err(_) if asked.think == Think::Off => {}
            done => done?,
        }
        Ok(conversation)
    }

    /// What replies of a conversation keep to; compiled once for the same functions and rule.
    fn rules(&mut self, model: usize, conversation: &Conversation, asked: &Asked) -> Result<ReplyRules> {
        if asked.tools.is_none() && asked.rule.is_none() {
            return conversation.reply_rules(None, None);
        }
        let key = ReplyKey { model, tools: asked.tools.clone(), rule: asked.rule.clone(), think: asked.think };
        if let Some((_, rules)) = self.replies.iter().find(|(kept, _)| *kept == key) {
            return Ok(rules.clone());
        }
        let content = asked.rule.as_ref().map(|rule| self.grammar(model, rule).map(Grammar::again)).transpose()?;
        let rules = conversation.reply_rules(content, Some(self.grammars(model)?))?;
        if self.replies.len() >= KEPT_RULES {
            self.replies.pop_front();
        }
        self.replies.push_back((key, rules.clone()));
        Ok(rules)
    }

    /// Turns, as the model's template has them.
    fn talk(&self, model: usize, turns: Vec<Turn>) -> Result<Conversation> {
        let offered = self.offered(model);
        let template = offered.template.as_deref();
        let template = template.ok_or_else(|| {
            let error = Error::usage("this model has no chat template, so it cannot talk").field("messages");
            error.hint("/v1/completions goes on with a text")
        })?;
        let arguments = offered.template_arguments.clone();
        let mut conversation = Conversation::with_template(offered.model(), template, arguments)?;
        conversation.resume(turns);
        Ok(conversation)
    }

    /// Has the texts be written, in the form that `form` makes of the number of tokens before them.
    fn write(
        &mut self,
        client: IpAddr,
        begin: Begin<'_>,
        form: impl FnOnce(usize) -> Box<dyn Form>,
    ) -> Outcome<Answer> {
        let Begin { model, asked, prompt, end_tokens, rules } = begin;
        let n_texts = asked.n_answers;
        if n_texts > self.house.capacity() {
            let message = format!("{n_texts} are more than the {} that this server holds", self.house.capacity());
            return Err(Error::usage(message).field("n").into());
        }
        let mut writers = Vec::with_capacity(n_texts);
        for i in 0..n_texts as u64 {
            let options = SamplerOptions { seed: asked.sampling.seed.wrapping_add(i), ..asked.sampling.clone() };
            let mut writer = self.writer(model, asked, &prompt, &end_tokens, options.clone())?;
            match (&rules, &asked.rule) {
                (Some((rules, _)), _) => rules.apply(&mut writer, &prompt)?,
                (None, Some(rule)) => writer.keep_to(self.grammar(model, rule)?.begin()?)?,
                (None, None) => {}
            }
            let draft = match asked.extension.receipt {
                true => Some(self.draft(
                    model,
                    asked,
                    (&prompt, &end_tokens),
                    rules.as_ref().map(|(rules, _)| rules),
                    &options,
                )?),
                false => None,
            };
            writers.push((writer, options, draft));
        }
        let to_show = ToShow::of(asked);
        let room = self.house.admit(n_texts, model).ok_or_else(Refusal::busy)?;
        let (outlet, events) = events();
        for (text, ((writer, options, draft), room)) in writers.into_iter().zip(room).enumerate() {
            let owner = Owner { client, text };
            let job = Job::new(&self.house, owner, outlet.clone(), to_show, &options, room).with_receipt(draft);
            let order = Waiting { model, writer: Box::new(writer), job: Box::new(job) };
            self.engine.send(Order::Text(order)).map_err(|_| Refusal::ending())?;
        }
        let is_streamed = asked.sending != Sending::Whole;
        let parted = |(rules, n_calls): (ReplyRules, usize)| rules.reader(&prompt).number_from(n_calls);
        let reader = rules.map_or_else(Reader::plain, parted);
        let n_prompt = prompt.len();
        let texts = Texts { form: form(n_prompt), n_prompt, n_texts, is_streamed, events, reader };
        Ok(Answer::Texts(Box::new(texts)))
    }

    fn writer(
        &self,
        model: usize,
        asked: &Asked,
        prompt: &[TokenId],
        end_tokens: &[TokenId],
        options: SamplerOptions,
    ) -> Result<Writer> {
        let offered = self.offered(model);
        let sampler = Sampler::new(options, offered.model().config().vocab_size)?;
        let rules = StopRules {
            n_tokens: asked.n_tokens.or(offered.n_tokens),
            stops: [&offered.stops[..], &asked.stops].concat(),
            end_tokens: end_tokens.to_vec(),
            banned: Vec::new(),
            on_full: OnFull::Stop,
        };
        Writer::new(offered.model(), prompt, offered.schedule.context_length, sampler, rules)
    }

    /// What compiles rules for a model.
    fn grammars(&mut self, model: usize) -> Result<&Grammars> {
        if self.grammars.get(model).is_none() {
            self.grammars.insert(model, Grammars::new(self.offered(model).model())?);
        }
        Ok(&self.grammars[model])
    }

    /// A rule, compiled for the tokens of a model.
    fn grammar(&mut self, model: usize, rule: &Rule) -> Result<&Grammar> {
        let is_it = |(of, kept, _): &(usize, Rule, Grammar)| *of == model && kept == rule;
        if let Some(place) = self.kept.iter().position(is_it)
            && let Some(entry) = self.kept.remove(place)
        {
            self.kept.push_back(entry);
        } else {
            let compiled = self.grammars(model)?.compile(rule)?;
            if self.kept.len() >= KEPT_RULES {
                self.kept.pop_front();
            }
            self.kept.push_back((model, rule.clone(), compiled));
        }
        let (_, _, grammar) = self.kept.back().ok_or_else(|| Error::data("no rule was compiled"))?;
        Ok(grammar)
    }
}

fn whole(value: &Value) -> Answer {
    Answer::Whole(Reply::json(value))
}

/// Refuses a text of `n_bytes` that is more than a context of `offered` holds, however its tokens come: before it takes time and memory to
/// find them.
fn check_text(offered: &Offered, n_bytes: usize, field: &str) -> Result<()> {
    let context_length = offered.schedule.context_length;
    if n_bytes <= most_text(offered.model(), context_length) {
        return Ok(());
    }
    let message = format!("{n_bytes} bytes leave no room in a context of {context_length} tokens");
    Err(Error::new(whit::error::Kind::Resources, message).field(field))
}

/// Refuses a prompt that leaves no room in a context.
fn check_length(n_tokens: usize, context_length: usize, field: &str) -> Result<()> {
    if n_tokens < context_length {
        return Ok(());
    }
    let message = format!("{n_tokens} tokens leave no room in a context of {context_length}");
    Err(Error::new(whit::error::Kind::Resources, message).field(field))
}
