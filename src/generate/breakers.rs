//! Strings over which no repeated sequence goes on, as tokens.

use crate::token::TokenId;
use crate::tokenizer::{Specials, Tokenizer};
use alloc::vec::Vec;

/// What of these `strings` a text can hold, as tokens: each token that contains one, and each that ends as one begins, with the
/// tokens of its rest. For [`Dry::breakers`](crate::sampler::Dry::breakers).
pub fn sequence_breakers(tokenizer: &Tokenizer<'_>, strings: &[&str]) -> Vec<Vec<TokenId>> {
    let mut breakers = Vec::new();
    for string in strings.iter().filter(|string| !string.is_empty()) {
        for token in 0..tokenizer.vocab_size() as TokenId {
            let bytes = tokenizer.bytes(token);
            if contains(bytes, string.as_bytes()) {
                breakers.push(vec![token]);
                continue;
            }
            for (at, _) in string.char_indices().skip(1).filter(|(at, _)| bytes.ends_with(&string.as_bytes()[..*at])) {
                let mut breaker = vec![token];
                tokenizer.encode_on(&string[at..], Specials::AsText, &mut breaker);
                breakers.push(breaker);
            }
        }
    }
    breakers
}

/// Whether `part`, which is not empty, stands in `bytes`.
pub(super) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    #[test]
    fn a_breaker_is_found_in_every_way_its_tokens_can_be_cut() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Model::open(bytes).expect("the story model");
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let breakers = sequence_breakers(tokenizer, &[",", "the end"]);
        let bytes =
            |breaker: &Vec<TokenId>| breaker.iter().flat_map(|token| tokenizer.bytes(*token)).copied().collect();
        let texts: Vec<Vec<u8>> = breakers.iter().map(bytes).collect();
        for (breaker, text) in breakers.iter().zip(&texts) {
            assert!(contains(text, b",") && breaker.len() == 1 || contains(text, b"the end"), "{breaker:?}");
        }
        assert!(texts.iter().any(|text| text == b",") && texts.iter().any(|text| text == b"the end"));
        let whole = |token| contains(tokenizer.bytes(token), b",");
        let commas = (0..tokenizer.vocab_size() as TokenId).filter(|token| whole(*token)).count();
        assert_eq!(breakers.iter().filter(|breaker| breaker.len() == 1).count(), commas);
    }
}
