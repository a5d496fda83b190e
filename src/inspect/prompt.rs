//! Prompts without meaning, to fill a cache and to measure with.

use crate::error::Result;
use crate::model::Session;
use crate::token::TokenId;
use core::ops::Range;

/// Tokens between two looks at whether to go on.
const STRIDE: usize = 128;

/// Tokens that seem random, the same at the same position.
pub(super) fn tokens(positions: Range<usize>, vocab_size: usize) -> Vec<TokenId> {
    let mixed = |position: usize| (position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    positions.map(|position| (mixed(position) % vocab_size as u64) as TokenId).collect()
}

/// How often [`fill`] asks whether to go on.
pub fn fill_steps(depth: usize) -> usize {
    depth.div_ceil(STRIDE)
}

/// Fills the cache of an empty `session` up to `depth`, at most what it holds; false where `go_on` ended it.
pub fn fill(session: &mut Session, vocab_size: usize, depth: usize, go_on: &mut dyn FnMut() -> bool) -> Result<bool> {
    for tokens in tokens(0..depth, vocab_size).chunks(STRIDE) {
        if !go_on() {
            return Ok(false);
        }
        session.append(tokens)?;
    }
    Ok(true)
}

/// Takes `session`, which [`fill`] and then the tokens of more positions have filled, back to `position`, and computes again what
/// a layer that can only go back to marks has lost by that.
pub(super) fn go_back(session: &mut Session, vocab_size: usize, position: usize) -> Result<()> {
    match session.rewind(position) {
        held if held < position => session.append(&tokens(held..position, vocab_size)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_belong_to_positions_and_are_in_the_vocabulary() {
        let all = tokens(0..1000, 77);
        assert_eq!(all[500..], tokens(500..1000, 77));
        assert!(all.iter().all(|token| *token < 77) && all[..20].iter().any(|token| *token != all[0]));
    }
}
