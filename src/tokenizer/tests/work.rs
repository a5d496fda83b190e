use super::*;

/// A vocabulary that merges runs of one character up to 64, digits up to three, and frequent pairs of letters.
fn greedy() -> Vocabulary {
    let mut merges = Vec::new();
    for unit in ["a", " ", "0", "\n", "_"] {
        merges.extend((0..6).map(|power| (unit.repeat(1 << power), unit.repeat(1 << power))));
    }
    let letters: Vec<String> = ('A'..='Z').chain('a'..='z').chain('0'..='9').map(String::from).collect();
    for (i, left) in letters.iter().enumerate() {
        merges.extend(letters.iter().skip(i % 3).step_by(3).map(|right| (left.clone(), right.clone())));
    }
    let mut seen = std::collections::HashSet::new();
    merges.retain(|merge| seen.insert(merge.clone()));
    let merges: Vec<(&str, &str)> = merges.iter().map(|(left, right)| (left.as_str(), right.as_str())).collect();
    byte_level(PreTokenizer::Gpt2, &merges)
}

fn base64(n: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut numbers = Numbers(3);
    (0..n).map(|_| char::from(ALPHABET[numbers.below(64)])).collect()
}

/// `n` bytes, about, of each kind of text that has made a tokenizer slow.
fn families(n: usize) -> Vec<(&'static str, String)> {
    let repeated = |unit: &str| unit.repeat(n / unit.len());
    vec![
        ("one letter", repeated("a")),
        ("underscores", repeated("_")),
        ("spaces", repeated(" ")),
        ("newlines", repeated("\n")),
        ("spaces and newlines", repeated("   \n \n")),
        ("digits", repeated("0123456789")),
        ("base64", base64(n)),
        ("Han", repeated("想在")),
        ("emoji", repeated("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}")),
        ("combining marks", repeated("\u{323}\u{301}")),
        ("JSON", repeated("{\"a\":[0,1.5,true],\"b_c\":null},")),
        ("right to left", repeated("שלום ")),
        ("apostrophes", repeated("'")),
        ("near-control", repeated("<|en<|e")),
    ]
}

/// Work on `text`.
fn steps(tokenizer: &Tokenizer, text: &str) -> f64 {
    let mut merger = Merger::default();
    tokenizer.encode_with(text, Specials::Parse, true, &mut merger, &mut Vec::new());
    assert!(merger.steps > 0);
    merger.steps as f64
}

/// The growth of the work, from `least` to `most` bytes of each kind, as an exponent.
fn work_grows_linearly(section: &[u8], least: usize, most: usize) {
    let tokenizer = Tokenizer::open(section).unwrap();
    for ((name, short), (_, long)) in families(least).iter().zip(families(most)) {
        let growth = steps(&tokenizer, &long) / steps(&tokenizer, short);
        let exponent = growth.ln() / (most as f64 / least as f64).ln();
        assert!(exponent < 1.15, "{name}: {exponent}");
    }
}

/// U-04
#[test]
fn merge_steps_grow_linearly_on_every_kind_of_text() {
    for pre in [PreTokenizer::Gpt2, PreTokenizer::Llama3, PreTokenizer::Qwen2, PreTokenizer::SmolLm2] {
        let mut vocabulary = greedy();
        let VocabularyModel::ByteLevel { pre: own, .. } = &mut vocabulary.model else { unreachable!() };
        *own = pre;
        let most = if pre == PreTokenizer::Gpt2 { 1 << 20 } else { 1 << 17 };
        work_grows_linearly(&vocabulary.build().unwrap(), 1 << 12, most);
    }
    let runs: Vec<String> = (0..6).flat_map(|power| ["a", "▁", "_"].map(|unit| unit.repeat(1 << power))).collect();
    let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
    work_grows_linearly(&sentence_piece(&runs).build().unwrap(), 1 << 12, 1 << 20);
}
