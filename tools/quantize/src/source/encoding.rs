//! How the weights of a source are encoded, and their decoding to f32.

use half::{bf16, f16};

use super::gguf::blocks;

/// The encoding of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Mxfp4,
    Tq1_0,
    Tq2_0,
}

/// Elements in the longest block.
const MAX_BLOCK: usize = 256;

impl Encoding {
    /// The name that users know.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "F32",
            Encoding::F16 => "F16",
            Encoding::Bf16 => "BF16",
            Encoding::Q8_0 => "Q8_0",
            Encoding::Q4_0 => "Q4_0",
            Encoding::Q4_1 => "Q4_1",
            Encoding::Q5_0 => "Q5_0",
            Encoding::Q5_1 => "Q5_1",
            Encoding::Q2K => "Q2_K",
            Encoding::Q3K => "Q3_K",
            Encoding::Q4K => "Q4_K",
            Encoding::Q5K => "Q5_K",
            Encoding::Q6K => "Q6_K",
            Encoding::Iq4Nl => "IQ4_NL",
            Encoding::Iq4Xs => "IQ4_XS",
            Encoding::Mxfp4 => "MXFP4",
            Encoding::Tq1_0 => "TQ1_0",
            Encoding::Tq2_0 => "TQ2_0",
        }
    }

    /// Elements and bytes of a block.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Encoding::F32 => (1, 4),
            Encoding::F16 | Encoding::Bf16 => (1, 2),
            Encoding::Q8_0 => (32, 34),
            Encoding::Q4_0 => (32, 18),
            Encoding::Q4_1 => (32, 20),
            Encoding::Q5_0 => (32, 22),
            Encoding::Q5_1 => (32, 24),
            Encoding::Q2K => (256, 84),
            Encoding::Q3K => (256, 110),
            Encoding::Q4K => (256, 144),
            Encoding::Q5K => (256, 176),
            Encoding::Q6K => (256, 210),
            Encoding::Iq4Nl => (32, 18),
            Encoding::Iq4Xs => (256, 136),
            Encoding::Mxfp4 => (32, 17),
            Encoding::Tq1_0 => (256, 54),
            Encoding::Tq2_0 => (256, 66),
        }
    }

    /// Bytes of `elements` elements; `None` where they are no whole blocks or too many.
    pub(crate) fn bytes(self, elements: u64) -> Option<u64> {
        let (length, bytes) = self.block();
        if !elements.is_multiple_of(length as u64) {
            return None;
        }
        (elements / length as u64).checked_mul(bytes as u64)
    }

    /// Decodes elements `start..start + out.len()` of the tensor whose bytes are `data`; they lie within it.
    pub(crate) fn decode(self, data: &[u8], start: usize, out: &mut [f32]) {
        match self {
            Encoding::F32 => {
                for (y, b) in out.iter_mut().zip(data[start * 4..].chunks_exact(4)) {
                    *y = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            Encoding::F16 => {
                for (y, b) in out.iter_mut().zip(data[start * 2..].chunks_exact(2)) {
                    *y = f16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            Encoding::Bf16 => {
                for (y, b) in out.iter_mut().zip(data[start * 2..].chunks_exact(2)) {
                    *y = bf16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            _ => self.decode_blocks(data, start, out),
        }
    }

    fn decode_blocks(self, data: &[u8], start: usize, mut out: &mut [f32]) {
        let (length, bytes) = self.block();
        let mut skip = start % length;
        for block in data[start / length * bytes..].chunks_exact(bytes) {
            if out.is_empty() {
                return;
            }
            let n = (length - skip).min(out.len());
            let (now, later) = std::mem::take(&mut out).split_at_mut(n);
            if n == length {
                self.decode_block(block, now);
            } else {
                let mut whole = [0.0; MAX_BLOCK];
                self.decode_block(block, &mut whole[..length]);
                now.copy_from_slice(&whole[skip..skip + n]);
            }
            out = later;
            skip = 0;
        }
    }

    fn decode_block(self, block: &[u8], out: &mut [f32]) {
        match self {
            Encoding::Q8_0 => blocks::q8_0(block, out),
            Encoding::Q4_0 => blocks::q4_0(block, out),
            Encoding::Q4_1 => blocks::q4_1(block, out),
            Encoding::Q5_0 => blocks::q5_0(block, out),
            Encoding::Q5_1 => blocks::q5_1(block, out),
            Encoding::Q2K => blocks::q2_k(block, out),
            Encoding::Q3K => blocks::q3_k(block, out),
            Encoding::Q4K => blocks::q4_k(block, out),
            Encoding::Q5K => blocks::q5_k(block, out),
            Encoding::Q6K => blocks::q6_k(block, out),
            Encoding::Iq4Nl => blocks::iq4_nl(block, out),
            Encoding::Iq4Xs => blocks::iq4_xs(block, out),
            Encoding::Mxfp4 => blocks::mxfp4(block, out),
            Encoding::Tq1_0 => blocks::tq1_0(block, out),
            Encoding::Tq2_0 => blocks::tq2_0(block, out),
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => self.decode(block, 0, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKED: [Encoding; 15] = [
        Encoding::Q8_0,
        Encoding::Q4_0,
        Encoding::Q4_1,
        Encoding::Q5_0,
        Encoding::Q5_1,
        Encoding::Q2K,
        Encoding::Q3K,
        Encoding::Q4K,
        Encoding::Q5K,
        Encoding::Q6K,
        Encoding::Iq4Nl,
        Encoding::Iq4Xs,
        Encoding::Mxfp4,
        Encoding::Tq1_0,
        Encoding::Tq2_0,
    ];

    /// ggml_blocks.bin (written by tests/make_ggml_blocks.py): for each format in the order of `BLOCKED`, the bytes
    /// of 512 elements and then these elements as f32, as the reference implementation decodes them.
    #[test]
    fn every_block_format_decodes_as_the_reference_does() {
        let mut golden: &[u8] = include_bytes!("../../tests/ggml_blocks.bin");
        for encoding in BLOCKED {
            let bytes = encoding.bytes(512).expect("whole blocks") as usize;
            let (data, rest) = golden.split_at(bytes);
            let (want, rest) = rest.split_at(2048);
            golden = rest;
            let mut out = [0.0; 512];
            encoding.decode(data, 0, &mut out);
            for (i, (y, b)) in out.iter().zip(want.chunks_exact(4)).enumerate() {
                let w = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                assert_eq!(y.to_bits(), w.to_bits(), "{} element {i}: {y} is not {w}", encoding.name());
            }
            for (start, n) in [(0, 1), (7, 300), (255, 2), (256, 256), (31, 33), (200, 312), (511, 1)] {
                let mut part = vec![f32::NAN; n];
                encoding.decode(data, start, &mut part);
                assert_eq!(part, out[start..start + n], "{} from {start}", encoding.name());
            }
        }
        assert!(golden.is_empty());
    }

    #[test]
    fn plain_formats_decode() {
        let mut out = [0.0; 2];
        Encoding::F32.decode(&[0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], 1, &mut out);
        assert_eq!(out, [1.0, -2.0]);
        Encoding::F16.decode(&[0, 0x3c, 0, 0xc0], 0, &mut out);
        assert_eq!(out, [1.0, -2.0]);
        Encoding::Bf16.decode(&[0x80, 0x3f, 0, 0xc0], 0, &mut out);
        assert_eq!(out, [1.0, -2.0]);
    }
}
