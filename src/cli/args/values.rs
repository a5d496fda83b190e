//! Values of arguments: from text to what is in range.

use clap::builder::RangedI64ValueParser;
use clap::value_parser;
use std::path::PathBuf;
use whit::chat::{Argument, Think};
use whit::kernels::Hint;

/// The most tokens that an argument can name.
const MOST_TOKENS: i64 = 1 << 20;

/// A number of tokens, `least` or more.
pub(super) fn count(least: i64) -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(least..=MOST_TOKENS)
}

/// A number of tokens, or -1 for no bound.
pub(super) fn tokens() -> RangedI64ValueParser<i64> {
    value_parser!(i64).range(-1..=MOST_TOKENS)
}

/// A number of threads.
pub(super) fn threads() -> RangedI64ValueParser<u16> {
    value_parser!(u16).range(1..=256)
}

pub(super) fn prefetch(text: &str) -> Result<Hint, String> {
    let hint = Hint::ALL.into_iter().find(|hint| hint.name() == text);
    hint.ok_or_else(|| "expected none, nta, l1 or l2".into())
}

pub(super) fn logit_bias(text: &str) -> Result<(u32, f32), String> {
    let (id, value) = text.split_once('=').ok_or("expected ID=V, such as 13=-5 or 13=-inf")?;
    let id = id.trim().parse().map_err(|_| format!("{id:?} is not a token id"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is not a number"))?;
    Ok((id, value))
}

/// A temperature in degrees Celsius.
#[cfg(feature = "server")]
pub(super) fn celsius(text: &str) -> Result<f64, String> {
    let value = text.trim().parse().ok().filter(|value| (20.0..=120.0).contains(value));
    value.ok_or_else(|| "expected a temperature from 20 to 120".into())
}

/// Bytes, with a unit of 1000s (k, M, G) or of 1024s (KiB, MiB, GiB) or without.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 13] = [
        ("KiB", 1024.0),
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("k", 1e3),
        ("K", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("B", 1.0),
        ("", 1.0),
    ];
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let value = unit.and_then(|(number, factor)| Some(number.trim().parse::<f64>().ok()? * factor));
    let value = value.filter(|value| (0.0..1e18).contains(value));
    value.map(|value| value as u64).ok_or_else(|| "expected a size such as 300M or 1.5GiB".into())
}

pub(super) fn template_argument(text: &str) -> Result<(String, Argument), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as enable_thinking=false")?;
    Ok((name.trim().into(), Argument::of(value.trim())))
}

/// By what tokens are guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Guess {
    /// What was written before, and a text in a file.
    Ngram(Option<PathBuf>),
    /// The model in a file.
    Draft(PathBuf),
}

pub(super) fn guess(text: &str) -> Result<Guess, String> {
    match text.split_once(':') {
        None if text == "ngram" => Ok(Guess::Ngram(None)),
        Some(("ngram", path)) if !path.is_empty() => Ok(Guess::Ngram(Some(path.into()))),
        Some(("draft", path)) if !path.is_empty() => Ok(Guess::Draft(path.into())),
        _ => Err("expected ngram, ngram:FILE or draft:FILE".into()),
    }
}

pub(super) fn think(text: &str) -> Result<Think, String> {
    let think = Think::of(text).filter(|think| !matches!(think, Think::Budget(n) if *n as i64 > MOST_TOKENS));
    think.ok_or_else(|| "expected on, off or a number of tokens".into())
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=60.0).contains(value));
    value.ok_or_else(|| "expected seconds in 0..=60".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_its_unit() {
        let cases = [("300M", 300_000_000), ("1.5GiB", 3 << 29), ("7", 7), ("2 k", 2000), ("4KiB", 4096), ("0", 0)];
        for (text, value) in cases {
            assert_eq!(size(text), Ok(value), "{text}");
        }
        for wrong in ["", "M", "-1", "-1M", "1T", "nan", "1e30", "inf", "1 M M"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn guesses_are_by_what_was_written_or_by_a_model() {
        assert_eq!(guess("ngram"), Ok(Guess::Ngram(None)));
        assert_eq!(guess("ngram:a:b.txt"), Ok(Guess::Ngram(Some("a:b.txt".into()))));
        assert_eq!(guess("draft:small.whit"), Ok(Guess::Draft("small.whit".into())));
        for wrong in ["", "draft", "draft:", "ngram:", "model.whit", "Ngram"] {
            assert!(guess(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bias_is_a_token_and_a_number() {
        assert_eq!(logit_bias("13=-0.5"), Ok((13, -0.5)));
        assert_eq!(logit_bias("0=-inf"), Ok((0, f32::NEG_INFINITY)));
        for wrong in ["", "1", "=2", "x=1", "1=x", "-1=2", "1=2=3"] {
            assert!(logit_bias(wrong).is_err(), "{wrong}");
        }
    }
}
