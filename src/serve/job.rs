//! A text as the server wants it: what happens to it goes to the connection that waits for it.

use super::house::{Admitted, House};
use super::limits::{MOST_WAITING, PARTS_OF_SHOWN};
use super::stats;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use whit::TokenId;
use whit::error::Result;
use whit::generate::{self, Ended, StopReason};
use whit::inspect::{Distribution, Ranked, Recorder, StageDistribution, standing};
use whit::sampler::{Candidates, SamplerOptions, Stage, Watcher};

/// What happens to the texts of an answer.
pub(super) enum Event {
    /// The text of this number is computed from now on; so many tokens of its prompt were held.
    Begun { text: usize, n_held: usize },
    /// It goes on.
    Piece { text: usize, piece: Piece },
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ToShow {
    pub(super) n_top: usize,
    pub(super) stages: bool,
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
        n_top: usize,
        logits: Vec<f32>,
        shown: Option<Shown>,
    },
    /// That after every stage.
    Stages(Box<Recorder>),
}

impl Sight {
    fn new(to_show: Option<ToShow>, options: &SamplerOptions) -> Sight {
        match to_show {
            None => Sight::Nothing,
            Some(ToShow { n_top, stages: true }) => Sight::Stages(Box::new(Recorder::new(options.clone(), n_top))),
            Some(ToShow { n_top, stages: false }) => Sight::Model { n_top, logits: Vec::new(), shown: None },
        }
    }

    /// How the last token was chosen.
    fn take(&mut self) -> Option<Shown> {
        match self {
            Sight::Nothing => None,
            Sight::Model { shown, .. } => shown.take(),
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

/// A text that somebody waits for.
pub(super) struct Job {
    house: Arc<House>,
    owner: Owner,
    outlet: Outlet,
    sight: Sight,
    draws: bool,
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
            draws: options.temperature > 0.0,
            came: Instant::now(),
            begun: None,
            first: None,
            has_ended: false,
            room,
        }
    }

    /// Who asked for it.
    pub(super) fn client(&self) -> IpAddr {
        self.owner.client
    }
}

impl Watcher for Job {
    fn logits(&mut self, stage: Stage, of_stage: &[f32]) {
        match &mut self.sight {
            Sight::Nothing => {}
            Sight::Model { logits, .. } if stage == Stage::Logits => {
                logits.clear();
                logits.extend_from_slice(of_stage);
            }
            Sight::Model { .. } => {}
            Sight::Stages(recorder) => recorder.logits(stage, of_stage),
        }
    }

    fn candidates(&mut self, stage: Stage, candidates: &Candidates) {
        if let Sight::Stages(recorder) = &mut self.sight {
            recorder.candidates(stage, candidates);
        }
    }

    fn left(&mut self, candidates: &Candidates) {
        if let Sight::Stages(recorder) = &mut self.sight {
            recorder.left(candidates);
        }
    }

    fn drawn(&mut self, uniform: f64, token: TokenId) {
        match &mut self.sight {
            Sight::Nothing => {}
            Sight::Model { n_top, logits, shown } => {
                let (rank, probability) = standing(logits, token).unwrap_or_default();
                *shown = Some(Shown {
                    probability,
                    rank: rank.saturating_sub(1),
                    top: Distribution::of_logits(logits, 1.0, *n_top).top,
                    stages: Vec::new(),
                    uniform: self.draws.then_some(uniform),
                });
            }
            Sight::Stages(recorder) => recorder.drawn(uniform, token),
        }
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
        let is_watched = !matches!(self.sight, Sight::Nothing);
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
