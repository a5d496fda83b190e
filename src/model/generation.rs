//! What a checkpoint's authors recommend for generation: the GENR section.

use crate::error::Result;
use crate::format::cursor::{Cursor, Encoder};
use alloc::vec::Vec;

/// What the checkpoint's authors recommend for generation; absent where they say nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Sampling temperature; 0 is arg-max.
    pub temperature: Option<f32>,
    /// Keep the k most probable tokens.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens of this probability.
    pub top_p: Option<f32>,
    /// Keep tokens of at least this share of the most probable one.
    pub min_p: Option<f32>,
    /// Repetition penalty (Keskar et al. 2019).
    pub repeat_penalty: Option<f32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

impl GenerationDefaults {
    /// The bytes of the GENR section (FORMAT.md, "Generation defaults"): absent values are NaN or 0xffff_ffff.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        for value in [self.temperature, self.top_p, self.min_p, self.repeat_penalty] {
            out.f32(value.unwrap_or(f32::NAN));
        }
        out.u32(self.top_k.unwrap_or(u32::MAX));
        out.u32(self.eos.len() as u32);
        self.eos.iter().for_each(|id| out.u32(*id));
        out.into_bytes()
    }

    /// Reads a GENR section.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Cursor::new(bytes, "generation defaults");
        let mut values = [None; 4];
        for value in &mut values {
            *value = Some(input.f32("generation default")?).filter(|v| !v.is_nan());
        }
        let [temperature, top_p, min_p, repeat_penalty] = values;
        let top_k = Some(input.u32("top_k")?).filter(|k| *k != u32::MAX);
        let n = input.count(4, "eos")?;
        let eos = (0..n).map(|_| input.u32("eos")).collect::<Result<Vec<_>>>()?;
        input.finish()?;
        Ok(GenerationDefaults { temperature, top_k, top_p, min_p, repeat_penalty, eos })
    }
}
