//! What the operating system tells of processes and of the machine, read from `/proc`. Where there is none, nothing.

use std::fs;

/// Ticks a second in `/proc`: Linux shows user space 100 on every architecture that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time that a process has used, its ended threads included, in seconds. Nothing: there is no such process, or no
/// `/proc`.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    cpu_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Resident memory of a process, in KiB. Nothing: as above.
pub fn resident_kib(pid: u32) -> Option<f64> {
    resident_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Time of all cores of the machine since it was started.
pub(super) fn machine() -> Option<MachineTime> {
    machine_of(&fs::read_to_string("/proc/stat").ok()?)
}

/// The name of this machine, to know load processes of one machine by.
pub(super) fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// In ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MachineTime {
    idle: u64,
    total: u64,
}

impl MachineTime {
    /// The part of the time since `earlier` in which cores had something to do, or another guest of the same hardware took
    /// them away.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn busy_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|total| *total > 0)?;
        // Time spent waiting for disks may go back.
        let idle = self.idle.saturating_sub(earlier.idle).min(total);
        Some((total - idle) as f64 / total as f64)
    }
}

fn cpu_of(stat: &str) -> Option<f64> {
    // The name in parentheses may hold spaces and parentheses itself; the fields are counted behind the last one.
    let mut times = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn resident_of(status: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

fn machine_of(stat: &str) -> Option<MachineTime> {
    let times = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // user nice system idle iowait irq softirq steal; guests follow, and are in user and nice already.
    let times = times.take(8).map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    let idle = times.get(3)? + times.get(4)?;
    Some(MachineTime { idle, total: times.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 150 7 8 20 0 9 0 12345 1000 200";
        assert_eq!(cpu_of(stat), Some(4.0));
        assert_eq!(cpu_of("42 (a) S 1 42"), None);
    }

    #[test]
    fn memory_is_what_is_resident() {
        assert_eq!(resident_of("Name:\tx\nVmHWM:\t  900 kB\nVmRSS:\t  512 kB\n"), Some(512.0));
        assert_eq!(resident_of("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn a_machine_is_busy_when_it_is_not_idle() {
        let at = |text: &str| machine_of(text).unwrap();
        let (before, after) = (at("cpu  10 0 10 70 10 0 0 0 5 5\ncpu0 1 2"), at("cpu  50 10 20 80 20 5 10 5 9 9\n"));
        assert_eq!(after.busy_since(before), Some(0.8));
        assert_eq!(before.busy_since(before), None);
        assert_eq!(machine_of("intr 1 2 3"), None);
    }
}
