//! Requests that look into a model. What comes next is a text of no token among the others; the rest is computed between the passes
//! of texts, as vectors are, and in memory that the plan has for it.

use super::super::form::{Gathered, Name, Undivided};
use super::super::limits::{EMBED_BATCH, LOOK_BYTES, MOST_LOOKED, MOST_LOOKING, MOST_LOOKS, MOST_READ, SCORE_BATCH};
use super::super::offered::Offered;
use super::super::order::{Look, Order, Work};
use super::super::reply::Refusal;
use super::super::routes::Route;
use super::super::views;
use super::{Answer, Desk, Outcome, Request, whole};
use crate::requests::{Prompt, looks};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::oneshot;
use whit::TokenId;
use whit::error::{Error, Kind, Result};
use whit::generate::prompt_tokens;
use whit::inspect::surprise::surprises;
use whit::inspect::{Attention, Lens};
use whit::model::{Config, Model, Session, SessionOptions};
use whit::tokenizer::{Specials, Tokenizer};

/// Tokens of a window in which a text is scored, at most: as `whit score` has it.
const WINDOW: usize = 512;

impl Desk {
    /// The answer to a request that looks into the model of this place.
    pub(super) fn look(&mut self, request: &Request, body: &Value, model: usize) -> Outcome<Answer> {
        match request.route {
            Route::Next => self.next(request, body, model),
            Route::Tokens => self.pieces(body, model),
            Route::Score => self.score(body, model),
            Route::Lens => self.lens(body, model),
            _ => self.attend(body, model),
        }
    }

    fn next(&mut self, request: &Request, body: &Value, model: usize) -> Outcome<Answer> {
        let asked = looks::next(body, &self.offered(model).sampling)?;
        let begin = self.begin(model, &asked)?;
        let (name, prompt) = (self.name(model), begin.prompt.clone());
        let form = Undivided(move |whole: &Gathered| following(&name, &prompt, whole));
        self.write(request.client, begin, |_| Box::new(form))
    }

    fn pieces(&self, body: &Value, model: usize) -> Outcome<Answer> {
        let tokens = self.looked(body, model)?;
        let of = self.offered(model).model();
        let mut value = views::pieces(tokenizer(of)?, &tokens, of.config().context_length);
        value["model"] = json!(self.offered(model).name);
        Ok(whole(&value))
    }

    fn score(&self, body: &Value, model: usize) -> Outcome<Answer> {
        let offered = self.offered(model);
        let of = Arc::clone(offered.model());
        let mut tokens = self.looked(body, model)?;
        // A token that begins a text has the first word be scored, too.
        let begin = of.tokenizer().and_then(|tokenizer| tokenizer.bos().or(tokenizer.eos()));
        if let Some(begin) = begin.filter(|begin| body["tokens"].is_null() && tokens.first() != Some(begin)) {
            tokens.insert(0, begin);
        }
        if tokens.len() < 2 {
            return Err(Error::data("a text of one token surprises nobody").field("text").into());
        }
        let context_length = WINDOW.min(offered.schedule.context_length).min(tokens.len());
        let options = SessionOptions { context_length, batch: SCORE_BATCH, ..session_options(offered, context_length) };
        check_room(offered, options, 0)?;
        self.order(model, move |compute, go_on| {
            let mut session = Session::new(&of, compute, options)?;
            let scored = surprises(&mut session, None, &tokens, &mut |_| go_on())?;
            if scored.len() < tokens.len() {
                return Err(given_up());
            }
            Ok(views::score(tokenizer(&of)?, &scored))
        })
    }

