//! config.json and generation_config.json of a Hugging Face directory whose weights are sound.

use super::{Target, size};
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::scramble;
use crate::hub::{Checkpoint, WORDS};
use crate::json::{Json, map, number, text};
use crate::random::Random;

pub(super) struct ConfigJson;

impl Target for ConfigJson {
    fn name(&self) -> &'static str {
        "config"
    }

    fn bound(&self) -> Bound {
        Bound::JSON
    }

    fn make(&self, random: &mut Random) -> Files {
        let mut checkpoint = Checkpoint::new(random);
        if random.once_in(3) {
            let (key, value) = rope(random);
            checkpoint.config.set(key, value);
        }
        for _ in 0..random.below(3) {
            let document = match &mut checkpoint.generation {
                Some(generation) if random.once_in(3) => generation,
                _ => &mut checkpoint.config,
            };
            document.change(WORDS, random);
        }
        if random.once_in(2000) {
            checkpoint.config.inflate(random.within(1000, 100_000), random);
        }
        let mut files = checkpoint.files(random);
        if random.once_in(4) {
            scramble(&mut files[0].1, random);
        }
        files
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let path = bench.checkpoint(files, None)?;
        bench.convert(&path, size(files), random)
    }
}

fn rope(random: &mut Random) -> (&'static str, Json) {
    let kind = random.pick(&["default", "linear", "llama3"]);
    let key = random.pick(&["rope_type", "type"]);
    let factor = random.pick(&["8.0", "1e-30", "1e30", "1"]);
    let parameters = map([
        (key, text(kind)),
        ("rope_theta", number(random.pick(&["10000.0", "1e-300", "1e300", "0.5"]))),
        ("factor", number(factor)),
        ("low_freq_factor", number(1)),
        ("high_freq_factor", number(4)),
        ("original_max_position_embeddings", number(8)),
    ]);
    (random.pick(&["rope_parameters", "rope_scaling"]), parameters)
}
