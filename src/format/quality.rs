//! How near the weights are to their checkpoint: a held-out text, what the checkpoint predicts in it, and the figures of this file.

use super::cursor::{Cursor, Encoder};
use crate::error::{Error, Result};
use crate::token::TokenId;
use alloc::{format, string::String, vec::Vec};
use core::ops::Range;

/// Longest window of a report, in tokens.
pub const MAX_WINDOW: usize = 1 << 16;
/// Most windows of a report.
pub const MAX_WINDOWS: usize = 1 << 12;
/// Most outcomes that are told apart at a position.
pub const MAX_OUTCOMES: usize = 1 << 10;

/// The quality report: FORMAT.md, "Quality report".
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// Version of the numerics under which the figures were computed.
    pub numerics: u32,
    /// Tokens a window, each of which is read by itself; of it the positions of [`Quality::scored`] count.
    pub window: usize,
    /// The held-out tokens, (windows, window), as they are read.
    pub tokens: Vec<TokenId>,
    /// Outcomes that are told apart at a position: the reference's most probable tokens.
    pub outcomes: usize,
    /// For each scored position the reference's log-probability of the token that follows.
    pub next: Vec<f32>,
    /// For each scored position its log-probability of all tokens but the outcomes; minus infinity where there are none.
    pub rest: Vec<f32>,
    /// The outcomes, the most probable first, (positions, outcomes).
    pub ids: Vec<TokenId>,
    /// Their log-probabilities, (positions, outcomes).
    pub logs: Vec<f32>,
    /// What this file's weights reach.
    pub figures: Figures,
}

/// The figures of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Perplexity of the reference.
    pub reference_perplexity: f64,
    /// Perplexity of the weights of the file.
    pub perplexity: f64,
    /// Mean of the KL divergence from the reference, in nats, over outcomes and rest.
    pub mean_kl: f64,
    /// Its 99th percentile.
    pub p99_kl: f64,
    /// Positions at which both hold the same token for the most probable.
    pub same_top: u32,
}

impl Figures {
    /// The bits of all figures: two reports agree where these are equal.
    pub fn bits(&self) -> [u64; 5] {
        let Figures { reference_perplexity, perplexity, mean_kl, p99_kl, same_top } = *self;
        let [a, b, c, d] = [reference_perplexity, perplexity, mean_kl, p99_kl].map(f64::to_bits);
        [a, b, c, d, same_top.into()]
    }
}

impl Quality {
    /// Bytes of a section of so many windows of `window` tokens with `outcomes` at a position.
    pub fn bytes(windows: usize, window: usize, outcomes: usize) -> u64 {
        let [windows, window, positions] = [windows, window, Quality::scored(window).len()].map(|n| n as u64);
        16 + 4 * windows * window + windows * positions * (8 + 8 * outcomes as u64) + 36
    }

    /// The positions of a window that count: those of its second half, from which position i predicts token i + 1.
    pub fn scored(window: usize) -> Range<usize> {
        window / 2..window.saturating_sub(1)
    }

    /// Number of scored positions.
    pub fn positions(&self) -> usize {
        self.tokens.len() / self.window * Quality::scored(self.window).len()
    }

    /// Number of windows.
    pub fn windows(&self) -> usize {
        self.tokens.len() / self.window
    }

    /// Outcomes and their log-probabilities at scored position `index`.
    pub fn outcomes_at(&self, index: usize) -> (&[TokenId], &[f32]) {
        let range = index * self.outcomes..(index + 1) * self.outcomes;
        (&self.ids[range.clone()], &self.logs[range])
    }

