//! What all parts of the server share: the models, how many texts there is room for, and what has been done so far.

use super::gate::Gate;
use super::limits::LONG_BODY_BYTES;
use super::log::{Log, LogFile};
use super::stats::Stats;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};
use tokio::sync::{Semaphore, watch};
use whit::chat::Argument;
use whit::error::{Error, Result};
use whit::generate::{ModelFile, ScheduleOptions};
use whit::inspect::tally::Tally;
use whit::model::Model;
use whit::sampler::SamplerOptions;

/// A model as it is offered.
pub(crate) struct Offered {
    /// By what clients call it.
    pub(crate) name: String,
    pub(crate) file: ModelFile,
    /// How tokens are chosen where a request says nothing.
    pub(crate) sampling: SamplerOptions,
    /// The chat template, its own or another; `None`: it cannot talk.
    pub(crate) template: Option<String>,
    /// What that is given by names of its own.
    pub(crate) template_arguments: Vec<(String, Argument)>,
    pub(crate) schedule: ScheduleOptions,
    /// Strings that end every answer.
    pub(crate) stops: Vec<String>,
    /// Most tokens of an answer where a request says nothing.
    pub(crate) n_tokens: Option<usize>,
}

impl Offered {
    pub(super) fn model(&self) -> &Arc<Model> {
        self.file.model()
    }

    /// Parameters that are stored.
    pub(super) fn n_parameters(&self) -> u64 {
        Tally::new(self.model().config(), self.model().file().tensors()).stored()
    }

    /// The type of most of its weights.
    pub(super) fn quantization(&self) -> &'static str {
        let most = self.model().file().tensors().iter().max_by_key(|tensor| tensor.bytes);
        most.map_or("", |tensor| tensor.dtype.name())
    }

    /// The hash of its content, in hexadecimal.
    pub(super) fn hash(&self) -> String {
        blake3::Hash::from_bytes(self.model().content_hash()).to_hex().to_string()
    }
}

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

/// What all parts of the server share.
pub(super) struct House {
    pub(super) models: Vec<Offered>,
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
}

impl House {
    /// Fails where the log has no thread.
    pub(super) fn new(models: Vec<Offered>, mut options: Options) -> Result<House> {
        Ok(House {
            log: options.log.take().map(Log::start).transpose()?.map(Arc::new),
            models,
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
        })
    }

    /// The place of the model that clients call `name`; the first one where they call none. Ollama's clients put `:latest`
    /// behind.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        if name.is_empty() {
            return Some(0);
        }
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        self.models.iter().position(|model| model.name == name || model.name == plain)
    }

    /// Texts that are written at a time.
    pub(super) fn n_places(&self) -> usize {
        self.models.iter().map(|model| model.schedule.n_texts).sum()
    }

    /// Texts that are written or wait.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// The most texts that are written or wait.
    pub(super) fn capacity(&self) -> usize {
        self.n_places() + self.options.queue
    }

    /// Room for `n` texts, given back when the last of them is dropped; `None` where there is none.
    pub(super) fn admit(self: &Arc<Self>, n: usize) -> Option<Vec<Admitted>> {
        let most = self.capacity();
        let fits = |load: usize| (load + n <= most).then_some(load + n);
        self.load.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some((0..n).map(|_| Admitted(Arc::clone(self))).collect())
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
pub(super) struct Admitted(Arc<House>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}
