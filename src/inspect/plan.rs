//! The memory of a run, counted before anything is allocated.

use crate::model::{Config, Model, SessionOptions};
use crate::sampler::Candidate;
use crate::threads::STACK_BYTES;

/// The program's own: command line, standard streams, what was read of a file. Of the size of what was measured.
const PROGRAM_BYTES: u64 = 512 << 10;
/// What a thread touches of its stack, at most.
const TOUCHED_STACK_BYTES: u64 = 64 << 10;

/// The memory of a run, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The mapped model file, whose pages the system takes back when memory is short.
    pub mapped: u64,
    /// Keys and values of every position.
    pub kv: u64,
    /// Buffers of a prefill step, logits, and the sampler's candidates.
    pub scratch: u64,
    /// What the threads use of their stacks.
    pub stacks: u64,
    /// Addresses that are reserved for stacks and not used.
    pub reserved: u64,
    /// What is copied of the file: tokenizer, directory, template. Of a model in memory they are counted, too.
    pub tables: u64,
    /// The program's own.
    pub program: u64,
}

impl MemoryPlan {
    /// The memory of `n_sessions` sessions of `model`, whose file is `file_bytes` long, on `n_threads` threads.
    pub fn new(
        model: &Model,
        file_bytes: u64,
        options: SessionOptions,
        n_sessions: u64,
        n_threads: usize,
    ) -> MemoryPlan {
        let tables = file_bytes.saturating_sub(model.file().weights_bytes());
        MemoryPlan::of(model.config(), (file_bytes, tables), options, n_sessions, n_threads)
    }

    /// The same of a network whose file is so long, and so much of it besides weights.
    pub fn of(
        config: &Config,
        (file_bytes, tables): (u64, u64),
        options: SessionOptions,
        n_sessions: u64,
        n_threads: usize,
    ) -> MemoryPlan {
        let session = options.bytes(config);
        let sampler = sampler_bytes(config);
        let n_threads = n_threads as u64;
        let stacks = n_threads * TOUCHED_STACK_BYTES;
        MemoryPlan {
            mapped: file_bytes,
            kv: session.kv.saturating_mul(n_sessions),
            scratch: session.scratch.saturating_mul(n_sessions).saturating_add(sampler),
            stacks,
            reserved: (n_threads - 1) * (STACK_BYTES as u64) - (stacks - TOUCHED_STACK_BYTES),
            tables,
            program: PROGRAM_BYTES,
        }
    }

    /// The plan of a session that is shared by `n` texts, each with a state and a sampler of its own.
    pub fn of_texts(self, config: &Config, n: u64) -> MemoryPlan {
        let samplers = sampler_bytes(config).saturating_mul(n.saturating_sub(1));
        MemoryPlan { kv: self.kv.saturating_mul(n), scratch: self.scratch.saturating_add(samplers), ..self }
    }

    /// The plan of a text of this `config`'s network whose tokens are guessed, by a run of this `draft` if there is one, with
    /// `more` bytes for other guesses.
    pub fn of_guesses(self, config: &Config, draft: Option<MemoryPlan>, more: u64) -> MemoryPlan {
        let scratch = self.scratch.saturating_add(config.note_bytes()).saturating_add(more);
        let plan = MemoryPlan { scratch, ..self };
        let Some(draft) = draft else { return plan };
        MemoryPlan {
            mapped: plan.mapped.saturating_add(draft.mapped),
            kv: plan.kv.saturating_add(draft.kv),
            scratch: plan.scratch.saturating_add(draft.scratch),
            tables: plan.tables.saturating_add(draft.tables),
            ..plan
        }
    }

    /// The plan of a run that takes so many `bytes` besides.
    pub fn with(self, bytes: u64) -> MemoryPlan {
        MemoryPlan { scratch: self.scratch.saturating_add(bytes), ..self }
    }

    /// Private memory at its peak: all but the mapped file.
    pub fn private(&self) -> u64 {
        self.to_come().saturating_add(self.tables).saturating_add(self.program)
    }

    /// Private memory that an opened model still needs for a run.
    pub fn to_come(&self) -> u64 {
        self.kv.saturating_add(self.scratch).saturating_add(self.stacks)
    }

    /// The longest context, up to `most` and in whole blocks of the cache where it is cut, whose plan `fits`; `None`
    /// where not even the shortest does. `fits` must be false from some length on.
    pub fn longest_context(most: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
        const STEP: usize = 32;
        if fits(most) {
            return Some(most);
        }
        // Steps below `low` fit, those from `high` on do not.
        let (mut low, mut high) = (0, most.div_ceil(STEP));
        while low + 1 < high {
            let middle = low.midpoint(high);
            if fits(middle * STEP) { low = middle } else { high = middle }
        }
        (low > 0).then_some(low * STEP)
    }
}

/// A candidate, an adjusted logit and a count for each token.
fn sampler_bytes(config: &Config) -> u64 {
    config.vocab_size as u64 * (size_of::<Candidate>() + size_of::<f32>() + size_of::<u32>()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_context_is_the_last_that_fits() {
        for limit in [0, 1, 31, 32, 33, 64, 100, 999, 1000, 1001] {
            let found = MemoryPlan::longest_context(1000, |n| n <= limit);
            let expected = if limit >= 1000 { 1000 } else { limit / 32 * 32 };
            assert_eq!(found, Some(expected).filter(|n| *n > 0), "{limit}");
        }
    }

    #[test]
    fn a_plan_grows_with_context_sessions_and_threads() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Model::open(bytes).expect("the story model");
        let file = model.file();
        let options = SessionOptions { context_length: 256, ..SessionOptions::default() };
        let plan = MemoryPlan::new(&model, file.file_bytes(), options, 1, 1);
        // 6 layers of keys and values, 160 halves a position.
        assert_eq!((plan.kv, plan.mapped, plan.reserved), (6 * 2 * 160 * 2 * 256, bytes.len() as u64, 0));
        let two = MemoryPlan::new(&model, file.file_bytes(), options, 2, 3);
        assert_eq!((two.kv, two.stacks), (2 * plan.kv, 3 * plan.stacks));
        assert_eq!(two.stacks - plan.stacks + two.reserved, 2 * STACK_BYTES as u64);
        let texts = plan.of_texts(model.config(), 3);
        assert_eq!((texts.kv, texts.scratch - plan.scratch), (3 * plan.kv, 2 * 1024 * 20));
        assert_eq!(plan.private(), plan.kv + plan.scratch + plan.stacks + plan.tables + plan.program);
        assert!(plan.tables > 0 && plan.tables < plan.mapped / 4, "{plan:?}");
        let endless = SessionOptions { context_length: usize::MAX >> 8, ..options };
        assert!(MemoryPlan::new(&model, 0, endless, 9, 1).private() > 1 << 38);
    }
}
