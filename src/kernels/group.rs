//! Inputs of products, quantized in groups.

use crate::quant::GROUP_SIZE;

/// 32 consecutive inputs of one token, quantized: `x[i]` is about `codes[i] * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Group {
    /// The codes, in [-127, 127]; zeros past the end of the row.
    pub codes: [i8; GROUP_SIZE],
    /// The largest magnitude divided by 127; 0 where that is not a normal number, NaN where an input is not finite.
    pub scale: f32,
    /// -128 times the sum of the codes: where a sum of their products with weights plus 128 starts, which are the operands of
    /// instructions that multiply unsigned by signed bytes.
    pub start: i32,
}

impl Group {
    /// Codes, scale and start 0.
    pub const ZERO: Group = Group { codes: [0; GROUP_SIZE], scale: 0.0, start: 0 };

    /// The sum of the codes.
    #[inline(always)]
    pub fn sum(&self) -> i32 {
        -(self.start >> 7)
    }
}
