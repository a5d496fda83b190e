//! What share of the CPUs' time a process takes beside others. For programs, before their first thread: threads have what the one
//! has that starts them.

use crate::error::{Error, Kind, Result};

/// Has others come first: by `nice` (0 as ever to 19 last; negative numbers come before others and need a right), and where it
/// computes in a `batch` by a scheduler that interrupts it less often.
pub fn take(nice: Option<i32>, batch: bool) -> Result<()> {
    let failed =
        |field: &'static str, error: std::io::Error| Error::new(Kind::Unavailable, error.to_string()).field(field);
    if let Some(nice) = nice {
        super::sys::set_nice(nice).map_err(|error| failed("nice", error))?;
    }
    if batch {
        super::sys::schedule_as_batch().map_err(|error| failed("batch-scheduling", error))?;
    }
    Ok(())
}
