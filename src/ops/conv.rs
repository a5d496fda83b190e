//! Causal convolutions of each channel by itself ("depthwise"), over the last values of a text.

use crate::compute::Compute;
use crate::error::{Error, Kind, Remedy, Result};
use crate::kernels::BLOCK;
use crate::ops::Linear;
use crate::quant::{Dtype, PANEL_ROWS};
use crate::room;
use alloc::vec::Vec;
use core::ops::Range;

/// Positions that a kernel spans, at most.
pub const MAX_CONV_WIDTH: usize = 32;
/// Multiply-adds below which a part is not worth a thread.
const MIN_MACS: usize = 1 << 14;

/// What a convolution has met at the last positions of a text, as f32: a ring of blocks of 32 positions, each
/// `[position][channel]`. A position takes the place of the one that is a whole ring before it.
pub struct ConvCache {
    channels: usize,
    n_blocks: usize,
    data: Vec<f32>,
}

/// Consecutive tokens of one text, and the cache that holds what the convolution meets there.
#[derive(Clone, Copy)]
pub struct ConvSpan<'a> {
    /// The cache, of the same channels for all spans.
    pub cache: &'a ConvCache,
    /// Position of the first of them in their text.
    pub start: usize,
    /// Number of tokens.
    pub n_tokens: usize,
}

/// Some consecutive positions of one text, and what a convolution meets there and before.
pub trait ConvInputs<'a>: Copy {
    /// Number of channels.
    fn channels(&self) -> usize;

    /// The positions.
    fn positions(&self) -> Range<usize>;

    /// What was met at `position`, one of them or a little before: (channels).
    fn row(&self, position: usize) -> &'a [f32];
}

impl<'a> ConvInputs<'a> for ConvSpan<'a> {
    fn channels(&self) -> usize {
        self.cache.channels
    }

    fn positions(&self) -> Range<usize> {
        self.start..self.start + self.n_tokens
    }

    fn row(&self, position: usize) -> &'a [f32] {
        self.cache.row(position)
    }
}

impl ConvCache {
    /// A cache of zeros; fails where its memory cannot be allocated.
    pub fn new(channels: usize, n_blocks: usize) -> Result<Self> {
        assert!(channels > 0 && n_blocks > 0, "an empty cache of a convolution");
        let data = n_blocks.checked_mul(BLOCK * channels).and_then(room::zeros).ok_or_else(|| {
            let message = format!("no memory for {n_blocks} blocks of a convolution of {channels} channels");
            Error::new(Kind::Resources, message).remedy(Remedy::ShorterContext)
        })?;
        Ok(ConvCache { channels, n_blocks, data })
    }

    /// Bytes of a block of 32 positions.
    pub fn block_bytes(channels: usize) -> usize {
        BLOCK * channels * size_of::<f32>()
    }

    /// Blocks of the ring.
    pub fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    fn slot(&self, position: usize) -> Range<usize> {
        let slot = position % (self.n_blocks * BLOCK);
        slot * self.channels..(slot + 1) * self.channels
    }

    /// What was met at `position`, which the ring must still hold: (channels).
    pub fn row(&self, position: usize) -> &[f32] {
        &self.data[self.slot(position)]
    }

    /// The same, to be written.
    pub fn row_mut(&mut self, position: usize) -> &mut [f32] {
        let slot = self.slot(position);
        &mut self.data[slot]
    }

    /// The values of block `block`, 32 positions.
    pub fn block(&self, block: usize) -> &[f32] {
        let n = BLOCK * self.channels;
        &self.data[block % self.n_blocks * n..][..n]
    }

    /// The same, to be written.
    pub fn block_mut(&mut self, block: usize) -> &mut [f32] {
        let n = BLOCK * self.channels;
        &mut self.data[block % self.n_blocks * n..][..n]
    }
}

