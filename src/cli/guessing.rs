//! Guesses ahead, as the arguments ask for them.

use super::args::{Guess, GuessArg};
use super::input::{self, ModelFile};
use super::setup::BATCH;
use std::sync::Arc;
use whit::error::{Error, Result};
use whit::generate::guess::{Corpus, Draft, Guesses, LOGIT_ROWS, Source, Tally};
use whit::inspect::MemoryPlan;
use whit::model::{Model, Session, SessionOptions};
use whit::tokenizer::Specials;
use whit::{Compute, TokenId};

/// The most tokens of a corpus: the memory for them is part of the plan.
const MOST_CORPUS_TOKENS: usize = 1 << 20;

/// What guesses will be made.
pub(super) struct Guessing {
    by: By,
    /// Tokens of each, if not as many as pay.
    length: Option<usize>,
}

/// What guesses are made by.
enum By {
    /// What was written before, and the tokens of a corpus.
    Ngram(Vec<TokenId>),
    /// Another model.
    Draft(Arc<Model>),
}

/// The options of a session whose text is guessed, if it is.
pub(super) fn options(guessing: Option<&Guessing>, options: SessionOptions) -> SessionOptions {
    SessionOptions { logit_rows: if guessing.is_some() { LOGIT_ROWS } else { options.logit_rows }, ..options }
}

/// How guesses went in a text of so many tokens.
pub(super) fn words(tally: Tally, n_generated: usize) -> String {
    let Tally { n_guessed, n_right, n_passes } = tally;
    let share =
        if n_guessed > 0 { format!(" ({:.0} %)", 100.0 * n_right as f64 / n_guessed as f64) } else { String::new() };
    // The first token came with the pass of the prompt.
    let each = n_generated.saturating_sub(1) as f64 / n_passes.max(1) as f64;
    format!("guessed {n_guessed} tokens, {n_right} accepted{share}; {each:.2} tokens a pass")
}

impl Guessing {
    /// What the arguments name, for texts of `model`.
    pub(super) fn asked(args: &GuessArg, model: &Arc<Model>, max_memory: Option<u64>) -> Result<Option<Self>> {
        let by = match &args.guess {
            None => return Ok(None),
            Some(Guess::Ngram(None)) => By::Ngram(Vec::new()),
            Some(Guess::Ngram(Some(path))) => {
                let text = input::text(path)?;
                let mut tokens = Vec::new();
                if let Some(tokenizer) = model.tokenizer() {
                    tokenizer.encode(&text, Specials::AsText, &mut tokens);
                }
                if tokens.len() > MOST_CORPUS_TOKENS {
                    let message = format!("{} tokens to guess by, at most {MOST_CORPUS_TOKENS}", tokens.len());
                    return Err(Error::data(message).in_file(path.display().to_string()));
                }
                By::Ngram(tokens)
            }
            Some(Guess::Draft(path)) => {
                if max_memory.is_some() {
                    let error = Error::usage("weights that are streamed leave no memory to a draft").field("guess");
                    return Err(error.hint("ngram guesses without one"));
                }
                let source = ModelFile::open(Some(path))?;
                let draft = source.model()?;
                Draft::check(&draft, model).map_err(|error| error.in_file(source.name()))?;
                By::Draft(draft)
            }
        };
        Ok(Some(Guessing { by, length: args.guess_length.map(usize::from) }))
    }

    /// Another model guesses.
    pub(super) fn has_draft(&self) -> bool {
        matches!(self.by, By::Draft(_))
    }

    /// The `plan` of a text of `model` with its guesses, in a session with these options.
    pub(super) fn planned(&self, plan: MemoryPlan, model: &Model, options: SessionOptions) -> MemoryPlan {
        match &self.by {
            By::Ngram(tokens) => {
                let n_tokens = tokens.len() + options.context_length;
                plan.of_guesses(model.config(), None, Corpus::bytes(n_tokens))
            }
            By::Draft(draft) => {
                let of = MemoryPlan::new(draft, draft.file().file_bytes(), draft_options(draft, options), 1, 1);
                let of = MemoryPlan { scratch: of.scratch.saturating_add(draft.config().note_bytes()), ..of };
                plan.of_guesses(model.config(), Some(of), 0)
            }
        }
    }

    /// The guesses of texts of `model` that are written in a session with these options.
    pub(super) fn guesses(
        self,
        model: &Arc<Model>,
        compute: &Arc<Compute>,
        options: SessionOptions,
    ) -> Result<Guesses> {
        let source = match self.by {
            By::Ngram(tokens) if tokens.is_empty() => Source::Ngram(None),
            By::Ngram(tokens) => Source::Ngram(Some(Corpus::new(&tokens))),
            By::Draft(draft) => {
                let session = Session::new(&draft, compute, draft_options(&draft, options))?;
                Source::Draft(Box::new(Draft::new(session, model)?))
            }
        };
        let guesses = Guesses::new(source);
        Ok(match self.length {
            Some(n) => guesses.of_length(n),
            None => guesses,
        })
    }
}

/// A session of `draft` beside one with these options; texts that grow beyond what it was made for are no longer guessed.
fn draft_options(draft: &Model, options: SessionOptions) -> SessionOptions {
    let context_length = options.context_length.min(draft.config().context_length);
    SessionOptions { context_length, batch: BATCH, logit_rows: 1, ..options }
}
