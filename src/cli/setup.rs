//! What a run is set up with, from the arguments: kernels, threads, context and session.

use super::args::{ComputeArgs, ContextArg, Kv};
use std::sync::Arc;
use whit::TokenId;
use whit::compute::Compute;
use whit::error::{Error, Kind, Result};
use whit::generate::OPEN_CONTEXT;
use whit::kernels::{self, Kernels};
use whit::model::{Model, SessionOptions};
use whit::ops::KvDtype;
use whit::{os, threads};

/// Tokens that prefill takes at a time; Ctrl-C is looked at in between.
pub(super) const BATCH: usize = 64;

/// Number of threads where none is asked for.
pub(super) fn default_threads() -> usize {
    os::cpu::choose_threads().n_threads.min(threads::MAX_THREADS)
}

/// The kernels and threads that the arguments ask for.
pub(super) fn compute(args: &ComputeArgs) -> Result<Arc<Compute>> {
    let kernels = match &args.kernels {
        Some(name) => kernels::by_name(name)?,
        None => kernels::detect(),
    };
    let n = n_threads(args);
    let compute = if args.threads.is_some() { Compute::new(kernels, n) } else { up_to(kernels, n) };
    compute.map(Arc::new)
}

/// The number of threads that the arguments ask for.
pub(super) fn n_threads(args: &ComputeArgs) -> usize {
    args.threads.map_or_else(|| default_threads().saturating_sub(args.leave_core.into()).max(1), usize::from)
}

/// The context that the arguments ask for, else the model's as far as [`OPEN_CONTEXT`] goes: it is the same on every machine.
pub(super) fn context_length(args: &ContextArg, model: &Model) -> Result<usize> {
    let most = model.config().context_length;
    args.ctx.map_or(Ok(most.min(OPEN_CONTEXT)), |ctx| held_by(model, ctx as usize))
}

/// `context_length`, if the model was made for so many positions.
pub(super) fn held_by(model: &Model, context_length: usize) -> Result<usize> {
    let most = model.config().context_length;
    if context_length <= most {
        return Ok(context_length);
    }
    let message = format!("{context_length} is above the {most} positions that this model was made for");
    Err(Error::usage(message).field("ctx"))
}

/// The tokens of these names, which the arguments say end a text.
pub(super) fn ends(names: &[String], model: &Model) -> Result<Vec<TokenId>> {
    let token = |name: &String| {
        let token = model.tokenizer().and_then(|tokenizer| tokenizer.special(name));
        token.ok_or_else(|| {
            let error = Error::usage(format!("this model has no special token {name:?}")).field("end");
            error.hint("--stop ends a text at any words")
        })
    };
    names.iter().map(token).collect()
}

/// A session that writes one text.
pub(super) fn session_options(context_length: usize, kv: Kv) -> SessionOptions {
    SessionOptions { context_length, kv: kv.into(), batch: BATCH, ..SessionOptions::default() }
}

/// `kernels` on `n` threads, or on fewer where the system is short of them: nobody asked for so many.
pub(super) fn up_to(kernels: &'static Kernels, mut n: usize) -> Result<Compute> {
    loop {
        match Compute::new(kernels, n) {
            Err(error) if error.kind() == Kind::Resources && n > 1 => n /= 2,
            done => return done,
        }
    }
}

impl From<Kv> for KvDtype {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F16 => KvDtype::F16,
            Kv::Int8 => KvDtype::Int8,
            Kv::F32 => KvDtype::F32,
            Kv::Q4 => KvDtype::Q4,
        }
    }
}
