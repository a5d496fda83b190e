//! What the machine says it is.

use std::fs;
use std::path::Path;

/// The CPU's model as the system names it, else the board's; `None` where the system names neither.
pub fn cpu_name() -> Option<String> {
    name_at(Path::new("/"))
}

/// The board's name, where a device tree names it.
pub fn board_name() -> Option<String> {
    board_at(Path::new("/"))
}

/// Whether an x86 system runs this ARM program, by an emulator: what it says of its CPUs is not of this program's.
pub fn is_emulated() -> bool {
    ["aarch64", "arm"].contains(&std::env::consts::ARCH) && is_x86(&cpuinfo(Path::new("/")))
}

fn name_at(root: &Path) -> Option<String> {
    let cpuinfo = cpuinfo(root);
    let name = field(&cpuinfo, "model name").filter(|name| !name.starts_with("ARMv"));
    let name = name.map(|name| words(&name)).or_else(|| arm_cores(&cpuinfo)).or_else(|| board_at(root));
    name.or_else(|| field(&cpuinfo, "Model")).filter(|name| !name.is_empty())
}

fn board_at(root: &Path) -> Option<String> {
    let name = fs::read_to_string(root.join("proc/device-tree/model")).ok()?;
    Some(words(&name)).filter(|name| !name.is_empty())
}

fn cpuinfo(root: &Path) -> String {
    fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default()
}

fn is_x86(cpuinfo: &str) -> bool {
    field(cpuinfo, "vendor_id").is_some()
}

/// The kinds of cores of ARM's own design, in the order of their CPUs.
fn arm_cores(cpuinfo: &str) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for cpu in cpuinfo.split("\n\n") {
        if field(cpu, "CPU implementer").as_deref() == Some("0x41")
            && let Some(name) = field(cpu, "CPU part").as_deref().and_then(arm_core)
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    Some(names.join(" and ")).filter(|names| !names.is_empty())
}

/// The core that a part number stands for (each core's Technical Reference Manual, register MIDR_EL1).
fn arm_core(part: &str) -> Option<&'static str> {
    Some(match part {
        "0xb76" => "ARM1176",
        "0xc07" => "Cortex-A7",
        "0xc08" => "Cortex-A8",
        "0xc09" => "Cortex-A9",
        "0xc0f" => "Cortex-A15",
        "0xd03" => "Cortex-A53",
        "0xd04" => "Cortex-A35",
        "0xd05" => "Cortex-A55",
        "0xd07" => "Cortex-A57",
        "0xd08" => "Cortex-A72",
        "0xd09" => "Cortex-A73",
        "0xd0a" => "Cortex-A75",
        "0xd0b" => "Cortex-A76",
        "0xd0c" => "Neoverse N1",
        "0xd40" => "Neoverse V1",
        "0xd49" => "Neoverse N2",
        "0xd4f" => "Neoverse V2",
        _ => return None,
    })
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// `text` with single spaces and without zeros, which end a device tree's strings.
fn words(text: &str) -> String {
    text.trim_end_matches('\0').split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fake::Machine;

    #[test]
    fn names_are_found_and_tidied() {
        let x86 = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: A  CPU @ 2.0GHz \nvendor_id\t: x\nflags\t\t: fpu\n";
        assert!(is_x86(x86));
        assert_eq!(field(x86, "Model"), None);
        assert_eq!(words("Raspberry Pi 5\0"), "Raspberry Pi 5");
        let pc = Machine::new("pc").file("proc/cpuinfo", x86);
        assert_eq!((name_at(pc.root()).as_deref(), board_at(pc.root())), (Some("A CPU @ 2.0GHz"), None));
    }

    #[test]
    fn a_board_has_a_core_and_a_name() {
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4 Model B\n";
        let pi4 = Machine::new("pi4-name").file("proc/cpuinfo", arm);
        let named = pi4.file("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.2\0");
        assert_eq!(name_at(named.root()).as_deref(), Some("Cortex-A72"));
        assert_eq!(board_at(named.root()).as_deref(), Some("Raspberry Pi 4 Model B Rev 1.2"));
        // A 32-bit kernel names the architecture alone; an unknown core has its board's name.
        let old = "model name\t: ARMv7 Processor rev 4 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xc07\n";
        assert_eq!(name_at(named.file("proc/cpuinfo", old).root()).as_deref(), Some("Cortex-A7"));
        let two = "processor: 0\nCPU implementer: 0x41\nCPU part: 0xd05\n\nCPU implementer: 0x41\nCPU part: 0xd0b\n";
        assert_eq!(arm_cores(two).as_deref(), Some("Cortex-A55 and Cortex-A76"));
        let unknown = Machine::new("unknown")
            .file("proc/cpuinfo", "CPU implementer\t: 0x48\nCPU part\t: 0xd40\n\nModel\t: A Board\n");
        assert_eq!(name_at(unknown.root()).as_deref(), Some("A Board"));
        assert_eq!(name_at(Machine::new("silent").root()), None);
    }
}
