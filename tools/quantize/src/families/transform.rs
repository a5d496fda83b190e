//! How a tensor of a plan lies in the tensor of a checkpoint that it comes from.

use whit::error::Result;
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
    /// The matrix is that of a convolution of each channel by itself, stored as (channels, 1, width).
    pub depthwise: bool,
    /// One is added to every element, before it is multiplied.
    pub plus_one: bool,
    /// What every element is multiplied by.
    pub factor: Option<f32>,
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

    /// Adds to rows of `cols` elements from `row` on, and multiplies them.
    fn scale(&self, row: usize, cols: usize, out: &mut [f32]) {
        if self.plus_one {
            out.iter_mut().for_each(|x| *x += 1.0);
        }
        if let Some(factor) = self.factor {
            out.iter_mut().for_each(|x| *x *= factor);
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
            let rows = out.chunks_exact_mut(cols).enumerate();
            return rows.into_iter().try_for_each(|(i, x)| source((self.source_row(row + i) * cols) as u64, x));
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

    /// Reads what rows from `row` on have in a line that holds an element of each row, from the line's `start` on.
    fn read_line(&self, start: usize, row: usize, out: &mut [f32], source: &Elements<'_>) -> Result<()> {
        if self.rotary.is_none() && self.slice.is_none_or(|slice| slice.heads.is_none()) {
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
        self.slice.map_or(row, |slice| slice.place(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of a checkpoint, row by row, as a naive program makes it of a plan's matrix (rows, cols): the rotary pairs of each
    /// head are interleaved, other tensors' rows are put before and after, and all of it is transposed, as `transform` says.
    fn stored(transform: &Transform, matrix: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let mut out = matrix.to_vec();
        if let Some(rotary) = transform.rotary {
            out = matrix.chunks(rotary.head_dim).flat_map(|head| stored_head(&rotary, head)).collect();
        }
        if let Some(Slice { first, total, heads, .. }) = transform.slice {
            let cols = matrix[0].len();
            let Heads { rows, period } = heads.unwrap_or(Heads { rows: out.len(), period: out.len() });
            let mut all = vec![vec![-1.0; cols]; first];
            for head in out.chunks(rows) {
                all.extend_from_slice(head);
                all.resize(all.len() + period - rows, vec![-3.0; cols]);
            }
            all.resize(total, vec![-2.0; cols]);
            out = all;
        }
        if transform.transposed {
            out = (0..out[0].len()).map(|k| out.iter().map(|row| row[k]).collect()).collect();
        }
        out
    }

    /// The rows of a head as they are stored: those that turn, then the others, each with their pairs in their order.
    fn stored_head(rotary: &RotaryRows, head: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let (first, second) = head.split_at(head.len() / 2);
        let n = rotary.turning / 2;
        let mut out = Vec::new();
        let (first, second) = if rotary.backwards { (second, first) } else { (first, second) };
        if rotary.interleaved {
            first[..n].iter().zip(second).for_each(|(a, b)| out.extend([a.clone(), b.clone()]));
        } else {
            out.extend_from_slice(&first[..n]);
            out.extend_from_slice(&second[..n]);
        }
        out.extend_from_slice(&first[n..]);
        out.extend_from_slice(&second[n..]);
        out
    }

    /// All orders of the rows of heads of `rows` rows together.
    fn orders(rows: usize) -> Vec<RotaryRows> {
        let heads = (2..=rows).step_by(2).filter(|head_dim| rows.is_multiple_of(*head_dim));
        let parts = heads.flat_map(|head_dim| (0..=head_dim).step_by(2).map(move |turning| (head_dim, turning)));
        let both = parts.flat_map(|part| [(part, false), (part, true)]);
        let order = |((head_dim, turning), interleaved)| {
            let factor = if head_dim == 4 { 1.5 } else { 1.0 };
            RotaryRows { head_dim, turning, interleaved, backwards: head_dim == 8, factor }
        };
        both.map(order).collect()
    }

    /// Every transform there is of `rows` rows.
    fn transforms(rows: usize) -> Vec<Transform> {
        let mut out = Vec::new();
        for transposed in [false, true] {
            for (before, after) in [(0, 0), (0, 5), (3, 0), (16, 7)] {
                let slice = Slice { first: before, total: before + rows + after, matrices: 1, heads: None };
                let heads = Heads { rows: 2, period: 5 };
                let by_head =
                    Slice { first: before, total: before + rows / 2 * 5 + after, matrices: 1, heads: Some(heads) };
                for slice in [None, Some(slice), Some(by_head).filter(|_| rows.is_multiple_of(2))] {
                    let factor = slice.map(|slice| slice.first as f32);
                    let plus_one = factor.is_some();
                    let all = |rotary| Transform { transposed, slice, rotary, depthwise: false, plus_one, factor };
                    out.extend(orders(rows).into_iter().map(Some).chain([None]).map(all));
                }
            }
        }
        out
    }

    /// The values of rows from `first` on that `transform` yields of a checkpoint that was made of them.
    fn scaled(transform: &Transform, first: usize, rows: &[Vec<f32>]) -> Vec<f32> {
        let added = f32::from(u8::from(transform.plus_one));
        let turned = |r: usize| match transform.rotary {
            Some(rotary) if r % rotary.head_dim % (rotary.head_dim / 2) < rotary.turning / 2 => rotary.factor,
            _ => 1.0,
        };
        let rows = (first..).zip(rows);
        let all = rows.flat_map(|(r, row)| row.iter().map(move |x| (r, x)));
        all.map(|(r, x)| (x + added) * transform.factor.unwrap_or(1.0) * turned(r)).collect()
    }

    fn matrix(rows: usize, cols: usize) -> Vec<Vec<f32>> {
        (0..rows).map(|r| (0..cols).map(|c| (r * cols + c) as f32).collect()).collect()
    }

    /// Hands out the elements of `stored`, and nothing beyond them.
    fn elements(stored: &[Vec<f32>]) -> impl Fn(u64, &mut [f32]) -> Result<()> + '_ {
        let flat: Vec<f32> = stored.concat();
        move |start, out: &mut [f32]| {
            out.copy_from_slice(&flat[start as usize..start as usize + out.len()]);
            Ok(())
        }
    }

    #[test]
    fn rows_are_those_that_a_naive_program_stored() {
        for rows in [1, 2, 6, 16, 17, 32, 40] {
            for cols in [1, 2, 5] {
                let want = matrix(rows, cols);
                for transform in transforms(rows) {
                    let stored = stored(&transform, &want);
                    let dims = [stored.len() as u64, stored[0].len() as u64];
                    assert_eq!(transform.source_dims(Shape::Matrix(rows, cols)), dims, "{transform:?}");
                    for (row, n) in [(0, rows), (0, 1), (rows / 2, rows - rows / 2), (rows - 1, 1)] {
                        let mut got = vec![f32::NAN; n * cols];
                        let read = transform.read_rows((rows, cols), row, &mut got, &elements(&stored));
                        read.expect("within the tensor");
                        assert_eq!(
                            got,
                            scaled(&transform, row, &want[row..row + n]),
                            "{rows} x {cols} from {row}: {transform:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn kernels_of_convolutions_lie_as_they_are_behind_another_dimension() {
        let transform = Transform { depthwise: true, ..Transform::default() };
        assert_eq!(transform.source_dims(Shape::Matrix(5, 3)), [5, 1, 3]);
        let (want, mut got) = (matrix(5, 3), [f32::NAN; 6]);
        transform.read_rows((5, 3), 2, &mut got, &elements(&want)).expect("within the tensor");
        assert_eq!(got[..], want[2..4].concat());
    }

    #[test]
    fn vectors_are_those_that_a_naive_program_stored() {
        for n in [1, 2, 6, 16, 24] {
            let want = matrix(n, 1);
            for transform in transforms(n).into_iter().filter(|transform| !transform.transposed) {
                let stored = stored(&transform, &want);
                assert_eq!(transform.source_dims(Shape::Vector(n)), [stored.len() as u64]);
                let mut got = vec![f32::NAN; n];
                transform.read_vector(&mut got, &elements(&stored)).expect("within the tensor");
                assert_eq!(got, scaled(&transform, 0, &want), "{n}: {transform:?}");
            }
        }
    }
}
