//! Changes that know nothing of a format.

use crate::random::Random;

/// Changes `bytes` a few times.
pub(crate) fn scramble(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        change(bytes, random);
    }
}

fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let some = random.within(1, 16).min(bytes.len() - at);
    match random.below(12) {
        0..=2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        3 if at < bytes.len() => bytes[at] = random.pick(&[0, 1, b' ', b'"', b'{', b'\\', 0x7f, 0x80, 0xff]),
        4 | 5 => put_edge(bytes, at, random),
        6 => bytes.truncate(at),
        7 => drop(bytes.drain(at..at + some)),
        8 => {
            let piece = bytes[at..at + some].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        9 => {
            let new: Vec<u8> = (0..random.within(1, 16)).map(|_| random.bits() as u8).collect();
            bytes.splice(at..at, new);
        }
        10 => {
            let from = random.below(bytes.len() + 1);
            let n = random.below(64).min(bytes.len() - at).min(bytes.len() - from);
            bytes.copy_within(from..from + n, at);
        }
        _ => {
            let value = random.pick(&[0, 0xff]);
            let n = random.below(64).min(bytes.len() - at);
            bytes[at..at + n].fill(value);
        }
    }
}

/// Writes an edge over the number at `at`, of 1, 2, 4 or 8 bytes as it may be.
pub(crate) fn put_edge(bytes: &mut [u8], at: usize, random: &mut Random) {
    let width = random.pick(&[1, 2, 4, 4, 8, 8]).min(bytes.len().saturating_sub(at));
    let mut old = [0; 8];
    old[..width].copy_from_slice(&bytes[at..at + width]);
    let new = random.edge(u64::from_le_bytes(old)).to_le_bytes();
    bytes[at..at + width].copy_from_slice(&new[..width]);
}

/// Writes an edge over one of the 32-bit numbers that `bytes` begin with, `n` of them.
pub(crate) fn put_word(bytes: &mut [u8], n: usize, random: &mut Random) {
    let at = 4 * random.below(n.min(bytes.len() / 4));
    let Some(word) = bytes.get_mut(at..at + 4) else { return };
    let old = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
    let new = if random.once_in(5) { random.float().to_bits() } else { random.edge(old.into()) as u32 };
    word.copy_from_slice(&new.to_le_bytes());
}

/// A text that moves cursors, is no text or is only long.
pub(crate) fn odd_text(random: &mut Random) -> String {
    match random.below(10) {
        0 => String::new(),
        1 => "\u{0}".into(),
        2 => "a\nb\r\u{1b}[2J".into(),
        3 => "\u{202e}\u{2066}x\u{2028}y\u{2029}".into(),
        4 => "x".repeat(random.pick(&[63, 64, 65, 255, 256, 257, 1025, 70_000])),
        5 => "../x".into(),
        6 => "\u{85}\u{9b}31m\u{feff}".into(),
        7 => "e\u{301}\u{1f469}\u{200d}\u{1f467}".into(),
        8 => "\u{2581}\u{120} <0x0A>".into(),
        _ => "/".into(),
    }
}
