//! Directions that carry meaning: rows of an embedding or unembedding matrix as vectors, in f64.

use crate::quant::Matrix;
use crate::token::TokenId;

/// A row near to a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// The token.
    pub id: TokenId,
    /// The cosine of the angle between both.
    pub cosine: f64,
    /// Their dot product.
    pub dot: f64,
}

/// The vectors of tokens, (n, dim), where they lie: each pass over them decodes them anew, so that a large table takes no
/// memory.
#[derive(Clone, Copy)]
pub struct WordSpace<'a> {
    matrix: Matrix<'a>,
    n: usize,
}

impl<'a> WordSpace<'a> {
    /// The first `n` rows of `matrix`, fewer where it has fewer.
    pub fn new(matrix: Matrix<'a>, n: usize) -> Self {
        WordSpace { matrix, n: n.min(matrix.rows()) }
    }

    /// Elements of a vector.
    pub fn dim(&self) -> usize {
        self.matrix.cols()
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.n
    }

    /// There is no vector.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The mean vector of `pieces` (dim), zeros of none; panics where one has no vector.
    pub fn mean(&self, pieces: &[TokenId]) -> Vec<f64> {
        let mut mean = vec![0.0; self.dim()];
        let mut vector = vec![0.0; self.dim()];
        for piece in pieces {
            self.matrix.read_row(*piece as usize, &mut vector);
            mean.iter_mut().zip(&vector).for_each(|(mean, x)| *mean += *x as f64 / pieces.len() as f64);
        }
        mean
    }

    /// The `n` tokens with the largest cosine to `vector` (dim), best first, equal ones by id; those `left_out` and those
    /// without a direction do not count.
    pub fn nearest(&self, vector: &[f64], n: usize, left_out: &dyn Fn(TokenId) -> bool) -> Vec<Near> {
        let norm = dot(vector, vector).sqrt();
        let mut row = vec![0.0; self.dim()];
        let mut all = Vec::new();
        for id in (0..self.n as TokenId).filter(|id| !left_out(*id)) {
            self.matrix.read_row(id as usize, &mut row);
            let (mut product, mut squares) = (0.0, 0.0);
            for (v, x) in vector.iter().zip(&row) {
                product += v * *x as f64;
                squares += *x as f64 * *x as f64;
            }
            all.push(Near { id, dot: product, cosine: product / (norm * squares.sqrt()) });
        }
        all.retain(|near| near.cosine.is_finite());
        all.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.id.cmp(&b.id)));
        all.truncate(n);
        all
    }
}

/// The dot product of two vectors.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::cast::Aligned;
    use crate::quant::{Dtype, PANEL_ROWS, encode_panel};

    type Panel = Aligned<[u8; 2 * PANEL_ROWS * 4]>;

    /// Four vectors of two elements: right, up, left, and one that points nowhere.
    fn panel() -> Panel {
        let mut panel = Aligned([0; 2 * PANEL_ROWS * 4]);
        encode_panel(Dtype::F32, &[2.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0], 2, &mut panel.0);
        panel
    }

    fn space(panel: &Panel) -> WordSpace<'_> {
        WordSpace::new(Matrix::new(Dtype::F32, 4, 2, &panel.0).expect("a matrix"), 9)
    }

    #[test]
    fn the_nearest_are_those_of_the_smallest_angle() {
        let panel = panel();
        let space = space(&panel);
        assert_eq!((space.len(), space.dim()), (4, 2));
        let near = space.nearest(&[3.0, 1.0], 9, &|_| false);
        assert_eq!(near.iter().map(|n| n.id).collect::<Vec<_>>(), [0, 1, 2]);
        assert!((near[0].cosine - 3.0 / 10f64.sqrt()).abs() < 1e-12 && near[0].dot == 6.0);
        assert_eq!(space.nearest(&[3.0, 1.0], 1, &|id| id == 0)[0].id, 1);
        assert!(space.nearest(&[0.0, 0.0], 9, &|_| false).is_empty());
    }

    #[test]
    fn words_of_several_pieces_are_their_mean() {
        let panel = panel();
        assert_eq!(space(&panel).mean(&[0, 1]), [1.0, 0.5]);
        assert_eq!(space(&panel).mean(&[]), [0.0, 0.0]);
    }
}
