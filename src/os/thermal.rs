//! Heat, power and what the system does about them.

use super::cpu::read_number;
use std::fs;
use std::path::{Path, PathBuf};

/// How the machine is, where it says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condition {
    /// Temperature of the hottest zone, in degrees Celsius.
    pub celsius: Option<f64>,
    /// What holds the CPU back now.
    pub now: Vec<String>,
    /// What held it back since the machine was started and does no longer.
    pub before: Vec<String>,
    /// Whether the machine would report what holds it back.
    pub known: bool,
}

/// What the firmware of a Raspberry Pi reports in bits: now, and 16 bits higher since the start (Raspberry Pi
/// documentation, `vcgencmd get_throttled`).
const THROTTLED_BITS: [(u32, &str, &str); 4] = [
    (0, "the supply voltage is too low", "the supply voltage was too low"),
    (1, "the clock is capped", "the clock was capped"),
    (2, "the firmware throttles the CPU", "the firmware throttled the CPU"),
    (3, "the soft limit of temperature is reached", "the soft limit of temperature was reached"),
];

/// The condition of this machine.
pub fn condition() -> Condition {
    condition_at(Path::new("/"))
}

/// Temperature of the hottest zone, in degrees Celsius; `None` where no zone says.
pub fn celsius() -> Option<f64> {
    hottest(Path::new("/"))
}

fn condition_at(root: &Path) -> Condition {
    let mut found = Condition { celsius: hottest(root), ..Condition::default() };
    firmware(root, &mut found);
    voltage(root, &mut found);
    cooling(root, &mut found);
    clocks(root, &mut found);
    found
}

impl Condition {
    fn hold_back(&mut self, what: String) {
        if !self.now.contains(&what) {
            self.now.push(what);
        }
    }
}

/// The hottest zone; 0 and below are sensors that are not there.
fn hottest(root: &Path) -> Option<f64> {
    let zones = entries(&root.join("sys/class/thermal"), "thermal_zone");
    let temperatures = zones.iter().filter_map(|zone| read_number(&zone.join("temp")));
    temperatures.filter(|milli| (1..200_000).contains(milli)).max().map(|milli| milli as f64 / 1000.0)
}

/// The firmware's node is in the system's own, `soc` or, on a Pi 5, one with its address in its name.
fn firmware(root: &Path, found: &mut Condition) {
    let systems = entries(&root.join("sys/devices/platform"), "soc");
    let nodes = systems.iter().flat_map(|system| entries(system, "soc"));
    let Some(text) = nodes.filter_map(|node| read_word(&node.join("get_throttled"))).next() else { return };
    let Ok(bits) = u32::from_str_radix(text.trim_start_matches("0x"), 16) else { return };
    found.known = true;
    for (bit, now, before) in THROTTLED_BITS {
        if bits >> bit & 1 != 0 {
            found.hold_back(now.into());
        } else if bits >> (bit + 16) & 1 != 0 {
            found.before.push(before.into());
        }
    }
}

/// The voltage alarm that kernels have since they hide the firmware's bits.
fn voltage(root: &Path, found: &mut Condition) {
    let monitors = entries(&root.join("sys/class/hwmon"), "hwmon");
    let is_pi = |folder: &PathBuf| read_word(&folder.join("name")).as_deref() == Some("rpi_volt");
    let Some(alarm) = monitors.iter().find(|f| is_pi(f)).and_then(|f| read_number(&f.join("in0_lcrit_alarm"))) else {
        return;
    };
    found.known = true;
    if alarm != 0 {
        found.hold_back(THROTTLED_BITS[0].1.into());
    }
}

/// Cooling by a lower clock.
fn cooling(root: &Path, found: &mut Condition) {
    let devices = entries(&root.join("sys/class/thermal"), "cooling_device");
    let slows_the_cpu = |folder: &&PathBuf| {
        read_word(&folder.join("type")).is_some_and(|kind| kind.contains("cpufreq") || kind == "Processor")
    };
    let states = devices.iter().filter(slows_the_cpu).filter_map(|folder| read_number(&folder.join("cur_state")));
    if let Some(state) = states.max() {
        found.known = true;
        if state > 0 {
            found.hold_back("the clock is lowered to keep the CPU cool".into());
        }
    }
}

