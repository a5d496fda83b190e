//! Without the standard library whit computes the bits that it computes with it: those of the golden hashes and of the story
//! in the README.

use sha2::{Digest, Sha256};
use whit::format::cast::Aligned;
use whit::ops::KvDtype;
use whit::threads::Threads;

static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../models/stories.whit"));
/// Of the story model's prompts, around the sizes of groups and batches; all are in `tools/quantize/tests/goldens`.
const PROMPTS: [usize; 4] = [1, 17, 64, 97];
const N_DECODE: usize = 128;

fn model() -> &'static [u8] {
    &MODEL.0
}

/// The committed hash of what is called `name`.
fn golden(name: &str) -> &'static str {
    let lines = include_str!("../../quantize/tests/goldens/goldens.txt").lines();
    let hashes = lines.filter_map(|line| line.rsplit_once(' ').filter(|(found, _)| *found == name));
    hashes.map(|(_, hash)| hash).next().expect("a committed hash")
}

#[test]
fn the_logits_have_their_golden_hashes() {
    let vocab_size = 1024;
    for (kv, cache) in [(KvDtype::F16, "f16"), (KvDtype::Int8, "int8"), (KvDtype::Q4, "q4")] {
        for n in PROMPTS {
            let prompt: Vec<u32> = (0..n).map(|i| ((i * 31 + i * i * 7 + n) % vocab_size) as u32).collect();
            let mut sha = Sha256::new();
            let mut take = |logits: &[f32]| {
                assert_eq!(logits.len(), vocab_size);
                logits.iter().for_each(|logit| sha.update(logit.to_bits().to_le_bytes()));
            };
            whit_bare::continue_greedily(model(), kv, &prompt, N_DECODE, &mut take).expect("a text that fits");
            let hash: String = sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash, golden(&format!("stories int8 {cache} {n}+{N_DECODE}")));
        }
    }
}

#[test]
fn the_story_is_that_of_the_readme() {
    let text = whit_bare::story(model(), "Once upon a time there was a", 3).expect("a story");
    assert!(include_str!("../../../README.md").contains(&format!("```\n{}\n```", text.trim_end())), "{text}");
}

/// Built beside members that ask for `std`, as in a test of the whole workspace, whit has it here too: then the tests above
/// say nothing new.
#[test]
fn std_is_missing_where_it_should_be() {
    if std::env::var_os("WHIT_WITHOUT_STD").is_some() {
        assert!(Threads::new(2).is_err(), "whit was built with std");
    }
}
