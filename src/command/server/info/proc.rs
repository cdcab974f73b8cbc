//! What the kernel says of this process and this host, from `/proc`: no system call needs `unsafe` this way.
//!
//! Costs: a file of a few hundred bytes each, never one on a disk.

use std::sync::OnceLock;

use crate::config::CpuList;

/// Clock ticks a second in `/proc/*/stat`: fixed by Linux's interface on every architecture Torc runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTime {
    /// In the kernel.
    pub system: f64,
    /// In this program.
    pub user: f64,
    /// In the kernel, of children that ended.
    pub system_children: f64,
    /// Of children that ended.
    pub user_children: f64,
}

/// CPU time of the process.
pub fn cpu_process() -> CpuTime {
    read("/proc/self/stat").map_or_else(CpuTime::default, |text| parse_stat(&text))
}

/// CPU time of the calling thread.
pub fn cpu_thread() -> CpuTime {
    read("/proc/thread-self/stat").map_or_else(CpuTime::default, |text| parse_stat(&text))
}

fn parse_stat(text: &str) -> CpuTime {
    // The second field is the name in parentheses and may hold anything; numbering goes on after it with field 3.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let seconds = |field: usize| {
        let ticks = fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
        ticks.unwrap_or_default() / TICKS_PER_SECOND
    };
    CpuTime {
        user: seconds(14),
        system: seconds(15),
        user_children: seconds(16),
        system_children: seconds(17),
    }
}

/// Resident memory of the process, in bytes.
pub fn resident_bytes() -> u64 {
    let text = read("/proc/self/statm").unwrap_or_default();
    let pages = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Memory of the host, in bytes.
pub fn total_bytes() -> u64 {
    static TOTAL: OnceLock<u64> = OnceLock::new();
    *TOTAL.get_or_init(|| {
        let text = read("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|kib| kib.parse().ok());
        kib.unwrap_or(0u64) << 10
    })
}

/// The CPUs that the process may use: the affinity of its first thread, as the workers are pinned.
pub fn cpus() -> CpuList {
    let text = read("/proc/self/status").unwrap_or_default();
    let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.and_then(CpuList::from_text).unwrap_or_default()
}

/// `Linux 6.1.0 x86_64`.
pub fn system() -> &'static str {
    static SYSTEM: OnceLock<String> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
        format!("Linux {} {}", release.trim(), std::env::consts::ARCH)
    })
}

fn read(path: &str) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let text = "42 (a) b) c) S 1 1 1 0 -1 4194304 100 0 0 0 250 125 7 9 20 0 3 0 100";
        let expected = CpuTime { user: 2.5, system: 1.25, user_children: 0.07, system_children: 0.09 };
        assert_eq!(parse_stat(text), expected);
        assert_eq!(parse_stat("garbage"), CpuTime::default());
    }

    #[test]
    fn this_process_is_seen() {
        assert!(resident_bytes() > 1 << 16);
        assert!(total_bytes() > resident_bytes());
        assert!(!cpus().0.is_empty());
        assert!(system().starts_with("Linux "));
    }
}
