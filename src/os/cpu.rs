//! Cores.

/// Cores this process may use: its affinity and its cgroup's quota are respected. At least 1.
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, core::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_a_core() {
        assert!(super::available_cores() >= 1);
    }
}
