//! Things of models by the places of these, of which some are empty.

use std::ops::{Index, IndexMut};

/// Things by place.
pub(super) struct Slots<T>(Vec<Option<T>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots(Vec::new())
    }
}

impl<T> Slots<T> {
    /// Puts `thing` at `place`, in the place of what was there.
    pub(super) fn insert(&mut self, place: usize, thing: T) {
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place] = Some(thing);
    }

    /// Takes what is at `place`.
    pub(super) fn remove(&mut self, place: usize) -> Option<T> {
        self.0.get_mut(place).and_then(Option::take)
    }

    /// What is at `place`.
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.0.get(place).and_then(Option::as_ref)
    }

    /// The places at which something is.
    pub(super) fn places(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|place| self.0[*place].is_some()).collect()
    }

    /// All that is there.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

/// What is at a place at which something was put and not taken since.
impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        self.0[place].as_ref().expect("it was put there")
    }
}

impl<T> IndexMut<usize> for Slots<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        self.0[place].as_mut().expect("it was put there")
    }
}
