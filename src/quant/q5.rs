//! q5: codes of 5 bits, integers from -16 to 15. See [`planes`].

use super::planes::{self, BYTES, Grid, LEVELS};
use super::{Format, Inputs};

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "q5",
    bits: 5,
    max_weight: planes::MAX_WEIGHT,
    inputs: Inputs::Quantized,
    panel_bytes: planes::panel_bytes::<5, BYTES>,
    encoding: planes::encoding::<Integers, 5>(),
    read_row: planes::read_row::<5, BYTES>,
};

struct Integers;

impl Grid for Integers {
    const LEVELS: [i8; LEVELS] = [0; LEVELS];
    const ENDS: [i8; 2] = [-16, 15];

    #[inline(always)]
    fn nearest(x: f32) -> (f32, f32) {
        planes::nearest_integer::<5>(x)
    }
}
