//! Beginnings of texts on disk. A thread of its own reads and writes them, so that neither what computes nor what reads requests
//! ever waits for a disk. It is given copies of what is to be written, and lent the states that are to hold more.

use super::house::House;
use super::job::Job;
use super::keeper::{Cache, Fetch, Keeper, Shared, Task};
use super::offered::Offered;
use super::order::{Order, Waiting};
use super::slots::Slots;
use super::thread::started;
use std::sync::Arc;
use std::sync::mpsc::{SendError, Sender, channel};
use std::thread::JoinHandle;
use whit::error::Result;
use whit::generate::{Scheduler, ToKeep};
use whit::model::State;
use whit::model::saved::Settings;
use whit::os::folder::Folder;

/// A text goes on from disk where that may save the computing of so many tokens.
const LEAST_READ: usize = 32;

/// Bytes that wait to be written, at most, beside one part of a text.
const MOST_WAITING: u64 = 8 << 20;

/// Bytes of private memory that a model's beginnings on disk take, at most: parts of texts that wait to be written, one that is
/// being copied, one that is written or read, and what a file is written through.
pub(crate) fn planned_bytes(settings: &Settings) -> u64 {
    const FILE: u64 = 1 << 20;
    (settings.most_block_bytes() as u64).saturating_mul(3).saturating_add(MOST_WAITING + FILE)
}

/// The beginnings on disk, as what computes sees them.
pub(super) struct Shelf {
    folder: Folder,
    models: Slots<OfModel>,
    shared: Arc<Shared>,
    n_lent: usize,
    /// `None` at the end.
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

/// What is known of a model.
struct OfModel {
    settings: Settings,
    cache: Cache,
    /// The cache is open, or will be before anything else is read.
    is_soon_open: bool,
    /// Parts of texts that are copied in a turn, at most.
    most_copied: usize,
}

impl OfModel {
    fn new(offered: &Offered, folder: &Folder) -> OfModel {
        OfModel {
            settings: Settings::new(offered.model(), offered.schedule.kv),
            cache: Cache::default(),
            is_soon_open: offered.file.is_soon_verified(folder),
            most_copied: offered.schedule.batch() / LEAST_READ + 1,
        }
    }
}

impl Shelf {
    /// Those of the models of `house` that are in memory; what was lent comes back to `engine`. `None` where there is no folder for
    /// them, which is told.
    ///
    /// Weights that are not known to be whole are verified before anything is kept of their texts, meanwhile texts go on without.
    /// Fails where no thread can be started.
    pub(super) fn new(house: &Arc<House>, engine: Sender<Order>) -> Result<Option<Shelf>> {
        let Some(options) = &house.options.cache else { return Ok(None) };
        let folder = match Folder::open(&options.folder) {
            Ok(folder) => folder,
            Err(error) => {
                (options.complain)(&error);
                return Ok(None);
            }
        };
        let shared = Arc::new(Shared::default());
        let (tasks, todo) = channel();
        let mut keeper = Keeper::new(house, &shared, engine);
        let mut models = Slots::default();
        for place in house.models.all_loaded() {
            let Some(offered) = house.models.loaded(place) else { continue };
            let of_model = OfModel::new(&offered, &folder);
            if of_model.is_soon_open {
                keeper.open(&offered, &of_model.cache);
            } else {
                let _ = tasks.send(Task::Open(Arc::downgrade(&offered), Arc::clone(&of_model.cache)));
            }
            models.insert(place, of_model);
        }
        Ok(Some(Shelf {
            folder,
            models,
            shared,
            n_lent: 0,
            tasks: Some(tasks),
            thread: Some(started("cache", move || keeper.run(&todo))?),
        }))
    }

    /// A model comes into memory at `place`.
    pub(super) fn load(&mut self, place: usize, offered: &Arc<Offered>) {
        let of_model = OfModel::new(offered, &self.folder);
        if let Some(tasks) = &self.tasks {
            let (offered, cache) = (Arc::downgrade(offered), Arc::clone(&of_model.cache));
            let task = if of_model.is_soon_open { Task::OpenFirst } else { Task::Open };
            let _ = tasks.send(task(offered, cache));
        }
        self.models.insert(place, of_model);
    }

    /// The model at `place` goes, of which no state is lent. What was copied of its texts is written all the same.
    pub(super) fn unload(&mut self, place: usize) {
        drop(self.models.remove(place));
    }

    /// Has `state`, which was lent for a text, hold more of it and come back by an order, where that may be worth it; else gives both
    /// back at once.
    pub(super) fn fetch(&mut self, state: State, mut waiting: Waiting) -> Option<(State, Waiting)> {
        let wanted = waiting.writer.wants().unwrap_or_default();
        let n_held = state.tokens().iter().zip(wanted).take_while(|(a, b)| a == b).count();
        // The last token is computed in any case.
        let may_be_worth_it = wanted.len() > n_held + LEAST_READ;
        let OfModel { cache, is_soon_open, .. } = &self.models[waiting.model];
        let is_open = *is_soon_open || cache.get().is_some();
        let Some(tasks) = self.tasks.as_ref().filter(|_| may_be_worth_it && is_open) else {
            return Some((state, waiting));
        };
        let fetch = Fetch { cache: Arc::clone(cache), state, waiting };
        if let Err(SendError(Task::Fetch(fetch))) = tasks.send(Task::Fetch(Box::new(fetch))) {
            return Some((fetch.state, fetch.waiting));
        }
        self.n_lent += 1;
        None
    }

    /// A state that was lent has come back.
    pub(super) fn given_back(&mut self) {
        self.n_lent -= 1;
    }

    /// Whether an order is sure to come: a state is lent, or there will be room for more parts of texts.
    pub(super) fn owes_an_order(&self) -> bool {
        self.n_lent > 0 || self.shared.is_awaited()
    }

    /// Copies what is to be kept of the texts of model `model`: so much at a time as is computed in a pass, and as is written
    /// meanwhile. Whether more could be copied at once.
    pub(super) fn keep(&mut self, model: usize, scheduler: &mut Scheduler<Job>) -> bool {
        let OfModel { settings, cache, most_copied, .. } = &self.models[model];
        let Some(tasks) = self.tasks.as_ref().filter(|_| cache.get().is_some()) else { return false };
        if self.shared.is_off() {
            return false;
        }
        for _ in 0..*most_copied {
            if !self.shared.has_room(MOST_WAITING) {
                return false;
            }
            let Some(next) = scheduler.to_keep(settings, &mut |key| self.shared.knows(key)) else { return false };
            if let ToKeep::Entry(entry) = &next {
                self.shared.comes(entry);
            }
            let _ = tasks.send(Task::Keep(Arc::clone(cache), next));
        }
        true
    }
}

impl Drop for Shelf {
    /// Waits until all that was copied is written.
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
