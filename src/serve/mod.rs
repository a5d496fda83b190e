//! `whit serve`: models that many clients ask at once, over HTTP. Four kinds of threads: one serves the connections, one reads
//! requests, one computes (with the threads of the kernels), one keeps beginnings of texts on disk. What is sent, and what a text
//! is, depends on its request alone.

mod anthropic;
mod desk;
mod engine;
mod facts;
mod form;
mod gate;
mod heat;
mod house;
mod http;
mod infill;
mod job;
mod keeper;
mod limits;
mod llama;
mod loader;
mod log;
mod models;
mod offered;
mod ollama;
mod openai;
mod order;
mod reply;
mod routes;
mod service;
mod shelf;
mod slots;
mod stats;
mod status;
mod thread;
mod views;

pub(crate) use facts::Facts;
pub(crate) use gate::Gate;
pub(crate) use house::{CacheOptions, Options};
pub(crate) use limits::{BODY_BYTES, EMBED_BATCH, LONG_BODY_BYTES, LOOK_BYTES, MOST_CONNECTIONS, reading_bytes};
pub(crate) use loader::{Folder, Found};
pub(crate) use log::LogFile;
pub(crate) use offered::Offered;
pub(crate) use shelf::planned_bytes;

use desk::{Desk, Task};
use engine::Engine;
use house::House;
use loader::Loader;
use order::Order;
use shelf::Shelf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use thread::started;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use whit::Compute;
use whit::error::{Error, Kind, Result};
use whit::os::ends::{self, End};
use whit::os::pressure::Pressure;
use whit::os::service::Notifier;

/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;

/// What is served.
pub(crate) struct Served {
    /// Models that stay in memory, the first of which is that of clients that name none.
    pub(crate) models: Vec<(Offered, Facts)>,
    /// Models that come and go, as they were found.
    pub(crate) folder: Option<(Folder, Vec<Found>)>,
}

/// Where connections come from.
pub(crate) enum Door {
    /// A socket that is bound.
    Bound(TcpSocket),
    /// One that listens already, which somebody has handed over.
    Open(std::net::TcpListener),
}

/// What a server has from outside, since it gives up to open it.
pub(crate) struct Outside {
    pub(crate) door: Door,
    /// Who wants to know how the service is.
    pub(crate) notifier: Option<Notifier>,
    /// Tells of memory pressure.
    pub(crate) pressure: Option<Pressure>,
}

/// Serves models at the door until a signal asks the process to end and answers under way have ended. `ready`
/// is told the port when it is open.
///
/// Fails where there is no memory for what the plan of the models says that stay.
pub(crate) fn run(
    outside: Outside,
    served: Served,
    compute: &Arc<Compute>,
    options: Options,
    ready: impl FnOnce(std::net::SocketAddr),
) -> Result<()> {
    let Outside { door, notifier, pressure } = outside;
    let Served { models, folder } = served;
    let has_folder = folder.is_some();
    let house = Arc::new(House::new(options)?);
    models.into_iter().for_each(|(offered, facts)| house.models.add(Arc::new(offered), facts));
    let (to_engine, orders) = channel();
    let (to_desk, requests) = sync_channel(limits::MOST_UNREAD);
    // All memory is there before the port opens.
    let shelf = Shelf::new(&house, to_engine.clone())?;
    let engine = Engine::new(&house, compute, orders, shelf)?;
    let loader = Loader::new(&house, compute, to_engine.clone(), folder);
    let desk = Desk::new(&house, to_engine.clone(), loader);
    let nudged = to_desk.clone();
    // Where the desk has no time, it looks after its models when it has.
    let _ = house.nudge.set(Box::new(move || drop(nudged.try_send(Task::Tidy))));
    let runtime = runtime()?;
    let computing = started("compute", move || engine.run())?;
    let reading = started("desk", move || desk.run(&requests))?;
    watch(&house, to_desk.clone(), has_folder)?;
    if let Some(pressure) = pressure {
        heed(&house, to_desk.clone(), pressure)?;
    }
    let requests_to = to_desk.clone();
    let served = runtime.block_on(async {
        let failed = |error: std::io::Error| Error::new(Kind::Io, error.to_string()).field("port");
        let listener = match door {
            Door::Bound(socket) => socket.listen(BACKLOG).map_err(failed)?,
            Door::Open(listener) => {
                listener.set_nonblocking(true).map_err(failed)?;
                TcpListener::from_std(listener).map_err(failed)?
            }
        };
        http::ready(&house);
        ready(listener.local_addr().map_err(failed)?);
        let report = notifier.map(|notifier| tokio::spawn(service::report(Arc::clone(&house), notifier)));
        http::serve(Arc::clone(&house), listener, requests_to).await;
        // It ends with the server, and has the last word.
        if let Some(report) = report {
            let _ = report.await;
        }
        Ok(())
    });
    // Whatever is left of answers is given up: their connections close, and nobody waits for them.
    drop(runtime);
    let _ = to_desk.send(Task::End);
    let _ = reading.join();
    let _ = to_engine.send(Order::End);
    let _ = computing.join();
    house.log.iter().for_each(|log| log.end());
    served
}

fn runtime() -> Result<Runtime> {
    let built = Builder::new_current_thread().enable_io().enable_time().build();
    built.map_err(|error| Error::new(Kind::Resources, format!("the server cannot start: {error}")))
}

/// Has a signal end the server, and a second one end it at once. Where there is a folder of models, the signal that a terminal is
/// gone has it be read again.
fn watch(house: &Arc<House>, desk: SyncSender<Task>, has_folder: bool) -> Result<()> {
    let house = Arc::clone(house);
    started("signals", move || {
        while let Some(end) = ends::wait() {
            if has_folder && end == End::HangUp {
                let _ = desk.send(Task::Reload);
                continue;
            }
            if house.is_ending() {
                house.hurry.send_replace(true);
            }
            house.ending.send_replace(true);
        }
    })
    .map(drop)
}

/// Has memory that can be given back be so where the system says that it is short.
fn heed(house: &Arc<House>, desk: SyncSender<Task>, pressure: Pressure) -> Result<()> {
    let house = Arc::clone(house);
    started("pressure", move || {
        while pressure.wait() {
            stats::add(&house.stats.pressures, 1);
            if stats::of(&house.stats.pressures) == 1 {
                (house.options.tell)("memory is short: models and beginnings of texts that nobody uses go, fewer texts are written at a time");
            }
            if desk.send(Task::Relieve).is_err() {
                return;
            }
        }
    })
    .map(drop)
}
