//! tokenizer.json and tokenizer_config.json of a Hugging Face directory that is sound otherwise.

use super::{Target, size};
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::scramble;
use crate::hub::{Checkpoint, WORDS};
use crate::random::Random;

pub(super) struct TokenizerJson;

impl Target for TokenizerJson {
    fn name(&self) -> &'static str {
        "tokenizer"
    }

    fn bound(&self) -> Bound {
        Bound::JSON
    }

    fn make(&self, random: &mut Random) -> Files {
        let mut checkpoint = Checkpoint::new(random);
        for _ in 0..random.below(3) {
            let of_config = random.once_in(6);
            let chosen = if of_config { &mut checkpoint.tokenizer_config } else { &mut checkpoint.tokenizer };
            if let Some(document) = chosen {
                document.change(WORDS, random);
            }
        }
        if let Some(document) = &mut checkpoint.tokenizer
            && random.once_in(2000)
        {
            document.inflate(random.within(1000, 50_000), random);
        }
        let mut files = checkpoint.files(random);
        if random.once_in(4) {
            let changed = |name: &str| name.starts_with("tokenizer");
            files.iter_mut().filter(|(name, _)| changed(name)).for_each(|(_, bytes)| scramble(bytes, random));
        }
        files
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let path = bench.checkpoint(files, None)?;
        bench.convert(&path, size(files), random)
    }
}