    fn lens(&self, body: &Value, model: usize) -> Outcome<Answer> {
        let offered = self.offered(model);
        let of = Arc::clone(offered.model());
        let looks::Readings { n_last, n_top } = looks::readings(body, MOST_READ)?;
        let tokens = self.looked(body, model)?;
        let options = session_options(offered, tokens.len());
        let n_before = tokens.len() - n_last.min(tokens.len());
        check_room(offered, options, lens_bytes(of.config(), tokens.len() - n_before, n_top))?;
        self.order(model, move |compute, go_on| {
            let mut session = Session::new(&of, compute, options)?;
            for part in tokens[..n_before].chunks(EMBED_BATCH) {
                session.append(part)?;
                if !go_on() {
                    return Err(given_up());
                }
            }
            let lens = Lens::behind(&mut session, of.config(), &tokens[n_before..], n_top, go_on)?;
            let lens = lens.ok_or_else(given_up)?;
            let mut value = views::lens(tokenizer(&of)?, &tokens, &lens);
            value["tokens"] = json!(tokens.len());
            Ok(value)
        })
    }

    fn attend(&self, body: &Value, model: usize) -> Outcome<Answer> {
        let offered = self.offered(model);
        let of = Arc::clone(offered.model());
        let config = of.config();
        let heads = heads(config, looks::heads(body)?)?;
        let tokens = self.looked(body, model)?;
        let n = tokens.len();
        if n > MOST_LOOKING {
            let message = format!("{n} tokens are more than the {MOST_LOOKING} whose looks are computed");
            return Err(Error::usage(message).field("text").into());
        }
        let n_looks = heads.len() * n * (n + 1) / 2;
        if n_looks > MOST_LOOKS {
            let message = format!("{} heads and {n} tokens are {n_looks} looks, more than {MOST_LOOKS}", heads.len());
            return Err(Error::usage(message).field("layer").hint("name a layer, or a head of it").into());
        }
        let options = SessionOptions { hold_all: true, ..session_options(offered, n) };
        let widths: usize = config.attentions().map(|attention| attention.width()).sum();
        // Queries, the pattern and the keys of a head, and the shares as values.
        let data = 4 * widths * n + 8 * n * n + 4 * n * config.dim + 48 * n_looks;
        check_room(offered, options, data as u64)?;
        self.order(model, move |compute, go_on| {
            let config = of.config();
            let mut session = Session::new(&of, compute, options)?;
            let attention = Attention::of(&mut session, config, &tokens, n)?;
            let mut each = Vec::with_capacity(heads.len());
            for (layer, head) in heads {
                let pattern = attention.pattern(layer, head);
                each.push(views::head(layer, head, &attention.scores(&pattern), &pattern, n));
                if !go_on() {
                    return Err(given_up());
                }
            }
            let n_heads = config.attentions().map(|attention| attention.n_heads).max().unwrap_or(0);
            let tokens = views::tokens(tokenizer(&of)?, &tokens);
            Ok(json!({"tokens": tokens, "layers": config.n_layers(), "heads": n_heads, "looks": each}))
        })
    }

    /// The tokens of the text that a body gives.
    fn looked(&self, body: &Value, model: usize) -> Outcome<Vec<TokenId>> {
        let offered = self.offered(model);
        let of = offered.model();
        let (tokens, field) = match looks::looked(body)? {
            Prompt::Text(text) => (prompt_tokens(of, &[], &text, Specials::AsText)?, "text"),
            Prompt::Marked(text) => (prompt_tokens(of, &[], &text, Specials::Parse)?, "text"),
            Prompt::Tokens(tokens) => (tokens, "tokens"),
            Prompt::Turns(turns) => (self.turns(model, turns)?, "messages"),
        };
        let vocab_size = of.config().vocab_size;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab_size) {
            let message = format!("token {token} is outside the vocabulary of {vocab_size}");
            return Err(Error::usage(message).field(field).into());
        }
        let (n, most) = (tokens.len(), offered.schedule.context_length.min(MOST_LOOKED));
        if n > most {
            let message = format!("{n} tokens are more than the {most} that are looked at");
            return Err(Error::new(Kind::Resources, message).field(field).into());
        }
        Ok(tokens)
    }

    /// Has something be computed between the passes of texts; the model's name is added to what comes of it.
    fn order(
        &self,
        model: usize,
        work: impl FnOnce(&Arc<whit::Compute>, &mut dyn FnMut() -> bool) -> Result<Value> + Send + 'static,
    ) -> Outcome<Answer> {
        if self.house.is_ending() {
            return Err(Refusal::ending());
        }
        let room = self.house.admit(1, model).ok_or_else(Refusal::busy)?.pop();
        let (reply, value) = oneshot::channel();
        let name = self.offered(model).name.clone();
        let work: Work = Box::new(move |compute, go_on| {
            let mut value = work(compute, go_on)?;
            value["model"] = json!(name);
            Ok(value)
        });
        let look = Look { model, work, reply, room };
        self.engine.send(Order::Look(look)).map_err(|_| Refusal::ending())?;
        Ok(Answer::Looked(value))
    }
}

