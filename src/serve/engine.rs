//! The thread that computes: texts of all models by turns, in passes; between them texts come and go. It sleeps where there is
//! nothing to do.

use super::house::{House, Offered};
use super::job::Job;
use super::limits::EMBED_BATCH;
use super::order::{Look, Order, Vectors, Waiting};
use super::shelf::Shelf;
use super::stats::Pace;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;
use whit::error::Result;
use whit::generate::{self, Scheduler};
use whit::inspect::{EmbedOptions, Embedder, Pooling};
use whit::{Compute, TokenId};

/// What computes.
pub(super) struct Engine {
    house: Arc<House>,
    compute: Arc<Compute>,
    schedulers: Vec<Scheduler<Job>>,
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
}

impl Engine {
    /// Allocates what the plan of all models says, but for texts that become vectors.
    pub(super) fn new(
        house: &Arc<House>,
        compute: &Arc<Compute>,
        orders: Receiver<Order>,
        shelf: Option<Shelf>,
    ) -> Result<Engine> {
        let scheduler = |offered: &Offered| Scheduler::new(offered.model(), compute, offered.schedule);
        Ok(Engine {
            schedulers: house.models.iter().map(scheduler).collect::<Result<_>>()?,
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
                self.schedulers[model].begin_in(state, *writer, *job);
            }
            Order::Room => {}
            Order::End => self.is_ending = true,
        }
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
        for model in 0..self.schedulers.len() {
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
                self.house.stats.count(passed, begun.elapsed(), &mut self.pace);
            }
            self.keeps_more |= self.shelf.as_mut().is_some_and(|shelf| shelf.keep(model, scheduler));
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
        let unchanged = self.house.models[model].file.check_unchanged();
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
        let unchanged = self.house.models[model].file.check_unchanged();
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
        let house = Arc::clone(&self.house);
        let offered = &house.models[model];
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
