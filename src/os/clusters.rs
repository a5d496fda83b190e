//! The kinds of cores of the machine.

use super::cpu::{read_list, read_number};
use std::path::Path;

/// Cores of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Their CPUs, ascending.
    pub cpus: Vec<usize>,
    /// Capacity of each as Linux scales it, 1024 being the fastest of the machine; where Linux reports it.
    pub capacity: Option<u64>,
    /// The highest clock, in kHz; where the system reports it.
    pub max_khz: Option<u64>,
}

/// The kinds of cores that are online, in the order of their first CPU; empty where the system lists none.
pub fn clusters() -> Vec<Cluster> {
    clusters_at(Path::new("/"))
}

fn clusters_at(root: &Path) -> Vec<Cluster> {
    let folder = root.join("sys/devices/system/cpu");
    let mut clusters: Vec<Cluster> = Vec::new();
    for cpu in read_list(&folder.join("online")).unwrap_or_default() {
        let number = |file: &str| read_number(&folder.join(format!("cpu{cpu}/{file}")));
        let (capacity, max_khz) = (number("cpu_capacity"), number("cpufreq/cpuinfo_max_freq"));
        match clusters.iter_mut().find(|c| (c.capacity, c.max_khz) == (capacity, max_khz)) {
            Some(cluster) => cluster.cpus.push(cpu),
            None => clusters.push(Cluster { cpus: vec![cpu], capacity, max_khz }),
        }
    }
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fake::Machine;

    #[test]
    fn cores_of_a_kind_are_together() {
        let online = |name: &str, list: &str| Machine::new(name).file("sys/devices/system/cpu/online", list);
        let mut rk3588 = online("rk3588-clusters", "0-7\n");
        for cpu in 0..8 {
            let (capacity, khz) = if cpu < 4 { ("530", "1800000") } else { ("1024", "2400000") };
            rk3588 = rk3588.of_cpu(cpu, "cpu_capacity", capacity).of_cpu(cpu, "cpufreq/cpuinfo_max_freq", khz);
        }
        let cluster = |cpus: core::ops::Range<usize>, capacity, khz| Cluster {
            cpus: cpus.collect(),
            capacity: Some(capacity),
            max_khz: Some(khz),
        };
        assert_eq!(clusters_at(rk3588.root()), [cluster(0..4, 530, 1_800_000), cluster(4..8, 1024, 2_400_000)]);
        let plain = online("plain-clusters", "0,2");
        assert_eq!(clusters_at(plain.root()), [Cluster { cpus: vec![0, 2], capacity: None, max_khz: None }]);
        assert!(clusters_at(Machine::new("no-clusters").root()).is_empty());
    }
}
