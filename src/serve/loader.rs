//! Which models are in memory: those of the folder are loaded when somebody asks for them, and go when their time has come or
//! their memory is needed. The thread that reads requests does so, between two of them.

use super::facts::{Facts, private};
use super::house::House;
use super::offered::Offered;
use super::order::Order;
use super::reply::Refusal;
use super::stats;
use crate::requests::Keep;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, sync_channel};
use std::time::{Duration, Instant};
use whit::Compute;
use whit::error::{Error, Kind, Result, printable};
use whit::generate::Scheduler;
use whit::inspect::MemoryPlan;
use whit::os::memory;

/// Opens the model in a file, with its plan.
pub(crate) type Opener = Box<dyn Fn(&Path) -> Result<(Offered, MemoryPlan)> + Send>;

/// How names of model files end.
const EXTENSION: &str = "whit";

/// A folder of models.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) open: Opener,
    /// How long a model stays after its last use, where the request does not say.
    pub(crate) keep: Keep,
    /// Private memory of all its models that are in memory at a time, in bytes; `None`: there is no bound.
    pub(crate) budget: Option<u64>,
}

/// A model in a folder: its name, its file, and what is known of it or why it cannot be served.
pub(crate) type Found = (String, PathBuf, Result<Facts>);

impl Folder {
    /// The models in it, in the order of their names.
    pub(crate) fn read(&self) -> Result<Vec<Found>> {
        let failed = |error: std::io::Error| {
            Error::new(Kind::NoInput, error.to_string()).in_file(self.path.display().to_string())
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            // A link counts for what it leads to.
            if path.extension().is_some_and(|extension| extension == EXTENSION) && path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        let found = paths.into_iter().filter_map(|path| {
            let name = path.file_stem()?.to_str()?.to_owned();
            let facts = (self.open)(&path).map(|(offered, plan)| Facts::of(&offered, &plan));
            Some((name, path, facts))
        });
        Ok(found.collect())
    }

    /// Tells of those that cannot be served, and gives what is known of the others.
    fn told(found: Vec<Found>, tell: fn(&str)) -> Vec<(String, PathBuf, Option<Facts>)> {
        let told = |(name, path, facts): Found| {
            if let Err(error) = &facts {
                tell(&format!("{} cannot be served: {error}", printable(&name)));
            }
            (name, path, facts.ok())
        };
        found.into_iter().map(told).collect()
    }
}

/// Loads models and lets them go.
pub(super) struct Loader {
    house: Arc<House>,
    compute: Arc<Compute>,
    engine: Sender<Order>,
    folder: Option<Folder>,
}

impl Loader {
    /// Has the models that were `found` be asked for.
    pub(super) fn new(
        house: &Arc<House>,
        compute: &Arc<Compute>,
        engine: Sender<Order>,
        folder: Option<(Folder, Vec<Found>)>,
    ) -> Loader {
        let folder = folder.map(|(folder, found)| {
            house.models.set_folder(Folder::told(found, house.options.tell));
            folder
        });
        Loader { house: Arc::clone(house), compute: Arc::clone(compute), engine, folder }
    }

    /// How long models stay where a request does not say.
    fn keep(&self) -> Keep {
        self.folder.as_ref().map_or(Keep::Ever, |folder| folder.keep)
    }

    /// The model at `place`, in memory from now on, after its use for `keep` or as long as all models. Fails where its file
    /// cannot be read and where there is no room for it.
    pub(super) fn load(&self, place: usize, keep: Option<Keep>) -> std::result::Result<Arc<Offered>, Refusal> {
        let keep = keep.unwrap_or_else(|| self.keep());
        if let Some(offered) = self.house.models.loaded(place) {
            let Err(changed) = offered.file.check_unchanged() else {
                self.house.models.touch(place, keep);
                return Ok(offered);
            };
            // It goes when nobody uses it; the file that is there now may be a better one.
            self.house.models.outdate(place);
            if self.house.models.path(place).is_none() {
                return Err(changed.into());
            }
            if !self.house.models.idle().contains(&place) {
                return Err(Refusal { status: 503, error: changed });
            }
            self.unload(place);
        }
        let offered = self.loaded(place)?;
        self.house.models.touch(place, keep);
        Ok(offered)
    }

