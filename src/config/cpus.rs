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

/// How many workers `config` asks for: `workers`, else as many as `worker-cpus`, else what affinity and quota
/// allow.
pub fn worker_count(config: &Config) -> usize {
    match (config.workers, config.worker_cpus.0.len()) {
        (0, 0) => available_parallelism().map_or(1, NonZero::get),
        (0, listed) => listed,
        (workers, _) => workers,
    }
}

/// The CPU of each worker, by the worker's index. With more workers than CPUs, CPUs are shared in turn.
pub fn worker_cpus(config: &Config) -> Vec<usize> {
    let cpus = if config.worker_cpus.0.is_empty() { available_cpus() } else { config.worker_cpus.0.clone() };
    assert!(!cpus.is_empty(), "a process runs on some CPU");
    cpus.into_iter().cycle().take(worker_count(config)).collect()
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
    fn what_no_worker_is_pinned_to_is_spare() {
        let all = available_cpus();
        let config = Config { workers: all.len(), ..Config::default() };
        assert_eq!(spare_cpus(&config), []);
        let config = Config { worker_cpus: CpuList(vec![all[0]]), ..Config::default() };
        assert_eq!(spare_cpus(&config), all[1..]);
    }
}
