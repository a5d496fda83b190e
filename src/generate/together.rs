//! Many texts at once: what their writers want goes through the network in one pass, so that its weights are read once for all
//! of them. No text's bits depend on the others.

use super::Writer;
use crate::compute::Compute;
use crate::error::Result;
use crate::model::{Model, Span, State, Wants, Watch, Workspace};
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
pub fn advance(model: &Model, compute: &Compute, workspace: &mut Workspace, texts: &mut [Together]) -> Result<usize> {
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
    let ready = texts.iter_mut().zip(complete).filter(|(_, complete)| *complete);
    for ((text, _), logits) in ready.zip(logits.chunks_exact(model.config().vocab_size)) {
        text.writer.take(logits, &mut ())?;
    }
    Ok(n_tokens)
}
