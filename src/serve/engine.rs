//! The thread that computes: texts of all models by turns, in passes; between them texts come and go. It sleeps where there is
//! nothing to do.

use super::heat::Heat;
use super::house::House;
use super::job::Job;
use super::limits::{EMBED_BATCH, RELIEF};
use super::offered::Offered;
use super::order::{Look, Order, Vectors, Waiting};
use super::shelf::Shelf;
use super::slots::Slots;
use super::stats::{self, Pace};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};
use whit::error::Result;
use whit::generate::{self, Scheduler};
use whit::inspect::{EmbedOptions, Embedder, Pooling};
use whit::os::thermal;
use whit::{Compute, TokenId};

/// What computes.
pub(super) struct Engine {
    house: Arc<House>,
    compute: Arc<Compute>,
    models: Slots<Arc<Offered>>,
    schedulers: Slots<Scheduler<Job>>,
    waiting: VecDeque<Waiting>,
    vectors: VecDeque<Vectors>,
    looks: VecDeque<Look>,
    orders: Receiver<Order>,
    /// Beginnings on disk.
    shelf: Option<Shelf>,
    /// More of them can be copied at once.
    keeps_more: bool,
    is_ending: bool,
    pace: Pace,
    heat: Heat,
    /// When memory was short the last time.
    pressed: Option<Instant>,
}