    /// The section's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        for number in [self.numerics, self.windows() as u32, self.window as u32, self.outcomes as u32] {
            out.u32(number);
        }
        self.tokens.iter().for_each(|id| out.u32(*id));
        for (index, (next, rest)) in self.next.iter().zip(&self.rest).enumerate() {
            let (ids, logs) = self.outcomes_at(index);
            out.f32(*next);
            out.f32(*rest);
            ids.iter().for_each(|id| out.u32(*id));
            logs.iter().for_each(|log| out.f32(*log));
        }
        let [figures @ .., same_top] = self.figures.bits();
        figures.into_iter().for_each(|bits| out.u64(bits));
        out.u32(same_top as u32);
        out.into_bytes()
    }

    /// The report in `section`, which starts at byte `base` of the file; its rules are checked, ids only against each other.
    pub fn decode(section: &[u8], base: u64) -> Result<Quality> {
        let mut cursor = Cursor::based(section, "QUAL", base);
        let numerics = cursor.u32("numerics version")?;
        let [windows, window, outcomes] =
            [("windows", 1, MAX_WINDOWS), ("window", 3, MAX_WINDOW), ("outcomes", 1, MAX_OUTCOMES)]
                .map(|(field, least, most)| number(&mut cursor, field, least..most + 1));
        let (windows, window, outcomes) = (windows?, window?, outcomes?);
        let wanted = Quality::bytes(windows, window, outcomes);
        if section.len() as u64 != wanted {
            let message = format!("{} bytes, but {windows} x {window} tokens take {wanted}", section.len());
            return Err(Error::data(message).field("section QUAL").at(base));
        }
        let positions = windows * Quality::scored(window).len();
        let mut report = Quality {
            numerics,
            window,
            tokens: ids(&mut cursor, windows * window)?,
            outcomes,
            next: Vec::with_capacity(positions),
            rest: Vec::with_capacity(positions),
            ids: Vec::with_capacity(positions * outcomes),
            logs: Vec::with_capacity(positions * outcomes),
            figures: Figures::default(),
        };
        for _ in 0..positions {
            report.next.push(log(&mut cursor, "next token", f32::MIN)?);
            report.rest.push(log(&mut cursor, "rest", f32::NEG_INFINITY)?);
            let at = cursor.offset();
            let ids = ids(&mut cursor, outcomes)?;
            let first = report.logs.len();
            for _ in 0..outcomes {
                report.logs.push(log(&mut cursor, "outcome", f32::MIN)?);
            }
            let order = check_order(&ids, &report.logs[first..]);
            order.map_err(|message| Error::data(message).field("QUAL outcomes").at(at))?;
            report.ids.extend(ids);
        }
        report.figures = figures(&mut cursor, positions)?;
        cursor.finish()?;
        Ok(report)
    }
}

/// A number within `range`.
fn number(cursor: &mut Cursor<'_>, field: &'static str, range: Range<usize>) -> Result<usize> {
    let at = cursor.offset();
    let value = cursor.u32(field)? as usize;
    if range.contains(&value) {
        return Ok(value);
    }
    let message = format!("{value} is not in {}..={}", range.start, range.end - 1);
    Err(Error::data(message).field(format!("QUAL {field}")).at(at))
}

fn ids(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<TokenId>> {
    (0..n).map(|_| cursor.u32("token id")).collect()
}

/// A log-probability of at least `least`.
fn log(cursor: &mut Cursor<'_>, field: &'static str, least: f32) -> Result<f32> {
    let at = cursor.offset();
    let value = cursor.f32(field)?;
    if (least..=0.0).contains(&value) {
        return Ok(value);
    }
    Err(Error::data(format!("{value} is no log-probability")).field(format!("QUAL {field}")).at(at))
}

/// Refuses outcomes that do not descend, or are there twice.
fn check_order(ids: &[TokenId], logs: &[f32]) -> core::result::Result<(), String> {
    for i in 1..ids.len() {
        if logs[i] > logs[i - 1] || logs[i] == logs[i - 1] && ids[i] <= ids[i - 1] {
            return Err(format!("outcome {i} does not follow the one before it: probability falls, then the id rises"));
        }
    }
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(format!("token {} is there twice", pair[0])),
    }
}