/// Drivers whose governor `powersave` lets the clock rise with the load.
const DYNAMIC_POWERSAVE: [&str; 2] = ["intel_pstate", "amd-pstate-epp"];

/// Clocks that somebody keeps below what the CPU can do.
fn clocks(root: &Path, found: &mut Condition) {
    for policy in entries(&root.join("sys/devices/system/cpu/cpufreq"), "policy") {
        let number = |file: &str| read_number(&policy.join(file));
        if let (Some(most), Some(can)) = (number("scaling_max_freq"), number("cpuinfo_max_freq")) {
            found.known = true;
            if most < can {
                found.hold_back(format!("a policy keeps the clock at {} of {} MHz", most / 1000, can / 1000));
            }
        }
        let driver = read_word(&policy.join("scaling_driver")).unwrap_or_default();
        if read_word(&policy.join("scaling_governor")).as_deref() == Some("powersave")
            && !DYNAMIC_POWERSAVE.contains(&driver.as_str())
        {
            found.hold_back("the governor powersave keeps the clock at its lowest".into());
        }
    }
}

/// The entries of `folder` whose names begin with `prefix`, in order.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let is_one = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.filter(is_one).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn read_word(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fake::Machine;

    #[test]
    fn a_cool_board_is_told_from_a_silent_one() {
        let silent = Machine::new("silent-condition");
        assert_eq!(condition_at(silent.root()), Condition::default());
        let cool = silent
            .file("sys/class/thermal/thermal_zone0/temp", "48312\n")
            .file("sys/class/thermal/thermal_zone1/temp", "-274000\n")
            .file("sys/class/thermal/cooling_device0/type", "pwm-fan\n")
            .file("sys/class/thermal/cooling_device0/cur_state", "2\n")
            .file("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n");
        let found = condition_at(cool.root());
        assert_eq!(found, Condition { celsius: Some(48.312), known: true, ..Condition::default() });
    }

    #[test]
    fn the_firmware_tells_now_from_before() {
        let pi = Machine::new("pi-throttled");
        let pi = pi.file("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
        let found = condition_at(pi.root());
        assert_eq!(found.now, ["the supply voltage is too low", "the firmware throttles the CPU"]);
        assert!(found.before.is_empty() && found.known);
        let pi5 = Machine::new("pi5-throttled");
        let pi5 = pi5.file("sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "0x80000\n");
        let found = condition_at(pi5.root());
        assert_eq!((found.now.len(), found.before.as_slice()), (0, &[THROTTLED_BITS[3].2.to_owned()][..]));
    }

    #[test]
    fn what_holds_the_clock_down_is_told() {
        let policy = "sys/devices/system/cpu/cpufreq/policy0";
        let board = Machine::new("held-down")
            .file("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
            .file("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
            .file("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0\n")
            .file("sys/class/thermal/cooling_device0/cur_state", "1\n")
            .file(&format!("{policy}/scaling_max_freq"), "1200000\n")
            .file(&format!("{policy}/cpuinfo_max_freq"), "1800000\n")
            .file(&format!("{policy}/scaling_governor"), "powersave\n");
        let now = condition_at(board.root()).now;
        for part in ["voltage", "keep the CPU cool", "1200 of 1800 MHz", "powersave"] {
            assert!(now.iter().any(|said| said.contains(part)), "{part}: {now:?}");
        }
        // These drivers call so what lets the clock rise.
        let laptop = board.file(&format!("{policy}/scaling_driver"), "intel_pstate\n");
        assert!(!condition_at(laptop.root()).now.iter().any(|said| said.contains("powersave")));
        // A thermometer alone says nothing about clocks.
        let warm = Machine::new("warm").file("sys/class/thermal/thermal_zone0/temp", "40000\n");
        assert!(!condition_at(warm.root()).known);
    }
}
