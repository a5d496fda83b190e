//! Slices between two pages that may not be touched: a read or write past either end stops the test.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Which end of a slice lies at a guard page; the other is as near to one as the length allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Start,
    End,
}

/// Both edges.
pub(crate) const EDGES: [Edge; 2] = [Edge::Start, Edge::End];

/// A copy of a slice between two guard pages.
pub(crate) struct Guarded<T> {
    map: Map,
    data: *mut T,
    len: usize,
}

/// Pages between two guard pages.
#[derive(Clone, Copy)]
struct Map {
    first: *mut libc::c_void,
    bytes: usize,
}

thread_local! {
    /// Mappings that a dropped slice has left, to be used again: a battery makes hundreds of thousands of slices.
    static FREE: RefCell<Vec<Map>> = const { RefCell::new(Vec::new()) };
}

impl Map {
    /// At least `bytes` bytes, anew or left by another slice.
    fn take(bytes: usize) -> Self {
        let left = FREE.with_borrow_mut(|free| {
            let fits = free.iter().position(|map| map.bytes >= bytes && map.bytes <= bytes.max(1 << 16) * 4)?;
            Some(free.swap_remove(fits))
        });
        left.unwrap_or_else(|| Map::new(bytes.max(1 << 14)))
    }

    fn new(bytes: usize) -> Self {
        // SAFETY: a query without arguments in memory.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a page size");
        let bytes = bytes.next_multiple_of(page);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping that nothing else refers to.
        let map = unsafe { libc::mmap(std::ptr::null_mut(), bytes + 2 * page, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(map, libc::MAP_FAILED, "mmap");
        // SAFETY: the range lies within the mapping, whose length is `bytes` and two pages.
        let first = unsafe { map.byte_add(page) };
        // SAFETY: as above.
        let rc = unsafe { libc::mprotect(first, bytes, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(rc, 0, "mprotect");
        Map { first, bytes }
    }
}

impl<T: Copy> Guarded<T> {
    /// A copy of `values` with `edge` at a guard page.
    pub(crate) fn new(values: &[T], edge: Edge) -> Self {
        let map = Map::take(size_of_val(values));
        let skip = if edge == Edge::Start { 0 } else { map.bytes - size_of_val(values) };
        // SAFETY: `skip` and the bytes of the slice are within `map.bytes`; the length of a slice is a multiple of the
        // alignment of its elements, and so are the pages, so the start is aligned.
        let data = unsafe {
            let data = map.first.byte_add(skip).cast::<T>();
            std::ptr::copy_nonoverlapping(values.as_ptr(), data, values.len());
            data
        };
        Guarded { map, data, len: values.len() }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` wrote `len` elements at `data`, in a mapping that lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        FREE.with_borrow_mut(|free| free.push(self.map));
    }
}
