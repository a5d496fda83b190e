//! Tensors of a checkpoint as a naive program stores them.

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
                let all = |rotary| Transform { transposed, slice, rotary, plus_one, factor, ..Transform::default() };
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
fn heads_that_lie_in_tiles_are_put_in_groups() {
    // Two groups of three heads of two rows or columns behind one: the first heads of both groups, the second, the third.
    let (stored, cols) = ([0, 1, 2, 7, 8, 3, 4, 9, 10, 5, 6, 11, 12], 13);
    let tiled = Tiled { first: 1, groups: 2, heads: 3, width: 2, columns: false };
    let rows: Vec<_> = stored.iter().map(|row| vec![*row as f32]).collect();
    let mut got = vec![f32::NAN; 12];
    let transform = Transform { tiled: Some(tiled), ..Transform::default() };
    transform.read_rows((cols, 1), 1, &mut got, &elements(&rows)).expect("within the tensor");
    assert_eq!(got, (1..13).map(|row| row as f32).collect::<Vec<_>>());

    let row = stored.map(|column| column as f32).to_vec();
    let tiled = Tiled { columns: true, ..tiled };
    let transform = Transform { tiled: Some(tiled), ..Transform::default() };
    let mut got = vec![f32::NAN; 2 * cols];
    transform.read_rows((2, cols), 0, &mut got, &elements(&[row.clone(), row])).expect("within the tensor");
    let want: Vec<_> = (0..13).map(|column| column as f32).collect();
    assert_eq!(got, [want.clone(), want].concat());
}

#[test]
fn logarithms_of_negatives_come_before_anything_else() {
    let transform = Transform { log_negative: true, plus_one: true, factor: Some(2.0), ..Transform::default() };
    let mut got = [0.0; 3];
    transform.read_vector(&mut got, &elements(&[vec![-1.0, 0.5, 0.0]])).expect("within the tensor");
    assert_eq!((got[0], got[2]), (2.0, f32::NEG_INFINITY));
    assert!(got[1].is_nan());
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

#[test]
fn rows_have_their_factors_and_logarithms_become_rates() {
    let factors = RowFactors([(2, 3.0), (1, 0.5), (2, -1.0)]);
    let transform = Transform { row_factors: Some(factors), ..Transform::default() };
    let (stored, mut got) = (matrix(6, 2), [f32::NAN; 8]);
    transform.read_rows((6, 2), 1, &mut got, &elements(&stored)).expect("within the tensor");
    assert_eq!(got, [6.0, 9.0, 2.0, 2.5, -6.0, -7.0, -8.0, -9.0]);
    let transform = Transform { columns: Some(1), negative_exp: true, ..Transform::default() };
    assert_eq!(transform.source_dims(Shape::Vector(3)), [3, 1]);
    let mut got = [f32::NAN; 3];
    transform.read_vector(&mut got, &elements(&[vec![0.0, 1.0, -200.0]])).expect("within the tensor");
    assert_eq!(got, [-1.0, -math::exp(1.0), 0.0]);
    let halves = Transform { columns: Some(3), ..Transform::default() };
    assert_eq!(halves.source_dims(Shape::Vector(6)), [2, 3]);
}