impl Engine {
    /// Allocates what the plan of all models in memory says, but for texts that become vectors.
    pub(super) fn new(
        house: &Arc<House>,
        compute: &Arc<Compute>,
        orders: Receiver<Order>,
        shelf: Option<Shelf>,
    ) -> Result<Engine> {
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
            looks: VecDeque::new(),
            orders,
            shelf,
            keeps_more: false,
            is_ending: false,
            pace: Pace::default(),
            heat: Heat::new(house.options.max_celsius, thermal::celsius),
            pressed: None,
        })
    }

    /// Computes until nobody can order anything any more.
    pub(super) fn run(mut self) {
        loop {
            if self.is_idle() {
                let more = match self.is_ending && !self.owes_an_order() {
                    true => self.orders.try_recv().ok(),
                    false => self.orders.recv().ok(),
                };
                match more {
                    Some(order) => self.take(order),
                    None => return,
                }
            }
            self.turn();
            if let Some(vectors) = self.vectors.pop_front() {
                self.embed(vectors);
            }
            if let Some(look) = self.looks.pop_front() {
                self.look(look);
            }
        }
    }

    /// Whether there is nothing to do until an order comes.
    fn is_idle(&self) -> bool {
        // Texts that wait while states are lent wait for these.
        let waits = self.waiting.is_empty() || self.owes_an_order();
        let has_work = self.keeps_more || !self.vectors.is_empty() || !self.looks.is_empty();
        waits && !has_work && self.schedulers.iter().all(Scheduler::is_idle)
    }

    /// Whether an order is sure to come.
    fn owes_an_order(&self) -> bool {
        self.shelf.as_ref().is_some_and(Shelf::owes_an_order)
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Text(waiting) => self.waiting.push_back(waiting),
            Order::Vectors(vectors) => self.vectors.push_back(vectors),
            Order::Look(look) => self.looks.push_back(look),
            Order::Fetched(fetched) => {
                let (state, Waiting { model, writer, job }) = *fetched;
                self.shelf.iter_mut().for_each(Shelf::given_back);
                // The text has its model stay in memory.
                self.schedulers[model].begin_in(state, *writer, *job);
            }
            Order::Load { place, offered, scheduler } => {
                self.shelf.iter_mut().for_each(|shelf| shelf.load(place, &offered));
                self.models.insert(place, offered);
                self.schedulers.insert(place, *scheduler);
            }
            Order::Unload { place, done } => {
                self.unload(place);
                let _ = done.send(());
            }
            Order::Relieve => self.relieve(),
            Order::Room => {}
            Order::End => self.is_ending = true,
        }
    }

    /// Lets a model go which has no texts, neither here nor where beginnings are read. What of its texts is to be kept is copied
    /// before, as far as there is room for that.
    fn unload(&mut self, place: usize) {
        while self.keep(place) {}
        self.shelf.iter_mut().for_each(|shelf| shelf.unload(place));
        drop((self.schedulers.remove(place), self.models.remove(place)));
    }

    /// Copies what is to be kept on disk of the texts of a model, but nothing that came of a file that is another by now. Whether more
    /// could be copied at once.
    fn keep(&mut self, model: usize) -> bool {
        let Some(shelf) = &mut self.shelf else { return false };
        self.models[model].file.check_unchanged().is_ok() && shelf.keep(model, &mut self.schedulers[model])
    }

    /// Begins a text, at once or when more of it was read from disk. Its model has room for it.
    fn begin(&mut self, mut waiting: Waiting) {
        let scheduler = &mut self.schedulers[waiting.model];
        let Some(state) = scheduler.lend(&mut waiting.writer) else { return self.waiting.push_front(waiting) };
        let unlent = match &mut self.shelf {
            Some(shelf) => shelf.fetch(state, waiting),
            None => Some((state, waiting)),
        };
        if let Some((state, Waiting { writer, job, .. })) = unlent {
            scheduler.begin_in(state, *writer, *job);
        }
    }

    /// Takes what was ordered meanwhile, begins texts where there are places, and computes a pass of each model.
    fn turn(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.take(order);
        }
        self.waiting.retain(|waiting| generate::Job::is_wanted(&*waiting.job));
        self.keeps_more = false;
        for model in self.schedulers.places() {
            self.grow(model);
            while self.schedulers[model].has_room() {
                let Some(next) = self.next(model) else { break };
                let Some(waiting) = self.waiting.remove(next) else { break };
                self.begin(waiting);
            }
            let scheduler = &mut self.schedulers[model];
            if !scheduler.is_idle() {
                let begun = Instant::now();
                // Where it fails, each of its texts has been told.
                let passed = scheduler.step().unwrap_or_default();
                let time = begun.elapsed();
                self.house.stats.count(passed, time, &mut self.pace);
                self.pause(time);
            }
            self.keeps_more |= self.keep(model);
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

    /// The text that begins next: the first one of a client of whom the fewest are written. One whose beginning is being computed for
    /// another, as of several answers to one request, waits until it can be taken over.
    fn next(&mut self, model: usize) -> Option<usize> {
        let Engine { schedulers, waiting, .. } = self;
        let n_of = |client: IpAddr| {
            let is_of = |text: &&generate::Running<Job>| text.job().client() == client;
            schedulers.iter().map(|scheduler| scheduler.texts().iter().filter(is_of).count()).sum::<usize>()
        };
        let can_begin =
            |waiting: &mut Waiting| waiting.model == model && !schedulers[model].is_under_way(&mut waiting.writer);
        let mut all = waiting.iter_mut().enumerate().collect::<Vec<_>>();
        all.retain_mut(|(_, waiting)| can_begin(waiting));
        all.iter().min_by_key(|(place, waiting)| (n_of(waiting.job.client()), *place)).map(|(place, _)| *place)
    }

    /// Computes vectors; between their passes, texts go on.
    fn embed(&mut self, order: Vectors) {
        let Vectors { model, texts, pooling, reply, room } = order;
        let vectors = self.embedded(model, &texts, pooling, &mut || !reply.is_closed());
        let unchanged = self.models[model].file.check_unchanged();
        drop(room);
        let _ = reply.send(unchanged.and(vectors));
    }

    /// Looks into a model; between the passes of that, texts go on.
    fn look(&mut self, order: Look) {
        let Look { model, work, reply, room } = order;
        if reply.is_closed() {
            return;
        }
        let compute = Arc::clone(&self.compute);
        let shown = work(&compute, &mut || {
            self.turn();
            !reply.is_closed()
        });
        let unchanged = self.models[model].file.check_unchanged();
        drop(room);
        let _ = reply.send(unchanged.and(shown));
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
