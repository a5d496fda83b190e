//! Weights larger than the memory that the user allows: streamed, and said before anybody waits for it.

use super::input::ModelFile;
use super::output::{bytes, note};
use super::table::figure;
use whit::error::{Error, Kind, Result};
use whit::generate::stream::{Residency, WeightStream};
use whit::inspect::MemoryPlan;
use whit::model::{Model, Session};
use whit::os::storage;

/// What the program touches of the file besides matrices, and what the system keeps for each page, in parts of 64.
const SPARE_BYTES: u64 = 6 << 20;
/// Time that storage is measured for.
const SECONDS: f64 = 0.5;

/// The least memory that the weights of a file need.
pub(super) fn least(model: &Model, file_bytes: u64) -> u64 {
    let streamed = (Residency::least(model) + SPARE_BYTES) * 64 / 63 + 1;
    streamed.min(file_bytes)
}

/// Refuses a bound on memory that does not hold all weights beside what `plan` says, where many texts are computed: streamed for
/// each pass, they would be slower than one text after the other.
pub(super) fn refuse(plan: &MemoryPlan, max_memory: Option<u64>) -> Result<()> {
    let needed = plan.private().saturating_add(plan.mapped);
    match max_memory {
        Some(max) if max < needed => {
            let message = format!("{} are needed with all weights, which many texts do not stream", bytes(needed));
            Err(Error::new(Kind::Resources, message).field("max-memory"))
        }
        _ => Ok(()),
    }
}

/// Has `session` stream its weights where `max_memory` does not hold them all beside what `plan` says.
pub(super) fn pace(
    session: &mut Session,
    source: &ModelFile,
    model: &Model,
    plan: &MemoryPlan,
    max_memory: Option<u64>,
    quiet: bool,
) -> Result<()> {
    let Some(max) = max_memory else { return Ok(()) };
    let left = max.saturating_sub(plan.private());
    if left >= plan.mapped {
        return Ok(());
    }
    let left = left.saturating_sub(SPARE_BYTES + left / 64);
    let Some(residency) = Residency::within(model, left).map_err(|error| error.hint("a larger --max-memory"))? else {
        return Ok(());
    };
    let ModelFile::Mapped(mapping) = source else {
        return Err(Error::usage("the embedded model cannot be streamed").field("max-memory"));
    };
    if !quiet {
        let Residency { pinned, ring, streamed, .. } = residency;
        let [stays, passes, read] = [pinned, ring, streamed].map(bytes);
        let bound = match storage::read_speed(mapping.path(), SECONDS)? {
            Some(speed) => {
                format!(", at {}/s at most {} tokens/s", bytes(speed as u64), figure(speed / streamed as f64))
            }
            None => String::new(),
        };
        note(format_args!(
            "whit: {stays} of weights stay in memory, {passes} pass through; {read} are read a token{bound}"
        ));
    }
    session.pace(WeightStream::new(model, mapping.clone(), residency)?);
    Ok(())
}
