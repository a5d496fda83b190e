//! Texts as vectors.

use serde_json::{Value, json};

/// The answer of OpenAI's API: vectors (texts, dim) of which `n_elements` are sent, of texts of `n_tokens` together.
pub(crate) fn answer(
    name: &str,
    vectors: &[f32],
    dim: usize,
    n_elements: usize,
    is_base64: bool,
    n_tokens: usize,
) -> Value {
    let data = vectors.chunks_exact(dim).enumerate().map(|(i, vector)| {
        let vector = cut(vector, n_elements);
        let embedding = if is_base64 { json!(base64(&vector)) } else { json!(vector) };
        json!({"object": "embedding", "index": i, "embedding": embedding})
    });
    let usage = json!({"prompt_tokens": n_tokens, "total_tokens": n_tokens});
    json!({"object": "list", "data": data.collect::<Vec<_>>(), "model": name, "usage": usage})
}

/// The first `n` elements of a vector of length 1, of length 1 again.
pub(crate) fn cut(vector: &[f32], n: usize) -> Vec<f32> {
    let part = &vector[..n.min(vector.len())];
    if part.len() == vector.len() {
        return part.to_vec();
    }
    let length = part.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
    part.iter().map(|value| if length > 0.0 { (f64::from(*value) / length) as f32 } else { 0.0 }).collect()
}

/// Numbers of 32 bits, lowest byte first, in base64 (RFC 4648).
fn base64(vector: &[f32]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_base64_of_their_bytes() {
        assert_eq!(base64(&[]), "");
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(base64(&[0.0, 0.0, 1.0]), "AAAAAAAAAAAAAIA/");
    }

    #[test]
    fn a_vector_that_is_cut_has_length_1_again() {
        assert_eq!(cut(&[0.6, 0.8], 2), [0.6, 0.8]);
        assert_eq!(cut(&[0.6, 0.8], 1), [1.0]);
        assert_eq!(cut(&[0.0, 1.0], 1), [0.0]);
    }
}
