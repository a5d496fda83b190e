//! whit in JavaScript's hands: memory for a model and a prompt, then tokens and text. One model an instance; a page that
//! wants another makes another instance.
//!
//! What fails gives 0 or a null pointer, and [`whit_ended`] 1; [`whit_error`] and [`whit_error_bytes`] then say why, in
//! UTF-8.
#![allow(unsafe_code, reason = "the border to JavaScript is made of addresses")]

#[cfg(feature = "battery")]
mod battery;

use core::cell::RefCell;
use core::ptr;
use std::sync::Arc;
use whit::error::{Error, Result};
use whit::format::cast::Aligned;
use whit::generate::{StopRules, Writer, prompt_tokens};
use whit::ops::KvDtype;
use whit::sampler::{Sampler, SamplerOptions};
use whit::tokenizer::Specials;
use whit::{Compute, Model, Session, SessionOptions, kernels};

/// A model in use.
struct Machine {
    session: Session,
    /// The text that was begun last.
    writer: Option<Writer>,
    piece: String,
}

/// What the instance holds.
#[derive(Default)]
struct State {
    machine: Option<Machine>,
    error: String,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Runs `body` on the state; what it returns as an error is kept, and `failed` given back.
fn with<T>(failed: T, body: impl FnOnce(&mut State) -> Result<T>) -> T {
    STATE.with_borrow_mut(|state| {
        body(state).unwrap_or_else(|error| {
            state.error = error.to_string();
            failed
        })
    })
}

fn machine(state: &mut State) -> Result<&mut Machine> {
    state.machine.as_mut().ok_or_else(|| Error::usage("no model is open"))
}

/// Memory of `bytes` at a multiple of 64, never given back: for a model, or for prompts of up to that length.
#[unsafe(no_mangle)]
pub extern "C" fn whit_memory(bytes: usize) -> *mut u8 {
    let block: Box<[Aligned<[u8; 64]>]> = vec![Aligned([0; 64]); bytes.div_ceil(64)].into_boxed_slice();
    Box::leak(block).as_mut_ptr().cast()
}

/// Address of the last error's text.
#[unsafe(no_mangle)]
pub extern "C" fn whit_error() -> *const u8 {
    with(ptr::null(), |state| Ok(state.error.as_ptr()))
}

/// Its bytes.
#[unsafe(no_mangle)]
pub extern "C" fn whit_error_bytes() -> usize {
    with(0, |state| Ok(state.error.len()))
}

/// Opens the model in the `bytes` at `model`, for texts of up to `context_length` tokens; an int8 cache unless `int8_cache`
/// is 0.
/// Gives the size of the vocabulary.
///
/// # Safety
/// `model` and `bytes` are those of a [`whit_memory`] that nobody writes to any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn whit_open(model: *const u8, bytes: usize, context_length: usize, int8_cache: u32) -> usize {
    with(0, |state| {
        // SAFETY: by this function's contract the memory is there for good and stays as it is.
        let bytes: &'static [u8] = unsafe { core::slice::from_raw_parts(model, bytes) };
        let model = Arc::new(Model::open(bytes)?);
        let compute = Arc::new(Compute::new(kernels::detect(), 1)?);
        let kv = if int8_cache != 0 { KvDtype::Int8 } else { KvDtype::F16 };
        let session =
            Session::new(&model, &compute, SessionOptions { context_length, kv, ..SessionOptions::default() })?;
        state.machine = Some(Machine { session, writer: None, piece: String::new() });
        Ok(model.config().vocab_size)
    })
}

/// Puts the `n` tokens at `tokens` into the context. Gives the address of the logits after the last, f32 for each token of
/// the vocabulary.
///
/// # Safety
/// `tokens` is the address of `n` u32, at a multiple of 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn whit_extend(tokens: *const u32, n: usize) -> *const f32 {
    with(ptr::null(), |state| {
        // SAFETY: by this function's contract.
        let tokens = unsafe { core::slice::from_raw_parts(tokens, n) };
        Ok(machine(state)?.session.extend(tokens)?.as_ptr())
    })
}

/// Begins a new text with the `bytes` of UTF-8 at `prompt`. `temperature` 0 takes the most probable token each time; nothing
/// else bends the distribution. Gives the number of tokens of the prompt.
///
/// # Safety
/// `prompt` is the address of `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn whit_begin(prompt: *const u8, bytes: usize, temperature: f32, seed: u64) -> usize {
    with(0, |state| {
        // SAFETY: by this function's contract.
        let prompt = unsafe { core::slice::from_raw_parts(prompt, bytes) };
        let prompt = core::str::from_utf8(prompt).map_err(|_| Error::usage("the prompt is not UTF-8"))?;
        let machine = machine(state)?;
        let model = machine.session.model();
        let tokens = prompt_tokens(model, &[], prompt, Specials::AsText)?;
        let options = SamplerOptions { temperature, seed, ..SamplerOptions::default() };
        let sampler = Sampler::new(options, model.config().vocab_size)?;
        let rules = StopRules { end_tokens: model.end_tokens(), ..StopRules::default() };
        let writer = Writer::new(model, &tokens, machine.session.context_length(), sampler, rules)?;
        machine.writer = Some(writer);
        Ok(tokens.len())
    })
}

/// Chooses the next token and gives the address of its text, whole characters, maybe none; null at an error.
#[unsafe(no_mangle)]
pub extern "C" fn whit_next() -> *const u8 {
    with(ptr::null(), |state| {
        let Machine { session, writer, piece } = machine(state)?;
        let writer = writer.as_mut().ok_or_else(|| Error::usage("no text was begun"))?;
        piece.clear();
        if let Some(next) = writer.next_piece(session, &mut ())? {
            piece.push_str(next.text);
        }
        Ok(piece.as_ptr())
    })
}

/// 1 where the text ended with what [`whit_next`] gave: by a token that ends a text, or since the context is full.
#[unsafe(no_mangle)]
pub extern "C" fn whit_ended() -> u32 {
    with(1, |state| {
        let writer = machine(state)?.writer.as_ref();
        Ok(writer.is_none_or(|writer| writer.stop_reason().is_some()).into())
    })
}

/// Bytes of the text that [`whit_next`] gave.
#[unsafe(no_mangle)]
pub extern "C" fn whit_next_bytes() -> usize {
    with(0, |state| Ok(machine(state)?.piece.len()))
}

/// Compares the kernels with the scalar ones, see `battery.rs`. Gives the number of comparisons.
#[cfg(feature = "battery")]
#[unsafe(no_mangle)]
pub extern "C" fn whit_battery(random_cases: usize, spoiled: usize) -> usize {
    with(0, |_| battery::compare(random_cases, spoiled))
}

/// Kernels that [`whit_battery`] compares: the numbers that `spoiled` may be are 1 to this one.
#[cfg(feature = "battery")]
#[unsafe(no_mangle)]
pub extern "C" fn whit_battery_kernels() -> usize {
    battery::KERNELS
}
