//! A text as the server wants it: what happens to it goes to the connection that waits for it.

use super::house::{Admitted, House};
use super::limits::{MOST_WAITING, PARTS_OF_SHOWN};
use super::stats;
use crate::requests::{Asked, extension};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use whit::TokenId;
use whit::chat::receipt::{Evidence, Receipt};
use whit::error::Result;
use whit::generate::{self, Ended, StopReason};
use whit::inspect::{Choice, Distribution, Film, Ranked, Recorder, StageDistribution, Standings};
use whit::sampler::{Candidates, SamplerOptions, Stage, Watcher};

/// What happens to the texts of an answer.
pub(super) enum Event {
    /// The text of this number is computed from now on; so many tokens of its prompt were held.
    Begun { text: usize, n_held: usize },
    /// It goes on.
    Piece { text: usize, piece: Piece },
    /// Nothing is written, and this comes next.
    Next { text: usize, next: Box<Next> },
    /// The receipt of a text that ends.
    Receipt { text: usize, receipt: Box<Receipt> },
    /// It has ended.
    Ended { text: usize, end: Result<End> },
}

/// A part of a text.
pub(super) struct Piece {
    pub(super) text: String,
    /// Its token, where somebody wants to know how that was chosen.
    pub(super) token: Option<Token>,
}

/// A token of a text.
pub(super) struct Token {
    pub(super) id: TokenId,
    /// How it was chosen, where that is asked for; `None` also of one that had to come.
    pub(super) shown: Option<Shown>,
}

/// How a token was chosen.
pub(super) struct Shown {
    /// Its probability by the model, and how many tokens are more probable.
    pub(super) probability: f64,
    pub(super) rank: usize,
    /// The most probable ones.
    pub(super) top: Vec<Ranked>,
    pub(super) stages: Vec<StageDistribution>,
    /// The number that was drawn.
    pub(super) uniform: Option<f64>,
}

/// What comes next.
pub(super) struct Next {
    /// At this temperature the model's own distribution is told.
    pub(super) temperature: f64,
    pub(super) distribution: Distribution,
    pub(super) film: Option<Film>,
    /// How a token would be chosen, stage by stage.
    pub(super) choice: Option<Choice>,
}

/// How a text ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) reason: StopReason,
    pub(super) n_generated: usize,
    pub(super) times: Times,
}

/// How long a text took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// Until it was begun.
    pub(super) waited: Duration,
    /// From there to its first token.
    pub(super) prefill: Duration,
    /// From there to its end.
    pub(super) writing: Duration,
}

/// What of the choice of tokens is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ToShow {
    /// Of each token, so many in its place, and the stages of the choice.
    Each { n_top: usize, stages: bool },
    /// Of the first one alone, which is not written.
    Next(extension::Next),
}

impl ToShow {
    /// What a request asks for.
    pub(super) fn of(asked: &Asked) -> Option<ToShow> {
        let of = &asked.extension;
        match (of.next, of.n_shown, asked.n_logprobs) {
            (Some(next), ..) => Some(ToShow::Next(next)),
            (None, None, None) => None,
            (None, shown, logprobs) => {
                Some(ToShow::Each { n_top: shown.unwrap_or(0).max(logprobs.unwrap_or(0)), stages: of.stages })
            }
        }
    }
}

/// Where the events of an answer come from, and how much of them waits.
pub(super) struct Events {
    from: UnboundedReceiver<Event>,
    waiting: Arc<AtomicUsize>,
}

/// Where they go.
#[derive(Clone)]
pub(super) struct Outlet {
    to: UnboundedSender<Event>,
    waiting: Arc<AtomicUsize>,
}

/// The two ends of the events of an answer.
pub(super) fn events() -> (Outlet, Events) {
    let (to, from) = unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Outlet { to, waiting: Arc::clone(&waiting) }, Events { from, waiting })
}

impl Events {
    /// The next event; `None` after the last.
    pub(super) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Event>> {
        let event = self.from.poll_recv(cx);
        if let std::task::Poll::Ready(Some(event)) = &event {
            self.waiting.fetch_sub(parts(event), Ordering::Relaxed);
        }
        event
    }

    /// The next event; `None` after the last.
    pub(super) async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

impl Outlet {
    fn send(&self, event: Event) {
        self.waiting.fetch_add(parts(&event), Ordering::Relaxed);
        let _ = self.to.send(event);
    }

