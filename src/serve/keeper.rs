//! The thread that reads and writes beginnings of texts on disk. What somebody waits for comes first; parts of texts are written in
//! between.

use super::house::{CacheOptions, House};
use super::offered::Offered;
use super::order::{Order, Waiting};
use super::stats;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use whit::error::{Error, Result};
use whit::generate::{Entry, PrefixCache, ToKeep};
use whit::model::State;
use whit::model::saved::Key;

/// How long nothing is written after that failed.
const PAUSE: Duration = Duration::from_secs(60);
/// Keys that are known, at most.
const MOST_KNOWN: usize = 1 << 16;
/// Parts of texts that are written between two looks at the whole folder.
const BETWEEN_LOOKS: usize = 256;

/// The beginnings of a model's texts; empty until its weights are verified.
pub(super) type Cache = Arc<OnceLock<PrefixCache>>;

/// What the thread is to do.
pub(super) enum Task {
    /// Verify the weights of a model, unless it went meanwhile.
    Open(Weak<Offered>, Cache),
    /// The same where that takes no time: before anything else.
    OpenFirst(Weak<Offered>, Cache),
    Fetch(Box<Fetch>),
    Keep(Cache, ToKeep),
}

/// A state that is to hold more of a text.
pub(super) struct Fetch {
    pub(super) cache: Cache,
    pub(super) state: State,
    pub(super) waiting: Waiting,
}

/// What the thread shares with the one that computes.
#[derive(Default)]
pub(super) struct Shared {
    /// Keys of parts that are on disk or on their way.
    known: Mutex<HashSet<Key>>,
    /// Bytes that wait to be written.
    waiting: AtomicU64,
    /// An order is to be sent when fewer wait.
    is_awaited: AtomicBool,
    /// Nothing is written until then.
    off_until: Mutex<Option<Instant>>,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the part of this key is on disk or on its way.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.known().contains(key)
    }

    fn learn(&self, keys: &[Key]) {
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            // What is there is found to be so when it would be written.
            known.clear();
        }
        known.extend(keys);
    }

    fn forget(&self, keys: &[Key]) {
        let mut known = self.known();
        for key in keys {
            known.remove(key);
        }
    }

    /// A part of a text is on its way.
    pub(super) fn comes(&self, entry: &Entry) {
        self.waiting.fetch_add(entry.unsealed.len() as u64, Ordering::SeqCst);
        self.learn(&[entry.key]);
    }

    /// It is written, or cannot be; true where that is to be told.
    fn went(&self, bytes: u64) -> bool {
        self.waiting.fetch_sub(bytes, Ordering::SeqCst);
        self.is_awaited.swap(false, Ordering::SeqCst)
    }

    /// Whether fewer than `most` bytes wait; if not, an order will come when that has changed.
    pub(super) fn has_room(&self, most: u64) -> bool {
        let has_room = || self.waiting.load(Ordering::SeqCst) < most;
        if has_room() {
            return true;
        }
        self.is_awaited.store(true, Ordering::SeqCst);
        // All may have been written between the two, and then nobody tells.
        has_room() && self.is_awaited.swap(false, Ordering::SeqCst)
    }

    /// Whether an order will come.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::SeqCst)
    }

    /// Whether nothing can be written for a while.
    pub(super) fn is_off(&self) -> bool {
        let until = *self.off_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn turn_off(&self) {
        *self.off_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
    }
}

/// Who reads and writes.
pub(super) struct Keeper {
    house: Arc<House>,
    shared: Arc<Shared>,
    engine: Sender<Order>,
    /// Bytes that were in the folder when it was looked at, with those that were written since.
    bytes: u64,
    /// Parts of texts that may be written until it is looked at again.
    until_look: usize,
    /// What was told last.
    complained: Option<String>,
}

impl Keeper {
    /// Gives back to `engine` what is lent to it.
    pub(super) fn new(house: &Arc<House>, shared: &Arc<Shared>, engine: Sender<Order>) -> Keeper {
        let (house, shared) = (Arc::clone(house), Arc::clone(shared));
        Keeper { house, shared, engine, bytes: 0, until_look: 0, complained: None }
    }

