//! How long a model stays in memory after it was used.

use core::time::Duration;
use serde_json::Value;
use whit::error::{Error, Result};

/// How long a model stays in memory after its last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// For so long; not at all where it is zero.
    For(Duration),
    /// Until the program ends or its memory is needed.
    Ever,
}

/// Units of durations, in seconds; longer names first.
const UNITS: [(&str, f64); 6] = [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

impl Keep {
    /// That of a number of seconds, of which a negative one is for ever.
    fn of_seconds(seconds: f64) -> Keep {
        if seconds < 0.0 {
            return Keep::Ever;
        }
        Duration::try_from_secs_f64(seconds).map_or(Keep::Ever, Keep::For)
    }

    /// That of a text such as `5m`, `1h30m`, `90` (seconds), `0`, `-1` or `forever`.
    pub(crate) fn of_text(text: &str) -> core::result::Result<Keep, String> {
        const WANTED: &str = "expected a duration such as 5m, 1h30m or 90s, seconds as a number, or forever";
        let text = text.trim();
        if text == "forever" {
            return Ok(Keep::Ever);
        }
        if let Ok(seconds) = text.parse::<f64>() {
            return if seconds.is_finite() { Ok(Keep::of_seconds(seconds)) } else { Err(WANTED.into()) };
        }
        let (is_negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.is_empty() {
            return Err(WANTED.into());
        }
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(WANTED)?;
            let number: f64 = rest[..end].parse().map_err(|_| WANTED)?;
            let unit = UNITS.iter().find_map(|(unit, factor)| Some((rest[end..].strip_prefix(unit)?, factor)));
            let (after, factor) = unit.ok_or(WANTED)?;
            (seconds, rest) = (seconds + number * factor, after);
        }
        Ok(if is_negative { Keep::Ever } else { Keep::of_seconds(seconds) })
    }

    /// What the field `keep_alive` of Ollama's requests says; `None` where it is not there.
    pub(crate) fn of_body(body: &Value) -> Result<Option<Keep>> {
        let kept = match body.get("keep_alive") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(seconds)) => Ok(Keep::of_seconds(seconds.as_f64().unwrap_or(0.0))),
            Some(Value::String(text)) => Keep::of_text(text),
            Some(_) => Err("it is neither a number of seconds nor a duration".into()),
        };
        kept.map(Some).map_err(|message| Error::usage(message).field("keep_alive"))
    }

    /// Whether it does not stay at all.
    pub(crate) fn is_nothing(self) -> bool {
        self == Keep::For(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_read_as_ollama_has_them() {
        let of = |seconds| Ok(Keep::For(Duration::from_secs_f64(seconds)));
        for (text, kept) in [
            ("5m", of(300.0)),
            ("1h30m", of(5400.0)),
            ("90", of(90.0)),
            ("250ms", of(0.25)),
            ("1.5h", of(5400.0)),
            ("0", of(0.0)),
            ("0s", of(0.0)),
            ("-1", Ok(Keep::Ever)),
            ("-1m", Ok(Keep::Ever)),
            ("forever", Ok(Keep::Ever)),
            ("1e300", Ok(Keep::Ever)),
        ] {
            assert_eq!(Keep::of_text(text), kept, "{text}");
        }
        for text in ["", "m", "-", "5x", "5m3", "nan", "inf", "1..5s"] {
            assert!(Keep::of_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_body_says_it_as_a_number_or_a_text() {
        let of = |value: Value| Keep::of_body(&json!({"keep_alive": value}));
        assert_eq!(of(json!(0)), Ok(Some(Keep::For(Duration::ZERO))));
        assert!(of(json!(0)).is_ok_and(|kept| kept.is_some_and(Keep::is_nothing)));
        assert_eq!(of(json!(2.5)), Ok(Some(Keep::For(Duration::from_millis(2500)))));
        assert_eq!((of(json!(-1)), of(json!(null))), (Ok(Some(Keep::Ever)), Ok(None)));
        assert_eq!(of(json!("2m")), Ok(Some(Keep::For(Duration::from_secs(120)))));
        for wrong in [json!([]), json!(true), json!("soon")] {
            assert!(of(wrong).is_err_and(|error| error.named_field() == Some("keep_alive")));
        }
        assert_eq!(Keep::of_body(&json!({})), Ok(None));
    }
}
