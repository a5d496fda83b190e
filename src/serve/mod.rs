//! `whit serve`: models that many clients ask at once, over HTTP. Four kinds of threads: one serves the connections, one reads
//! requests, one computes (with the threads of the kernels), one keeps beginnings of texts on disk. What is sent, and what a text
//! is, depends on its request alone.

mod anthropic;
mod desk;
mod engine;
mod form;
mod gate;
mod house;
mod http;
mod infill;
mod job;
mod keeper;
mod limits;
mod llama;
mod log;
mod ollama;
mod openai;
mod order;
mod reply;
mod routes;
mod shelf;
mod stats;
mod status;
mod thread;
mod views;

pub(crate) use gate::Gate;
pub(crate) use house::{CacheOptions, Offered, Options};
pub(crate) use limits::{BODY_BYTES, EMBED_BATCH, LONG_BODY_BYTES, LOOK_BYTES, MOST_CONNECTIONS, reading_bytes};
pub(crate) use log::LogFile;
pub(crate) use shelf::planned_bytes;

use desk::Desk;
use engine::Engine;
use house::House;
use order::Order;
use shelf::Shelf;
use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use thread::started;
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use whit::Compute;
use whit::error::{Error, Kind, Result};
use whit::os::ends;

/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;

/// Serves `models` at `socket`, which is bound, until a signal asks the process to end and answers under way have ended. `ready`
/// is told the port when it is open.
///
/// Fails where there is no memory for what the plan of the models says.
pub(crate) fn run(
    socket: TcpSocket,
    models: Vec<Offered>,
    compute: &Arc<Compute>,
    options: Options,
    ready: impl FnOnce(std::net::SocketAddr),
) -> Result<()> {
    let house = Arc::new(House::new(models, options)?);
    let (to_engine, orders) = channel();
    let (to_desk, requests) = sync_channel(limits::MOST_UNREAD);
    // All memory is there before the port opens.
    let shelf = Shelf::new(&house, to_engine.clone())?;
    let engine = Engine::new(&house, compute, orders, shelf)?;
    let desk = Desk::new(&house, to_engine.clone());
    let runtime = runtime()?;
    let computing = started("compute", move || engine.run())?;
    let reading = started("desk", move || desk.run(&requests))?;
    watch(&house)?;
    let served = runtime.block_on(async {
        let failed = |error: std::io::Error| Error::new(Kind::Io, error.to_string()).field("port");
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        http::ready(&house);
        ready(listener.local_addr().map_err(failed)?);
        http::serve(Arc::clone(&house), listener, to_desk).await;
        Ok(())
    });
    // Whatever is left of answers is given up: their connections close, and nobody waits for them.
    drop(runtime);
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

/// Has a signal end the server, and a second one end it at once.
fn watch(house: &Arc<House>) -> Result<()> {
    let house = Arc::clone(house);
    started("signals", move || {
        while ends::wait() {
            if house.is_ending() {
                house.hurry.send_replace(true);
            }
            house.ending.send_replace(true);
        }
    })
    .map(drop)
}
