//! Threads with names.

use std::thread::{Builder, JoinHandle};
use whit::error::{Error, Kind, Result};

/// Has a thread of its own do `work`.
pub(super) fn started(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = Builder::new().name(format!("whit-{name}")).spawn(work);
    thread.map_err(|error| Error::new(Kind::Resources, format!("no thread: {error}")))
}
