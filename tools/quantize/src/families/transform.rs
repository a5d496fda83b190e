//! How a tensor of a plan lies in the tensor of a checkpoint that it comes from.

use whit::error::Result;
use whit::kernels::math;
use whit::model::spec::Shape;
use whit::quant::PANEL_ROWS;

/// How the elements of a tensor lie in the tensor of a checkpoint that it comes from. The default: as they are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Transform {
    /// The matrix is stored as (in, out).
    pub transposed: bool,
    /// The rows that it is of a tensor that several are fused in; `None`: it is all of that tensor.
    pub slice: Option<Slice>,
    /// Rows are those of heads whose rotary pairs lie otherwise; they are put in the order in which halves
    /// (i, i + head_dim / 2) are a pair.
    pub rotary: Option<RotaryRows>,
    /// Heads lie in another order; they are put in that of the plan.
    pub tiled: Option<Tiled>,
    /// The matrix is that of a convolution of each channel by itself, stored as (channels, 1, width).
    pub depthwise: bool,
    /// The logarithms of the negatives of what is stored, before one is added.
    pub log_negative: bool,
    /// The vector is stored as a matrix of so many columns.
    pub columns: Option<usize>,
    /// Every element is the logarithm of what minus of it stands for: x becomes -exp(x), before anything else.
    pub negative_exp: bool,
    /// One is added to every element, before it is multiplied.
    pub plus_one: bool,
    /// What every element is multiplied by.
    pub factor: Option<f32>,
    /// What rows are multiplied by, where it is not the same for all.
    pub row_factors: Option<RowFactors>,
}

/// Factors of rows: so many rows and theirs, so many after them and theirs, and the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowFactors(pub [(usize, f32); 3]);

impl RowFactors {
    /// What row `r` is multiplied by.
    fn of(&self, mut r: usize) -> f32 {
        for (rows, factor) in self.0 {
            match r.checked_sub(rows) {
                None => return factor,
                Some(rest) => r = rest,
            }
        }
        1.0
    }
}

/// Rows of a tensor, as many as another tensor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The first of them.
    pub first: usize,
    /// Rows of the tensor.
    pub total: usize,
    /// Matrices of equal shape that the tensor is a list of; 1: it is a matrix.
    pub matrices: usize,
    /// They lie head by head; `None`: they follow one another.
    pub heads: Option<Heads>,
}

/// Rows that lie head by head, with those of other tensors between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Rows of a head that follow one another.
    pub rows: usize,
    /// Rows from those of a head to those of the next.
    pub period: usize,
}

/// Rows or columns of heads that are groups of the same size in the plan. In the checkpoint the first heads of all groups come first,
/// then the second ones, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiled {
    /// Rows or columns before the heads, which stay.
    pub first: usize,
    /// Groups.
    pub groups: usize,
    /// Heads of a group.
    pub heads: usize,
    /// Rows or columns of a head.
    pub width: usize,
    /// They are columns, not rows.
    pub columns: bool,
}

impl Tiled {
    /// Where row or column `i` lies.
    fn place(&self, i: usize) -> usize {
        let Some(i) = i.checked_sub(self.first) else { return i };
        let (group, head) = (i / self.width / self.heads, i / self.width % self.heads);
        self.first + (head * self.groups + group) * self.width + i % self.width
    }
}

impl Slice {
    /// The row of the tensor that row `r` is.
    fn place(&self, r: usize) -> usize {
        self.first + self.heads.map_or(r, |heads| r / heads.rows * heads.period + r % heads.rows)
    }
}

/// How the rotary pairs of a head lie in its rows. The first `turning` rows turn; the others stand still, and are pairs
/// (j, j + half of them).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotaryRows {
    /// Rows of a head.
    pub head_dim: usize,
    /// Those that turn, at the beginning; an even number.
    pub turning: usize,
    /// Neighbours (2i, 2i + 1) are a pair, not halves (i, i + turning / 2).
    pub interleaved: bool,
    /// Pairs turn the other way: the second element of each comes first.
    pub backwards: bool,
    /// What rows that turn are multiplied by.
    pub factor: f32,
}

/// The rows of each head of q and k that turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turning {
    /// So many, at the beginning of the head.
    pub rows: usize,
    /// What those of queries are multiplied by.
    pub factor: f32,
}

impl RotaryRows {
    /// Whether rows stay what and where they are.
    pub(crate) fn are_halves(&self) -> bool {
        !self.interleaved && !self.backwards && self.turning == self.head_dim && self.factor == 1.0
    }

    /// The place in the source of row `r` of all heads.
    fn place(&self, r: usize) -> usize {
        let (head, row) = (r / self.head_dim, r % self.head_dim);
        let half = self.head_dim / 2;
        let (pair, second) = (row % half, if self.backwards { 1 - row / half } else { row / half });
        let turning = self.turning / 2;
        let place = match pair.checked_sub(turning) {
            None if self.interleaved => 2 * pair + second,
            None => pair + second * turning,
            Some(still) => self.turning + still + second * (half - turning),
        };
        head * self.head_dim + place
    }

    /// What row `r` of all heads is multiplied by.
    fn factor(&self, r: usize) -> f32 {
        let turns = r % (self.head_dim / 2) < self.turning / 2;
        if turns { self.factor } else { 1.0 }
    }
}

