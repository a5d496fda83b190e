//! The folder of models of `whit serve`.

use super::super::args::Serve;
use super::super::output::{bytes, note};
use crate::serve::{Folder, Found, Offered};
use std::path::Path;
use whit::error::{Error, Result};
use whit::inspect::MemoryPlan;
use whit::os::memory;

/// The folder that the arguments name, if they do, with the models in it, which `open` opens; `plans` are those of the models that
/// stay in memory.
///
/// Fails where it has no model that can be served.
pub(super) fn read(
    args: &Serve,
    open: impl Fn(&Path) -> Result<(Offered, MemoryPlan)> + Send + 'static,
    plans: &[MemoryPlan],
) -> Result<Option<(Folder, Vec<Found>)>> {
    let Some(path) = &args.folder.models else { return Ok(None) };
    let staying = plans.iter().map(MemoryPlan::to_come).fold(0, u64::saturating_add);
    let least = memory::rooms().iter().map(|room| room.bytes).chain(args.compute.max_memory).min();
    let folder = Folder {
        path: path.clone(),
        open: Box::new(open),
        keep: args.folder.keep_alive,
        budget: least.map(|least| least.saturating_sub(staying)),
    };
    let found = folder.read()?;
    if let (true, Some((.., Err(error)))) = (found.iter().all(|(.., facts)| facts.is_err()), found.first()) {
        return Err(error.clone());
    }
    if found.is_empty() {
        let error = Error::data("it has no model file, whose name ends in .whit").in_file(path.display().to_string());
        return Err(error);
    }
    Ok(Some((folder, found)))
}

/// Private memory of that of the models that takes the most, in bytes.
pub(super) fn largest(found: &[Found]) -> u64 {
    found.iter().filter_map(|(.., facts)| facts.as_ref().ok()).map(|facts| facts.private()).max().unwrap_or(0)
}

/// Says how much memory the models take.
pub(super) fn tell_plan(args: &Serve, found: &[Found]) {
    let Some(path) = args.folder.models.as_ref().filter(|_| !args.progress.quiet) else { return };
    note(format_args!(
        "whit: {}: {} models, loaded when they are asked for; {} private for the largest",
        whit::error::printable(&path.display().to_string()),
        found.iter().filter(|(.., facts)| facts.is_ok()).count(),
        bytes(largest(found)),
    ));
}
