//! What is known of a model, whether it is in memory or not.

use super::offered::Offered;
use whit::TokenId;
use whit::inspect::MemoryPlan;
use whit::model::Config;
use whit::sampler::SamplerOptions;

/// What is known of a model.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(super) name: String,
    pub(super) file_bytes: u64,
    pub(super) hash: String,
    pub(super) fingerprint: String,
    pub(super) n_parameters: u64,
    pub(super) quantization: &'static str,
    /// Positions that it was made for, elements of a token, and tokens.
    pub(super) longest_context: usize,
    pub(super) dim: usize,
    pub(super) vocab_size: usize,
    /// Tokens of a text, and texts at a time.
    pub(super) context_length: usize,
    pub(super) n_texts: usize,
    pub(super) sampling: SamplerOptions,
    pub(super) template: Option<String>,
    /// The texts of the tokens that begin and end texts.
    pub(super) bos: String,
    pub(super) eos: String,
    /// Private memory that it takes, in bytes.
    pub(super) private: u64,
}

impl Facts {
    /// Those of a model with this plan.
    pub(crate) fn of(offered: &Offered, plan: &MemoryPlan) -> Facts {
        let Config { context_length, dim, vocab_size, .. } = offered.model().config();
        let tokenizer = offered.model().tokenizer();
        let text = |id: Option<TokenId>| {
            let bytes = tokenizer.zip(id).map(|(tokenizer, id)| tokenizer.bytes(id));
            bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        };
        Facts {
            name: offered.name.clone(),
            file_bytes: offered.model().file().file_bytes(),
            hash: offered.hash(),
            fingerprint: offered.model().fingerprint(),
            n_parameters: offered.n_parameters(),
            quantization: offered.quantization(),
            longest_context: *context_length,
            dim: *dim,
            vocab_size: *vocab_size,
            context_length: offered.schedule.context_length,
            n_texts: offered.schedule.n_texts,
            sampling: offered.sampling.clone(),
            template: offered.template.clone(),
            bos: text(tokenizer.and_then(|tokenizer| tokenizer.bos())),
            eos: text(tokenizer.and_then(|tokenizer| tokenizer.eos())),
            private: private(plan),
        }
    }

    /// Private memory that the model takes, in bytes.
    pub(crate) fn private(&self) -> u64 {
        self.private
    }
}

/// The private memory of a model with this plan, without the program's own.
pub(super) fn private(plan: &MemoryPlan) -> u64 {
    plan.to_come().saturating_add(plan.tables)
}
