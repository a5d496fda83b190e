//! The caller alone, for targets without threads.

use super::Body;
use crate::error::{Error, Result};
use core::ops::Range;

/// The most threads there may be: without the feature `std` none can be started.
pub const MAX_THREADS: usize = 1;

/// One thread, the caller.
pub struct Threads(());

impl Threads {
    /// The caller; any `n` but 1 is refused.
    pub fn new(n: usize) -> Result<Self> {
        if n != MAX_THREADS {
            return Err(Error::usage(format!("{n} threads asked for; built without `std`, whit has one")));
        }
        Ok(Threads(()))
    }

    /// Number of threads: 1.
    #[expect(clippy::len_without_is_empty, reason = "the caller is always there")]
    pub fn len(&self) -> usize {
        MAX_THREADS
    }

    /// Calls `body` on `0..n_items`, where there is an item.
    pub fn run(&self, n_items: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        self.run_parts(n_items, MAX_THREADS, body);
    }

    /// [`run`](Self::run): one thread is within any bound.
    pub(super) fn run_parts(&self, n_items: usize, _max_parts: usize, body: &Body<'_>) {
        if n_items > 0 {
            body(0..n_items);
        }
    }
}
