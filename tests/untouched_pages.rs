//! What is set aside for long texts takes no memory before it is used. A process of its own: what it measures is its own memory.
#![cfg(target_os = "linux")]

mod support;

use std::hint::black_box;
use support::{Folder, TinyModel};
use whit::model::StateOptions;
use whit::ops::KvDtype;
use whit::os::memory::private_bytes;

#[test]
fn states_touch_no_memory_before_tokens_come() {
    let folder = Folder::new("untouched-pages");
    let mut tiny = TinyModel::llama();
    tiny.config.context_length = 1 << 16;
    let model = tiny.open(&folder.path("m.whit"));
    // As after a model was read: from now on the allocator of glibc takes blocks of this size and less from the heap.
    drop(black_box(vec![1_u8; 24 << 20]));
    let options = StateOptions { context_length: 1 << 16, kv: KvDtype::F16, slack: 32 };
    let before = private_bytes().expect("figures");
    let states: Vec<_> = (0..8).map(|_| model.state(options).expect("a state")).collect();
    let taken = private_bytes().expect("figures").saturating_sub(before);
    let planned = 8 * tiny.plan().state_bytes(options);
    assert!(planned > 32 << 20 && taken < planned / 4, "{taken} of {planned} bytes");
    drop(states);
}
