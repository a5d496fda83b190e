//! The caches of the CPUs.

use super::cpu::read_list;
use std::fs;
use std::path::Path;

/// Bytes of the caches that lie before memory, those of all CPUs together; `None` where the system does not say.
pub fn last_level_bytes() -> Option<u64> {
    last_level_at(Path::new("/"))
}

fn last_level_at(root: &Path) -> Option<u64> {
    let folder = root.join("sys/devices/system/cpu");
    let mut caches: Vec<(u64, String, u64)> = Vec::new();
    for cpu in read_list(&folder.join("online"))? {
        for index in 0.. {
            let cache = folder.join(format!("cpu{cpu}/cache/index{index}"));
            let read = |name: &str| fs::read_to_string(cache.join(name)).map(|text| text.trim().to_owned());
            let Ok(kind) = read("type") else { break };
            let (level, shared, size) = (read("level").ok(), read("shared_cpu_list").ok(), read("size").ok());
            let size = size.as_deref().and_then(bytes);
            if let (Some(level), Some(shared), Some(size)) = (level.and_then(|n| n.parse().ok()), shared, size)
                && kind != "Instruction"
                && !caches.iter().any(|cache| cache.0 == level && cache.1 == shared)
            {
                caches.push((level, shared, size));
            }
        }
    }
    let last = caches.iter().map(|cache| cache.0).max()?;
    Some(caches.iter().filter(|cache| cache.0 == last).map(|cache| cache.2).sum())
}

/// A size as Linux writes it: 32768K, at times with M.
fn bytes(text: &str) -> Option<u64> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[unit..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    text[..unit].parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fake::Machine;

    #[test]
    fn the_last_caches_are_counted_once_each() {
        let machine = |name: &str, cpus: &str| Machine::new(name).file("sys/devices/system/cpu/online", cpus);
        let cache = |machine: Machine, cpu, index: usize, [level, kind, size, shared]: [&str; 4]| {
            let of = |name: &str| format!("cache/index{index}/{name}");
            let machine = machine.of_cpu(cpu, &of("level"), level).of_cpu(cpu, &of("type"), kind);
            machine.of_cpu(cpu, &of("size"), size).of_cpu(cpu, &of("shared_cpu_list"), shared)
        };
        // Two dies of two CPUs, an L3 each; a board whose last cache is an L2; one that has instruction caches besides.
        let mut server = machine("server-caches", "0-3\n");
        for cpu in 0..4 {
            server = cache(server, cpu, 0, ["1", "Data", "32K\n", &cpu.to_string()]);
            server = cache(server, cpu, 1, ["3", "Unified", "98304K\n", if cpu < 2 { "0-1\n" } else { "2-3\n" }]);
        }
        assert_eq!(last_level_at(server.root()), Some(192 << 20));
        let board = cache(machine("board-caches", "0"), 0, 0, ["2", "Unified", "1M", "0"]);
        assert_eq!(last_level_at(board.root()), Some(1 << 20));
        let split = cache(machine("split-caches", "0"), 0, 0, ["1", "Data", "16K", "0"]);
        let split = cache(split, 0, 1, ["1", "Instruction", "64K", "0"]);
        assert_eq!(last_level_at(split.root()), Some(16 << 10));
        assert_eq!(last_level_at(machine("no-caches", "0").root()), None);
        assert_eq!([bytes("7"), bytes("x"), bytes(""), bytes("99999999999999999999K")], [Some(7), None, None, None]);
    }
}
