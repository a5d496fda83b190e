//! Threads with names.

use std::thread::{Builder, JoinHandle};
use whit::error::{Error, Kind, Result};

/// Bytes of a stack, of which what is not used takes no memory: rules of constraints are compiled by recursion.
const STACK_BYTES: usize = 8 << 20;

/// Has a thread of its own do `work`.
pub(super) fn started(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = Builder::new().name(format!("whit-{name}")).stack_size(STACK_BYTES).spawn(work);
    thread.map_err(|error| Error::new(Kind::Resources, format!("no thread: {error}")))
}
