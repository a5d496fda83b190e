//! What a text may be, told token by token. A text under a constraint asks it before each token, and asks the model only where
//! there is a choice.

use crate::error::{Error, Result};
use crate::sampler::{Mask, Sampler, Watcher};
use crate::token::TokenId;
use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// Says what a text may be. It sees every token of the text after the prompt, in order.
///
/// The answers depend on these tokens alone, so that a text has the same bytes wherever it is written.
pub trait Constraint: Send {
    /// Appends to `out` the tokens that come next whatever the model says, up to the first choice; they are part of the text from
    /// now on. None of them is one of `ends`.
    fn forced(&mut self, ends: &[TokenId], out: &mut VecDeque<TokenId>) -> Result<()>;

    /// The tokens that may come next. Of `ends`, which end the text, all may come where it may end, and none elsewhere.
    fn mask(&mut self, ends: &[TokenId]) -> Result<&Mask>;

    /// `token`, which may come next, is part of the text from now on.
    fn accept(&mut self, token: TokenId) -> Result<()>;

    /// Whether the text may end here.
    fn may_end(&mut self) -> bool;

    /// Whether nothing may follow, so that the text ends here.
    fn is_complete(&mut self) -> bool;
}

/// A constraint on the text of a writer.
pub(super) struct Guide {
    constraint: Box<dyn Constraint>,
    /// Tokens that the constraint has forced and the text does not show yet.
    forced: VecDeque<TokenId>,
}

impl Guide {
    pub(super) fn new(mut constraint: Box<dyn Constraint>, ends: &[TokenId]) -> Result<Self> {
        let mut forced = VecDeque::new();
        constraint.forced(ends, &mut forced)?;
        Ok(Guide { constraint, forced })
    }

    /// The next token: one that is forced, for which nothing is drawn, else one that `sampler` draws.
    pub(super) fn choose(
        &mut self,
        sampler: &mut Sampler,
        logits: &[f32],
        ends: &[TokenId],
        watcher: &mut impl Watcher,
    ) -> Result<TokenId> {
        if let Some(token) = self.forced.pop_front() {
            return Ok(token);
        }
        let mask = self.constraint.mask(ends)?;
        if mask.n_allowed() == 0 {
            return Err(Error::data("no token of this model can go on with the text").field("constraint"));
        }
        let token = sampler.sample_among(logits, Some(mask), watcher)?;
        if !ends.contains(&token) {
            self.constraint.accept(token)?;
            self.constraint.forced(ends, &mut self.forced)?;
        }
        Ok(token)
    }

    /// The next token, if it is forced.
    pub(super) fn next(&mut self) -> Option<TokenId> {
        self.forced.pop_front()
    }

    /// Whether the text may end behind all that is forced, and nothing is.
    pub(super) fn may_end(&mut self) -> bool {
        self.forced.is_empty() && self.constraint.may_end()
    }

    /// Whether nothing may follow.
    pub(super) fn is_complete(&mut self) -> bool {
        self.forced.is_empty() && self.constraint.is_complete()
    }
}
