//! Places of connections. Where all are taken, the connection that has waited longest without a request gives up its own: who opens many
//! and says nothing keeps nobody out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// All places.
pub(super) struct Seats {
    free: Arc<Semaphore>,
    n_seats: u32,
    /// Connections that have one, the oldest first.
    taken: Mutex<VecDeque<Arc<Seat>>>,
}

/// The place of a connection.
pub(super) struct Seat {
    /// Answers under way.
    n_busy: AtomicUsize,
    /// Told when the place is to be given up.
    leave: Notify,
}

/// An answer under way.
pub(super) struct Busy(Arc<Seat>);

impl Seats {
    pub(super) fn new(n_seats: u32) -> Arc<Seats> {
        Arc::new(Seats { free: Arc::new(Semaphore::new(n_seats as usize)), n_seats, taken: Mutex::default() })
    }

    /// A place, for which somebody who waits without a request may have to leave; `None` never comes.
    pub(super) async fn take(self: &Arc<Self>) -> Option<(Arc<Seat>, OwnedSemaphorePermit)> {
        if self.free.available_permits() == 0 {
            self.make_room();
        }
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let seat = Arc::new(Seat { n_busy: AtomicUsize::new(0), leave: Notify::new() });
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that only this list still knows have ended.
        taken.retain(|seat| Arc::strong_count(seat) > 1);
        taken.push_back(Arc::clone(&seat));
        Some((seat, permit))
    }

    /// Has the connection leave that waits longest.
    fn make_room(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = |seat: &&Arc<Seat>| Arc::strong_count(seat) > 1 && seat.n_busy.load(Ordering::Relaxed) == 0;
        if let Some(seat) = taken.iter().find(is_there) {
            seat.leave.notify_one();
        }
    }

    /// Waits until no connection is left.
    pub(super) async fn empty(&self) {
        let _ = self.free.acquire_many(self.n_seats).await;
    }
}

impl Seat {
    /// A request is here: until this is dropped, its answer is under way.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.n_busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Waits until the place is to be given up.
    pub(super) async fn left(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.n_busy.fetch_sub(1, Ordering::Relaxed);
    }
}
