//! Memory that may be missing. Who asks for it here gets an answer; over memory that anybody else asks for in vain, a program ends.

use alloc::vec::Vec;
#[cfg(feature = "std")]
use core::cell::Cell;

#[cfg(feature = "std")]
std::thread_local! {
    /// This thread is asking for an answer.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Makes room in `vector` for `n` more elements; whether there was memory for them.
pub(crate) fn reserve<T>(vector: &mut Vec<T>, n: usize) -> bool {
    #[cfg(feature = "std")]
    ASKING.set(true);
    let reserved = vector.try_reserve_exact(n).is_ok();
    #[cfg(feature = "std")]
    ASKING.set(false);
    reserved
}

/// Whether this thread takes an answer where there is no memory.
#[cfg(feature = "std")]
pub(crate) fn takes_an_answer() -> bool {
    ASKING.get()
}
