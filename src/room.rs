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
    asking(|| vector.try_reserve_exact(n).is_ok())
}

/// `n` zeros, whose pages are touched by nobody yet where the system gives pages of zeros; `None` where there is no memory for them.
pub(crate) fn zeros<T: bytemuck::Zeroable>(n: usize) -> Option<Vec<T>> {
    asking(|| bytemuck::allocation::try_zeroed_vec(n).ok())
}

/// What `ask` is answered.
fn asking<T>(ask: impl FnOnce() -> T) -> T {
    #[cfg(feature = "std")]
    ASKING.set(true);
    let answer = ask();
    #[cfg(feature = "std")]
    ASKING.set(false);
    answer
}

/// Whether this thread takes an answer where there is no memory.
#[cfg(feature = "std")]
pub(crate) fn takes_an_answer() -> bool {
    ASKING.get()
}
