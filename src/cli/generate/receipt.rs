//! The receipt of a text.

use super::super::args::Generate;
use super::super::output::note;
use super::super::views::create;
use std::path::Path;
use whit::TokenId;
use whit::chat::receipt::{Evidence, Receipt, Terms};
use whit::error::{Error, Result, printable};
use whit::generate::grammar::Rule;
use whit::generate::{OnFull, StopReason, StopRules, Writer};
use whit::model::Model;
use whit::sampler::Sampler;

/// How a receipt begins, and no other file.
const BEGINNING: &str = "{\"receipt\":";

/// A receipt that is being written.
pub(super) struct Draft {
    receipt: Receipt,
    pub(super) evidence: Evidence,
}

impl Draft {
    /// The receipt of a text behind `prompt`, if the arguments ask for one.
    pub(super) fn asked(
        args: &Generate,
        model: &Model,
        prompt: &[TokenId],
        (sampler, rules, rule): (&Sampler, &StopRules, Option<Rule>),
        context_length: usize,
    ) -> Result<Option<Draft>> {
        if args.receipt.is_none() {
            return Ok(None);
        }
        if rules.on_full != OnFull::Stop {
            let message = "a text that goes on where the context is full has none";
            return Err(Error::usage(message).field("receipt"));
        }
        let terms = Terms {
            sampling: sampler.options().clone(),
            kv: args.compute.kv.into(),
            context_length,
            n_tokens: rules.n_tokens,
            stops: rules.stops.clone(),
            end_tokens: rules.end_tokens.clone(),
            rule,
            reply: None,
        };
        let receipt = Receipt::begin(model, terms, prompt);
        Ok(Some(Draft { receipt, evidence: Evidence::default() }))
    }

    /// Writes the receipt of the text of `writer`, which has ended, to `path`. One that the user ended has none: nobody else would end
    /// it there.
    pub(super) fn write(self, path: &Path, writer: &Writer) -> Result<()> {
        let Some(reason) = writer.stop_reason().filter(|reason| *reason != StopReason::Interrupted) else {
            note(format_args!("whit: a text that was interrupted has no receipt"));
            return Ok(());
        };
        let output = writer.tokens()[self.receipt.prompt.len()..].to_vec();
        let receipt = Receipt { output, reason, logits: self.evidence.hash(), ..self.receipt };
        let mut file = create(path, BEGINNING)?;
        file.write(format!("{}\n", receipt.to_json()).as_bytes())?;
        file.commit()?;
        note(format_args!("whit: wrote {}", printable(&path.display().to_string())));
        Ok(())
    }
}
