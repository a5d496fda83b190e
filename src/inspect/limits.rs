//! What this machine can do at most: bytes read from memory and multiply-adds in registers, a second.

use crate::compute::Compute;
use crate::error::{Error, Kind, Result};
use crate::os::clock::Stopwatch;
use crate::os::{caches, memory};
use crate::quant::Inputs;
use crate::room;
use core::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read at a time from one stream: two cache lines.
type Block = [u64; 16];

/// The bytes that are read where the system says nothing of caches, and at least.
const USUAL_BYTES: u64 = 256 << 20;
/// The most bytes that are read.
const MOST_BYTES: u64 = 4 << 30;
/// How much more is read than the caches hold.
const TIMES_CACHES: u64 = 4;
/// Multiply-adds between two looks at the clock, about.
const MACS_AT_ONCE: u64 = 1 << 24;

/// Measured limits of some kernels on some threads; 0 where not yet measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MachineLimits {
    /// Bytes read from memory, a second.
    pub read: f64,
    /// Multiply-adds of int8 products, a second.
    pub int8: f64,
    /// Fused multiply-adds of f32, a second.
    pub f32: f64,
}

impl MachineLimits {
    /// Measures all of them on the threads of `compute`, for `seconds` each.
    pub fn measure(compute: &Compute, seconds: f64) -> Result<Self> {
        Ok(MachineLimits {
            read: Buffer::new()?.read(compute, seconds),
            int8: peak(compute, compute.kernels.peaks.quantized, seconds),
            f32: peak(compute, compute.kernels.peaks.floats, seconds),
        })
    }

    /// Multiply-adds a second of products with inputs of this form, at most.
    pub fn products(&self, inputs: Inputs) -> f64 {
        match inputs {
            Inputs::Floats => self.f32,
            Inputs::Quantized => self.int8,
        }
    }

    /// The better of two measurements.
    pub fn best(self, other: MachineLimits) -> MachineLimits {
        MachineLimits { read: self.read.max(other.read), int8: self.int8.max(other.int8), f32: self.f32.max(other.f32) }
    }
}

/// Memory to read.
pub(super) struct Buffer(Vec<Block>);

impl Buffer {
    /// Four times what the caches hold and 256 MiB at least, or a quarter of what is free where that is less.
    pub(super) fn new() -> Result<Self> {
        let free = [memory::available_bytes(), memory::cgroup_limit_bytes()].into_iter().flatten().min();
        let bytes = bytes_to_read(caches::last_level_bytes(), free) as usize;
        let n_blocks = bytes / size_of::<Block>();
        let mut blocks: Vec<Block> = Vec::new();
        if !room::reserve(&mut blocks, n_blocks) {
            return Err(Error::new(Kind::Resources, format!("no memory for {} MiB to read", bytes >> 20)));
        }
        // Zeros could be one page of the system's many times over.
        blocks.resize(n_blocks, [0x0101_0101_0101_0101; 16]);
        Ok(Buffer(blocks))
    }

    /// Bytes a second that `compute`'s threads read, each a contiguous part, by the best of reading it as 1, 4 or 8
    /// streams; measured for at least `seconds`.
    pub(super) fn read(&self, compute: &Compute, seconds: f64) -> f64 {
        let all = Stopwatch::start();
        let mut best = 0.0_f64;
        loop {
            for read in [streams::<1>, streams::<4>, streams::<8>] {
                let bytes = AtomicU64::new(0);
                let watch = Stopwatch::start();
                compute.threads.run(self.0.len(), &|blocks| {
                    bytes.fetch_add(read(&self.0[blocks]), Ordering::Relaxed);
                });
                best = best.max(bytes.into_inner() as f64 / watch.seconds());
            }
            if all.seconds() >= seconds {
                return best;
            }
        }
    }
}

/// Bytes that are read to measure memory, beside caches of `cached` bytes, where `free` ones are left.
fn bytes_to_read(cached: Option<u64>, free: Option<u64>) -> u64 {
    let wanted = cached.map_or(0, |cached| cached.saturating_mul(TIMES_CACHES)).clamp(USUAL_BYTES, MOST_BYTES);
    free.map_or(wanted, |free| (free / 4).clamp(1 << 20, wanted))
}

/// Reads `blocks` as N streams side by side; returns the bytes read.
fn streams<const N: usize>(blocks: &[Block]) -> u64 {
    let length = blocks.len() / N;
    let streams: [&[Block]; N] = core::array::from_fn(|s| &blocks[s * length..][..length]);
    let mut sum = [0; 16];
    for i in 0..length {
        for stream in streams {
            let block = &stream[i];
            for w in 0..16 {
                sum[w] ^= block[w];
            }
        }
    }
    black_box(sum);
    (length * N * size_of::<Block>()) as u64
}

/// Multiply-adds a second of `peak` on all threads of `compute`: the best of what fits into `seconds`.
pub(super) fn peak(compute: &Compute, peak: fn(usize) -> u64, seconds: f64) -> f64 {
    let rounds = (MACS_AT_ONCE / peak(1).max(1)) as usize;
    let all = Stopwatch::start();
    let mut best = 0.0_f64;
    loop {
        let done = AtomicU64::new(0);
        let watch = Stopwatch::start();
        compute.threads.run(compute.threads.len(), &|parts| {
            for _ in parts {
                done.fetch_add(peak(rounds), Ordering::Relaxed);
            }
        });
        best = best.max(done.into_inner() as f64 / watch.seconds());
        if all.seconds() >= seconds {
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    #[test]
    fn every_number_of_streams_reads_whole_parts() {
        let blocks = vec![[1; 16]; 21];
        assert_eq!(streams::<1>(&blocks), 21 * 128);
        assert_eq!(streams::<4>(&blocks), 20 * 128);
        assert_eq!(streams::<8>(&blocks), 16 * 128);
        assert_eq!(streams::<8>(&blocks[..5]), 0);
    }

    #[test]
    fn more_is_read_than_caches_hold() {
        let (mib, free) = (1 << 20, Some(64 << 30));
        assert_eq!(bytes_to_read(None, None), 256 * mib);
        assert_eq!(bytes_to_read(Some(32 * mib), free), 256 * mib);
        assert_eq!(bytes_to_read(Some(480 * mib), free), 1920 * mib);
        assert_eq!(bytes_to_read(Some(2048 * mib), free), 4096 * mib);
        assert_eq!(bytes_to_read(Some(480 * mib), Some(400 * mib)), 100 * mib);
        assert_eq!(bytes_to_read(Some(mib), Some(0)), mib);
    }

    #[test]
    fn limits_are_positive() {
        let compute = Compute::new(kernels::detect(), 2).expect("threads");
        assert!(Buffer(vec![[1; 16]; 1 << 10]).read(&compute, 0.0) > 0.0);
        assert!(peak(&compute, compute.kernels.peaks.quantized, 0.0) > 0.0);
        assert!(peak(&compute, compute.kernels.peaks.floats, 0.0) > 0.0);
        let best =
            MachineLimits { read: 1.0, int8: 5.0, f32: 0.0 }.best(MachineLimits { read: 2.0, int8: 4.0, f32: 1.0 });
        assert_eq!(best, MachineLimits { read: 2.0, int8: 5.0, f32: 1.0 });
    }
}