fn figures(cursor: &mut Cursor<'_>, positions: usize) -> Result<Figures> {
    let mut value = |field: &'static str| {
        let at = cursor.offset();
        let value = f64::from_bits(cursor.u64(field)?);
        if value.is_finite() && value >= 0.0 {
            return Ok(value);
        }
        Err(Error::data(format!("{value} is not a figure of a report")).field(format!("QUAL {field}")).at(at))
    };
    let figures = Figures {
        reference_perplexity: value("perplexity of the reference")?,
        perplexity: value("perplexity")?,
        mean_kl: value("mean KL")?,
        p99_kl: value("99 % KL")?,
        same_top: 0,
    };
    let same_top = number(cursor, "same top-1", 0..positions + 1)? as u32;
    Ok(Figures { same_top, ..figures })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two windows of 5 tokens, of which 2 positions count, with two outcomes each.
    fn report() -> Quality {
        Quality {
            numerics: 2,
            window: 5,
            tokens: (0..10).collect(),
            outcomes: 2,
            next: vec![-1.0, -2.0, -0.5, -0.25],
            rest: vec![-1.0, -3.0, f32::NEG_INFINITY, -2.0],
            ids: vec![3, 1, 4, 2, 0, 1, 5, 9],
            logs: vec![-0.5, -1.0, -1.0, -2.0, -0.5, -0.5, -0.25, -3.0],
            figures: Figures { reference_perplexity: 2.5, perplexity: 2.75, mean_kl: 0.125, p99_kl: 0.5, same_top: 3 },
        }
    }

    #[test]
    fn reports_survive_and_every_cut_is_found() {
        let bytes = report().encode();
        assert_eq!(bytes.len() as u64, Quality::bytes(2, 5, 2));
        assert_eq!(Quality::decode(&bytes, 0), Ok(report()));
        for n in 0..bytes.len() {
            let error = Quality::decode(&bytes[..n], 100).expect_err("cut");
            assert!(error.to_string().contains("QUAL") && error.offset() >= Some(100), "{error}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Quality::decode(&longer, 0).expect_err("a byte more").to_string().contains("bytes, but"));
    }

    /// M-44
    #[test]
    fn every_rule_of_a_report_is_refused_with_its_place() {
        const FIRST: usize = 16 + 40;
        const FIGURES: usize = FIRST + 4 * 24;
        let nan = f32::NAN.to_le_bytes();
        let rows: [(&str, usize, &[u8], usize, &str); 17] = [
            ("no window", 4, &[0, 0, 0, 0], 4, "0 is not in 1..=4096"),
            ("too many windows", 4, &[1, 16, 0, 0], 4, "4097 is not in"),
            ("2^32 - 1 windows", 4, &[255; 4], 4, "4294967295 is not in"),
            ("windows of 2", 8, &[2, 0, 0, 0], 8, "2 is not in 3..=65536"),
            ("windows too long", 8, &[1, 0, 1, 0], 8, "65537 is not in"),
            ("no outcomes", 12, &[0, 0, 0, 0], 12, "0 is not in 1..=1024"),
            ("too many outcomes", 12, &[1, 4, 0, 0], 12, "1025 is not in"),
            ("another number of outcomes", 12, &[3, 0, 0, 0], 0, "bytes, but 2 x 5 tokens take"),
            ("next token NaN", FIRST, &nan, FIRST, "NaN is no log-probability"),
            ("next token impossible", FIRST, &[0, 0, 128, 255], FIRST, "-inf is no log-probability"),
            ("rest above 1", FIRST + 4, &[0, 0, 128, 63], FIRST + 4, "1 is no log-probability"),
            ("an outcome above 1", FIRST + 16, &[0, 0, 128, 63], FIRST + 16, "1 is no log-probability"),
            ("outcomes rise", FIRST + 16, &(-2_f32).to_le_bytes(), FIRST + 8, "does not follow"),
            ("equal outcomes fall", FIRST + 20, &(-0.5_f32).to_le_bytes(), FIRST + 8, "does not follow"),
            ("an outcome twice", FIRST + 12, &[3, 0, 0, 0], FIRST + 8, "token 3 is there twice"),
            ("mean KL negative", FIGURES + 23, &[0xbf], FIGURES + 16, "is not a figure of a report"),
            ("too many of the same top", FIGURES + 32, &[5], FIGURES + 32, "5 is not in 0..=4"),
        ];
        for (rule, at, bytes, place, words) in rows {
            let mut section = report().encode();
            section[at..at + bytes.len()].copy_from_slice(bytes);
            let error = Quality::decode(&section, 1000).expect_err(rule);
            assert!(error.to_string().contains(words), "{rule}: {error}");
            assert_eq!(error.offset(), Some(1000 + place as u64), "{rule}: {error}");
        }
    }
}