    /// Whether nobody listens, or too slowly.
    fn is_closed(&self) -> bool {
        self.to.is_closed() || self.waiting.load(Ordering::Relaxed) > MOST_WAITING
    }
}

/// In how many parts an event is counted.
fn parts(event: &Event) -> usize {
    if matches!(event, Event::Piece { piece, .. } if piece.token.is_some()) { PARTS_OF_SHOWN } else { 1 }
}

/// Watches how tokens are chosen, as far as somebody wants to know.
enum Sight {
    Nothing,
    /// The model's own distribution.
    Model {
        standings: Standings,
        draws: bool,
    },
    /// That after every stage.
    Stages(Box<Recorder>),
    /// That of the first token, and after every stage if there is a recorder.
    Next {
        wanted: extension::Next,
        logits: Vec<f32>,
        recorder: Option<Box<Recorder>>,
    },
}

/// Tokens of the film of temperatures.
const FILM_TOKENS: usize = 12;

impl Sight {
    fn new(to_show: Option<ToShow>, options: &SamplerOptions) -> Sight {
        let recorder = |n_top| Box::new(Recorder::new(options.clone(), n_top));
        match to_show {
            None => Sight::Nothing,
            Some(ToShow::Each { n_top, stages: true }) => Sight::Stages(recorder(n_top)),
            Some(ToShow::Each { n_top, stages: false }) => {
                Sight::Model { standings: Standings::new(n_top), draws: options.temperature > 0.0 }
            }
            Some(ToShow::Next(wanted)) => {
                let recorder = wanted.stages.then(|| recorder(wanted.n_top));
                Sight::Next { wanted, logits: Vec::new(), recorder }
            }
        }
    }

    /// What records the stages, if they are wanted.
    fn recorder(&mut self) -> Option<&mut Recorder> {
        match self {
            Sight::Nothing | Sight::Model { .. } => None,
            Sight::Stages(recorder) => Some(recorder),
            Sight::Next { recorder, .. } => recorder.as_deref_mut(),
        }
    }

    /// How the last token was chosen.
    fn take(&mut self) -> Option<Shown> {
        match self {
            Sight::Nothing | Sight::Next { .. } => None,
            Sight::Model { standings, draws } => standings.take().map(|standing| Shown {
                probability: standing.probability,
                rank: standing.rank,
                top: standing.top,
                stages: Vec::new(),
                uniform: draws.then_some(standing.uniform),
            }),
            Sight::Stages(recorder) => recorder.take().map(|choice| Shown {
                probability: choice.first().chosen,
                rank: choice.rank.saturating_sub(1),
                top: choice.first().distribution.top.clone(),
                uniform: choice.uniform,
                stages: choice.stages,
            }),
        }
    }
}

/// Whose text it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) client: IpAddr,
    /// Which of an answer's texts.
    pub(super) text: usize,
}

/// A receipt that is being written.
pub(super) struct Draft {
    receipt: Receipt,
    evidence: Evidence,
}

impl Draft {
    pub(super) fn new(receipt: Receipt) -> Box<Draft> {
        Box::new(Draft { receipt, evidence: Evidence::default() })
    }
}

/// A text that somebody waits for.
pub(super) struct Job {
    house: Arc<House>,
    owner: Owner,
    outlet: Outlet,
    sight: Sight,
    /// What is noted for a receipt, if one is wanted.
    draft: Option<Box<Draft>>,
    came: Instant,
    begun: Option<Instant>,
    first: Option<Instant>,
    has_ended: bool,
    room: Admitted,
}

impl Job {
    /// The text of `owner`, written with `options`.
    pub(super) fn new(
        house: &Arc<House>,
        owner: Owner,
        outlet: Outlet,
        to_show: Option<ToShow>,
        options: &SamplerOptions,
        room: Admitted,
    ) -> Job {
        Job {
            house: Arc::clone(house),
            owner,
            outlet,
            sight: Sight::new(to_show, options),
            draft: None,
            came: Instant::now(),
            begun: None,
            first: None,
            has_ended: false,
            room,
        }
    }

    /// The same with a receipt.
    pub(super) fn with_receipt(mut self, draft: Option<Box<Draft>>) -> Job {
        self.draft = draft;
        self
    }

    /// Who asked for it.
    pub(super) fn client(&self) -> IpAddr {
        self.owner.client
    }
}

