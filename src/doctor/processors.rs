//! Which CPUs the workers have, and what else wants these.

use super::host::Host;
use super::{Finding, groups, knob, list, ranges};
use crate::config::Config;
use crate::config::WORKERS_MAX;

/// The CPUs that this process may use.
fn allowed(host: &dyn Host) -> Vec<usize> {
    let text = host.read("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.map(ranges).unwrap_or_default()
}

/// The CPU of each worker.
fn pinned(host: &dyn Host, config: &Config) -> Vec<usize> {
    let allowed = allowed(host);
    let listed = &config.worker_cpus.0;
    let cpus = if listed.is_empty() { &allowed } else { listed };
    let by_quota = groups::cpu_hundredths(host).map_or(usize::MAX, |quota| (quota as usize / 100).max(1));
    let count = match (config.workers, listed.len()) {
        (0, 0) => allowed.len().min(by_quota),
        (0, listed) => listed,
        (workers, _) => workers,
    };
    cpus.iter().copied().cycle().take(if cpus.is_empty() { 0 } else { count.min(WORKERS_MAX) }).collect()
}

fn distinct(mut cpus: Vec<usize>) -> Vec<usize> {
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

/// How many workers there will be, and where.
pub(super) fn workers(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "workers";
    let (allowed, pinned) = (allowed(host), pinned(host, config));
    let (count, cpus) = (pinned.len(), distinct(pinned));
    if cpus.is_empty() {
        return None;
    }
    if let Some(cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        let what =
            format!("the start will be refused: worker-cpus names CPU {cpu}, which is not allowed here");
        let remedy = format!("worker-cpus {}, or another CPUAffinity= or AllowedCPUs=", list(&allowed));
        return Some(Finding::warning(SUBJECT, what, remedy));
    }
    if count > cpus.len() {
        let what = format!("{count} workers on {} CPUs take turns on them", cpus.len());
        return Some(Finding::warning(SUBJECT, what, format!("workers {}", cpus.len())));
    }
    let what = format!("{count}, each pinned to a CPU of its own: {}", list(&cpus));
    Some(Finding::ok(SUBJECT, what))
}

/// What the control group leaves of the CPUs.
pub(super) fn quota(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "cpu-quota";
    let count = pinned(host, config).len();
    match groups::cpu_hundredths(host) {
        None => Some(Finding::ok(SUBJECT, "the control group has none")),
        Some(quota) if quota < count as u64 * 100 => {
            let what = format!(
                "the control group may use {}.{:02} CPUs, there are {count} workers: all stop while it is used up",
                quota / 100,
                quota % 100
            );
            Some(Finding::warning(
                SUBJECT,
                what,
                format!("a larger quota, or workers {}", (quota / 100).max(1)),
            ))
        }
        Some(_) => Some(Finding::ok(SUBJECT, "of the control group: enough for the workers")),
    }
}

/// Whether two workers are two threads of one core.
pub(super) fn siblings(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "cores";
    let cpus = distinct(pinned(host, config));
    let of = |cpu: &usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        host.read(&path).map(|text| ranges(&text))
    };
    let siblings: Option<Vec<Vec<usize>>> = cpus.iter().map(of).collect();
    let siblings = siblings.filter(|siblings| !siblings.is_empty())?;
    let shares = |cpu: usize, with: &[usize]| {
        with.iter().find(|other| **other != cpu && cpus.contains(other)).copied()
    };
    let shared = cpus.iter().zip(&siblings).find_map(|(cpu, with)| Some((*cpu, shares(*cpu, with)?)));
    Some(match shared {
        None => Finding::ok(SUBJECT, "no two workers share one"),
        Some((one, other)) => Finding::note(
            SUBJECT,
            format!("workers share cores, e.g. on CPU {one} and {other}: each has about half of one"),
            "for the steadiest latency, worker-cpus with one thread of each core",
        ),
    })
}

/// Whether the clock rate is lowered while a worker waits.
pub(super) fn governor(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "clock-rate";
    let of = |cpu: &usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        Some((*cpu, host.read(&path)?.trim().to_owned()))
    };
    let governors: Vec<_> = distinct(pinned(host, config)).iter().filter_map(of).collect();
    if governors.is_empty() {
        return Some(Finding::ok(SUBJECT, "is not this host's to set"));
    }
    match governors.iter().find(|(_, governor)| governor != "performance") {
        None => Some(Finding::ok(SUBJECT, "governor performance")),
        Some((cpu, governor)) => Some(Finding::note(
            SUBJECT,
            format!("CPU {cpu} has the governor {governor}: it is slow to wake up after a pause"),
            knob(host, "cpu-governor"),
        )),
    }
}

/// Whether the workers are all near the same memory.
pub(super) fn numa(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "numa";
    let cpus = distinct(pinned(host, config));
    let nodes = nodes(host);
    if nodes.len() < 2 {
        return Some(Finding::ok(SUBJECT, "one node"));
    }
    let has_worker = |(_, own): &&(usize, Vec<usize>)| cpus.iter().any(|cpu| own.contains(cpu));
    let used: Vec<usize> = nodes.iter().filter(has_worker).map(|(node, _)| *node).collect();
    if used.len() > 1 {
        let what = format!("workers are on the nodes {}: what lies on the other one is slower", list(&used));
        let remedy = "CPUAffinity= and NUMAPolicy=bind with one node in the unit, or a server for each";
        return Some(Finding::note(SUBJECT, what, remedy));
    }
    Some(Finding::ok(SUBJECT, format!("all workers are on node {} of {}", list(&used), nodes.len())))
}

fn nodes(host: &dyn Host) -> Vec<(usize, Vec<usize>)> {
    let online = host.read("/sys/devices/system/node/online").unwrap_or_default();
    let cpus = |node: usize| {
        let text = host.read(&format!("/sys/devices/system/node/node{node}/cpulist"));
        (node, text.map(|text| ranges(&text)).unwrap_or_default())
    };
    ranges(&online).into_iter().map(cpus).collect()
}

/// Whether the kernel moves pages after threads that are pinned anyway.
pub(super) fn numa_balancing(host: &dyn Host, _: &Config) -> Option<Finding> {
    const SUBJECT: &str = "numa-balancing";
    let is_on = super::kernel::number(host, "/proc/sys/kernel/numa_balancing")? > 0;
    if is_on && nodes(host).len() > 1 {
        let what = "the kernel takes pages away to see who uses them, which delays workers";
        return Some(Finding::note(SUBJECT, what, knob(host, "numa-balancing")));
    }
    Some(Finding::ok(SUBJECT, "off, or of no consequence"))
}
