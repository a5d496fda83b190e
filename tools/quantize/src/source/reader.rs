//! Reads the values of one tensor of a checkpoint, as they lie in the mapped file, and adds what adapters add to them.

use whit::error::{Error, Result};

use super::checkpoint::{Checkpoint, Merge};
use super::source_file::SourceFile;
use super::tensor::{Location, SourceTensor, Strides};

/// The values of one tensor.
#[derive(Debug)]
pub struct TensorReader<'c> {
    tensor: &'c SourceTensor,
    location: Location,
    data: &'c [u8],
    added: Vec<Added>,
}

/// A product of two matrices that is added to a matrix.
#[derive(Debug)]
struct Added {
    /// (rows, rank).
    left: Vec<f32>,
    /// (rank, cols).
    right: Vec<f32>,
    rank: usize,
    scale: f64,
    /// What each row is multiplied by after that, or each column; empty: nothing.
    factors: Vec<f64>,
    by_column: bool,
}

impl Checkpoint {
    /// A reader of the tensor of the given number. What adapters add to it is in memory as long as the reader is.
    pub fn reader(&self, tensor: usize) -> Result<TensorReader<'_>> {
        let found = self.tensors.get(tensor).zip(self.locations.get(tensor));
        let (tensor, location) = found.ok_or_else(|| range(format!("no tensor {tensor}")))?;
        let mut reader = TensorReader::plain(tensor, *location, &self.files)?;
        for merge in self.merges.get(&tensor.name).into_iter().flatten() {
            reader.added.push(added(&self.files, tensor, merge)?);
            if let Some(magnitude) = merge.magnitude {
                let factors = reader.factors(&self.files, magnitude, merge.transposed)?;
                reader.added.last_mut().into_iter().for_each(|added| added.factors.clone_from(&factors));
            }
        }
        Ok(reader)
    }
}

/// What `merge` adds to `tensor`, a matrix.
fn added(files: &[SourceFile], tensor: &SourceTensor, merge: &Merge) -> Result<Added> {
    let Merge { a, b, rank, transposed, scale, .. } = *merge;
    let [rows, cols] = [tensor.shape[0] as usize, tensor.shape[1] as usize];
    let values = |location, shape: [usize; 2]| -> Result<Vec<f32>> {
        let tensor = SourceTensor { shape: shape.map(|n| n as u64).to_vec(), ..tensor.clone() };
        let mut out = vec![0.0; shape[0] * shape[1]];
        TensorReader::plain(&tensor, location, files)?.read(0, &mut out)?;
        Ok(out)
    };
    let (left, right) = if transposed {
        (turned(&values(a, [rank, rows])?, rank), turned(&values(b, [cols, rank])?, cols))
    } else {
        (values(b, [rows, rank])?, values(a, [rank, cols])?)
    };
    Ok(Added { left, right, rank, scale, factors: Vec::new(), by_column: transposed })
}

/// The transpose of a matrix of so many rows.
fn turned(matrix: &[f32], rows: usize) -> Vec<f32> {
    let cols = matrix.len() / rows;
    (0..matrix.len()).map(|i| matrix[i % rows * cols + i / rows]).collect()
}

impl<'c> TensorReader<'c> {
    /// Of the tensor as it is stored.
    fn plain(tensor: &'c SourceTensor, location: Location, files: &'c [SourceFile]) -> Result<Self> {
        let Location { file, offset, bytes, .. } = location;
        let file = &files[file];
        let data = (offset as usize).checked_add(bytes as usize).and_then(|end| file.map.get(offset as usize..end));
        let Some(data) = data else {
            let error = Error::data("ends past the end of the file").field(format!("tensor \"{}\"", tensor.name));
            return Err(file.error(error.at(offset)));
        };
        Ok(TensorReader { tensor, location, data, added: Vec::new() })
    }

    /// Decodes elements `start..start + out.len()`, in row-major order of the shape.
    pub fn read(&self, start: u64, out: &mut [f32]) -> Result<()> {
        let elements = self.tensor.elements();
        if start.checked_add(out.len() as u64).is_none_or(|end| end > elements) {
            let message = format!("{} elements from {start} of {elements}", out.len());
            return Err(range(message).field(format!("tensor \"{}\"", self.tensor.name)));
        }
        let Location { encoding, strides, factor, .. } = self.location;
        match strides {
            None => encoding.decode(self.data, start as usize, out),
            Some(strides) => {
                for (x, element) in out.iter_mut().zip(start..) {
                    let at = strided(element, &self.tensor.shape, strides);
                    encoding.decode(self.data, at as usize, core::slice::from_mut(x));
                }
            }
        }
        if factor != 1.0 {
            out.iter_mut().for_each(|x| *x *= factor);
        }
        self.added.iter().for_each(|added| added.add(start as usize, out));
        Ok(())
    }
}

impl TensorReader<'_> {
    /// What the weights of each output are multiplied by so that their length is the one at `magnitude`.
    fn factors(&self, files: &[SourceFile], magnitude: Location, by_column: bool) -> Result<Vec<f64>> {
        let [rows, cols] = [self.tensor.shape[0] as usize, self.tensor.shape[1] as usize];
        let n = if by_column { cols } else { rows };
        let (mut row, mut squares, mut lengths) = (vec![0.0; cols], vec![0.0; n], vec![0.0; n]);
        for r in 0..rows {
            self.read((r * cols) as u64, &mut row)?;
            for (c, x) in row.iter().enumerate() {
                squares[if by_column { c } else { r }] += f64::from(*x) * f64::from(*x);
            }
        }
        let vector = SourceTensor { shape: vec![n as u64], ..self.tensor.clone() };
        TensorReader::plain(&vector, magnitude, files)?.read(0, &mut lengths)?;
        Ok(lengths.iter().zip(squares).map(|(length, square)| f64::from(*length) / f64::sqrt(square)).collect())
    }
}

impl Added {
    /// What the element in `row` and `col` is multiplied by.
    fn factor(&self, row: usize, col: usize) -> f64 {
        self.factors.get(if self.by_column { col } else { row }).copied().unwrap_or(1.0)
    }

    /// Adds the product's elements from `start` on, in f64.
    fn add(&self, mut start: usize, mut out: &mut [f32]) {
        let cols = self.right.len() / self.rank;
        let mut sums = Vec::new();
        while !out.is_empty() {
            let (row, col) = (start / cols, start % cols);
            let n = (cols - col).min(out.len());
            let (now, later) = std::mem::take(&mut out).split_at_mut(n);
            sums.clear();
            sums.resize(n, 0.0);
            for (k, left) in self.left[row * self.rank..(row + 1) * self.rank].iter().enumerate() {
                let right = &self.right[k * cols + col..][..n];
                sums.iter_mut().zip(right).for_each(|(sum, right)| *sum += f64::from(*left) * f64::from(*right));
            }
            for (c, (x, sum)) in (col..).zip(now.iter_mut().zip(&sums)) {
                *x = ((f64::from(*x) + self.scale * sum) * self.factor(row, c)) as f32;
            }
            (out, start) = (later, start + n);
        }
    }
}

/// How many elements after the first the one lies that has the number `element` in row-major order of `shape`.
fn strided(mut element: u64, shape: &[u64], strides: Strides) -> u64 {
    let mut at = 0;
    for (dimension, stride) in shape.iter().zip(strides).rev() {
        at += element % dimension * stride;
        element /= dimension;
    }
    at
}

fn range(what: String) -> Error {
    Error::usage(what).field("tensor")
}
