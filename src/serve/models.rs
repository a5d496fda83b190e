//! The list of models: those that stay in memory, and those of a folder, which come and go. A name keeps its place in the list.

use super::facts::Facts;
use super::offered::Offered;
use crate::requests::Keep;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The models of a server.
#[derive(Default)]
pub(super) struct Models(Mutex<Vec<Entry>>);

/// A model of the list.
struct Entry {
    name: String,
    /// Where it lies in the folder; `None` of a model that stays.
    path: Option<PathBuf>,
    /// `None` of a file that could not be opened yet.
    facts: Option<Arc<Facts>>,
    loaded: Option<Loaded>,
    /// It is in the folder no more.
    is_gone: bool,
}

/// A model in memory.
struct Loaded {
    offered: Arc<Offered>,
    /// Texts that are written, wait or become vectors.
    n_users: usize,
    keep: Keep,
    /// When it was used last.
    used: Instant,
    /// Its file is another by now: it goes when nobody uses it.
    is_stale: bool,
}

/// A model in memory, as it is told.
pub(super) struct Running {
    pub(super) facts: Arc<Facts>,
    /// How long it stays if it is not used; `None` for ever.
    pub(super) stays: Option<Duration>,
}

impl Loaded {
    /// When it goes; `None` while it is used and where it stays.
    fn deadline(&self) -> Option<Instant> {
        match self.keep {
            _ if self.n_users > 0 => None,
            _ if self.is_stale => Some(self.used),
            Keep::Ever => None,
            Keep::For(time) => self.used.checked_add(time),
        }
    }
}

impl Models {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a model that stays, behind the others.
    pub(super) fn add(&self, offered: Arc<Offered>, facts: Facts) {
        let name = facts.name.clone();
        let loaded = Loaded { offered, n_users: 0, keep: Keep::Ever, used: Instant::now(), is_stale: false };
        let facts = Some(Arc::new(facts));
        self.entries().push(Entry { name, path: None, facts, loaded: Some(loaded), is_gone: false });
    }

    /// Has the models of the folder be these: those that are not among them can be asked for no more. Names of models that stay
    /// are theirs.
    pub(super) fn set_folder(&self, found: Vec<(String, PathBuf, Option<Facts>)>) {
        let mut entries = self.entries();
        for entry in entries.iter_mut().filter(|entry| entry.path.is_some()) {
            entry.is_gone = !found.iter().any(|(name, ..)| *name == entry.name);
            if let (true, Some(loaded)) = (entry.is_gone, &mut entry.loaded) {
                loaded.is_stale = true;
            }
        }
        for (name, path, facts) in found {
            let facts = facts.map(Arc::new);
            match entries.iter_mut().find(|entry| entry.name == name) {
                Some(Entry { path: None, .. }) => {}
                Some(entry) => {
                    entry.path = Some(path);
                    entry.facts = facts.or(entry.facts.take());
                }
                None => entries.push(Entry { name, path: Some(path), facts, loaded: None, is_gone: false }),
            }
        }
    }

