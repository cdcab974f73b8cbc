//! Which CPUs this process may use, and so how many workers there are and where they are pinned.
//!
//! Design: the affinity mask says which CPUs, the cgroup's quota (version 2 or 1) says how many; the standard
//! library's `available_parallelism` knows both.

use std::num::NonZero;
use std::thread::available_parallelism;

use super::table::Config;

/// The CPUs of this process's affinity mask, ascending; never empty.
pub fn available_cpus() -> Vec<usize> {
    let mut cpus: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// The most workers there are: each has a bit in words that all of them read.
pub const WORKERS_MAX: usize = 64;

/// How many workers `config` asks for: `workers`, else as many as `worker-cpus`, else what affinity and quota
/// allow; no more than there may be.
pub fn worker_count(config: &Config) -> usize {
    let count = match (config.workers, config.worker_cpus.0.len()) {
        (0, 0) => available_parallelism().map_or(1, NonZero::get),
        (0, listed) => listed,
        (workers, _) => workers,
    };
    count.min(WORKERS_MAX)
}

/// The CPU of each worker, by the worker's index. With more workers than CPUs, CPUs are shared in turn.
pub fn worker_cpus(config: &Config) -> Vec<usize> {
    let cpus = if config.worker_cpus.0.is_empty() { available_cpus() } else { config.worker_cpus.0.clone() };
    assert!(!cpus.is_empty(), "a process runs on some CPU");
    cpus.into_iter().cycle().take(worker_count(config)).collect()
}

/// Whether this process may run on each CPU of `worker-cpus`; a worker that is not pinned would share a CPU with another.
///
/// # Errors
/// Names the first one it may not run on.
pub fn check_worker_cpus(config: &Config) -> Result<(), String> {
    let cpus = config.worker_cpus.0.clone();
    // Only the kernel knows: the mask that this process was given may be widened, the set of its control group may not.
    // A thread of its own tries, so that none that stays is moved.
    let refused = std::thread::spawn(move || cpus.into_iter().find(|cpu| !may_run_on(*cpu))).join();
    match refused.map_err(|_| "worker-cpus cannot be checked".to_owned())? {
        None => Ok(()),
        Some(cpu) => {
            let known: Vec<String> = available_cpus().iter().map(ToString::to_string).collect();
            let known = known.join(",");
            Err(format!(
                "'worker-cpus' names CPU {cpu}, on which this process may not run; it may on {known}"
            ))
        }
    }
}

fn may_run_on(cpu: usize) -> bool {
    // The system's set of CPUs has no place for more.
    cpu < libc::CPU_SETSIZE as usize && core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

/// The CPUs of this process that no worker is pinned to; often none.
pub fn spare_cpus(config: &Config) -> Vec<usize> {
    let taken = worker_cpus(config);
    available_cpus().into_iter().filter(|cpu| !taken.contains(cpu)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::CpuList;

    #[test]
    fn a_cpu_that_is_not_there_is_named() {
        let config = |cpus| Config { worker_cpus: CpuList(cpus), ..Config::default() };
        assert_eq!(check_worker_cpus(&config(available_cpus())), Ok(()));
        for cpu in [1000, CpuList::CPU_MAX] {
            let refused = check_worker_cpus(&config(vec![available_cpus()[0], cpu]));
            assert!(refused.is_err_and(|error| error.contains(&format!("names CPU {cpu},"))));
        }
    }

    #[test]
    fn what_no_worker_is_pinned_to_is_spare() {
        let all = available_cpus();
        let config = Config { workers: all.len(), ..Config::default() };
        assert_eq!(spare_cpus(&config), []);
        let config = Config { worker_cpus: CpuList(vec![all[0]]), ..Config::default() };
        assert_eq!(spare_cpus(&config), all[1..]);
    }
}
