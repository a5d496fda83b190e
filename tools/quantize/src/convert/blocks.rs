//! Finds matrices whose weights lie on the grid of a format, as those of ggml's blocks do: they are stored as they are, without a
//! second loss.

use rayon::prelude::*;
use whit::error::Result;
use whit::model::spec::Shape;
use whit::quant::{Dtype, Inputs, PANEL_ROWS, encode_panel_on_grid, panel_bytes, read_panel_row};

use super::dtypes::Dtypes;
use super::planned::Planned;
use crate::source::Checkpoint;

/// How matrices that the source has in blocks were stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromBlocks {
    /// What users call the blocks.
    pub encoding: &'static str,
    /// The type that they have now.
    pub dtype: Dtype,
    /// Whether all weights are what they were.
    pub exact: bool,
    /// How many matrices.
    pub matrices: usize,
}

/// The blocks with one scale, or a scale and an offset: their name, and the format that has their grid.
const GRIDS: [(&str, Dtype); 6] = [
    ("Q4_0", Dtype::Q4h),
    ("IQ4_NL", Dtype::Q4h),
    ("MXFP4", Dtype::Q4h),
    ("Q4_1", Dtype::Q4m),
    ("Q5_0", Dtype::Q5h),
    ("Q5_1", Dtype::Q5m),
];
/// Formats that hold some grids, whatever the blocks are.
const EXACT: [Dtype; 2] = [Dtype::Int8, Dtype::T2];
/// Blocks without a grid that we have, or whose grid is that of int8.
const OTHERS: [&str; 7] = ["Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"];

/// Gives matrices in blocks the format that holds them as they are. Where codes of few bits are asked for, that is one of as many bits
/// or fewer; a role whose type the user named keeps that. `goes_on` is asked before each matrix; its error ends the search.
pub(super) fn recognize(
    source: &Checkpoint,
    dtypes: &Dtypes,
    planned: &mut [Planned],
    goes_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<FromBlocks>> {
    let mut found: Vec<FromBlocks> = Vec::new();
    for p in planned {
        let Some(encoding) = blocks(source, p).filter(|_| p.dtype.format().inputs == Inputs::Quantized) else {
            continue;
        };
        goes_on()?;
        let grid = GRIDS.iter().find(|(name, _)| *name == encoding).map(|(_, dtype)| *dtype);
        let named = dtypes.keep.contains_key(p.spec.role.name());
        let fits = |grid: &Dtype| !named && grid.format().bits <= p.dtype.format().bits && p.dtype != Dtype::Int8;
        let dtype = grid.filter(fits).unwrap_or(p.dtype);
        p.on_grid = (dtype != p.dtype || EXACT.contains(&dtype)) && holds(source, p, dtype)?;
        p.dtype = if p.on_grid { dtype } else { p.dtype };
        let row = FromBlocks { encoding, dtype: p.dtype, exact: p.on_grid, matrices: 1 };
        match found.iter_mut().find(|other| FromBlocks { matrices: 1, ..(*other).clone() } == row) {
            Some(other) => other.matrices += 1,
            None => found.push(row),
        }
    }
    Ok(found)
}

/// The name of the blocks that all of a matrix is in.
fn blocks(source: &Checkpoint, p: &Planned) -> Option<&'static str> {
    let mut names = p.tensors.iter().map(|tensor| source.tensors[*tensor].dtype);
    let first = names.next().filter(|_| matches!(p.spec.shape, Shape::Matrix(..)))?;
    let known = GRIDS.iter().map(|(name, _)| *name).chain(OTHERS).any(|name| name == first);
    (known && names.all(|name| name == first)).then_some(first)
}

/// Whether a format holds all weights of a matrix as they are. Of those that it does not the first rows mostly show it.
fn holds(source: &Checkpoint, p: &Planned, dtype: Dtype) -> Result<bool> {
    let Shape::Matrix(rows, cols) = p.spec.shape else { return Ok(false) };
    let read = p.elements(source)?;
    let holds = |panel: usize| {
        let first = panel * PANEL_ROWS;
        let n = PANEL_ROWS.min(rows - first);
        let mut values = vec![0.0; n * cols];
        p.transform.read_rows((rows, cols), first, &mut values, &read)?;
        let limit = dtype.format().max_weight;
        Ok(values.iter().all(|x| x.abs() <= limit) && is_held(&values, cols, dtype))
    };
    if !holds(0)? {
        return Ok(false);
    }
    (1..rows.div_ceil(PANEL_ROWS)).into_par_iter().map(holds).try_reduce(|| true, |a, b| Ok(a && b))
}

/// Whether the rows of a panel read as they were written.
fn is_held(values: &[f32], cols: usize, dtype: Dtype) -> bool {
    let mut panel = vec![0; panel_bytes(dtype, cols)];
    encode_panel_on_grid(dtype, values, cols, &mut panel);
    let mut decoded = vec![0.0; cols];
    values.chunks_exact(cols).enumerate().all(|(r, row)| {
        read_panel_row(dtype, &panel, r, &mut decoded);
        decoded == row
    })
}
