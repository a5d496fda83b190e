//! The one source of chance: what a case is made of follows from its seed and number alone.

/// xorshift64*, started through splitmix64 so that neighbouring seeds have nothing in common.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((mixed ^ (mixed >> 31)) | 1)
    }

    /// The stream of case `case` of `target` under `seed`.
    pub fn of_case(target: &str, seed: u64, case: u64) -> Self {
        let name = target.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut outer = Random::new(seed ^ name);
        Random::new(outer.bits() ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `from`, which is not empty.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// In [-1, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A number at one of the places where arithmetic on lengths and counts goes wrong; `n` is the right one.
    pub fn edge(&mut self, n: u64) -> u64 {
        const FIXED: [u64; 14] = [
            0,
            1,
            2,
            63,
            64,
            255,
            65_536,
            (1 << 31) - 1,
            1 << 31,
            (1 << 32) - 1,
            1 << 32,
            (1 << 63) - 1,
            1 << 63,
            u64::MAX,
        ];
        match self.below(10) {
            0 => n.wrapping_sub(1),
            1 | 2 => n.wrapping_add(1),
            3 => n.wrapping_mul(2),
            4 => u64::MAX - n,
            5 => u64::MAX - self.bits() % 64,
            6 => self.bits() >> self.below(64),
            _ => self.pick(&FIXED),
        }
    }

    /// Bits of an f32 that is special, or anything at all.
    pub fn float(&mut self) -> f32 {
        const SPECIAL: [f32; 12] = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            0.0,
            -0.0,
            1e-45,
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::MIN,
            65504.0,
            65520.0,
            -1.0,
        ];
        if self.once_in(4) { f32::from_bits(self.bits() as u32) } else { self.pick(&SPECIAL) }
    }
}
