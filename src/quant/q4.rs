//! q4: codes of 4 bits, each the number of a level in a table of 16 that the panel brings. See [`planes`].

use super::planes::{self, BYTES, Grid, LEVELS};
use super::{Format, Inputs};

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "q4",
    bits: 4,
    max_weight: planes::MAX_WEIGHT,
    inputs: Inputs::Quantized,
    panel_bytes: planes::panel_bytes::<4, BYTES>,
    encoding: planes::encoding::<Table, 4>(),
    read_row: planes::read_row::<4, BYTES>,
};

/// The levels that the encoder writes: near the quantiles of weights, and wider on one side, which the sign of the scale turns to where
/// a group has its largest weight. 0 is among them, so that padding is exact.
struct Table;

impl Grid for Table {
    const LEVELS: [i8; LEVELS] = [-32, -26, -21, -16, -12, -9, -6, -3, 0, 3, 6, 10, 13, 17, 22, 28];
    const ENDS: [i8; 2] = [Self::LEVELS[0], Self::LEVELS[LEVELS - 1]];

    /// Of two levels that are equally near, the lower.
    #[inline(always)]
    fn nearest(x: f32) -> (f32, f32) {
        let (mut code, mut value) = (0.0, f32::from(Self::LEVELS[0]));
        for pair in Self::LEVELS.windows(2) {
            let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
            let above = x > (low + high) / 2.0;
            code += if above { 1.0 } else { 0.0 };
            value += if above { high - low } else { 0.0 };
        }
        (code, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_level_has_its_number() {
        for (code, level) in (0_i16..).zip(Table::LEVELS) {
            for x in [-0.9, 0.0, 0.9] {
                assert_eq!(Table::nearest(f32::from(level) + x), (f32::from(code), f32::from(level)), "{level} + {x}");
            }
        }
        assert_eq!(Table::nearest(-1e9), (0.0, -32.0));
        assert_eq!(Table::nearest(1.5), (8.0, 0.0));
    }
}
