//! Many texts at once: what their writers want goes through the network in one pass, so that its weights are read once for all
//! of them. No text's bits depend on the others.

use super::Writer;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::model::{Model, Span, State, Wants, Watch, Workspace};
use crate::sampler::Watcher;
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
    let (n_tokens, failed) = advance_each(model, compute, workspace, texts, &mut vec![(); texts.len()])?;
    let first = failed.into_iter().next();
    first.map_or(Ok(n_tokens), |(i, error)| Err(Error::new(error.kind(), error.to_string()).field(format!("text {i}"))))
}

/// A writer that is to choose its next token, and who sees how.
pub(super) struct Ready<'a, W> {
    pub(super) writer: &'a mut Writer,
    pub(super) watcher: &'a mut W,
    pub(super) logits: &'a [f32],
    /// Whether it could.
    pub(super) taken: Result<()>,
}

/// Has each of `ready` choose, shared among the threads: with a small model of a large vocabulary, choosing takes a tenth as long as
/// computing.
pub(super) fn choose<W: Watcher + Send>(compute: &Compute, ready: &mut [Ready<'_, W>]) {
    let n = ready.len();
    if n > 0 {
        compute.threads.run_columns(ready, n, 1, 1, &|_, mut ready| {
            for Ready { writer, watcher, logits, taken } in ready.row(0) {
                *taken = writer.take(logits, *watcher);
            }
        });
    }
}

/// [`advance`], where each text has a watcher; the texts that could choose no token are given by place, each with its error.
pub(super) fn advance_each<W: Watcher + Send>(
    model: &Model,
    compute: &Compute,
    workspace: &mut Workspace,
    texts: &mut [Together],
    watchers: &mut [W],
) -> Result<(usize, Vec<(usize, Error)>)> {
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
        return Ok((0, Vec::new()));
    }
    let n_tokens = spans.iter().map(|span| span.tokens.len()).sum();
    let n_rows = workspace.pass(model, compute, &mut spans, Watch::default())?;
    if n_rows == 0 {
        return Ok((n_tokens, Vec::new()));
    }
    let logits = workspace.logits(model, compute, 0..n_rows, Watch::default());
    let complete = texts.iter_mut().zip(watchers).enumerate().zip(complete).filter(|(_, complete)| *complete);
    let (places, mut ready): (Vec<usize>, Vec<Ready<W>>) = complete
        .zip(logits.chunks_exact(model.config().vocab_size))
        .map(|(((i, (text, watcher)), _), logits)| {
            (i, Ready { writer: &mut text.writer, watcher, logits, taken: Ok(()) })
        })
        .unzip();
    choose(compute, &mut ready);
    let failed = places.into_iter().zip(ready).filter_map(|(i, ready)| Some((i, ready.taken.err()?)));
    Ok((n_tokens, failed.collect()))
}
