//! What the matrices of some places meet while a model reads a text: the magnitudes of the inputs of some tokens.

use std::collections::BTreeMap;

use whit::model::{Observer, Op, Point};

/// Where matrices are multiplied: the block and the op.
pub(super) type Place = (Option<usize>, Op);

/// One token of so many is kept at first: no divisor of a window, so that not every first one is.
const STRIDE: usize = 7;
/// Most tokens that are kept.
const MOST_TOKENS: usize = 256;
/// Fewest of them, whatever they take.
const FEWEST_TOKENS: usize = 32;
/// What all of them take at most beyond that, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// The inputs of some tokens at each place.
pub(in super::super) struct Samples {
    places: BTreeMap<Place, Inputs>,
    /// Tokens kept at a place, at most.
    most: usize,
}

/// The inputs at a place.
struct Inputs {
    /// Elements of a token.
    cols: usize,
    /// Tokens there were.
    seen: usize,
    /// One token of so many is kept.
    stride: usize,
    /// Magnitudes, (kept tokens, cols).
    kept: Vec<f32>,
}

impl Samples {
    /// Of places with so many columns each.
    pub(super) fn new(places: impl Iterator<Item = (Place, usize)>) -> Self {
        let inputs = |cols| Inputs { cols, seen: 0, stride: STRIDE, kept: Vec::new() };
        let places: BTreeMap<_, _> = places.map(|(place, cols)| (place, inputs(cols))).collect();
        let token_bytes = 4 * places.values().map(|inputs| inputs.cols).sum::<usize>().max(1);
        Samples { places, most: (MOST_BYTES / token_bytes).clamp(FEWEST_TOKENS, MOST_TOKENS) }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The magnitudes at a place, (kept tokens, columns).
    pub(super) fn at(&self, place: Place) -> &[f32] {
        self.places.get(&place).map_or(&[], |inputs| &inputs.kept)
    }
}

impl Inputs {
    /// Keeps a token if it is its turn; where there are too many, every other one stays.
    fn add(&mut self, token: &[f32], most: usize) {
        if self.seen.is_multiple_of(self.stride) {
            self.kept.extend(token.iter().map(|x| x.abs()));
            if self.kept.len() > most * self.cols {
                let every_other = self.kept.chunks_exact(self.cols).step_by(2).flatten();
                self.kept = every_other.copied().collect();
                self.stride *= 2;
            }
        }
        self.seen += 1;
    }
}

impl Observer for Samples {
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        let Point::Input(op) = point else { return };
        let Some(inputs) = self.places.get_mut(&(layer, op)) else { return };
        values.chunks_exact(inputs.cols).for_each(|token| inputs.add(token, self.most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_tokens_of_each_place_are_kept_as_magnitudes() {
        let mut samples = Samples::new([((Some(1), Op::Down), 2)].into_iter());
        assert_eq!(samples.len(), 1);
        let values: Vec<f32> = (0..20).map(|i| if i % 2 == 0 { i as f32 } else { -(i as f32) }).collect();
        // Ten tokens in two passes; others at other places.
        samples.see(Some(1), Point::Input(Op::Down), &values[..6]);
        samples.see(Some(0), Point::Input(Op::Down), &[9.0; 4]);
        samples.see(Some(1), Point::BlockOutput, &[9.0; 4]);
        samples.see(Some(1), Point::Input(Op::Down), &values[6..]);
        assert_eq!(samples.at((Some(1), Op::Down)), [0.0, 1.0, 14.0, 15.0]);
        assert!(samples.at((None, Op::Unembedding)).is_empty());
    }

    #[test]
    fn a_long_text_is_thinned_out() {
        let mut samples = Samples::new([((None, Op::Unembedding), 1)].into_iter());
        let values: Vec<f32> = (0..5000).map(|i| i as f32).collect();
        values.chunks(64).for_each(|batch| samples.see(None, Point::Input(Op::Unembedding), batch));
        let kept = samples.at((None, Op::Unembedding));
        let stride = 4.0 * STRIDE as f32;
        assert!(kept.iter().enumerate().all(|(i, x)| *x == i as f32 * stride), "{kept:?}");
        assert!(kept.len() <= MOST_TOKENS && kept.len() > 5000 / (4 * STRIDE), "{}", kept.len());
    }
}
