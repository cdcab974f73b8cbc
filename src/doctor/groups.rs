//! The control groups that this process is in, and what they leave of memory and CPUs.
//!
//! There are two layouts. Version 2 has one tree for all controllers, version 1 one for each; a host may have both, with
//! the controllers in the second. In a container the path of the group may be the host's, while only the group itself is
//! mounted: then it is found where the paths above it lead, at the mount.

use super::host::Host;
use super::kernel::number;

const MOUNT: &str = "/sys/fs/cgroup";

/// The directories of a group and of those that it is in.
fn and_above(mount: &str, path: &str) -> Vec<String> {
    let mut path = path.trim_end_matches('/');
    let mut found = Vec::new();
    loop {
        found.push(format!("{mount}{path}"));
        match path.rfind('/') {
            Some(end) => path = &path[..end],
            None => return found,
        }
    }
}

/// Those of version 2.
fn unified(host: &dyn Host) -> Vec<String> {
    let text = host.read("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.map(|path| and_above(MOUNT, path)).unwrap_or_default()
}

/// Those of a controller of version 1.
fn of_controller(host: &dyn Host, controller: &str) -> Vec<String> {
    let text = host.read("/proc/self/cgroup").unwrap_or_default();
    // Number, controllers, path.
    let path = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let is_its = parts.next()?.split(',').any(|name| name == controller);
        parts.next().filter(|_| is_its)
    });
    path.map(|path| and_above(&format!("{MOUNT}/{controller}"), path)).unwrap_or_default()
}

/// The least memory that one of them may use. Version 1 says a number beyond any host where there is no limit.
pub(super) fn memory_bytes(host: &dyn Host) -> Option<u64> {
    let unified = unified(host).into_iter().map(|path| path + "/memory.max");
    let old = of_controller(host, "memory").into_iter().map(|path| path + "/memory.limit_in_bytes");
    unified.chain(old).filter_map(|path| number(host, &path)).min()
}

/// How many CPUs' worth of time the least of them may use, in hundredths.
pub(super) fn cpu_hundredths(host: &dyn Host) -> Option<u64> {
    let quota = |path: String| {
        let text = host.read(&format!("{path}/cpu.max"))?;
        let (quota, period) = text.trim().split_once(' ')?;
        quota.parse::<u64>().ok()?.saturating_mul(100).checked_div(period.parse().ok()?)
    };
    // Without a limit it is -1, which is no number here.
    let old = |path: String| {
        let quota = number(host, &format!("{path}/cpu.cfs_quota_us"))?;
        quota.saturating_mul(100).checked_div(number(host, &format!("{path}/cpu.cfs_period_us"))?)
    };
    let unified = unified(host).into_iter().filter_map(quota);
    unified.chain(of_controller(host, "cpu").into_iter().filter_map(old)).min()
}
