//! The tensors of a GGUF file that divide rotary frequencies.

use whit::error::{Error, Result};

use crate::source::encoding::Encoding;
use crate::source::source_file::SourceFile;
use crate::source::tensor::{Location, SourceTensor};

/// The divisors of Llama 3 for every position.
pub(super) const ALWAYS: &str = "rope_freqs.weight";
/// Those of LongRoPE within the original context.
pub(super) const SHORT: &str = "rope_factors_short.weight";
/// Those of LongRoPE beyond it.
pub(super) const LONG: &str = "rope_factors_long.weight";

/// What rotary frequencies are divided by, as tensors of a file say.
#[derive(Debug, Default)]
pub(in crate::source) struct Divisors {
    pub(super) always: Option<Vec<f32>>,
    pub(super) short: Option<Vec<f32>>,
    pub(super) long: Option<Vec<f32>>,
}

impl Divisors {
    /// Those of a file.
    pub(in crate::source) fn read(
        files: &[SourceFile],
        tensors: &[SourceTensor],
        locations: &[Location],
    ) -> Result<Self> {
        let of = |name| divisors(name, files, tensors, locations);
        Ok(Divisors { always: of(ALWAYS)?, short: of(SHORT)?, long: of(LONG)? })
    }

    /// The tensor of the name is one of divisors.
    pub(in crate::source) fn has(name: &str) -> bool {
        [ALWAYS, SHORT, LONG].contains(&name)
    }
}

fn divisors(
    name: &str,
    files: &[SourceFile],
    tensors: &[SourceTensor],
    locations: &[Location],
) -> Result<Option<Vec<f32>>> {
    let Some(at) = tensors.iter().position(|t| t.name == name) else { return Ok(None) };
    let n = tensors[at].elements();
    let Location { file, offset, bytes, encoding, .. } = locations[at];
    if n > 4096 || encoding != Encoding::F32 {
        let message = format!("{n} x {}, expected F32, half a head's width of them", encoding.name());
        return Err(Error::data(message).field(format!("tensor \"{name}\"")).at(offset));
    }
    let mut out = vec![0.0; n as usize];
    encoding.decode(&files[file].map[offset as usize..(offset + bytes) as usize], 0, &mut out);
    match out.iter().position(|f| !(f.is_finite() && *f > 0.0)) {
        Some(i) => {
            let message = format!("element {i} is {}, expected a positive divisor", out[i]);
            Err(Error::data(message).field(format!("tensor \"{name}\"")).at(offset + 4 * i as u64))
        }
        None => Ok(Some(out)),
    }
}
