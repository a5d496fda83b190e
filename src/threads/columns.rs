//! Regions over the columns of matrices: each thread owns some columns of every row.
#![allow(unsafe_code)]

use super::Threads;
use core::marker::PhantomData;
use core::ops::Range;

/// A body of a region over matrices: called with the number of a matrix, units of it and their columns.
pub type MatricesBody<'a, T> = dyn Fn(usize, Range<usize>, Columns<'_, T>) + Sync + 'a;

/// A body of a region over two matrices: called with units, which both have, and their columns.
pub type PairBody<'a, T> = dyn Fn(Range<usize>, [Columns<'_, T>; 2]) + Sync + 'a;

impl Threads {
    /// Cuts `y`, of shape (T, width), into column ranges of whole units and calls `body(units, columns)` on each, one
    /// range a thread, none of fewer than `min_units` units.
    ///
    /// A unit is `unit` columns; the last may be narrower. `columns` gives the rows of `y` cut down to the columns of
    /// `units`, and nobody else has these.
    pub fn run_columns<T: Send>(
        &self,
        y: &mut [T],
        width: usize,
        unit: usize,
        min_units: usize,
        body: &(dyn Fn(Range<usize>, Columns<'_, T>) + Sync),
    ) {
        self.run_matrices([(y, width)], unit, min_units, &|_, units, columns| body(units, columns));
    }

    /// [`run_columns`](Self::run_columns) of two matrices of as many units: `body` is given the same units of both.
    pub fn run_pairs<T: Send>(&self, ys: [Owned<'_, T>; 2], min_units: usize, body: &PairBody<'_, T>) {
        let [n_units, others] = ys.each_ref().map(|y| y.width.div_ceil(y.unit));
        assert!(n_units == others, "{n_units} and {others} units");
        let ys = ys.map(|Owned { all, width, unit }| {
            assert!(all.len().is_multiple_of(width), "{} elements in rows of {width}", all.len());
            (Pointer(all.as_mut_ptr()), all.len() / width, width, unit)
        });
        self.run_parts(n_units, n_units / min_units.max(1), &|range| {
            let columns = ys.each_ref().map(|&(ref all, n_rows, width, unit)| {
                let (start, end) = (range.start * unit, (range.end * unit).min(width));
                Columns { all: all.get(), width, n_rows, start, end, borrow: PhantomData }
            });
            body(range, columns);
        });
    }

    /// [`run_columns`](Self::run_columns) over the units of several matrices, each a slice and its width, in one region;
    /// `body` is also given the number of the matrix.
    pub fn run_matrices<T: Send, const N: usize>(
        &self,
        ys: [(&mut [T], usize); N],
        unit: usize,
        min_units: usize,
        body: &MatricesBody<'_, T>,
    ) {
        let ys = ys.map(|(y, width)| {
            assert!(width > 0 && unit > 0 && y.len().is_multiple_of(width), "{} elements in rows of {width}", y.len());
            (Pointer(y.as_mut_ptr()), y.len() / width, width)
        });
        let n_units = ys.iter().map(|(_, _, width)| width.div_ceil(unit)).sum::<usize>();
        self.run_parts(n_units, n_units / min_units.max(1), &|range| {
            let mut first = 0;
            for (i, &(ref all, n_rows, width)) in ys.iter().enumerate() {
                let n_units = width.div_ceil(unit);
                let units = range.start.max(first)..range.end.min(first + n_units);
                if !units.is_empty() {
                    let units = units.start - first..units.end - first;
                    let (start, end) = (units.start * unit, (units.end * unit).min(width));
                    body(i, units, Columns { all: all.get(), width, n_rows, start, end, borrow: PhantomData });
                }
                first += n_units;
            }
        });
    }
}

/// A matrix of which threads own some columns each.
pub struct Owned<'a, T> {
    /// Its rows, one after the other.
    pub all: &'a mut [T],
    /// Columns.
    pub width: usize,
    /// Columns of a unit; the last unit may be narrower.
    pub unit: usize,
}

/// A pointer that may be sent, for [`Threads::run_columns`].
struct Pointer<T>(*mut T);

impl<T> Pointer<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: threads only make disjoint `Columns` of it, whose elements may be sent.
unsafe impl<T: Send> Sync for Pointer<T> {}

/// A range of columns of a (T, width) slice, owned by one thread of a region.
pub struct Columns<'a, T> {
    all: *mut T,
    width: usize,
    n_rows: usize,
    start: usize,
    end: usize,
    borrow: PhantomData<&'a mut [T]>,
}

impl<T> Columns<'_, T> {
    /// Number of rows, T.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Row `t`, cut down to the columns of this range.
    pub fn row(&mut self, t: usize) -> &mut [T] {
        self.rows(t..t + 1).next().expect("one row")
    }

    /// The rows `rows`, each cut down to the columns of this range.
    pub fn rows(&mut self, rows: Range<usize>) -> impl Iterator<Item = &mut [T]> {
        assert!(rows.start <= rows.end && rows.end <= self.n_rows, "rows {rows:?} of {}", self.n_rows);
        rows.map(|t| {
            // SAFETY: `all` points to `n_rows * width` elements borrowed mutably for the life of the region, and
            // `start <= end <= width`, so the range lies within them. Column ranges of one region are disjoint, each
            // row is handed out once by this iterator, and `&mut self` lets no second one live beside it.
            unsafe { core::slice::from_raw_parts_mut(self.all.add(t * self.width + self.start), self.end - self.start) }
        })
    }
}
