//! The machine's name.

use std::fs;

/// The CPU's model as the system names it, else the board's; `None` where the system names neither.
pub fn cpu_name() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let board = || fs::read_to_string("/proc/device-tree/model").ok();
    let name = field(&cpuinfo, "model name").or_else(board).or_else(|| field(&cpuinfo, "Model"));
    name.map(|name| words(&name)).filter(|name| !name.is_empty())
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

    #[test]
    fn names_are_found_and_tidied() {
        let x86 = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: A  CPU @ 2.0GHz \nflags\t\t: fpu\n";
        assert_eq!(field(x86, "model name").map(|name| words(&name)).as_deref(), Some("A CPU @ 2.0GHz"));
        assert_eq!(
            field("Hardware\t: BCM2835\nModel\t\t: Raspberry Pi 4\n", "Model").as_deref(),
            Some("Raspberry Pi 4")
        );
        assert_eq!(field(x86, "Model"), None);
        assert_eq!(words("Raspberry Pi 5\0"), "Raspberry Pi 5");
    }
}
