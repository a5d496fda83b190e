//! Into which cache weights, keys and values are prefetched. This is a matter of speed alone: the products are the same bits for
//! every hint. What suits a CPU was measured; the figures are in docs/decisions.md, under "Prefetches fit the CPU".

/// Which cache a prefetch brings a line into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// No prefetches: what the CPU guesses by itself is all that is read ahead.
    None,
    /// The first level, as data that is used once (`prefetchnta`).
    NonTemporal,
    /// The first level and those behind it (`prefetcht0`).
    L1,
    /// The second level and those behind it (`prefetcht1`).
    L2,
}

impl Hint {
    /// All of them.
    pub const ALL: [Hint; 4] = [Hint::None, Hint::NonTemporal, Hint::L1, Hint::L2];

    /// The name, as `whit bench --prefetch` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Hint::None => "none",
            Hint::NonTemporal => "nta",
            Hint::L1 => "l1",
            Hint::L2 => "l2",
        }
    }

    /// The hint for what is needed next, as the block of keys after the one that is read: too soon for the second level.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn soon(self) -> Hint {
        if self == Hint::L2 { Hint::NonTemporal } else { self }
    }

    /// What suits the kernels called `name` on this CPU.
    pub fn of(name: &str) -> Hint {
        suited(&Cpu::this(), name)
    }
}

/// A CPU by its maker and its generation.
struct Cpu {
    /// As the CPU names it.
    maker: [u8; 12],
    family: u32,
}

impl Cpu {
    /// This one. Intel 64 and IA-32 Architectures Software Developer's Manual, CPUID, leaves 0 and 1; AMD counts alike.
    #[cfg(target_arch = "x86_64")]
    fn this() -> Cpu {
        use core::arch::x86_64::__cpuid;
        let (names, version) = (__cpuid(0), __cpuid(1).eax);
        let (family, extended) = (version >> 8 & 0xf, version >> 20 & 0xff);
        Cpu {
            maker: bytemuck::must_cast([names.ebx, names.edx, names.ecx]),
            family: if family == 0xf { family + extended } else { family },
        }
    }

    /// One of which nothing is known.
    #[cfg(not(target_arch = "x86_64"))]
    fn this() -> Cpu {
        Cpu { maker: [0; 12], family: 0 }
    }
}

/// Zen 5.
const ZEN_5: u32 = 0x1a;

/// What suits the kernels `name` on `cpu`. Plain Rust, and kernels of other CPUs than x86's, leave reading ahead to the CPU, which
/// finds their plain streams by itself. A backend of x86 that is not named gets what suits its CPU.
fn suited(cpu: &Cpu, name: &str) -> Hint {
    match (&cpu.maker, cpu.family, name) {
        (_, _, "scalar") | ([0, ..], _, _) => Hint::None,
        (b"AuthenticAMD", ..ZEN_5, "avx512") => Hint::L2,
        (b"AuthenticAMD", _, _) => Hint::NonTemporal,
        _ => Hint::L1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scalar_truth_reads_nothing_ahead() {
        assert_eq!(Hint::of("scalar"), Hint::None);
    }

    #[test]
    fn no_intel_gets_lines_that_are_used_once() {
        let intel = Cpu { maker: *b"GenuineIntel", family: 6 };
        let zen = Cpu { maker: *b"AuthenticAMD", family: 0x17 };
        for name in ["avx2", "avxvnni", "avx512", "amx"] {
            assert_eq!(suited(&intel, name), Hint::L1);
        }
        assert_eq!(suited(&zen, "avx2"), Hint::NonTemporal);
        assert_eq!(suited(&Cpu { maker: [0; 12], family: 0 }, "neon"), Hint::None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_cpu_says_who_made_it() {
        assert!(Cpu::this().maker.iter().all(u8::is_ascii_graphic));
    }
}
