//! Panels as the loops over their groups read them.

use super::super::{Group, PanelOut};
use super::{Row, widen};
use crate::quant::{GROUP_SIZE, PANEL_ROWS, groups, scale_bytes};
use bytemuck::{must_cast, must_cast_slice};

/// The codes of one group of 16 rows: lines of 4 columns.
pub(in super::super) type Codes = [[i8; 4 * PANEL_ROWS]; 8];

/// The scales and codes of a panel by group.
pub(in super::super) struct Int8Panel<'a> {
    pub(in super::super) scales: &'a [[u8; PANEL_ROWS * 2]],
    pub(in super::super) codes: &'a [Codes],
}

impl<'a> Int8Panel<'a> {
    #[inline]
    pub(in super::super) fn new(panel: &'a [u8], cols: usize) -> Self {
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

/// Groups of a panel that all tokens meet before the next ones: their codes and scales stay in L1.
pub(super) const AT_ONCE: usize = 16;

/// Some groups of a panel as tiles of tokens read them: what is the same for all tokens was computed before.
pub(in super::super) struct Part<'a> {
    pub(in super::super) codes: &'a [Codes],
    /// The scales of the rows of each group. Where there are offsets, these come after the scales of their group.
    pub(in super::super) scales: &'a [PanelOut],
    pub(in super::super) has_offsets: bool,
}

impl Part<'_> {
    /// Holds that there is a group, that each has what belongs to it, and that `x` has `tokens` of each `n` groups for all of them.
    #[inline]
    pub(in super::super) fn check(&self, x: &[Group], tokens: usize, n: usize) {
        let groups = self.codes.len();
        let per_group = if self.has_offsets { 2 } else { 1 };
        assert!(groups > 0 && self.scales.len() == groups * per_group, "groups with their scales");
        assert!(tokens <= n && x.len() >= (groups - 1) * n + tokens, "inputs of a tile");
    }
}

/// The products of an int8 panel with the n tokens of `x`, `out` (n, 16), by `add(part, x, out)`, which adds those of a part to `out`.
#[inline]
#[target_feature(enable = "neon")]
pub(in super::super) fn int8_parts(
    panel: &[u8],
    cols: usize,
    x: &[Group],
    out: &mut [PanelOut],
    add: impl Fn(&Part<'_>, &[Group], &mut [PanelOut]),
) {
    let panel = Int8Panel::new(panel, cols);
    let mut scales = [[0.0; PANEL_ROWS]; AT_ONCE];
    out.fill([0.0; PANEL_ROWS]);
    let parts = panel.codes.chunks(AT_ONCE).zip(panel.scales.chunks(AT_ONCE));
    for ((codes, halves), x) in parts.zip(x.chunks(AT_ONCE * out.len())) {
        for (scales, halves) in scales.iter_mut().zip(halves) {
            *scales = must_cast::<Row, PanelOut>(widen(halves));
        }
        add(&Part { codes, scales: &scales[..codes.len()], has_offsets: false }, x, out);
    }
}
