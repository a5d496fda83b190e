//! Bytes of a file, wherever they lie, that many can own.

use super::cast::AlignedBytes;
use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;

/// The bytes of a file: mapped, on the heap or part of the program. Copies share them.
#[derive(Clone)]
pub struct Bytes(Arc<dyn Deref<Target = [u8]> + Send + Sync>);

impl Bytes {
    /// What `owner` holds.
    pub fn new(owner: impl Deref<Target = [u8]> + Send + Sync + 'static) -> Self {
        Bytes(Arc::new(owner))
    }

    /// A copy of `bytes` that starts where a file in memory must start.
    pub fn copy(bytes: &[u8]) -> Self {
        Bytes::new(AlignedBytes::copy(bytes))
    }
}

impl From<&'static [u8]> for Bytes {
    /// Bytes that are part of the program; see [`Aligned`](super::cast::Aligned).
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::new(bytes)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}