/// Reads elements from the one of the given number on, as many as the buffer holds, of a tensor of a checkpoint.
pub(crate) type Elements<'r> = dyn Fn(u64, &mut [f32]) -> Result<()> + 'r;

impl Transform {
    /// The shape, outermost first, of the tensor that one of `shape` comes from.
    pub fn source_dims(&self, shape: Shape) -> Vec<u64> {
        let mut dims = shape.dims();
        if let Some(slice) = self.slice {
            dims[0] = (slice.total / slice.matrices) as u64;
            if slice.matrices > 1 {
                dims.insert(0, slice.matrices as u64);
            }
        }
        if self.transposed {
            dims.reverse();
        }
        if self.depthwise {
            dims.insert(1, 1);
        }
        if let Some(columns) = self.columns {
            dims = vec![dims[0] / columns as u64, columns as u64];
        }
        dims
    }

    /// Reads a whole vector.
    pub(crate) fn read_vector(&self, out: &mut [f32], source: &Elements<'_>) -> Result<()> {
        self.read_line(0, 0, out, source)?;
        self.scale(0, 1, out);
        Ok(())
    }

    /// Reads the rows from `row` on of a matrix of `shape` (rows, cols), as many as `out` holds.
    pub(crate) fn read_rows(
        &self,
        shape: (usize, usize),
        row: usize,
        out: &mut [f32],
        source: &Elements<'_>,
    ) -> Result<()> {
        self.move_rows(shape, row, out, source)?;
        self.scale(row, shape.1, out);
        Ok(())
    }

    /// Takes logarithms of rows of `cols` elements from `row` on, adds to them and multiplies them.
    fn scale(&self, row: usize, cols: usize, out: &mut [f32]) {
        if self.log_negative {
            out.iter_mut().for_each(|x| *x = math::ln_f64(-f64::from(*x)) as f32);
        }
        if self.negative_exp {
            out.iter_mut().for_each(|x| *x = -math::exp(*x));
        }
        if self.plus_one {
            out.iter_mut().for_each(|x| *x += 1.0);
        }
        if let Some(factor) = self.factor {
            out.iter_mut().for_each(|x| *x *= factor);
        }
        if let Some(factors) = self.row_factors {
            for (r, out) in (row..).zip(out.chunks_exact_mut(cols)) {
                out.iter_mut().for_each(|x| *x *= factors.of(r));
            }
        }
        if let Some(rotary) = self.rotary.filter(|rotary| rotary.factor != 1.0) {
            for (r, out) in (row..).zip(out.chunks_exact_mut(cols)) {
                out.iter_mut().for_each(|x| *x *= rotary.factor(r));
            }
        }
    }

    /// Reads rows as they are, in their order.
    fn move_rows(
        &self,
        (rows, cols): (usize, usize),
        row: usize,
        out: &mut [f32],
        source: &Elements<'_>,
    ) -> Result<()> {
        if !self.transposed {
            let mut rows = out.chunks_exact_mut(cols).enumerate();
            return rows.try_for_each(|(i, x)| self.read_columns(self.source_row(row + i) * cols, x, source));
        }
        let outputs = self.slice.map_or(rows, |slice| slice.total);
        let mut column = [0.0; PANEL_ROWS];
        for (panel, out) in out.chunks_mut(PANEL_ROWS * cols).enumerate() {
            let column = &mut column[..out.len() / cols];
            for k in 0..cols {
                self.read_line(k * outputs, row + panel * PANEL_ROWS, column, source)?;
                column.iter().zip(out[k..].iter_mut().step_by(cols)).for_each(|(v, x)| *x = *v);
            }
        }
        Ok(())
    }

    /// Reads the columns of the row that begins at element `start`.
    fn read_columns(&self, start: usize, out: &mut [f32], source: &Elements<'_>) -> Result<()> {
        let Some(tiled) = self.tiled.filter(|tiled| tiled.columns) else { return source(start as u64, out) };
        let (before, heads) = out.split_at_mut(tiled.first);
        source(start as u64, before)?;
        let mut heads = (tiled.first..).step_by(tiled.width).zip(heads.chunks_mut(tiled.width));
        heads.try_for_each(|(column, out)| source((start + tiled.place(column)) as u64, out))
    }

    /// Reads what rows from `row` on have in a line that holds an element of each row, from the line's `start` on.
    fn read_line(&self, start: usize, row: usize, out: &mut [f32], source: &Elements<'_>) -> Result<()> {
        let tiled = self.tiled.is_some_and(|tiled| !tiled.columns);
        if !tiled && self.rotary.is_none() && self.slice.is_none_or(|slice| slice.heads.is_none()) {
            return source((start + self.source_row(row)) as u64, out);
        }
        let elements = out.iter_mut().enumerate();
        elements
            .into_iter()
            .try_for_each(|(i, x)| source((start + self.source_row(row + i)) as u64, core::slice::from_mut(x)))
    }

    /// The row of the source that row `r` comes from.
    fn source_row(&self, r: usize) -> usize {
        let row = self.rotary.map_or(r, |rotary| rotary.place(r));
        let row = self.tiled.filter(|tiled| !tiled.columns).map_or(row, |tiled| tiled.place(row));
        self.slice.map_or(row, |slice| slice.place(row))
    }
}

#[cfg(test)]
mod tests;
