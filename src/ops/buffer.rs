//! Buffers that are allocated once.

use crate::error::{Error, Kind, Remedy, Result};
use crate::room;
use alloc::vec::Vec;

/// `rows` times `cols` copies of `value`, or an error where there is no memory for them.
pub(crate) fn buffer<T: Copy>(rows: usize, cols: usize, value: T) -> Result<Vec<T>> {
    let mut buffer = Vec::new();
    let n = rows.checked_mul(cols).filter(|n| room::reserve(&mut buffer, *n)).ok_or_else(|| {
        let message = format!("no memory for {} MiB", (rows as u128 * cols as u128 * size_of::<T>() as u128) >> 20);
        Error::new(Kind::Resources, message).remedy(Remedy::ShorterContext)
    })?;
    buffer.resize(n, value);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_memory_holds_is_an_error() {
        assert_eq!(buffer(2, 3, 1.5_f32), Ok(vec![1.5; 6]));
        let error = buffer(usize::MAX, 2, 0_u8).expect_err("too much").to_string();
        assert!(error.contains(&format!("no memory for {} MiB", (usize::MAX as u128 * 2) >> 20)), "{error}");
        assert!(buffer(usize::MAX / 8, 4, 0_u64).is_err());
    }
}
