//! What all parts of the server share: the models, how many texts there is room for, and what has been done so far.

use super::gate::Gate;
use super::limits::LONG_BODY_BYTES;
use super::log::{Log, LogFile};
use super::models::Models;
use super::offered::Offered;
use super::stats::Stats;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};
use tokio::sync::{Semaphore, watch};
use whit::error::{Error, Result};

/// How the server is.
pub(crate) struct Options {
    pub(crate) gate: Gate,
    /// Requests that wait for a place.
    pub(crate) queue: usize,
    /// How long answers may take that are under way when the server is asked to end.
    pub(crate) drain: std::time::Duration,
    /// Where requests are logged, if they are.
    pub(crate) log: Option<LogFile>,
    /// Where beginnings of texts are kept on disk; `None`: nowhere.
    pub(crate) cache: Option<CacheOptions>,
    /// Above this temperature of the hottest sensor, in degrees Celsius, there are pauses between passes.
    pub(crate) max_celsius: Option<f64>,
    /// Is told, in a line, what whoever started the server should know.
    pub(crate) tell: fn(&str),
}

/// Where beginnings are kept, and how much of them.
pub(crate) struct CacheOptions {
    /// A folder of the server's own; it is made where it does not exist.
    pub(crate) folder: PathBuf,
    /// Bytes in it, at most.
    pub(crate) max_bytes: u64,
    /// Is told, once, why beginnings are not kept or not found.
    pub(crate) complain: fn(&Error),
}

/// Asks for something to be done, and does not wait for it.
pub(super) type Nudge = Box<dyn Fn() + Send + Sync>;

/// What all parts of the server share.
pub(super) struct House {
    pub(super) models: Models,
    pub(super) options: Options,
    /// Texts that are written or wait.
    load: AtomicUsize,
    /// Bytes that long bodies may still take.
    pub(super) body_room: Arc<Semaphore>,
    pub(super) stats: Stats,
    pub(super) log: Option<Arc<Log>>,
    /// Turns true when the server is asked to end.
    pub(super) ending: watch::Sender<bool>,
    /// Turns true when it is asked again: answers under way are given up.
    pub(super) hurry: watch::Sender<bool>,
    /// The models can be asked.
    pub(super) is_ready: AtomicBool,
    pub(super) started: Instant,
    pub(super) started_at: u64,
    n_named: AtomicUsize,
    /// Has somebody look whether a model's time has come, once it is known who does.
    pub(super) nudge: OnceLock<Nudge>,
}

impl House {
    /// Fails where the log has no thread.
    pub(super) fn new(mut options: Options) -> Result<House> {
        Ok(House {
            log: options.log.take().map(Log::start).transpose()?.map(Arc::new),
            models: Models::default(),
            options,
            load: AtomicUsize::new(0),
            body_room: Arc::new(Semaphore::new(LONG_BODY_BYTES)),
            stats: Stats::default(),
            ending: watch::Sender::new(false),
            hurry: watch::Sender::new(false),
            is_ready: AtomicBool::new(false),
            started: Instant::now(),
            started_at: now(),
            n_named: AtomicUsize::new(0),
            nudge: OnceLock::new(),
        })
    }

    /// Texts that are written at a time.
    pub(super) fn n_places(&self) -> usize {
        self.models.n_places()
    }

    /// Texts that are written or wait.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// The most texts that are written or wait.
    pub(super) fn capacity(&self) -> usize {
        self.n_places() + self.options.queue
    }

    /// Room for `n` texts of the model at a place, which stays in memory until the last of them is dropped; `None` where there is
    /// none.
    pub(super) fn admit(self: &Arc<Self>, n: usize, model: usize) -> Option<Vec<Admitted>> {
        let most = self.capacity();
        let fits = |load: usize| (load + n <= most).then_some(load + n);
        self.load.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        let Some(offered) = self.models.begin_use(model, n) else {
            self.load.fetch_sub(n, Ordering::Relaxed);
            return None;
        };
        Some((0..n).map(|_| Admitted { house: Arc::clone(self), model, offered: Arc::clone(&offered) }).collect())
    }

    /// A name for an answer, as no other of this server has it.
    pub(super) fn new_id(&self) -> String {
        let n = self.n_named.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::hash(format!("{} {} {n}", std::process::id(), self.started_at).as_bytes());
        hash.to_hex()[..24].to_owned()
    }

    pub(super) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }
}

/// Room for a text.
pub(super) struct Admitted {
    house: Arc<House>,
    /// Its model, and the place of that.
    pub(super) offered: Arc<Offered>,
    model: usize,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.house.load.fetch_sub(1, Ordering::Relaxed);
        if let (true, Some(nudge)) = (self.house.models.end_use(self.model), self.house.nudge.get()) {
            nudge();
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}
