//! What computes: the kernels of one instruction set and the threads to run them on. Handed down, never global.

use crate::error::Result;
use crate::kernels::{Hint, Kernels};
use crate::threads::Threads;
use alloc::{format, string::String};

/// The kernels and threads that every op is given.
pub struct Compute {
    /// The backend, from [`kernels::detect`](crate::kernels::detect) or by name.
    pub kernels: &'static Kernels,
    /// Into which cache they prefetch.
    pub hint: Hint,
    /// The pool, the caller included.
    pub threads: Threads,
}

impl Compute {
    /// `kernels` on `n_threads` threads, with the prefetches that suit this CPU; fails where the threads cannot be started.
    pub fn new(kernels: &'static Kernels, n_threads: usize) -> Result<Self> {
        Ok(Compute { kernels, hint: Hint::of(kernels.name), threads: Threads::new(n_threads)? })
    }

    /// The name of the kernels, and of the cache that they prefetch into where it is not the one that suits this CPU.
    pub fn name(&self) -> String {
        let name = self.kernels.name;
        if self.hint == Hint::of(name) { name.into() } else { format!("{name} {}", self.hint.name()) }
    }
}
