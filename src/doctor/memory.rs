//! Memory: how much there is for the data, and how it is mapped.

use super::host::Host;
use super::kernel::{host_bytes, number, shown};
use super::{Finding, groups, knob};
use crate::config::{Config, MaxmemoryPolicy};

/// Of what there is, in percent, `maxmemory` should leave the rest to buffers, snapshots and fragmentation.
const SHARE_MAX: u64 = 90;
/// What is recommended.
const SHARE_WANTED: u64 = 80;
/// From here on the kernel swaps memory of programs out although it has others to take.
const SWAPPINESS_MAX: u64 = 10;

/// `maxmemory` against what there is.
pub(super) fn limit(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "memory";
    let total = host_bytes(host)?;
    let group = groups::memory_bytes(host).filter(|bytes| *bytes < total);
    let there = group.unwrap_or(total);
    let whose = if group.is_some() { "the control group's limit" } else { "the host's memory" };
    let wanted = format!("maxmemory {}mb, and a maxmemory-policy", (there / 100 * SHARE_WANTED) >> 20);
    let (there_shown, limit) = (shown(there), config.maxmemory);
    if limit == 0 {
        let what = format!("no maxmemory: at {there_shown} ({whose}) the kernel kills a process");
        return Some(match group {
            Some(_) => Finding::warning(SUBJECT, what, wanted),
            None => Finding::note(SUBJECT, what, wanted),
        });
    }
    let limit_shown = shown(limit);
    if limit / SHARE_MAX >= there / 100 {
        let what = format!("maxmemory {limit_shown} is more than {SHARE_MAX} % of {there_shown} ({whose})");
        return Some(Finding::warning(SUBJECT, what, wanted));
    }
    let then = match config.maxmemory_policy {
        MaxmemoryPolicy::Noeviction => "writes are refused",
        _ => "keys are evicted",
    };
    Some(Finding::ok(SUBJECT, format!("maxmemory {limit_shown} of {there_shown} ({whose}); there, {then}")))
}

/// Whether large mappings are refused.
pub(super) fn overcommit(host: &dyn Host, _: &Config) -> Option<Finding> {
    const SUBJECT: &str = "overcommit";
    let mode = number(host, "/proc/sys/vm/overcommit_memory")?;
    if mode == 2 {
        let what = "vm.overcommit_memory is 2: memory can be refused while there is some";
        return Some(Finding::warning(SUBJECT, what, knob(host, "overcommit-memory")));
    }
    Some(Finding::ok(SUBJECT, format!("vm.overcommit_memory is {mode}; Torc never forks, so it needs no 1")))
}

/// Whether the table can be on huge pages.
pub(super) fn huge_pages(host: &dyn Host, _: &Config) -> Option<Finding> {
    const SUBJECT: &str = "huge-pages";
    let text = host.read("/sys/kernel/mm/transparent_hugepage/enabled")?;
    let mode = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let (mode, _) = mode?;
    if mode == "never" {
        let what = "switched off: finding a key among millions takes several times as long";
        return Some(Finding::note(SUBJECT, what, knob(host, "transparent-huge-pages")));
    }
    Some(Finding::ok(SUBJECT, format!("{mode}: table and slabs ask for them")))
}

/// Whether data can end up on a disk.
pub(super) fn swap(host: &dyn Host, _: &Config) -> Option<Finding> {
    const SUBJECT: &str = "swap";
    let swaps = host.read("/proc/swaps")?;
    if swaps.lines().count() < 2 {
        return Some(Finding::ok(SUBJECT, "there is none"));
    }
    let swappiness = number(host, "/proc/sys/vm/swappiness")?;
    if swappiness > SWAPPINESS_MAX {
        let what =
            format!("vm.swappiness is {swappiness}: data that was not used for a while goes to the disk");
        return Some(Finding::note(SUBJECT, what, knob(host, "swappiness")));
    }
    Some(Finding::ok(SUBJECT, format!("used only in need (vm.swappiness {swappiness})")))
}