    /// The place of the model that clients call `name`; the first one where they call none. Ollama's clients put `:latest`
    /// behind.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        let is_it = |entry: &Entry| match name.is_empty() {
            true => entry.facts.is_some(),
            false => entry.name == name || entry.name == plain,
        };
        self.entries().iter().position(|entry| !entry.is_gone && is_it(entry))
    }

    /// What is known of the model at `place`.
    pub(super) fn facts(&self, place: usize) -> Option<Arc<Facts>> {
        self.entries().get(place)?.facts.clone()
    }

    /// What is known of the model of clients that name none.
    pub(super) fn first(&self) -> Option<Arc<Facts>> {
        self.facts(self.named("")?)
    }

    /// What is known of all of them.
    pub(super) fn all(&self) -> Vec<Arc<Facts>> {
        self.entries().iter().filter(|entry| !entry.is_gone).filter_map(|entry| entry.facts.clone()).collect()
    }

    /// The models in memory.
    pub(super) fn running(&self) -> Vec<Running> {
        let now = Instant::now();
        let running = |entry: &Entry| {
            let (loaded, facts) = (entry.loaded.as_ref()?, entry.facts.clone()?);
            let since = if loaded.n_users > 0 { Duration::ZERO } else { now.saturating_duration_since(loaded.used) };
            let stays = match loaded.keep {
                Keep::Ever => None,
                Keep::For(time) => Some(time.saturating_sub(since)),
            };
            Some(Running { facts, stays })
        };
        self.entries().iter().filter_map(running).collect()
    }

    /// Texts that are written at a time: by the models in memory, at least as many as one of the others writes.
    pub(super) fn n_places(&self) -> usize {
        let entries = self.entries();
        let loaded = entries.iter().filter_map(|entry| entry.loaded.as_ref());
        let loaded = loaded.map(|loaded| loaded.offered.schedule.n_texts).sum::<usize>();
        let of_one = entries.iter().filter_map(|entry| entry.facts.as_ref()).map(|facts| facts.n_texts).max();
        loaded.max(of_one.unwrap_or(1))
    }

    /// Private memory of the models of the folder that are in memory, in bytes.
    pub(super) fn private(&self) -> u64 {
        let entries = self.entries();
        let loaded = entries.iter().filter(|entry| entry.loaded.is_some() && entry.path.is_some());
        loaded.filter_map(|entry| entry.facts.as_ref()).map(|facts| facts.private).sum()
    }

    /// Where the model at `place` lies in the folder; `None` of one that stays.
    pub(super) fn path(&self, place: usize) -> Option<PathBuf> {
        self.entries().get(place)?.path.clone()
    }

    /// The model at `place`, if it is in memory.
    pub(super) fn loaded(&self, place: usize) -> Option<Arc<Offered>> {
        self.entries().get(place)?.loaded.as_ref().map(|loaded| Arc::clone(&loaded.offered))
    }

    /// The places of all models in memory.
    pub(super) fn all_loaded(&self) -> Vec<usize> {
        let entries = self.entries();
        (0..entries.len()).filter(|place| entries[*place].loaded.is_some()).collect()
    }

    /// The model at `place` is in memory from now on.
    pub(super) fn put(&self, place: usize, offered: Arc<Offered>, facts: Facts) {
        if let Some(entry) = self.entries().get_mut(place) {
            entry.facts = Some(Arc::new(facts));
            let keep = Keep::Ever;
            entry.loaded = Some(Loaded { offered, n_users: 0, keep, used: Instant::now(), is_stale: false });
        }
    }

    /// The model at `place` is in memory no more.
    pub(super) fn take(&self, place: usize) {
        if let Some(entry) = self.entries().get_mut(place) {
            entry.loaded = None;
        }
    }

    /// Notes a use of the model at `place`, which then stays for `keep` unless it is one that stays.
    pub(super) fn touch(&self, place: usize, keep: Keep) {
        if let Some(Entry { path: Some(_), loaded: Some(loaded), .. }) = self.entries().get_mut(place) {
            (loaded.used, loaded.keep) = (Instant::now(), keep);
        }
    }

    /// The file of the model at `place` is another by now.
    pub(super) fn outdate(&self, place: usize) {
        if let Some(Entry { loaded: Some(loaded), .. }) = self.entries().get_mut(place) {
            loaded.is_stale = true;
        }
    }

    /// `n` more texts use the model at `place`, which is given if it is in memory.
    pub(super) fn begin_use(&self, place: usize, n: usize) -> Option<Arc<Offered>> {
        let mut entries = self.entries();
        let loaded = entries.get_mut(place)?.loaded.as_mut()?;
        loaded.n_users += n;
        Some(Arc::clone(&loaded.offered))
    }

    /// One text less uses it. Whether it goes at some time from now on.
    pub(super) fn end_use(&self, place: usize) -> bool {
        let mut entries = self.entries();
        let Some(Entry { path, loaded: Some(loaded), .. }) = entries.get_mut(place) else { return false };
        loaded.n_users = loaded.n_users.saturating_sub(1);
        loaded.used = Instant::now();
        path.is_some() && loaded.deadline().is_some()
    }

    /// When the next model goes if none is used; `None` where none ever does.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let entries = self.entries();
        let come_and_go = entries.iter().filter(|entry| entry.path.is_some());
        come_and_go.filter_map(|entry| entry.loaded.as_ref()?.deadline()).min()
    }

    /// The places of the models whose time has come.
    pub(super) fn due(&self) -> Vec<usize> {
        let now = Instant::now();
        self.places_where(|loaded| loaded.deadline().is_some_and(|at| at <= now))
    }

    /// The models that nobody uses, the one that was used last at the end.
    pub(super) fn idle(&self) -> Vec<usize> {
        let mut idle = self.places_where(|loaded| loaded.n_users == 0);
        let entries = self.entries();
        idle.sort_by_key(|place| entries[*place].loaded.as_ref().map(|loaded| loaded.used));
        idle
    }

    /// The places of models of the folder that are in memory as `is_wanted` says.
    fn places_where(&self, is_wanted: impl Fn(&Loaded) -> bool) -> Vec<usize> {
        let entries = self.entries();
        let is_it = |entry: &Entry| entry.path.is_some() && entry.loaded.as_ref().is_some_and(&is_wanted);
        (0..entries.len()).filter(|place| is_it(&entries[*place])).collect()
    }

    /// The places of models in memory whose files in the folder are others by now.
    pub(super) fn outdated(&self) -> Vec<usize> {
        let entries = self.entries();
        let is_other = |entry: &Entry| {
            let (path, loaded) = (entry.path.as_deref()?, entry.loaded.as_ref()?);
            let mapping = loaded.offered.file.mapping()?;
            Some(!mapping.is_at(path) || mapping.check_unchanged().is_err())
        };
        (0..entries.len()).filter(|place| is_other(&entries[*place]).unwrap_or(false)).collect()
    }
}
