//! llama2.c checkpoints and tokenizers.

use super::{Case, Files, case, run, sweep};

/// dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
const TINY: [i32; 7] = [8, 16, 1, 2, 1, 8, 4];

fn floats(h: [i32; 7], skipped: bool) -> usize {
    let [dim, hidden, layers, heads, kv, vocab, context] = h.map(|n| n.unsigned_abs() as usize);
    let head = dim / heads;
    let block = 2 * dim + 2 * dim * dim + 2 * kv * head * dim + 3 * hidden * dim;
    vocab * dim + layers * block + dim + if skipped { context * head } else { 0 }
}

fn version0(h: [i32; 7]) -> Vec<u8> {
    let mut out: Vec<u8> = h.iter().flat_map(|n| n.to_le_bytes()).collect();
    out.resize(28 + 4 * floats(TINY, true), 0);
    out
}

fn version1(version: u32, shared: u8) -> Vec<u8> {
    let mut out = b"24ka".to_vec();
    out.extend(version.to_le_bytes());
    out.extend(TINY.iter().flat_map(|n| n.to_le_bytes()));
    out.push(shared);
    out.resize(256 + 4 * floats(TINY, false), 0);
    out
}

fn tokenizer() -> Vec<u8> {
    let mut out = 7_u32.to_le_bytes().to_vec();
    for (i, piece) in ["<unk>", "\n<s>\n", "\n</s>\n", "<0x0A>", " ", "a", "b", "ab"].iter().enumerate() {
        out.extend((-(i as f32)).to_le_bytes());
        out.extend((piece.len() as i32).to_le_bytes());
        out.extend(piece.as_bytes());
    }
    out
}

fn both(checkpoint: Vec<u8>, tokenizer: Vec<u8>) -> Files {
    vec![("model.bin", checkpoint), ("tok8.bin", tokenizer)]
}

fn row(name: &'static str, checkpoint: Vec<u8>, expected: &'static str, field: &'static str) -> Case {
    case(name, both(checkpoint, tokenizer()), expected, field)
}

fn changed(at: usize, value: i32) -> Vec<u8> {
    let mut header = TINY;
    header[at] = value;
    version0(header)
}

#[test]
fn checkpoints() {
    let patched = |at: usize, with: &[u8]| {
        let mut bytes = tokenizer();
        bytes[at..at + with.len()].copy_from_slice(with);
        both(version0(TINY), bytes)
    };
    run(vec![
        row("dim 0", changed(0, 0), "outside", "dim"),
        row("hidden_dim -1", changed(1, -1), "outside", "hidden_dim"),
        row("10^6 layers", changed(2, 1_000_000), "outside", "n_layers"),
        row("no heads", changed(3, 0), "outside", "n_heads"),
        row("heads do not divide", changed(3, 3), "even number", "n_heads"),
        row("KV heads do not divide", changed(4, 3), "divide", "n_kv_heads"),
        row("vocabulary i32::MIN", changed(5, i32::MIN), "outside", "vocab_size"),
        row("context 2^30", changed(6, 1 << 30), "outside", "seq_len"),
        row("too long for its header", changed(6, 2), "more follow", "length"),
        row("too short for its header", changed(6, 5), "missing", "length"),
        row("untied without its matrix", changed(5, -8), "missing", "length"),
        row("cut header", version0(TINY)[..20].to_vec(), "needed", "vocab_size"),
        row("version 2", version1(2, 1), "int8", "version"),
        row("version 3", version1(3, 1), "version 3", "version"),
        row("a flag of 2", version1(1, 2), "0 or 1", "shared_classifier"),
        row("version 1 cut", version1(1, 1)[..1000].to_vec(), "missing", "length"),
        case("no tokenizer", vec![("model.bin", version0(TINY))], "--tokenizer", "tokenizer").no_input(),
        case("a cut tokenizer", both(version0(TINY), tokenizer()[..90].to_vec()), "", "token"),
        case(
            "a longer tokenizer",
            both(version0(TINY), [tokenizer(), vec![0]].concat()),
            "1 bytes after",
            "vocab_size",
        ),
        case("a score of NaN", patched(4, &f32::NAN.to_le_bytes()), "not a number", "token 0"),
        case("a piece of 2^31", patched(8, &i32::MIN.to_le_bytes()), "limit", "token 0"),
        case("a piece that is no text", patched(12, &[0xff]), "UTF-8", "token 0"),
        case("a piece twice", patched(tokenizer().len() - 11, b"a"), "token", "tokenizer").nowhere(),
    ]);
}

#[test]
fn no_byte_of_a_header_panics() {
    sweep("version 0", &both(version0(TINY), tokenizer()), "model.bin", 28);
    sweep("version 1", &both(version1(1, 1), tokenizer()), "model.bin", 40);
    sweep("tokenizer.bin", &both(version0(TINY), tokenizer()), "tok8.bin", tokenizer().len());
}
