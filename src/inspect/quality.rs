//! The quality report of a file: what a reference predicts in a held-out text, and how far a model is from that. All figures are
//! sums in a written order of bits that every machine computes, so they can be compared to the last bit.

use super::score::{Summary, log_mass, log_masses, nll, perplexity, top};
use crate::compute::Compute;
use crate::error::{Error, Kind, Result};
use crate::format::{Figures, Quality};
use crate::model::{Model, Session, SessionOptions};
use crate::ops::math::exp_f64;
use crate::ops::{KvDtype, NUMERICS_VERSION};
use crate::token::TokenId;
use crate::tokenizer::Specials;
use std::sync::Arc;

/// Tokens of all windows, at most.
const MOST_TOKENS: usize = 1024;
/// Tokens of a window, at most and at least.
const WINDOW: usize = 512;
const LEAST_WINDOW: usize = 16;
/// Tokens computed at a time.
const BATCH: usize = 64;
/// Rows of logits computed at a time.
const LOGIT_ROWS: usize = 16;
/// Outcomes that are told apart at a position, at most, and at least where so many bytes are too many for the file.
const OUTCOMES: usize = 128;
const LEAST_OUTCOMES: usize = 16;
/// Share of the weights that the report takes, at most.
const SHARE: u64 = 100;

/// Told the share that is done, from 0 to 1; its error ends the work.
type Progress<'p> = dyn FnMut(f64) -> Result<()> + 'p;

/// A text that no calibration reads, as the windows of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOut {
    /// Tokens a window.
    pub window: usize,
    /// (windows, window).
    pub tokens: Vec<TokenId>,
}

impl HeldOut {
    /// The first 1024 tokens of `text`, or as many as there are, in windows of equal length that `model` holds; `None` where that is less
    /// than 16, or the model has no tokenizer. A window begins with the token that texts of the model begin with.
    pub fn of(model: &Model, text: &str) -> Option<Self> {
        let tokenizer = model.tokenizer()?;
        let mut tokens = Vec::new();
        tokenizer.encode(text, Specials::AsText, &mut tokens);
        tokens.truncate(MOST_TOKENS);
        let windows = tokens.len().div_ceil(WINDOW.min(model.config().context_length));
        let window = tokens.len().checked_div(windows).filter(|window| *window >= LEAST_WINDOW)?;
        tokens.truncate(windows * window);
        if let Some(first) = tokenizer.bos().filter(|_| tokenizer.adds_bos()) {
            tokens.chunks_exact_mut(window).for_each(|window| window[0] = first);
        }
        Some(HeldOut { window, tokens })
    }

    /// Outcomes at a position of a report on `weights` bytes of a model with so many tokens: 128, or as many as keep it at 1 % of
    /// that, and 16 at least.
    pub fn outcomes(&self, weights: u64, vocab_size: usize) -> usize {
        let fits = |outcomes: &usize| {
            Quality::bytes(self.tokens.len() / self.window, self.window, *outcomes) <= weights / SHARE
        };
        let found = (LEAST_OUTCOMES..=OUTCOMES).rev().find(fits);
        found.unwrap_or(LEAST_OUTCOMES).min(vocab_size)
    }
}

/// What `reference` predicts in the held-out text, with keys and values as f32. The figures of the report are zero.
pub fn predict(
    reference: &Arc<Model>,
    compute: &Arc<Compute>,
    held_out: &HeldOut,
    outcomes: usize,
    progress: &mut Progress<'_>,
) -> Result<Quality> {
    let HeldOut { window, ref tokens } = *held_out;
    let mut report = Quality {
        numerics: NUMERICS_VERSION,
        window,
        tokens: tokens.clone(),
        outcomes,
        next: Vec::new(),
        rest: Vec::new(),
        ids: Vec::new(),
        logs: Vec::new(),
        figures: Figures::default(),
    };
    read(reference, compute, KvDtype::F32, (tokens, window), progress, &mut |logits, next| {
        let mass = log_mass(logits);
        let log = |id: TokenId| (f64::from(logits[id as usize]) - mass) as f32;
        let likelier = |a: &TokenId, b: &TokenId| log(*b).total_cmp(&log(*a)).then(a.cmp(b));
        let mut ids: Vec<TokenId> = (0..logits.len() as TokenId).collect();
        if outcomes < ids.len() {
            ids.select_nth_unstable_by(outcomes, likelier);
            ids.truncate(outcomes);
        }
        let mut ascending = ids.clone();
        ascending.sort_unstable();
        ids.sort_unstable_by(likelier);
        report.next.push(log(next));
        report.rest.push((log_masses(logits, &ascending).1 - mass).min(0.0) as f32);
        report.logs.extend(ids.iter().map(|id| log(*id)));
        report.ids.extend(ids);
    })?;
    match report.next.iter().chain(&report.logs).all(|log| log.is_finite()) {
        true => Ok(report),
        false => Err(Error::data("what the checkpoint predicts are no numbers").field("quality")),
    }
}

