//! A model as it is offered: its file, and how texts of it are written.

use std::sync::Arc;
use whit::chat::Argument;
use whit::generate::{ModelFile, ScheduleOptions};
use whit::inspect::tally::Tally;
use whit::model::Model;
use whit::sampler::SamplerOptions;

/// A model as it is offered.
pub(crate) struct Offered {
    /// By what clients call it.
    pub(crate) name: String,
    pub(crate) file: ModelFile,
    /// How tokens are chosen where a request says nothing.
    pub(crate) sampling: SamplerOptions,
    /// The chat template, its own or another; `None`: it cannot talk.
    pub(crate) template: Option<String>,
    /// What that is given by names of its own.
    pub(crate) template_arguments: Vec<(String, Argument)>,
    pub(crate) schedule: ScheduleOptions,
    /// Strings that end every answer.
    pub(crate) stops: Vec<String>,
    /// Most tokens of an answer where a request says nothing.
    pub(crate) n_tokens: Option<usize>,
}

impl Offered {
    pub(super) fn model(&self) -> &Arc<Model> {
        self.file.model()
    }

    /// Parameters that are stored.
    pub(super) fn n_parameters(&self) -> u64 {
        Tally::new(self.model().config(), self.model().file().tensors()).stored()
    }

    /// The type of most of its weights.
    pub(super) fn quantization(&self) -> &'static str {
        let most = self.model().file().tensors().iter().max_by_key(|tensor| tensor.bytes);
        most.map_or("", |tensor| tensor.dtype.name())
    }

    /// The hash of its content, in hexadecimal.
    pub(super) fn hash(&self) -> String {
        blake3::Hash::from_bytes(self.model().content_hash()).to_hex().to_string()
    }
}
