//! Texts that grow while they are written.

use super::meter::{Meter, Result};
use super::value::Value;

/// Steps of a byte that is appended: a text that grows takes up to three times its bytes while it moves.
const APPENDED: u64 = 3;

/// A text that grows, each byte of which is paid for.
pub(super) struct Sink<'m> {
    meter: &'m Meter,
    text: String,
}

impl<'m> Sink<'m> {
    pub(super) fn new(meter: &'m Meter) -> Sink<'m> {
        Sink { meter, text: String::new() }
    }

    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        self.meter.pay((text.len() as u64).saturating_mul(APPENDED))?;
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn push_char(&mut self, c: char) -> Result<()> {
        self.push(c.encode_utf8(&mut [0; 4]))
    }

    /// `c`, `n` times.
    pub(super) fn repeat(&mut self, c: char, n: usize) -> Result<()> {
        self.meter.pay((n as u64).saturating_mul(APPENDED * c.len_utf8() as u64))?;
        self.text.extend(core::iter::repeat_n(c, n));
        Ok(())
    }

    pub(super) fn meter(&self) -> &'m Meter {
        self.meter
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }

    pub(super) fn into_value(self) -> Result<Value> {
        self.meter.text(self.text)
    }
}
