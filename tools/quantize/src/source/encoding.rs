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
    /// Codes of three values in blocks, behind them the scale of all.
    I2S,
    /// The same without a scale, a byte for one element of each quarter of the tensor.
    Packed,
}

/// Bytes behind the blocks of I2_S, whose first four are the scale.
const I2_S_SCALE: usize = 32;

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
            Encoding::I2S => "I2_S",
            Encoding::Packed => "U8",
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
            Encoding::I2S => (128, 32),
            Encoding::Packed => (4, 1),
        }
    }

    /// Bytes of `elements` elements; `None` where they are no whole blocks or too many.
    pub(crate) fn bytes(self, elements: u64) -> Option<u64> {
        let (length, bytes) = self.block();
        if !elements.is_multiple_of(length as u64) {
            return None;
        }
        let behind = if self == Encoding::I2S { I2_S_SCALE as u64 } else { 0 };
        (elements / length as u64).checked_mul(bytes as u64)?.checked_add(behind)
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
            Encoding::I2S => {
                let (blocks, scale) = data.split_at(data.len() - I2_S_SCALE);
                self.decode_blocks(blocks, start, out);
                let scale = f32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]]);
                out.iter_mut().for_each(|y| *y *= scale);
            }
            Encoding::Packed => {
                for (y, element) in out.iter_mut().zip(start..) {
                    let code = data[element % data.len()] >> (2 * (element / data.len())) & 3;
                    *y = f32::from(code) - 1.0;
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
            Encoding::I2S => blocks::i2_s(block, out),
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 | Encoding::Packed => self.decode(block, 0, out),
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
    fn codes_of_three_values_decode() {
        // Two blocks of I2_S: the first 32 elements of a block have the upper bits of its bytes.
        let mut data = vec![0b10_01_00_01; 32];
        data.extend([0b00_00_00_10; 32]);
        data.extend(0.5_f32.to_le_bytes());
        data.resize(64 + I2_S_SCALE, 0xee);
        assert_eq!(Encoding::I2S.bytes(256), Some(data.len() as u64));
        let mut out = [f32::NAN; 256];
        Encoding::I2S.decode(&data, 0, &mut out);
        let want = [0.5, 0.0, -0.5, 0.0, -0.5, -0.5, -0.5, 0.5];
        assert!(out.chunks(32).zip(want).all(|(part, value)| part == [value; 32]), "{out:?}");
        let mut part = [f32::NAN; 40];
        Encoding::I2S.decode(&data, 120, &mut part);
        assert_eq!(part, out[120..160]);

        // The example in the documentation of transformers' unpack_weights.
        let packed = [0b1010_0001, 0b0001_1000, 0b1001_0000, 0b0000_1010];
        let mut out = [f32::NAN; 16];
        Encoding::Packed.decode(&packed, 0, &mut out);
        let want = [0, -1, -1, 1, -1, 1, -1, 1, 1, 0, 0, -1, 1, -1, 1, -1].map(|x| x as f32);
        assert_eq!(out, want);
        let mut part = [f32::NAN; 5];
        Encoding::Packed.decode(&packed, 7, &mut part);
        assert_eq!(part, want[7..12]);
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