    /// Does what it is told until nobody can tell it anything any more.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) {
        let (mut fetches, mut others) = (VecDeque::new(), VecDeque::new());
        loop {
            let is_idle = fetches.is_empty() && others.is_empty();
            let first = if is_idle { tasks.recv().ok() } else { None };
            if is_idle && first.is_none() {
                return;
            }
            for task in first.into_iter().chain(tasks.try_iter()) {
                match task {
                    Task::Fetch(fetch) => fetches.push_back(fetch),
                    Task::OpenFirst(..) => self.work(Some(task)),
                    other => others.push_back(other),
                }
            }
            match fetches.pop_front() {
                Some(fetch) => self.fetch(*fetch),
                None => self.work(others.pop_front()),
            }
        }
    }

    fn work(&mut self, task: Option<Task>) {
        match task {
            Some(Task::Open(offered, cache) | Task::OpenFirst(offered, cache)) => {
                if let Some(offered) = offered.upgrade() {
                    self.open(&offered, &cache);
                }
                // What was computed meanwhile can be kept now.
                let _ = self.engine.send(Order::Room);
            }
            Some(Task::Keep(cache, ToKeep::Entry(entry))) => {
                if let Some(cache) = cache.get() {
                    self.put(cache, &entry);
                }
                if self.shared.went(entry.unsealed.len() as u64) {
                    let _ = self.engine.send(Order::Room);
                }
            }
            Some(Task::Keep(cache, ToKeep::Used(keys))) => {
                if let Some(cache) = cache.get() {
                    cache.touch(&keys);
                    // Another process may have removed some.
                    let gone: Vec<Key> = keys.into_iter().filter(|key| !cache.has(key)).collect();
                    self.shared.forget(&gone);
                }
            }
            Some(Task::Fetch(fetch)) => self.fetch(*fetch),
            None => {}
        }
    }

    /// Verifies the weights of a model, so that its texts can be kept.
    pub(super) fn open(&mut self, offered: &Offered, cache: &Cache) {
        let house = Arc::clone(&self.house);
        let Some(CacheOptions { folder, max_bytes, .. }) = &house.options.cache else { return };
        match PrefixCache::open(folder, &offered.file, offered.schedule.kv, *max_bytes) {
            Ok(opened) => {
                // What killed servers left goes now.
                if self.until_look == 0
                    && let Err(error) = self.look(&opened)
                {
                    self.complain(&error);
                }
                drop(cache.set(opened));
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Has a state hold what is on disk of the text that waits for it, and gives it back.
    fn fetch(&mut self, fetch: Fetch) {
        let Fetch { cache, mut state, mut waiting } = fetch;
        if let Some((cache, wanted)) = cache.get().zip(waiting.writer.wants()) {
            let found = cache.extend(&mut state, wanted);
            if let Some(error) = found.damaged {
                self.complain(&error);
            }
            if found.n_read > 0 {
                stats::add(&self.house.stats.disk_texts, 1);
                stats::add(&self.house.stats.disk_tokens, found.n_read as u64);
            }
            self.shared.learn(&found.keys);
        }
        let _ = self.engine.send(Order::Fetched(Box::new((state, waiting))));
    }

    fn put(&mut self, cache: &PrefixCache, entry: &Entry) {
        let written = if self.shared.is_off() { Ok(None) } else { self.written(cache, entry).map(Some) };
        match written {
            Ok(Some(bytes)) => stats::add(&self.house.stats.disk_bytes, bytes),
            Ok(None) => self.shared.forget(&[entry.key]),
            Err(error) => {
                self.shared.forget(&[entry.key]);
                self.shared.turn_off();
                self.complain(&error);
            }
        }
    }

    /// Writes a part of a text, of which others are removed where the folder would hold too much; returns how many bytes it has.
    fn written(&mut self, cache: &PrefixCache, entry: &Entry) -> Result<u64> {
        let max_bytes = self.house.options.cache.as_ref().map_or(0, |options| options.max_bytes);
        if self.until_look == 0 || self.bytes + entry.unsealed.len() as u64 > max_bytes {
            self.look(cache)?;
        }
        let bytes = cache.put(entry)?;
        self.bytes += bytes;
        self.until_look -= usize::from(bytes > 0);
        Ok(bytes)
    }

    /// Looks at the folder, and makes room in it where there is none.
    fn look(&mut self, cache: &PrefixCache) -> Result<()> {
        let stock = cache.tidy()?;
        self.shared.forget(&stock.removed);
        (self.bytes, self.until_look) = (stock.bytes, BETWEEN_LOOKS);
        Ok(())
    }

    /// Tells what is wrong, unless that was what was told last.
    fn complain(&mut self, error: &Error) {
        let told = error.to_string();
        if let Some(options) = self.house.options.cache.as_ref().filter(|_| self.complained.as_ref() != Some(&told)) {
            (options.complain)(error);
        }
        self.complained = Some(told);
    }
}