/// A session for a text of so many tokens.
fn session_options(offered: &Offered, n_tokens: usize) -> SessionOptions {
    let kv = offered.schedule.kv;
    SessionOptions { context_length: n_tokens, kv, batch: EMBED_BATCH, logit_rows: 1, hold_all: false }
}

/// Refuses what takes more than the plan of the model has: the memory of a text that becomes a vector, and [`LOOK_BYTES`].
fn check_room(offered: &Offered, options: SessionOptions, data: u64) -> Result<()> {
    let config = offered.model().config();
    let of = |options: SessionOptions| {
        let bytes = options.bytes(config);
        bytes.kv.saturating_add(bytes.scratch)
    };
    let planned = of(session_options(offered, offered.schedule.context_length)).saturating_add(LOOK_BYTES);
    let needed = of(options).saturating_add(data);
    if needed <= planned {
        return Ok(());
    }
    let message = format!("this takes {needed} bytes, and {planned} are planned for it");
    Err(Error::new(Kind::Resources, message).field("text").hint("ask about fewer tokens"))
}

/// What readings of `n` positions take: the streams and inner values of all layers, twice, and the readings as values.
fn lens_bytes(config: &Config, n: usize, n_top: usize) -> u64 {
    const READING_BYTES: usize = 1024;
    const RANKED_BYTES: usize = 640;
    let n_depths = config.n_layers() + 1;
    let streams = 2 * 4 * 2 * n_depths * config.dim;
    (n * (streams + n_depths * (READING_BYTES + n_top * RANKED_BYTES))) as u64
}

/// The heads that are asked for: all, those of a layer, or one.
fn heads(config: &Config, (layer, head): (Option<usize>, Option<usize>)) -> Result<Vec<(usize, usize)>> {
    let all: Vec<(usize, usize)> = config.heads().collect();
    if all.is_empty() {
        return Err(Error::usage("no layer of this model has attention, so there is nothing to look at").field("model"));
    }
    let Some(layer) = layer else { return Ok(all) };
    let of_layer: Vec<(usize, usize)> = all.into_iter().filter(|(of, _)| *of == layer).collect();
    if of_layer.is_empty() {
        let message = format!("{layer} has no attention, or is not among the {} layers", config.n_layers());
        return Err(Error::usage(message).field("layer"));
    }
    let Some(head) = head else { return Ok(of_layer) };
    let n_heads = of_layer.len();
    let one = of_layer.into_iter().find(|(_, of)| *of == head);
    one.map(|one| vec![one])
        .ok_or_else(|| Error::usage(format!("{head} is not among 0 to {}", n_heads - 1)).field("head"))
}

fn tokenizer(model: &Model) -> Result<&Tokenizer<'_>> {
    model.tokenizer().ok_or_else(|| Error::data("this model has no tokenizer").field("model"))
}

/// Nobody waits any more.
fn given_up() -> Error {
    Error::new(Kind::Interrupted, "nobody waits for it any more")
}

/// What comes next behind a prompt, of the model of this name.
fn following(name: &Name, prompt: &[TokenId], whole: &Gathered) -> Value {
    let offered = name.offered();
    let next = whole.texts.first().and_then(|text| text.next.as_ref());
    let Some((next, tokenizer)) = next.zip(offered.model().tokenizer()) else { return Value::Null };
    let mut fields = views::next(tokenizer, prompt, next);
    fields.insert("model".into(), json!(offered.name));
    fields.insert("cached_tokens".into(), json!(whole.n_held()));
    Value::Object(fields)
}