impl Watcher for Job {
    fn logits(&mut self, stage: Stage, of_stage: &[f32]) {
        self.draft.iter_mut().for_each(|draft| draft.evidence.logits(stage, of_stage));
        match &mut self.sight {
            Sight::Nothing => {}
            Sight::Model { standings, .. } => standings.logits(stage, of_stage),
            Sight::Stages(recorder) => recorder.logits(stage, of_stage),
            Sight::Next { logits, recorder, .. } => {
                keep(logits, stage, of_stage);
                recorder.iter_mut().for_each(|recorder| recorder.logits(stage, of_stage));
            }
        }
    }

    fn candidates(&mut self, stage: Stage, candidates: &Candidates) {
        self.sight.recorder().into_iter().for_each(|recorder| recorder.candidates(stage, candidates));
    }

    fn left(&mut self, candidates: &Candidates) {
        self.sight.recorder().into_iter().for_each(|recorder| recorder.left(candidates));
    }

    fn drawn(&mut self, uniform: f64, token: TokenId) {
        match &mut self.sight {
            Sight::Nothing => {}
            Sight::Model { standings, .. } => standings.drawn(uniform, token),
            Sight::Stages(recorder) => recorder.drawn(uniform, token),
            Sight::Next { wanted, logits, recorder } => {
                let choice = recorder.as_mut().and_then(|recorder| {
                    recorder.drawn(uniform, token);
                    recorder.take()
                });
                let next = Next {
                    temperature: wanted.temperature,
                    distribution: Distribution::of_logits(logits, wanted.temperature, wanted.n_top),
                    film: wanted.film.then(|| Film::of(logits, FILM_TOKENS)),
                    choice,
                };
                self.outlet.send(Event::Next { text: self.owner.text, next: Box::new(next) });
            }
        }
    }
}

/// Keeps the logits of the model.
fn keep(kept: &mut Vec<f32>, stage: Stage, logits: &[f32]) {
    if stage == Stage::Logits {
        kept.clear();
        kept.extend_from_slice(logits);
    }
}

impl generate::Job for Job {
    fn is_wanted(&self) -> bool {
        !self.outlet.is_closed() && !self.room.offered.file.is_broken()
    }

    fn begun(&mut self, n_held: usize) {
        self.begun = Some(Instant::now());
        stats::add(&self.house.stats.active, 1);
        stats::add(&self.house.stats.texts, 1);
        stats::add(&self.house.stats.held_tokens, n_held as u64);
        self.outlet.send(Event::Begun { text: self.owner.text, n_held });
    }

    fn piece(&mut self, piece: generate::Piece<'_>) {
        if self.room.offered.file.is_broken() {
            return;
        }
        self.first.get_or_insert_with(Instant::now);
        stats::add(&self.house.stats.written_tokens, u64::from(piece.token.is_some()));
        if let Some((draft, token)) = self.draft.as_mut().zip(piece.token) {
            draft.receipt.output.push(token);
        }
        let is_watched = matches!(self.sight, Sight::Model { .. } | Sight::Stages(_));
        let token = piece.token.filter(|_| is_watched).map(|id| Token { id, shown: self.sight.take() });
        if !piece.text.is_empty() || token.is_some() {
            self.outlet.send(Event::Piece { text: self.owner.text, piece: Piece { text: piece.text.into(), token } });
        }
    }

    fn ended(&mut self, end: Result<Ended>) {
        let now = Instant::now();
        let begun = self.begun.unwrap_or(now);
        let first = self.first.unwrap_or(now);
        let times = Times { waited: begun - self.came, prefill: first - begun, writing: now - first };
        self.has_ended = true;
        // Where the model's file was changed meanwhile, the text may be wrong.
        let unchanged = self.room.offered.file.check_unchanged();
        let end = unchanged.and(end).map(|Ended { reason, n_generated, .. }| End { reason, n_generated, times });
        if let Some((draft, end)) = self.draft.take().zip(end.as_ref().ok()) {
            let receipt = Receipt { reason: end.reason, logits: draft.evidence.hash(), ..draft.receipt };
            self.outlet.send(Event::Receipt { text: self.owner.text, receipt: Box::new(receipt) });
        }
        self.outlet.send(Event::Ended { text: self.owner.text, end });
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.has_ended {
            // Who waits is told where the model was spoiled.
            if let Err(error) = self.room.offered.file.check_unchanged() {
                self.outlet.send(Event::Ended { text: self.owner.text, end: Err(error) });
            }
            stats::add(&self.house.stats.cancelled, 1);
        }
        if self.begun.is_some() {
            self.house.stats.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
