//! Threads that share the work of an op by rows or heads, never within a sum, so that their number cannot change a bit of
//! any result.
//!
//! With the feature `std` [`Threads`] is a pool of our own. Without it there is one thread, the caller, behind the same
//! functions.

#[cfg(not(feature = "std"))]
mod alone;
mod columns;
#[cfg(feature = "std")]
mod pool;

#[cfg(not(feature = "std"))]
pub use alone::{MAX_THREADS, Threads};
pub use columns::{Columns, MatricesBody, Owned, PairBody};
#[cfg(feature = "std")]
pub use pool::{MAX_THREADS, STACK_BYTES, Threads};

/// A body of a parallel region: called with one contiguous range of items.
type Body<'a> = dyn Fn(core::ops::Range<usize>) + Sync + 'a;
