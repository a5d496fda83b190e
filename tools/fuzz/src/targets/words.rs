//! Word vectors, as text and in word2vec's binary form.

use super::{Target, size};
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::scramble;
use crate::random::Random;

pub(super) struct Words;

const FILE: &str = "vectors.txt";
const WORDS: &[&[u8]] = &[
    b"the",
    b"a",
    b". . .",
    b"new york",
    b"</s>",
    b"<unk>",
    b"-",
    b"42",
    b"caf\xe9",
    b"\xc3",
    "é".as_bytes(),
    "\u{a0}".as_bytes(),
    "\u{2028}".as_bytes(),
    b"",
    b" a",
    b"\x1b[2J",
    b"x\ty",
    "\u{feff}".as_bytes(),
];
const NUMBERS: &[&str] = &["1", "-0.5", "1e-3", "2.5E+2", ".5", "6.", "+1", "nan", "1e39", "x", "0x1p3"];
/// How many of them can be stored.
const SOUND: usize = 7;

impl Target for Words {
    fn name(&self) -> &'static str {
        "words"
    }

    fn bound(&self) -> Bound {
        Bound::WORDS
    }

    fn make(&self, random: &mut Random) -> Files {
        let n = if random.once_in(2000) { random.within(1000, 40_000) } else { random.within(1, 12) };
        let dim = random.within(2, 6);
        let binary = random.once_in(2);
        let mut out = if random.once_in(8) { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        if binary || random.once_in(2) {
            let said = if random.once_in(12) { random.edge(n as u64) } else { n as u64 };
            let wide = if random.once_in(20) { random.edge(dim as u64) } else { dim as u64 };
            let between = random.pick(&[" ", " ", "\t", "  "]);
            out.extend(format!("{said}{between}{wide}\n").bytes());
        }
        let end: &[u8] = random.pick(&[&b"\n"[..], b"\n", b"\r\n", b" \n", b""]);
        let between: u8 = random.pick(b"   \t");
        for _ in 0..n {
            out.extend(if random.once_in(3) {
                random.bits().to_string().into_bytes()
            } else {
                random.pick(WORDS).to_vec()
            });
            if binary {
                out.push(b' ');
                let float = |random: &mut Random| if random.once_in(60) { random.float() } else { random.unit() };
                (0..dim).for_each(|_| out.extend(float(random).to_le_bytes()));
                out.extend(if end.len() == 1 { end } else { b"" });
            } else {
                for _ in 0..dim {
                    out.push(between);
                    let sound = if random.once_in(40) { NUMBERS.len() } else { SOUND };
                    out.extend(random.pick(&NUMBERS[..sound]).bytes());
                }
                out.extend(if end.is_empty() { b"\n" } else { end });
            }
        }
        if random.once_in(8) {
            scramble(&mut out, random);
        }
        vec![(FILE.to_string(), out)]
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let path = bench.checkpoint(files, Some(FILE))?;
        bench.convert_words(&path, size(files), random)
    }
}
