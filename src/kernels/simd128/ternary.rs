//! Weights of three values, whose codes are put together beside the products.

use super::Row;
use super::product::Packing;
use crate::quant::Dtype;
use crate::quant::t2::{self, GROUP_BYTES};
use bytemuck::{must_cast, must_cast_ref};
use core::arch::wasm32::*;

/// t2: codes of 2 bits. The head has the scales of the rows.
pub(in super::super) struct Ternary;

impl Packing for Ternary {
    const DTYPE: Dtype = Dtype::T2;
    type Head = Row;
    type Scales = [u8; 0];
    type Codes = [u8; GROUP_BYTES];

    #[inline(always)]
    fn open(panel: &[u8], cols: usize) -> (Row, &[Self::Scales], &[Self::Codes]) {
        let (none, codes) = t2::parts(panel, cols);
        (must_cast(t2::scales(panel)), none, codes)
    }

    #[inline(always)]
    fn values(_: &Row, codes: &Self::Codes, j: usize, i: usize) -> v128 {
        let quarters: &[[u8; 16]; 8] = must_cast_ref(codes);
        let line = u16x8_shr(must_cast(quarters[j / 4 * 4 + i]), 2 * (j % 4) as u32);
        i8x16_sub(v128_and(line, u8x16_splat(3)), u8x16_splat(1))
    }

    #[inline(always)]
    fn scales(head: &Row, _: &Self::Scales) -> [Row; 2] {
        [*head; 2]
    }
}
