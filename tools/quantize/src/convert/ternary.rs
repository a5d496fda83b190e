//! Finds matrices whose weights have three values, -1, 0 and 1 times a number, which t2 holds as they are.

use rayon::prelude::*;
use whit::error::Result;
use whit::model::spec::Shape;
use whit::quant::{Dtype, PANEL_ROWS};

use super::dtypes::Dtypes;
use super::planned::Planned;
use crate::source::Checkpoint;

/// Makes t2 of what would be int8 and has three values, but for roles whose type the user named.
pub(super) fn recognize(source: &Checkpoint, dtypes: &Dtypes, planned: &mut [Planned]) -> Result<()> {
    for p in planned {
        let free = p.dtype == Dtype::Int8 && !dtypes.keep.contains_key(p.spec.role.name());
        if free && has_three_values(source, p)? {
            p.dtype = Dtype::T2;
        }
    }
    Ok(())
}

/// Whether all weights of a matrix are 0, or a number, or its negative. Of others the first rows show it.
fn has_three_values(source: &Checkpoint, p: &Planned) -> Result<bool> {
    let Shape::Matrix(rows, cols) = p.spec.shape else { return Ok(false) };
    let read = p.elements(source)?;
    let values = |panel: usize| {
        let first = panel * PANEL_ROWS;
        let mut values = vec![0.0; PANEL_ROWS.min(rows - first) * cols];
        p.transform.read_rows((rows, cols), first, &mut values, &read)?;
        Ok(values)
    };
    let first = values(0)?;
    let Some(scale) = first.iter().find(|x| **x != 0.0).map(|x| x.abs()) else { return Ok(false) };
    let fits = |values: &[f32]| values.iter().all(|x| *x == 0.0 || x.abs() == scale);
    if !scale.is_finite() || !fits(&first) {
        return Ok(false);
    }
    let others = (1..rows.div_ceil(PANEL_ROWS)).into_par_iter();
    let all = others.map(|panel| Ok(fits(&values(panel)?))).try_reduce(|| true, |a, b| Ok(a && b))?;
    Ok(all)
}
