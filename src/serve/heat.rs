//! Pauses between passes, by which a machine stays below a temperature.

use std::time::{Duration, Instant};

/// Between two looks at the sensors while texts are computed.
const LOOK: Duration = Duration::from_millis(500);
/// Degrees above the bound at which pauses are as long as passes.
const EQUAL_AT: f64 = 2.0;
/// Pauses are so many times as long as passes at most.
const MOST: f64 = 9.0;
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);

/// Keeps a machine below a temperature.
pub(super) struct Heat {
    /// In degrees Celsius.
    most: Option<f64>,
    read: fn() -> Option<f64>,
    looked: Option<Instant>,
    /// Pauses are so many times as long as passes.
    share: f64,
}

impl Heat {
    /// Below `most` degrees Celsius, if that is given, by what `read` says of the hottest sensor.
    pub(super) fn new(most: Option<f64>, read: fn() -> Option<f64>) -> Heat {
        Heat { most, read, looked: None, share: 0.0 }
    }

    /// How long to pause after a pass that took `time`.
    pub(super) fn pause(&mut self, time: Duration) -> Duration {
        let Some(most) = self.most else { return Duration::ZERO };
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.looked = Some(Instant::now());
            let above = (self.read)().map_or(0.0, |celsius| celsius - most);
            self.share = (above / EQUAL_AT).clamp(0.0, MOST);
        }
        time.mul_f64(self.share).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_the_heat_above_the_bound() {
        let pause = |most, read: fn() -> Option<f64>, millis| {
            Heat::new(most, read).pause(Duration::from_millis(millis)).as_millis()
        };
        assert_eq!(pause(None, || Some(99.0), 100), 0);
        assert_eq!(pause(Some(70.0), || None, 100), 0);
        assert_eq!(pause(Some(70.0), || Some(69.9), 100), 0);
        assert_eq!(pause(Some(70.0), || Some(71.0), 100), 50);
        assert_eq!(pause(Some(70.0), || Some(74.0), 100), 200);
        assert_eq!(pause(Some(70.0), || Some(120.0), 100), 900);
        assert_eq!(pause(Some(70.0), || Some(120.0), 1000), 2000);
    }

    #[test]
    fn the_sensors_are_not_read_at_every_pass() {
        static READ: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let mut heat = Heat::new(Some(70.0), || {
            READ.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Some(72.0)
        });
        let of = |heat: &mut Heat| heat.pause(Duration::from_millis(1));
        assert_eq!((of(&mut heat), of(&mut heat)), (Duration::from_millis(1), Duration::from_millis(1)));
        assert_eq!(READ.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