/// The figures of `model` by the report, with keys and values as f16; `Unavailable` where the report is of other numerics.
pub fn compare(
    report: &Quality,
    model: &Arc<Model>,
    compute: &Arc<Compute>,
    progress: &mut Progress<'_>,
) -> Result<Figures> {
    check(report, model)?;
    let (mut kl, mut likelihoods, mut same_top, mut index) = (Vec::new(), Vec::new(), 0, 0);
    read(model, compute, KvDtype::F16, (&report.tokens, report.window), progress, &mut |logits, next| {
        let (ids, logs) = report.outcomes_at(index);
        kl.push(divergence((ids, logs, report.rest[index]), logits));
        likelihoods.push(nll(logits, next));
        same_top += u32::from(top(logits) == ids[0] as usize);
        index += 1;
    })?;
    let reference: Vec<f64> = report.next.iter().map(|log| -f64::from(*log)).collect();
    let summary = Summary::of(&mut kl).filter(|kl| kl.mean.is_finite());
    let summary = summary.ok_or_else(|| Error::data("what the model predicts are no numbers").field("quality"))?;
    Ok(Figures {
        reference_perplexity: perplexity(&reference),
        perplexity: perplexity(&likelihoods),
        mean_kl: summary.mean,
        p99_kl: summary.p99,
        same_top,
    })
}

/// The divergence in nats of the reference, given by its outcomes, their log-probabilities and that of the rest, from `logits`.
fn divergence((ids, logs, rest): (&[TokenId], &[f32], f32), logits: &[f32]) -> f64 {
    let mut ascending = ids.to_vec();
    ascending.sort_unstable();
    let (mass, rest_mass) = log_masses(logits, &ascending);
    let term = |log: f32, other: f64| exp_f64(f64::from(log)) * (f64::from(log) - other);
    let told = ids.iter().zip(logs).map(|(id, log)| term(*log, f64::from(logits[*id as usize]) - mass)).sum::<f64>();
    let rest = if rest.is_finite() { term(rest, rest_mass - mass) } else { 0.0 };
    // Rounding can leave a divergence of equal predictions just below zero.
    (told + rest).max(0.0)
}

/// Refuses a report that is not of this model, or of other numerics.
fn check(report: &Quality, model: &Model) -> Result<()> {
    let config = model.config();
    let wrong = |message: String| Err(Error::data(message).field("section QUAL"));
    if let Some(id) = report.tokens.iter().chain(&report.ids).find(|id| **id as usize >= config.vocab_size) {
        return wrong(format!("token {id} is none of the {} of the model", config.vocab_size));
    }
    if report.window > config.context_length {
        let message = format!("windows of {} tokens, but a context of {}", report.window, config.context_length);
        return wrong(message);
    }
    if report.numerics != NUMERICS_VERSION {
        let message = format!("computed with numerics {}, not {NUMERICS_VERSION}", report.numerics);
        let error = Error::new(Kind::Unavailable, message).field("section QUAL");
        return Err(error.hint("the whit of that version compares them; or convert the model again"));
    }
    Ok(())
}

/// Has `model` read (windows, window) tokens; `see` is shown the logits at each scored position, and the token that follows.
fn read(
    model: &Arc<Model>,
    compute: &Arc<Compute>,
    kv: KvDtype,
    (tokens, window): (&[TokenId], usize),
    progress: &mut Progress<'_>,
    see: &mut dyn FnMut(&[f32], TokenId),
) -> Result<()> {
    let options = SessionOptions { context_length: window, kv, batch: BATCH, logit_rows: LOGIT_ROWS, hold_all: false };
    let mut session = Session::new(model, compute, options)?;
    let scored = Quality::scored(window);
    for (start, window) in (0..).step_by(window).zip(tokens.chunks_exact(window)) {
        session.rewind(0);
        while session.position() < scored.end {
            let at = session.position();
            progress((start + at) as f64 / tokens.len() as f64)?;
            if at < scored.start {
                session.append(&window[at..scored.start.min(at + BATCH)])?;
            } else {
                let batch = &window[at..scored.end.min(at + BATCH)];
                session.extend_each(batch, &mut |i, logits| see(logits, window[at + i + 1]))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(logits: &[f32]) -> Vec<f32> {
        logits.iter().map(|l| (f64::from(*l) - log_mass(logits)) as f32).collect()
    }

    #[test]
    fn the_divergence_over_outcomes_and_rest_is_a_lower_bound_that_all_outcomes_reach() {
        let p = [2.0_f32, 1.0, 0.5, -1.0, -3.0];
        let q = [1.5_f32, 1.5, 0.0, -0.5, -2.0];
        let all = super::super::agreement(&p, &q).kl;
        let logs = logs(&p);
        let mut before = 0.0;
        for n in 1..=5 {
            let rest: f64 = logs[n..].iter().map(|log| f64::from(*log).exp()).sum();
            let ids: Vec<TokenId> = (0..n as TokenId).collect();
            let kl = divergence((&ids, &logs[..n], rest.ln() as f32), &q);
            assert!(kl >= before - 1e-7 && kl <= all + 1e-6, "{n}: {kl} of {all}");
            before = kl;
        }
        assert!((before - all).abs() < 1e-6, "{before}, not {all}");
        assert!(divergence((&[0, 1, 2, 3, 4], &logs, f32::NEG_INFINITY), &p) < 1e-7);
    }

    #[test]
    fn a_report_is_small_beside_the_weights() {
        let held_out = HeldOut { window: 512, tokens: vec![0; 1024] };
        assert_eq!(held_out.outcomes(1 << 30, 50_000), 128);
        assert_eq!(held_out.outcomes(1 << 30, 7), 7);
        assert_eq!(held_out.outcomes(1 << 16, 50_000), 16);
        let n = held_out.outcomes(15 << 20, 50_000);
        assert!(n > 16 && n < 128 && Quality::bytes(2, 512, n) <= (15 << 20) / 100, "{n}");
    }
}
