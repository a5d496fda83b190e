//! int8 panels as the loops over their groups read them.

use super::super::Group;
use crate::quant::{GROUP_SIZE, PANEL_ROWS, groups, scale_bytes};
use bytemuck::must_cast_slice;

/// The codes of one group of 16 rows: lines of 4 columns.
pub(in super::super) type Codes = [[i8; 4 * PANEL_ROWS]; 8];

/// The scales and codes of a panel by group.
pub(in super::super) struct Int8Panel<'a> {
    pub(in super::super) scales: &'a [[u8; PANEL_ROWS * 2]],
    pub(in super::super) codes: &'a [Codes],
}

impl<'a> Int8Panel<'a> {
    #[inline]
    pub(super) fn new(panel: &'a [u8], cols: usize) -> Self {
        let (scales, codes) = panel.split_at(scale_bytes(cols));
        let codes = must_cast_slice::<[u8; PANEL_ROWS * GROUP_SIZE], Codes>(codes.as_chunks().0);
        let n = groups(cols);
        Int8Panel { scales: &scales.as_chunks().0[..n], codes: &codes[..n] }
    }

    /// Holds that there is a group, and that `x` has `tokens` of each `n` groups for all of them.
    #[inline]
    pub(in super::super) fn check(&self, x: &[Group], tokens: usize, n: usize) {
        let groups = self.codes.len();
        assert!(groups > 0 && groups == self.scales.len(), "a panel of at least one column");
        assert!(tokens <= n && x.len() >= (groups - 1) * n + tokens, "inputs of a tile");
    }
}
