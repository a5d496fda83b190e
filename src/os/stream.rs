//! Parts of a mapped file that are read ahead of their use and given back behind it, so that a file may be larger than
//! memory.
//!
//! A reader thread brings the parts in, in the order of their use, as far ahead as a ring of bytes allows; the leading ones
//! stay. Who computes says which part it needs next, and waits for it: so pages never come by faults, one by one and out of
//! order, and what was read is exactly what is used.

use super::Mapping;
use crate::error::{Error, Kind, Result};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Bytes that are asked of the storage at a time, and how many such requests are under way.
const REQUEST_BYTES: usize = 2 << 20;
const N_REQUESTS: usize = 8;

/// Parts of a file on their way through memory.
pub struct Stream {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

struct Shared {
    mapping: Arc<Mapping>,
    /// In the order of use, which begins anew after the last.
    parts: Vec<Range<usize>>,
    /// So many of the first stay once they have been read.
    n_pinned: usize,
    ring_bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// Some bytes of the part at a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    place: usize,
    n: usize,
}

/// Places in the order of use, which counts on from one pass to the next.
#[derive(Debug, Default)]
struct State {
    /// In use; what is before it, and not pinned, may be given back.
    used: usize,
    /// Read are all before it, from `used` on.
    read: usize,
    stop: bool,
}

impl Stream {
    /// Streams `parts` of a mapped file, the first `n_pinned` of which stay in memory; the others take `ring_bytes` of it, or
    /// what the largest needs.
    pub fn new(mapping: Arc<Mapping>, parts: Vec<Range<usize>>, n_pinned: usize, ring_bytes: usize) -> Result<Stream> {
        assert!(n_pinned < parts.len(), "{n_pinned} of {} parts are pinned", parts.len());
        assert!(parts.iter().all(|part| part.start <= part.end && part.end <= mapping.len()), "parts beyond the file");
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { mapping, parts, n_pinned, ring_bytes, state, changed: Condvar::new() });
        shared.mapping.read_in_order();
        let of_reader = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("whit-reader".into()).stack_size(256 << 10);
        let reader = thread.spawn(move || of_reader.read()).map_err(|error| {
            Error::new(Kind::Resources, format!("the thread that reads weights cannot be started: {error}"))
        })?;
        Ok(Stream { shared, reader: Some(reader) })
    }

