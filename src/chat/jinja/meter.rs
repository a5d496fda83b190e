//! What a template may do: everything that takes time or memory is paid for before it is done, in steps.
//!
//! A step is about a byte read or written. What a template holds at a time was paid for by the byte, so that one bound is that
//! of its memory, too. No clock is looked at: the same template and messages end the same way on every machine.

use crate::os::interrupt;
use core::cell::Cell;

/// Steps of an expression, a statement, or an item that is looked at.
pub(super) const ITEM: u64 = 64;
/// Expressions, statements and calls of macros within one another.
const MOST_NESTED: u32 = 200;

/// Why a template gives no text.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::chat) struct Fault {
    pub(in crate::chat) why: Why,
    /// The line of the template.
    pub(in crate::chat) line: Option<u32>,
}

/// The reason of a [`Fault`].
#[derive(Debug, Clone, PartialEq)]
pub(in crate::chat) enum Why {
    /// It does what it may not, or says itself what it does not take.
    Said(String),
    /// It has no steps left.
    Work,
    /// The user does not want to wait.
    Interrupted,
}

pub(super) type Result<T> = core::result::Result<T, Fault>;

/// The fault that says `message`.
pub(super) fn fault<T>(message: impl Into<String>) -> Result<T> {
    Err(Fault { why: Why::Said(message.into()), line: None })
}

/// The steps that are left, and how deep in itself the template is.
pub(in crate::chat) struct Meter {
    left: Cell<u64>,
    nested: Cell<u32>,
}

impl Meter {
    pub(in crate::chat) fn new(steps: u64) -> Meter {
        Meter { left: Cell::new(steps), nested: Cell::new(0) }
    }

    /// The steps that are left.
    #[cfg(test)]
    pub(super) fn left(&self) -> u64 {
        self.left.get()
    }

    /// Pays for `steps`.
    pub(super) fn pay(&self, steps: u64) -> Result<()> {
        let stop = |why| Err(Fault { why, line: None });
        if interrupt::requested() {
            return stop(Why::Interrupted);
        }
        match self.left.get().checked_sub(steps) {
            Some(left) => self.left.set(left),
            None => return stop(Why::Work),
        }
        Ok(())
    }

    /// Pays for `n` bytes.
    pub(super) fn pay_bytes(&self, n: usize) -> Result<()> {
        self.pay(n as u64)
    }

    /// Pays for `n` items.
    pub(super) fn pay_items(&self, n: usize) -> Result<()> {
        self.pay((n as u64).saturating_mul(ITEM))
    }

    /// Does `work` one level deeper.
    pub(super) fn deeper<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.pay(ITEM)?;
        if self.nested.get() == MOST_NESTED {
            return fault("its loops, macros and expressions go too deep into one another");
        }
        self.nested.set(self.nested.get() + 1);
        let result = work();
        self.nested.set(self.nested.get() - 1);
        result
    }
}
