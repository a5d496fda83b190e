//! What a request asks for, in whosever words.

#[cfg(feature = "server")]
use super::extension::Extension;
use whit::TokenId;
#[cfg(feature = "server")]
use whit::chat::Think;
use whit::chat::Turn;
use whit::chat::tools::Tools;
use whit::generate::grammar::Rule;
use whit::sampler::SamplerOptions;

/// What is to be gone on with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Prompt {
    /// A conversation.
    Turns(Vec<Turn>),
    /// A text.
    Text(String),
    /// A text in which names of control tokens are such.
    #[cfg(feature = "server")]
    Marked(String),
    /// The tokens of a text.
    Tokens(Vec<TokenId>),
}

#[cfg(feature = "server")]
impl Prompt {
    /// Bytes of its texts.
    pub(crate) fn n_bytes(&self) -> usize {
        match self {
            Prompt::Turns(turns) => turns.iter().map(|turn| turn.text.len() + turn.thinking.len()).sum(),
            Prompt::Text(text) | Prompt::Marked(text) => text.len(),
            Prompt::Tokens(_) => 0,
        }
    }
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// In one piece.
    Whole,
    /// As it is written.
    Streamed,
    /// As it is written, and at the end how many tokens it had.
    StreamedWithUsage,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) prompt: Prompt,
    /// Most tokens of an answer, if it says.
    pub(crate) n_tokens: Option<usize>,
    pub(crate) stops: Vec<String>,
    /// Answers, each with a seed that is one more than that before.
    pub(crate) n_answers: usize,
    pub(crate) sampling: SamplerOptions,
    /// The functions that are offered.
    pub(crate) tools: Option<Tools>,
    /// How much the model thinks first.
    #[cfg(feature = "server")]
    pub(crate) think: Think,
    /// What an answer has to be.
    pub(crate) rule: Option<Rule>,
    /// With the probabilities of tokens, and so many of the most probable ones in the place of each.
    pub(crate) n_logprobs: Option<usize>,
    pub(crate) sending: Sending,
    #[cfg(feature = "server")]
    pub(crate) extension: Extension,
}

impl Asked {
    /// One answer to `prompt`, in one piece, of which nothing else is said.
    pub(super) fn to(prompt: Prompt, sampling: SamplerOptions) -> Asked {
        Asked {
            prompt,
            n_tokens: None,
            stops: Vec::new(),
            n_answers: 1,
            sampling,
            tools: None,
            #[cfg(feature = "server")]
            think: Think::AsEver,
            rule: None,
            n_logprobs: None,
            sending: Sending::Whole,
            #[cfg(feature = "server")]
            extension: Extension::default(),
        }
    }
}
