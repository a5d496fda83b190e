//! What builders of a section share: entries spread over buckets by their hash, and sizes in 32 bits.

use super::header::MAX_BUCKET_BITS;
use super::tables::{MAX_BUCKET, bucket};
use crate::error::{Error, Result};

/// Sorts `entries` by bucket, then by `order`, and gives the start of each bucket: about two entries to a bucket, up to
/// 16 times as many buckets where one would overflow. Pieces can be made that all share a bucket, however many there are.
pub(super) fn parted<T>(
    entries: &mut [T],
    hash: impl Fn(&T) -> u64,
    order: impl Fn(&T, &T) -> core::cmp::Ordering,
) -> Result<Vec<u32>> {
    let least = (entries.len() / 2).max(1).ilog2();
    for bits in least..=(least + 4).min(MAX_BUCKET_BITS) {
        let mut starts = vec![0_u32; (1 << bits) + 1];
        entries.iter().for_each(|entry| starts[bucket(hash(entry), bits) + 1] += 1);
        if starts.iter().any(|count| *count > MAX_BUCKET) {
            continue;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        entries.sort_by(|a, b| bucket(hash(a), bits).cmp(&bucket(hash(b), bits)).then_with(|| order(a, b)));
        return Ok(starts);
    }
    Err(Error::data(format!("{} entries do not spread over a hash table", entries.len())))
}

pub(super) fn size(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::data(format!("the tokenizer has a table of {n}, past 32 bits")))
}
