//! The stages of a chain: their order and their names.

/// The stages of a chain, in the order that it has where nobody asks for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// As the model gave them.
    Logits,
    /// After a mask; there is no such stage where none is given.
    Constraint,
    /// Without the tokens with which a banned string began here.
    Banned,
    /// After bias and penalties.
    Penalties,
    /// After the penalty of repeated sequences.
    Dry,
    /// After top-n-sigma.
    TopNSigma,
    /// After the temperature; of temperature 0 the one best token is left.
    Temperature,
    /// After top-k.
    TopK,
    /// After typical sampling.
    Typical,
    /// After top-p.
    TopP,
    /// After min-p.
    MinP,
    /// After the exclusion of top choices.
    Xtc,
    /// After mirostat.
    Mirostat,
    /// After adaptive-p.
    AdaptiveP,
}

impl Stage {
    /// The stages that [`SamplerOptions::order`](super::SamplerOptions::order) may put in order, as they are where nobody does.
    pub const ORDER: [Stage; 9] = [
        Stage::Penalties,
        Stage::Dry,
        Stage::TopNSigma,
        Stage::Temperature,
        Stage::TopK,
        Stage::Typical,
        Stage::TopP,
        Stage::MinP,
        Stage::Xtc,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// A name of five characters at most.
    pub fn short_name(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Stage::Logits => ("logits", "model"),
            Stage::Constraint => ("constraint", "legal"),
            Stage::Banned => ("banned", "ban."),
            Stage::Penalties => ("penalties", "pen."),
            Stage::Dry => ("dry", "dry"),
            Stage::TopNSigma => ("top-n-sigma", "sigma"),
            Stage::Temperature => ("temperature", "temp."),
            Stage::TopK => ("top-k", "top-k"),
            Stage::Typical => ("typical", "typ."),
            Stage::TopP => ("top-p", "top-p"),
            Stage::MinP => ("min-p", "min-p"),
            Stage::Xtc => ("xtc", "xtc"),
            Stage::Mirostat => ("mirostat", "miro."),
            Stage::AdaptiveP => ("adaptive-p", "adap."),
        }
    }

    /// The stage that may be put in order and has this name, as it is here or as llama.cpp writes it.
    pub fn named(name: &str) -> Option<Stage> {
        let name = name.trim().replace('_', "-").to_lowercase();
        let name = match name.as_str() {
            "typ-p" | "typical-p" => "typical",
            "temp" => "temperature",
            name => name,
        };
        Stage::ORDER.into_iter().find(|stage| stage.name() == name)
    }

    /// It changes the logits of all tokens; other stages choose among candidates.
    pub(super) fn is_of_logits(self) -> bool {
        matches!(self, Stage::Logits | Stage::Constraint | Stage::Banned | Stage::Penalties | Stage::Dry)
    }
}