    fn loaded(&self, place: usize) -> std::result::Result<Arc<Offered>, Refusal> {
        let (folder, path) = self.file(place)?;
        let known = self.house.models.facts(place).map_or(0, |facts| facts.private);
        self.make_room(folder, place, known)?;
        let (offered, plan) = opened(folder, &path)?;
        // It may be another file than the one that was known.
        self.make_room(folder, place, private(&plan))?;
        let facts = Facts::of(&offered, &plan);
        let offered = Arc::new(offered);
        let scheduler = Box::new(Scheduler::new(offered.model(), &self.compute, offered.schedule)?);
        let order = Order::Load { place, offered: Arc::clone(&offered), scheduler };
        self.engine.send(order).map_err(|_| Refusal::ending())?;
        self.house.models.put(place, Arc::clone(&offered), facts);
        stats::add(&self.house.stats.loads, 1);
        Ok(offered)
    }

    /// The model at `place` to look at: where it is not in memory, no room is made for texts.
    pub(super) fn look(&self, place: usize) -> std::result::Result<Arc<Offered>, Refusal> {
        if let Some(offered) = self.house.models.loaded(place) {
            return Ok(offered);
        }
        let (folder, path) = self.file(place)?;
        Ok(Arc::new(opened(folder, &path)?.0))
    }

    fn file(&self, place: usize) -> std::result::Result<(&Folder, PathBuf), Refusal> {
        let found = self.folder.as_ref().zip(self.house.models.path(place));
        found.ok_or_else(|| Refusal::new(404, "there is no such model here"))
    }

    /// Lets models go that nobody uses, those first that were not used for the longest time, until there are `needed` bytes for
    /// the model at `place`.
    fn make_room(&self, folder: &Folder, place: usize, needed: u64) -> Result<()> {
        let models = &self.house.models;
        let lacking = || {
            let taken = models.private();
            let left = folder.budget.map_or(u64::MAX, |budget| budget.saturating_sub(taken));
            let left = memory::rooms().iter().map(|room| room.bytes).fold(left, u64::min);
            (needed > left).then_some((taken, left))
        };
        let mut idle = models.idle().into_iter();
        while let Some((taken, left)) = lacking() {
            if let Some(oldest) = idle.next() {
                self.unload(oldest);
                continue;
            }
            let name = models.facts(place).map(|facts| facts.name.clone()).unwrap_or_default();
            let message = format!(
                "{} of private memory are needed for {}, {} are left; models in use take {}",
                megabytes(needed),
                printable(&name),
                megabytes(left),
                megabytes(taken),
            );
            let hint = "ask again when their texts are written, or start the server with a smaller --ctx or --parallel";
            return Err(Error::new(Kind::Resources, message).hint(hint));
        }
        Ok(())
    }

    /// Lets the model at `place` go, which nobody uses; its memory is free when this returns.
    fn unload(&self, place: usize) {
        self.house.models.take(place);
        stats::add(&self.house.stats.unloads, 1);
        let (done, is_done) = sync_channel(1);
        if self.engine.send(Order::Unload { place, done }).is_ok() {
            let _ = is_done.recv();
        }
    }

    /// When a model goes if none is used; `None` where none ever does.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.house.models.deadline()
    }

    /// Lets go the models whose time has come.
    pub(super) fn tidy(&self) {
        self.house.models.due().into_iter().for_each(|place| self.unload(place));
    }

    /// Lets go the model at `place` if nobody uses it, else when nobody does.
    pub(super) fn release(&self, place: usize) {
        self.house.models.touch(place, Keep::For(Duration::ZERO));
    }

    /// Lets go all models that nobody uses.
    pub(super) fn relieve(&self) {
        self.house.models.idle().into_iter().for_each(|place| self.unload(place));
    }

    /// Reads the folder again: new models can be asked for, and those whose files are others by now are loaded anew when
    /// somebody asks for them.
    pub(super) fn reload(&self) {
        let Some(folder) = &self.folder else { return };
        match folder.read() {
            Ok(found) => {
                let n = found.iter().filter(|(.., facts)| facts.is_ok()).count();
                self.house.models.set_folder(Folder::told(found, self.house.options.tell));
                self.house.models.outdated().into_iter().for_each(|place| self.house.models.outdate(place));
                (self.house.options.tell)(&format!(
                    "{n} models are in {}",
                    printable(&folder.path.display().to_string())
                ));
            }
            Err(error) => (self.house.options.tell)(&format!("the folder of models cannot be read: {error}")),
        }
    }
}

/// The model in a file of the folder.
fn opened(folder: &Folder, path: &Path) -> std::result::Result<(Offered, MemoryPlan), Refusal> {
    (folder.open)(path).map_err(|error| match error.kind() {
        Kind::NoInput => Refusal { status: 404, error },
        // Not the request is wrong, but the file.
        Kind::Usage | Kind::Data => Refusal { status: 500, error },
        Kind::Resources => Refusal { status: 503, error },
        _ => error.into(),
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
