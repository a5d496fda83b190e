//! The probabilities of tokens, where a request asks for them, in the words of OpenAI's answers.

use serde_json::{Map, Value, json};
use whit::TokenId;
use whit::inspect::Ranked;
use whit::model::Model;

/// A token of a text: its number, its probability, and the most probable ones in its place.
pub(crate) type Likely<'t> = (TokenId, f64, &'t [Ranked]);

/// Those of a conversation: the field `logprobs` of a choice.
pub(crate) fn of_conversation<'t>(model: &Model, tokens: impl Iterator<Item = Likely<'t>>) -> Value {
    let one = |id, probability: f64| json!({"token": text_of(model, id), "logprob": logarithm(probability), "bytes": bytes_of(model, id)});
    let content = tokens.map(|(id, probability, top)| {
        let mut entry = one(id, probability);
        entry["top_logprobs"] = top.iter().map(|ranked| one(ranked.id, ranked.probability)).collect();
        entry
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

/// Those of a completion.
pub(crate) fn of_completion<'t>(model: &Model, tokens: impl Iterator<Item = Likely<'t>>) -> Value {
    let (mut names, mut own, mut tops) = (Vec::new(), Vec::new(), Vec::new());
    for (id, probability, top) in tokens {
        names.push(json!(text_of(model, id)));
        own.push(json!(logarithm(probability)));
        let top = top.iter().map(|ranked| (text_of(model, ranked.id), json!(logarithm(ranked.probability))));
        tops.push(Value::Object(top.collect::<Map<_, _>>()));
    }
    json!({"tokens": names, "token_logprobs": own, "top_logprobs": tops})
}

/// The natural logarithm of a probability, to six decimals: libraries of mathematics differ in the last digits. What JSON has no number
/// for is the least that an API writes.
pub(crate) fn logarithm(probability: f64) -> f64 {
    // What rounds to minus 0 is 0.
    (probability.ln().max(-9999.0) * 1e6).round() / 1e6 + 0.0
}

/// The text of a token alone; what is no UTF-8 of it is U+FFFD.
pub(crate) fn text_of(model: &Model, id: TokenId) -> String {
    String::from_utf8_lossy(bytes_of(model, id)).into_owned()
}

/// The bytes of a token alone.
pub(crate) fn bytes_of(model: &Model, id: TokenId) -> &[u8] {
    model.tokenizer().map_or(&[], |tokenizer| tokenizer.bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_numbers_of_json_and_the_same_everywhere() {
        for (probability, wanted) in [(1.0, "0.0"), (0.5, "-0.693147"), (0.0, "-9999.0"), (1.0 - 1e-9, "0.0")] {
            assert_eq!(json!(logarithm(probability)).to_string(), wanted);
        }
    }
}
