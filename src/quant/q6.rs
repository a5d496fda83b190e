//! q6: codes of 6 bits, integers from -32 to 31. See [`planes`].

use super::planes::{self, BYTES, Grid, LEVELS};
use super::{Format, Inputs};

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "q6",
    bits: 6,
    max_weight: planes::MAX_WEIGHT,
    inputs: Inputs::Quantized,
    panel_bytes: planes::panel_bytes::<6, BYTES>,
    encoding: planes::encoding::<Integers, 6>(),
    read_row: planes::read_row::<6, BYTES>,
};

struct Integers;

impl Grid for Integers {
    const LEVELS: [i8; LEVELS] = [0; LEVELS];
    const ENDS: [i8; 2] = [-32, 31];

    #[inline(always)]
    fn nearest(x: f32) -> (f32, f32) {
        planes::nearest_integer::<6>(x)
    }
}
