//! The thread that computes: texts of all models by turns, in passes; between them texts come and go. It sleeps where there is
//! nothing to do.

use super::heat::Heat;
use super::house::{Admitted, House};
use super::job::Job;
use super::limits::{EMBED_BATCH, RELIEF};
use super::offered::Offered;
use super::slots::Slots;
use super::stats::{self, Pace};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use whit::error::Result;
use whit::generate::{self, Scheduler, Writer};
use whit::inspect::{EmbedOptions, Embedder, Pooling};
use whit::os::thermal;
use whit::{Compute, TokenId};

/// What is to be computed.
pub(super) enum Order {
    Text(Waiting),
    Vectors(Vectors),
    /// A model comes into memory at a place.
    Load {
        place: usize,
        offered: Arc<Offered>,
        scheduler: Box<Scheduler<Job>>,
    },
    /// Memory is short: what can be given back is.
    Relieve,
    /// The model at a place goes, which has no texts; when it has gone this is told.
    Unload {
        place: usize,
        done: SyncSender<()>,
    },
}

/// A text that waits for a place.
pub(super) struct Waiting {
    /// The place of its model.
    pub(super) model: usize,
    pub(super) writer: Box<Writer>,
    pub(super) job: Box<Job>,
}

/// Texts that are to become vectors.
pub(super) struct Vectors {
    /// The place of their model.
    pub(super) model: usize,
    pub(super) texts: Vec<Vec<TokenId>>,
    pub(super) pooling: Pooling,
    pub(super) reply: oneshot::Sender<Result<Vec<f32>>>,
    pub(super) room: Option<Admitted>,
}

/// What computes.
pub(super) struct Engine {
    house: Arc<House>,
    compute: Arc<Compute>,
    models: Slots<Arc<Offered>>,
    schedulers: Slots<Scheduler<Job>>,
    waiting: VecDeque<Waiting>,
    vectors: VecDeque<Vectors>,
    orders: Receiver<Order>,
    pace: Pace,
    heat: Heat,
    /// When memory was short the last time.
    pressed: Option<Instant>,
}

impl Engine {
    /// Allocates what the plan of all models in memory says, but for texts that become vectors.
    pub(super) fn new(house: &Arc<House>, compute: &Arc<Compute>, orders: Receiver<Order>) -> Result<Engine> {
        let (mut models, mut schedulers) = (Slots::default(), Slots::default());
        for place in house.models.all_loaded() {
            if let Some(offered) = house.models.loaded(place) {
                schedulers.insert(place, Scheduler::new(offered.model(), compute, offered.schedule)?);
                models.insert(place, offered);
            }
        }
        Ok(Engine {
            models,
            schedulers,
            house: Arc::clone(house),
            compute: Arc::clone(compute),
            waiting: VecDeque::new(),
            vectors: VecDeque::new(),
            orders,
            pace: Pace::default(),
            heat: Heat::new(house.options.max_celsius, thermal::celsius),
            pressed: None,
        })
    }

    /// Computes until nobody can order anything any more.
    pub(super) fn run(mut self) {
        loop {
            if self.is_idle() {
                match self.orders.recv() {
                    Ok(order) => self.take(order),
                    Err(_) => return,
                }
            }
            self.turn();
            if let Some(vectors) = self.vectors.pop_front() {
                self.embed(vectors);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.vectors.is_empty() && self.schedulers.iter().all(Scheduler::is_idle)
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Text(waiting) => self.waiting.push_back(waiting),
            Order::Vectors(vectors) => self.vectors.push_back(vectors),
            Order::Load { place, offered, scheduler } => {
                self.models.insert(place, offered);
                self.schedulers.insert(place, *scheduler);
            }
            Order::Relieve => self.relieve(),
            Order::Unload { place, done } => {
                drop((self.schedulers.remove(place), self.models.remove(place)));
                let _ = done.send(());
            }
        }
    }

    /// Takes what was ordered meanwhile, begins texts where there are places, and computes a pass of each model.
    fn turn(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.take(order);
        }
        self.waiting.retain(|waiting| generate::Job::is_wanted(&*waiting.job));
        for model in self.schedulers.places() {
            self.grow(model);
            while self.schedulers[model].has_room() {
                let Some(next) = self.next(model) else { break };
                let Some(Waiting { writer, job, .. }) = self.waiting.remove(next) else { break };
                self.schedulers[model].begin(*writer, *job);
            }
            let scheduler = &mut self.schedulers[model];
            if scheduler.is_idle() {
                continue;
            }
            let begun = Instant::now();
            // Where it fails, each of its texts has been told.
            let passed = scheduler.step().unwrap_or_default();
            let time = begun.elapsed();
            self.house.stats.count(passed, time, &mut self.pace);
            self.pause(time);
        }
    }

    /// Lets a machine that is too hot cool after a pass that took `time`.
    fn pause(&mut self, time: Duration) {
        let pause = self.heat.pause(time);
        if !pause.is_zero() {
            stats::add(&self.house.stats.paused_micros, pause.as_micros() as u64);
            thread::sleep(pause);
        }
    }

    /// Gives back the memory of texts that are not under way.
    fn relieve(&mut self) {
        self.pressed = Some(Instant::now());
        for model in self.schedulers.places() {
            let n = self.schedulers[model].shrink();
            stats::add(&self.house.stats.states_given_back, n as u64);
        }
    }

    /// Writes one text of a model more at a time where some wait, once memory was not short for a while.
    fn grow(&mut self, model: usize) {
        let is_short = self.pressed.is_none_or(|pressed| pressed.elapsed() < RELIEF);
        let waits = self.waiting.iter().any(|waiting| waiting.model == model);
        if !is_short && waits && !self.schedulers[model].has_room() {
            // Where there is no memory for it, as many are written as before.
            let _ = self.schedulers[model].grow();
        }
    }

    /// The text that begins next: the first one of a client of whom the fewest are written.
    fn next(&self, model: usize) -> Option<usize> {
        let n_of = |client: IpAddr| {
            let is_of = |text: &&generate::Running<Job>| text.job().client() == client;
            self.schedulers.iter().map(|scheduler| scheduler.texts().iter().filter(is_of).count()).sum::<usize>()
        };
        let all = self.waiting.iter().enumerate().filter(|(_, waiting)| waiting.model == model);
        all.min_by_key(|(place, waiting)| (n_of(waiting.job.client()), *place)).map(|(place, _)| place)
    }

    /// Computes vectors; between their passes, texts go on.
    fn embed(&mut self, order: Vectors) {
        let Vectors { model, texts, pooling, reply, room } = order;
        let vectors = self.embedded(model, &texts, pooling, &mut || !reply.is_closed());
        let unchanged = self.models[model].file.check_unchanged();
        drop(room);
        let _ = reply.send(unchanged.and(vectors));
    }

    fn embedded(
        &mut self,
        model: usize,
        texts: &[Vec<TokenId>],
        pooling: Pooling,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<f32>> {
        let offered = Arc::clone(&self.models[model]);
        let options = EmbedOptions {
            pooling,
            normalizes: true,
            context_length: offered.schedule.context_length,
            kv: offered.schedule.kv,
            batch: EMBED_BATCH,
            n_texts: 1,
        };
        let mut embedder = Embedder::new(offered.model(), &self.compute, options)?;
        let vectors = embedder.embed(texts, &mut |_| {
            self.turn();
            is_wanted()
        })?;
        Ok(vectors.unwrap_or_default())
    }
}