/// The values of `kernel` (channels, width), of f32, over what `spans` meet, at their positions, one span after the other: `out`
/// (T, channels).
///
/// The token at position p meets the positions `p + 1 - width..=p`, those before the text left out; the last column of the kernel
/// is that of p.
pub fn conv<'a>(
    compute: &Compute,
    kernel: &Linear<'_>,
    spans: impl Iterator<Item = impl ConvInputs<'a>> + Clone + Sync,
    out: &mut [f32],
) {
    let (channels, width) = (kernel.weight.rows(), kernel.weight.cols());
    assert!(kernel.weight.dtype() == Dtype::F32, "a kernel of a convolution is f32");
    assert!((1..=MAX_CONV_WIDTH).contains(&width), "a kernel over {width} positions");
    let n_tokens: usize = spans.clone().map(|span| span.positions().len()).sum();
    assert!(out.len() == n_tokens * channels, "{} outputs of {n_tokens} tokens", out.len());
    assert!(spans.clone().all(|span| span.channels() == channels), "inputs of other channels");
    if n_tokens == 0 {
        return;
    }
    let panels: &[f32] = bytemuck::cast_slice(kernel.weight.data());
    let min_panels = MIN_MACS.div_ceil(n_tokens * width * PANEL_ROWS);
    compute.threads.run_columns(out, channels, PANEL_ROWS, min_panels, &|units, mut out| {
        let columns = units.start * PANEL_ROWS..(units.end * PANEL_ROWS).min(channels);
        let panels = &panels[units.start * PANEL_ROWS * width..units.end * PANEL_ROWS * width];
        let positions = spans.clone().flat_map(|span| span.positions().map(move |position| (span, position)));
        for (t, (span, position)) in positions.enumerate() {
            let mut inputs: [&[f32]; MAX_CONV_WIDTH] = [&[]; MAX_CONV_WIDTH];
            let seen = (position + 1).saturating_sub(width)..position + 1;
            let n = seen.len();
            for (input, position) in inputs.iter_mut().zip(seen) {
                *input = &span.row(position)[columns.clone()];
            }
            let out = out.row(t);
            (compute.kernels.conv)(panels, width, &inputs[..n], out);
            if let Some(bias) = kernel.bias {
                (compute.kernels.add)(out, &bias[columns.clone()]);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;
    use crate::quant::{ALIGNMENT, Matrix, encode_panel, panel_bytes};

    /// A kernel of (channels, width) with the weights `w`, in memory of its own.
    fn with_kernel(channels: usize, width: usize, w: &[f32], body: impl FnOnce(Matrix<'_>)) {
        let bytes = panel_bytes(Dtype::F32, width);
        let mut data = vec![0; channels.div_ceil(PANEL_ROWS) * bytes + ALIGNMENT];
        let start = data.as_ptr().align_offset(ALIGNMENT);
        let data = &mut data[start..][..channels.div_ceil(PANEL_ROWS) * bytes];
        for (rows, panel) in w.chunks(PANEL_ROWS * width).zip(data.chunks_exact_mut(bytes)) {
            encode_panel(Dtype::F32, rows, width, panel);
        }
        body(Matrix::new(Dtype::F32, channels, width, data).expect("as long as it must be"));
    }

    #[test]
    fn each_channel_meets_its_last_values_in_f64() {
        for (channels, width) in [(1, 1), (5, 3), (16, 4), (33, 3), (40, 32), (2048, 3)] {
            let value = |i: usize| ((i * 7919 % 1013) as f32 - 500.0) / 300.0;
            let w: Vec<f32> = (0..channels * width).map(value).collect();
            let bias: Vec<f32> = (0..channels).map(|c| value(c + 17)).collect();
            with_kernel(channels, width, &w, |weight| {
                // A ring of three blocks, which goes around.
                let mut cache = ConvCache::new(channels, 3).expect("memory");
                let (n, first) = (130, 100);
                let u = |p: usize, c: usize| value(p * channels + c + 3);
                for p in 0..n {
                    cache.row_mut(p).iter_mut().enumerate().for_each(|(c, x)| *x = u(p, c));
                }
                for (n_threads, start) in [(1, first), (2, first), (2, n - 1)] {
                    let compute = Compute::new(kernels::detect(), n_threads).expect("threads");
                    let kernel = Linear { weight, bias: Some(&bias) };
                    let span = ConvSpan { cache: &cache, start, n_tokens: n - start };
                    let mut out = vec![f32::NAN; (n - start) * channels];
                    conv(&compute, &kernel, core::iter::once(span), &mut out);
                    for (i, got) in out.iter().enumerate() {
                        let (p, c) = (start + i / channels, i % channels);
                        let product = |j: usize| f64::from(w[c * width + j]) * f64::from(u(p + 1 + j - width, c));
                        let want = (0..width).map(product).sum::<f64>() + f64::from(bias[c]);
                        assert!((f64::from(*got) - want).abs() < 1e-4, "{channels} {width}: {got} for {want}");
                    }
                }
            });
        }
    }

    #[test]
    fn the_first_tokens_meet_nothing_before_the_text() {
        let compute = Compute::new(kernels::detect(), 1).expect("a thread");
        with_kernel(1, 3, &[100.0, 10.0, 1.0], |weight| {
            let mut cache = ConvCache::new(1, 1).expect("memory");
            cache.block_mut(0).fill(9.0);
            (0..4).for_each(|p| cache.row_mut(p)[0] = 1.0 + p as f32);
            let span = ConvSpan { cache: &cache, start: 0, n_tokens: 4 };
            let mut out = [f32::NAN; 4];
            conv(&compute, &Linear { weight, bias: None }, core::iter::once(span), &mut out);
            assert_eq!(out, [1.0, 12.0, 123.0, 234.0]);
        });
    }
}
