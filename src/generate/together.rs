//! Many texts at once: what their writers want goes through the network in one pass, so that its weights are read once for all
//! of them. No text's bits depend on the others.

use super::Writer;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::model::{Model, Span, State, Wants, Watch, Workspace};
use alloc::string::ToString;
use alloc::vec::Vec;

/// One of the texts that are written together.
pub struct Together {
    /// What the model remembers of it.
    pub state: State,
    /// Its writer.
    pub writer: Writer,
}

/// Advances `texts` by one pass: of each that wants tokens, as many as are left of the pass after those before it, and each whose
/// tokens are all computed then has its next piece. Returns how many tokens were computed, 0 where nobody wanted any.
///
/// Texts come in order; one for which no room is left waits for the next pass, so that whoever calls this may turn them.
///
/// Fails where no token can be chosen by the logits of a text, as [`Sampler::sample`](crate::sampler::Sampler::sample) does. The
/// error names the first such text by its place in `texts`; all others have their next piece all the same. The text wants its
/// logits again in every later pass, until its writer is [interrupted](Writer::interrupt) or it is left out.
pub fn advance(model: &Model, compute: &Compute, workspace: &mut Workspace, texts: &mut [Together]) -> Result<usize> {
    let mut failed = None;
    let n_tokens = advance_each(model, compute, workspace, texts, &mut |i, writer, logits| {
        if let Err(error) = writer.take(logits, &mut ()) {
            failed.get_or_insert_with(|| Error::new(error.kind(), error.to_string()).field(format!("text {i}")));
        }
    })?;
    failed.map_or(Ok(n_tokens), Err)
}

/// [`advance`], where `take` gives each writer, with its place in `texts`, its logits.
pub(super) fn advance_each(
    model: &Model,
    compute: &Compute,
    workspace: &mut Workspace,
    texts: &mut [Together],
    take: &mut dyn FnMut(usize, &mut Writer, &[f32]),
) -> Result<usize> {
    let (mut room, mut rows) = (workspace.batch(), workspace.logit_rows());
    let mut spans = Vec::new();
    let mut complete = Vec::new();
    for Together { state, writer } in texts.iter_mut() {
        let Some(text) = writer.wants().filter(|_| room > 0) else {
            complete.push(false);
            continue;
        };
        let held = state.hold(text);
        let left = &text[held..];
        let n = left.len().min(room).min(state.max_span());
        // Without a row for its logits, the last token of a text waits.
        let n = if n == left.len() && rows == 0 { n - 1 } else { n };
        let is_complete = n == left.len();
        complete.push(is_complete);
        if n > 0 {
            (room, rows) = (room - n, rows - usize::from(is_complete));
            spans.push(Span {
                state,
                tokens: &left[..n],
                wants: if is_complete { Wants::Last } else { Wants::Nothing },
            });
        }
    }
    if spans.is_empty() {
        return Ok(0);
    }
    let n_tokens = spans.iter().map(|span| span.tokens.len()).sum();
    let n_rows = workspace.pass(model, compute, &mut spans, Watch::default())?;
    if n_rows == 0 {
        return Ok(n_tokens);
    }
    let logits = workspace.logits(model, compute, 0..n_rows, Watch::default());
    let ready = texts.iter_mut().zip(complete).enumerate().filter(|(_, (_, complete))| *complete);
    for ((i, (text, _)), logits) in ready.zip(logits.chunks_exact(model.config().vocab_size)) {
        take(i, &mut text.writer, logits);
    }
    Ok(n_tokens)
}
