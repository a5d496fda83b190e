//! What computes: the kernels of one instruction set and the threads to run them on. Handed down, never global.

use crate::error::Result;
use crate::kernels::{Ahead, Kernels};
use crate::threads::Threads;
use alloc::{format, string::String};

/// The kernels and threads that every op is given.
pub struct Compute {
    /// The backend, from [`kernels::detect`](crate::kernels::detect) or by name.
    pub kernels: &'static Kernels,
    /// How they read ahead.
    pub ahead: Ahead,
    /// The pool, the caller included.
    pub threads: Threads,
}

impl Compute {
    /// `kernels` on `n_threads` threads, reading ahead as suits this CPU; fails where the threads cannot be started.
    pub fn new(kernels: &'static Kernels, n_threads: usize) -> Result<Self> {
        Ok(Compute { kernels, ahead: Ahead::of(kernels.name), threads: Threads::new(n_threads)? })
    }

    /// The name of the kernels, and how they read ahead where that is not what suits this CPU.
    pub fn name(&self) -> String {
        let name = self.kernels.name;
        if self.ahead == Ahead::of(name) { name.into() } else { format!("{name} {}", self.ahead) }
    }
}
