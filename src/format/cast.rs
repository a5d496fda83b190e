//! Bytes at the alignment that weights need, and the one cast of file bytes to numbers.

use super::layout::ALIGNMENT;
use alloc::vec::Vec;

/// Aligns what it holds to 64 bytes, for files that are part of a program:
///
/// ```
/// # use whit::format::cast::Aligned;
/// // include_bytes!("model.whit") in a real program
/// static MODEL: &Aligned<[u8]> = &Aligned(*b"WHIT");
/// assert_eq!(MODEL.0.as_ptr().addr() % 64, 0);
/// ```
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

/// Bytes on the heap that start at a multiple of 64.
pub struct AlignedBytes {
    buffer: Vec<u8>,
    start: usize,
}

impl AlignedBytes {
    /// A copy of `bytes`.
    pub fn copy(bytes: &[u8]) -> Self {
        let alignment = ALIGNMENT as usize;
        let mut buffer: Vec<u8> = Vec::with_capacity(bytes.len() + alignment);
        // Nothing below grows the buffer past its capacity, so that it stays where it is.
        let start = buffer.as_ptr().addr().next_multiple_of(alignment) - buffer.as_ptr().addr();
        buffer.resize(start, 0);
        buffer.extend_from_slice(bytes);
        AlignedBytes { buffer, start }
    }
}

impl core::ops::Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl core::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }
}

impl core::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AlignedBytes({})", self.len())
    }
}

/// `bytes` as numbers, or `None` where their length is no multiple of 4 or their start is not aligned.
pub(crate) fn as_f32(bytes: &[u8]) -> Option<&[f32]> {
    bytemuck::try_cast_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_aligned_and_stay_so() {
        let copies: Vec<AlignedBytes> = (0..100).map(|n| AlignedBytes::copy(&vec![n as u8; n * 37])).collect();
        for (n, copy) in copies.iter().enumerate() {
            assert_eq!(copy.as_ptr().addr() % 64, 0);
            assert_eq!(&copy[..], &vec![n as u8; n * 37]);
        }
    }

    #[test]
    fn casts_refuse_what_does_not_fit() {
        let bytes = AlignedBytes::copy(&1.5_f32.to_le_bytes().repeat(3));
        assert_eq!(as_f32(&bytes), Some(&[f32::from_le_bytes(1.5_f32.to_le_bytes()); 3][..]));
        assert_eq!(as_f32(&bytes[..11]), None);
        assert_eq!(as_f32(&bytes[1..9]), None);
    }
}