    /// Waits until part `part` is in memory. Those needed before may go from now on.
    pub fn need(&self, part: usize) {
        let shared = &*self.shared;
        let mut state = shared.lock();
        let place = shared.place_of(part, state.used);
        if place > state.used {
            state.used = place;
            shared.changed.notify_all();
        }
        while state.read <= place && !state.stop {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part at `place`: all in the first pass, then those that are not pinned, again and again.
    fn part_at(&self, place: usize) -> usize {
        match place < self.parts.len() {
            true => place,
            false => self.n_pinned + (place - self.n_pinned) % (self.parts.len() - self.n_pinned),
        }
    }

    /// The next place of `part` from `from` on; of a pinned one, its only place.
    fn place_of(&self, part: usize, from: usize) -> usize {
        if part < self.n_pinned {
            return part;
        }
        let cycle = self.parts.len() - self.n_pinned;
        let from = from.max(self.n_pinned);
        let ahead = (part + cycle - self.part_at(from)) % cycle;
        from + ahead
    }

    /// The life of the reader: brings in what is needed next, gives back what was.
    fn read(&self) {
        let mut given_back = 0;
        // What is read next, and what is asked for next: never before it, and further on than the part it belongs to.
        let (mut reading, mut asking) = (Request::default(), Request::default());
        loop {
            let mut state = self.lock();
            let used = loop {
                if state.stop {
                    return;
                }
                if reading.place < state.used {
                    // What was skipped is not read any more.
                    reading = Request { place: state.used, n: 0 };
                    asking = asking.max(reading);
                    state.read = state.used;
                }
                if given_back < state.used || self.has_room(state.used, reading.place) {
                    break state.used;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            if given_back < used {
                self.give_back(given_back..used);
                given_back = used;
                continue;
            }
            self.ask_ahead(reading, &mut asking, used);
            self.mapping.touch(self.bytes_of(reading));
            reading = self.after(reading);
            if reading.n == 0 {
                self.lock().read = reading.place;
                self.changed.notify_all();
            }
        }
    }

    /// Whether the part at `place` may be read while that at `used` is in use.
    fn has_room(&self, used: usize, place: usize) -> bool {
        let streamed = (used..=place).map(|place| self.part_at(place)).filter(|part| *part >= self.n_pinned);
        place == used || streamed.map(|part| self.parts[part].len()).sum::<usize>() <= self.ring_bytes
    }

    /// Moves `asking` on to some requests after `reading`, as far as there is room for them.
    fn ask_ahead(&self, reading: Request, asking: &mut Request, used: usize) {
        let mut ahead = 0;
        let mut request = reading;
        while ahead < N_REQUESTS && self.has_room(used, request.place) {
            if request == *asking {
                self.mapping.ask(self.bytes_of(request));
                *asking = self.after(request);
            }
            request = self.after(request);
            ahead += 1;
        }
    }

    fn bytes_of(&self, request: Request) -> Range<usize> {
        let part = &self.parts[self.part_at(request.place)];
        let start = (part.start + request.n * REQUEST_BYTES).min(part.end);
        start..(start + REQUEST_BYTES).min(part.end)
    }

    fn after(&self, Request { place, n }: Request) -> Request {
        match (n + 1) * REQUEST_BYTES < self.parts[self.part_at(place)].len() {
            true => Request { place, n: n + 1 },
            false => Request { place: place + 1, n: 0 },
        }
    }

    fn give_back(&self, places: Range<usize>) {
        for part in places.map(|place| self.part_at(place)).filter(|part| *part >= self.n_pinned) {
            self.mapping.give_back(self.parts[part].clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::test_directory;

    fn stream(name: &str, n_parts: usize, n_pinned: usize, ring_bytes: usize) -> (Stream, std::path::PathBuf) {
        let directory = test_directory(name);
        let path = directory.join("file");
        std::fs::write(&path, vec![7; n_parts * 100_000]).expect("written");
        let mapping = Arc::new(Mapping::open(&path).expect("mapped"));
        let parts = (0..n_parts).map(|i| i * 100_000..(i + 1) * 100_000).collect();
        (Stream::new(mapping, parts, n_pinned, ring_bytes).expect("a thread"), directory)
    }

    #[test]
    fn places_count_on_from_pass_to_pass() {
        let (stream, directory) = stream("stream-places", 5, 2, 0);
        let shared = &stream.shared;
        let parts: Vec<_> = (0..12).map(|place| shared.part_at(place)).collect();
        assert_eq!(parts, [0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2]);
        assert_eq!(shared.place_of(1, 9), 1);
        for from in 0..12 {
            for part in 2..5 {
                let place = shared.place_of(part, from);
                assert!(place >= from && place < from.max(2) + 3 && shared.part_at(place) == part, "{from} {part}");
            }
        }
        drop(stream);
        std::fs::remove_dir_all(directory).expect("clean up");
    }

    #[test]
    fn every_part_comes_in_any_order_and_with_any_ring() {
        for (ring, n_pinned) in [(0, 0), (1, 3), (250_000, 0), (250_000, 2), (usize::MAX, 4)] {
            let (stream, directory) = stream(&format!("stream-{ring}-{n_pinned}"), 5, n_pinned, ring);
            // Passes, a part again, one left out, backwards.
            for part in [0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2, 3, 4, 4, 4, 0, 3, 1, 4, 0, 0] {
                stream.need(part);
                assert!(stream.shared.mapping[part * 100_000..(part + 1) * 100_000].iter().all(|byte| *byte == 7));
            }
            drop(stream);
            std::fs::remove_dir_all(directory).expect("clean up");
        }
    }
}
