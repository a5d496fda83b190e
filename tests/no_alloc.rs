//! After `Session::new` and `Writer::new` the token loop allocates nothing.
#![allow(unsafe_code, reason = "a global allocator that counts")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use support::{Folder, TinyModel};
use whit::compute::Compute;
use whit::generate::{StopReason, StopRules, Writer};
use whit::kernels;
use whit::model::{Model, Session, SessionOptions};
use whit::sampler::{Sampler, SamplerOptions};
use whit::tokenizer::Specials;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of prefill and token loop, and the number of tokens.
fn measure(model: &Arc<Model>, n_threads: usize, options: SamplerOptions) -> (usize, usize) {
    let compute = Arc::new(Compute::new(kernels::detect(), n_threads).expect("threads"));
    let session_options = SessionOptions { context_length: 64, batch: 8, ..SessionOptions::default() };
    let mut session = Session::new(model, &compute, session_options).expect("a session");
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let mut prompt = Vec::new();
    tokenizer.encode("the other thing then", Specials::AsText, &mut prompt);
    let sampler = Sampler::new(options, model.config().vocab_size).expect("options in range");
    let rules = StopRules { n_tokens: Some(40), stops: vec!["never such a text".into()], ..StopRules::default() };
    let mut writer = Writer::new(model, &prompt, 64, sampler, rules).expect("a prompt");
    // A thread that is just starting allocates for itself; once all have met, all have started.
    let all = Barrier::new(n_threads);
    compute.threads.run(n_threads, &|_| {
        all.wait();
    });
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    writer.prefill(&mut session, 8, &mut |_| true, &mut ()).expect("room for the prompt");
    let mut n_bytes = 0;
    while let Some(piece) = writer.next_piece(&mut session, &mut ()).expect("a piece") {
        n_bytes += piece.text.len();
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(n_bytes > 0);
    assert_eq!(writer.stop_reason(), Some(StopReason::Length));
    (allocations, writer.n_generated())
}

#[test]
fn the_token_loop_allocates_nothing() {
    let folder = Folder::new("no-alloc");
    for (name, tiny) in [("llama", TinyModel::llama()), ("gpt2", TinyModel::gpt2())] {
        let model = tiny.open(&folder.path(name));
        let chain = SamplerOptions {
            temperature: 0.9,
            top_k: 100,
            top_p: 0.9,
            min_p: 0.01,
            typical_p: 0.9,
            repeat_penalty: 1.1,
            presence_penalty: 0.1,
            frequency_penalty: 0.1,
            logit_bias: vec![(5, 1.0)],
            ..SamplerOptions::default()
        };
        let greedy = SamplerOptions { temperature: 0.0, ..SamplerOptions::default() };
        let wide = SamplerOptions { top_p: 0.99, ..SamplerOptions::default() };
        for n_threads in [1, 2] {
            for options in [chain.clone(), greedy.clone(), wide.clone()] {
                assert_eq!(measure(&model, n_threads, options), (0, 40), "{name}, {n_threads} threads");
            }
        }
    }
}
