//! What the one who started the service is told: that it is ready, that it is well, that it ends.

use super::house::House;
use super::stats;
use std::sync::Arc;
use tokio::time;
use whit::os::service::{Notifier, watchdog};

/// Tells that the service is ready, and when it ends; and in between, where that is wanted, that it is well.
pub(super) async fn report(house: Arc<House>, notifier: Notifier) {
    notifier.tell("READY=1");
    let mut ending = house.ending.subscribe();
    let ended = async move { drop(ending.wait_for(|is_ending| *is_ending).await) };
    match watchdog() {
        None => ended.await,
        Some(within) => {
            let mut pulse = Pulse::default();
            let mut ended = std::pin::pin!(ended);
            // Twice in the time in which it has to be told once.
            while time::timeout(within / 2, ended.as_mut()).await.is_err() {
                if pulse.beats(&house) {
                    notifier.tell("WATCHDOG=1");
                }
            }
        }
    }
    notifier.tell("STOPPING=1");
}

/// Whether the server gets on with what it does.
#[derive(Default)]
struct Pulse {
    busy_micros: u64,
}

impl Pulse {
    /// Whether there is nothing to do, or a pass has ended since the last time.
    fn beats(&mut self, house: &House) -> bool {
        let busy_micros = stats::of(&house.stats.busy_micros);
        let is_on = busy_micros != std::mem::replace(&mut self.busy_micros, busy_micros);
        is_on || stats::of(&house.stats.active) == 0
    }
}
