//! How much each token of a text surprises a model, and where two models differ.

use super::distribution::{Distribution, standing};
use super::score::agreement;
use crate::error::Result;
use crate::model::Session;
use crate::token::TokenId;

/// One token of a text as its model sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Surprise {
    /// The token.
    pub token: TokenId,
    /// `-log2` of its probability. `None` of a token that nothing comes before.
    pub bits: Option<f64>,
    /// Its rank among all tokens, 1 being the most probable.
    pub rank: usize,
    /// The most probable token in its place, and its probability.
    pub best: (TokenId, f64),
    /// The expected surprise, in bits.
    pub entropy: f64,
    /// KL(this || other) in its place, in bits, if there is another model: how far that one is from this one's distribution.
    pub kl: Option<f64>,
    /// The surprise that the other model has, if there is another.
    pub other_bits: Option<f64>,
}

/// Tokens whose logits are kept at once.
pub const BATCH: usize = 32;

/// The surprise of each of `tokens`, read in windows of as many as `session` holds, two at least; in a window after the first,
/// half is context that was scored before. With `other`, a session as long of a model with the same vocabulary, both are
/// compared, this one being the reference. `step` is given how many are done after each pass, and ends the work where it returns
/// false: then there are fewer.
pub fn surprises(
    session: &mut Session,
    mut other: Option<&mut Session>,
    tokens: &[TokenId],
    step: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Surprise>> {
    let window = session.context_length();
    let mut scored: Vec<Surprise> = Vec::with_capacity(tokens.len());
    scored.extend(tokens.first().map(|first| Surprise {
        token: *first,
        bits: None,
        rank: 0,
        best: (*first, 0.0),
        entropy: 0.0,
        kl: None,
        other_bits: None,
    }));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    while scored.len() < tokens.len() {
        let n_context = if scored.len() == 1 { 0 } else { window / 2 };
        let last_known = scored.len() - 1;
        let start = last_known - n_context.min(last_known);
        let end = tokens.len().min(start + window);
        let context = &tokens[start..last_known];
        let mut go_on = || step(scored.len());
        let has_begun = begin(session, context, &mut go_on)?
            && other.as_mut().map_or(Ok(true), |other| begin(other, context, &mut go_on))?;
        if !has_begun {
            return Ok(scored);
        }
        let n_batch = BATCH.min(session.most_in_a_pass());
        for (batch, first) in tokens[last_known..end - 1].chunks(n_batch).zip((last_known + 1..).step_by(n_batch)) {
            match &mut other {
                None => session.extend_each(batch, &mut |i, logits| {
                    scored.push(surprise(logits, None, tokens[first + i]));
                })?,
                Some(other) => {
                    ours.clear();
                    theirs.clear();
                    session.extend_each(batch, &mut |_, logits| ours.extend_from_slice(logits))?;
                    other.extend_each(batch, &mut |_, logits| theirs.extend_from_slice(logits))?;
                    let n = ours.len() / batch.len();
                    for (i, logits) in ours.chunks_exact(n).enumerate() {
                        scored.push(surprise(logits, theirs.get(i * n..(i + 1) * n), tokens[first + i]));
                    }
                }
            }
            if !step(scored.len()) {
                return Ok(scored);
            }
        }
    }
    Ok(scored)
}

/// Puts `context` into an emptied session; false where `step`, which is asked after each pass, ended the work.
fn begin(session: &mut Session, context: &[TokenId], step: &mut dyn FnMut() -> bool) -> Result<bool> {
    session.rewind(0);
    for part in context.chunks(session.most_in_a_pass()) {
        session.append(part)?;
        if !step() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn surprise(logits: &[f32], theirs: Option<&[f32]>, token: TokenId) -> Surprise {
    use core::f64::consts::LN_2;
    let all = Distribution::of_logits(logits, 1.0, 1);
    Surprise {
        token,
        bits: Some(super::nll(logits, token) / LN_2),
        rank: standing(logits, token).map_or(logits.len(), |(rank, _)| rank),
        best: all.top.first().map_or((token, 0.0), |best| (best.id, best.probability)),
        entropy: all.entropy,
        kl: theirs.map(|theirs| agreement(logits, theirs).kl / LN_2),
        other_bits: theirs.map(|theirs| super::nll(theirs, token) / LN_2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Compute;
    use crate::kernels;
    use crate::model::{Model, SessionOptions};
    use alloc::sync::Arc;

    #[test]
    fn windows_score_every_token_once_with_half_of_them_before_it() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Arc::new(Model::open(bytes).expect("the story model"));
        let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
        let tokens: Vec<TokenId> = (0..150u32).map(|i| i * 37 % 900).collect();
        let session = |context_length| {
            let options =
                SessionOptions { context_length, batch: BATCH, logit_rows: BATCH, ..SessionOptions::default() };
            Session::new(&model, &compute, options).expect("a session")
        };
        let (mut whole, mut short, mut same) = (session(200), session(40), session(200));
        let all = surprises(&mut whole, Some(&mut same), &tokens, &mut |_| true).expect("scores");
        assert_eq!((all.len(), all[0].bits), (150, None));
        for (i, s) in all.iter().enumerate().skip(1) {
            assert_eq!((s.token, s.kl, s.bits), (tokens[i], Some(0.0), s.other_bits), "token {i}");
            assert!(s.bits.is_some_and(|bits| bits > 0.0) && s.rank >= 1 && s.entropy > 0.0);
        }
        let windows = surprises(&mut short, None, &tokens, &mut |_| true).expect("scores");
        assert_eq!(windows.len(), 150);
        assert_eq!(
            windows[..40].iter().map(|s| s.bits).collect::<Vec<_>>(),
            all[..40].iter().map(|s| s.bits).collect::<Vec<_>>()
        );
        // Token 58 is the last of the second window, whose first is token 19.
        let mut fresh = session(40);
        let logits = fresh.extend(&tokens[19..58]).expect("logits");
        assert_eq!(windows[58].bits, Some(super::super::nll(logits, tokens[58]) / core::f64::consts::LN_2));
        let some = surprises(&mut short, None, &tokens, &mut |n| n < 33).expect("scores");
        assert_eq!(some.len(), 33);
    }
}
