//! What computes: the kernels of one instruction set and the threads to run them on. Handed down, never global.

use crate::error::Result;
use crate::kernels::Kernels;
use crate::threads::Threads;

/// The kernels and threads that every op is given.
pub struct Compute {
    /// The backend, from [`kernels::detect`](crate::kernels::detect) or by name.
    pub kernels: &'static Kernels,
    /// The pool, the caller included.
    pub threads: Threads,
}

impl Compute {
    /// `kernels` on `n_threads` threads; fails where the threads cannot be started.
    pub fn new(kernels: &'static Kernels, n_threads: usize) -> Result<Self> {
        Ok(Compute { kernels, threads: Threads::new(n_threads)? })
    }
}
