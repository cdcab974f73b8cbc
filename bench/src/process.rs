//! What processes cost: CPU time, memory, and on which CPUs threads run.
//!
//! Design: `/proc/PID/stat` counts in ticks of 10 ms, up to 2 % of a run of one second. `/proc/PID/task/*/schedstat`
//! counts nanoseconds, and lags by less than a scheduler tick, so it is preferred as long as no thread ended in between:
//! a thread that is gone took its count with it. Processes of others are read without any privilege.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of a second.
const NANOS: u64 = 1_000_000_000;

/// The CPU time that a process has used until some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// User and system time, in nanoseconds, by the tick.
    coarse_ns: u64,
    /// Nanoseconds by thread; empty where the kernel does not count them.
    threads: BTreeMap<u32, u64>,
}

impl CpuTime {
    /// What the process has used until now.
    pub fn of(pid: u32) -> io::Result<CpuTime> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let ticks = stat_ticks(&stat).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: {stat}")))?;
        let coarse_ns = ticks * NANOS / rustix::param::clock_ticks_per_second();
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let id = thread.file_name().to_str().and_then(|name| name.parse().ok());
            // A thread may end while it is looked at.
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let used = text.split(' ').next().and_then(|used| used.parse().ok());
            if let (Some(id), Some(used)) = (id, used) {
                threads.insert(id, used);
            }
        }
        if threads.values().all(|used| *used == 0) {
            threads.clear();
        }
        Ok(CpuTime { coarse_ns, threads })
    }

    /// What the process used since `earlier`.
    pub fn since(&self, earlier: &CpuTime) -> Duration {
        let none_ended = earlier.threads.keys().all(|id| self.threads.contains_key(id));
        if none_ended && !self.threads.is_empty() {
            let used = |(id, now): (&u32, &u64)| now - earlier.threads.get(id).unwrap_or(&0).min(now);
            return Duration::from_nanos(self.threads.iter().map(used).sum());
        }
        Duration::from_nanos(self.coarse_ns.saturating_sub(earlier.coarse_ns))
    }
}

/// User and system time in ticks. The name, in parentheses, may hold anything.
fn stat_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// The CPU time of the calling thread.
pub fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Memory of a process that is resident, in bytes.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    resident_kib(&status)
        .map(|kib| kib << 10)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/status has no VmRSS")))
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Pins the calling thread, and what it spawns, to these CPUs; to none in particular if there are none.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU).for_each(|cpu| set.set(*cpu));
    sched_setaffinity(None, &set)
        .map_err(|error| io::Error::other(format!("cannot run on CPUs {cpus:?}: {error}")))
}

/// Runs `f` with the calling thread pinned; processes started there stay pinned.
pub fn pinned<T>(cpus: &[usize], f: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    pin(cpus)?;
    let result = f();
    sched_setaffinity(None, &before)?;
    Ok(result)
}

/// Processor and kernel, for the caption of a table.
pub fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown processor", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    format!("{model}, {cpus} CPUs, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_hostile_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 30 1 1";
        assert_eq!(stat_ticks(stat), Some(280));
        assert_eq!(stat_ticks("7 (a"), None);
        assert_eq!(stat_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn resident_memory_is_read() {
        assert_eq!(resident_kib("VmPeak:\t 9 kB\nVmRSS:\t    1234 kB\n"), Some(1234));
        assert_eq!(resident_kib("VmPeak: 9 kB\n"), None);
        assert!(resident_bytes(std::process::id()).expect("this process has memory") > 1 << 16);
    }

    #[test]
    fn threads_count_unless_one_ended() {
        let time = |coarse_ns, threads: &[(u32, u64)]| CpuTime {
            coarse_ns,
            threads: threads.iter().copied().collect(),
        };
        let before = time(100, &[(1, 10), (2, 20)]);
        assert_eq!(time(200, &[(1, 15), (2, 21), (3, 4)]).since(&before), Duration::from_nanos(10));
        assert_eq!(time(200, &[(1, 15)]).since(&before), Duration::from_nanos(100));
        assert_eq!(time(200, &[]).since(&time(100, &[])), Duration::from_nanos(100));
    }

    #[test]
    fn work_shows_in_the_own_process() {
        let (before, thread) = (CpuTime::of(std::process::id()).expect("it runs"), thread_cpu_time());
        while thread_cpu_time() - thread < Duration::from_millis(30) {}
        let used = CpuTime::of(std::process::id()).expect("it runs").since(&before);
        assert!(used >= Duration::from_millis(10), "{used:?}");
    }
}
