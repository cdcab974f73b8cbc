//! What the kernel offers: its version, io_uring, time, descriptors, the queue of connections.

use super::host::{Host, Ring};
use super::{Finding, knob, size};
use crate::config::{Config, IoBackend, files_reserved};

/// The first kernel that has what the fast path needs.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Sources of time that are read without a system call.
const CHEAP_CLOCKS: &[&str] = &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

/// One line of `/proc/self/limits`: its soft and hard limit; none is no limit.
fn limit(host: &dyn Host, name: &str) -> Option<(Option<u64>, Option<u64>)> {
    let text = host.read("/proc/self/limits")?;
    let mut values = text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace();
    let mut value = || values.next().map(|word| word.parse::<u64>().ok());
    Some((value()?, value()?))
}

/// A file that holds a number.
pub(super) fn number(host: &dyn Host, path: &str) -> Option<u64> {
    host.read(path)?.trim().parse().ok()
}

/// Whether the kernel is new enough.
pub(super) fn version(host: &dyn Host, _: &Config) -> Option<Finding> {
    let release = host.read("/proc/sys/kernel/osrelease")?;
    let release = release.trim();
    let mut parts = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let known = (parts.next()?, parts.next().unwrap_or(0));
    let (major, minor) = KERNEL_MIN;
    if known < KERNEL_MIN {
        return Some(Finding::warning(
            "kernel",
            format!("Linux {release} has no io_uring with deferred task work, so epoll serves"),
            format!("Linux {major}.{minor} or newer"),
        ));
    }
    Some(Finding::ok("kernel", format!("Linux {release} has what io_uring is needed for")))
}

/// Which backend will serve, and why.
pub(super) fn io_uring(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "io_uring";
    if config.io_backend == IoBackend::Epoll {
        let what = "epoll serves, as the configuration says (io-backend epoll)";
        return Some(Finding::note(SUBJECT, what, "io-backend auto costs less CPU time per command"));
    }
    let Err(reason) = host.open_ring(Ring::Plain) else {
        let what = "serves, with multishot accept and receive, provided buffers and deferred task work";
        return Some(Finding::ok(SUBJECT, what));
    };
    let outcome = match config.io_backend {
        IoBackend::IoUring => "the start will be refused (io-backend io_uring)",
        IoBackend::Auto | IoBackend::Epoll => "epoll will serve",
    };
    let remedy = match number(host, "/proc/sys/kernel/io_uring_disabled") {
        Some(0) | None => {
            "in a container: a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register"
        }
        Some(_) => "sysctl kernel.io_uring_disabled=0 (tuning/io-uring says what that opens)",
    };
    Some(Finding::warning(SUBJECT, format!("{outcome}: {reason}"), remedy))
}

/// A kernel thread that submits.
pub(super) fn sqpoll(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "sqpoll";
    if config.io_backend == IoBackend::Epoll || !config.sqpoll {
        return Some(Finding::ok(SUBJECT, "off; for hosts with a core to spare for each worker: sqpoll yes"));
    }
    Some(match host.open_ring(Ring::SqPoll) {
        Ok(()) => Finding::ok(SUBJECT, "a kernel thread submits for each worker"),
        Err(reason) => Finding::warning(SUBJECT, format!("cannot be had: {reason}"), "sqpoll no"),
    })
}

/// Polling of the card.
pub(super) fn busy_poll(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "busy-poll";
    if config.io_backend == IoBackend::Epoll || config.busy_poll_us == 0 {
        let what = "off; for dedicated hosts with a card that can be polled: busy-poll-us 50";
        return Some(Finding::ok(SUBJECT, what));
    }
    Some(match host.open_ring(Ring::BusyPoll) {
        Ok(()) => Finding::ok(SUBJECT, format!("polls for {} us before it sleeps", config.busy_poll_us)),
        Err(reason) => Finding::warning(SUBJECT, format!("cannot be had: {reason}"), "busy-poll-us 0"),
    })
}

/// How time is read, which happens in each turn and, for what is timed, with each command.
pub(super) fn clock_source(host: &dyn Host, _: &Config) -> Option<Finding> {
    const SUBJECT: &str = "clock";
    let source = host.read("/sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    let source = source.trim();
    if CHEAP_CLOCKS.contains(&source) {
        return Some(Finding::ok(SUBJECT, format!("{source}, read without a system call")));
    }
    let what = format!("{source}: each look at the time is a system call");
    let remedy =
        "clocksource=tsc tsc=reliable on the kernel's command line, if the host's counters run alike";
    Some(Finding::warning(SUBJECT, what, remedy))
}

/// Whether so many clients may have a descriptor each.
pub(super) fn open_files(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "open-files";
    let (_, hard) = limit(host, "Max open files")?;
    let wanted = u64::from(config.maxclients) + files_reserved(config);
    let clients = config.maxclients;
    match hard.filter(|hard| *hard < wanted) {
        None => Some(Finding::ok(SUBJECT, format!("enough for maxclients {clients}"))),
        Some(hard) => {
            let left = hard.saturating_sub(files_reserved(config));
            let what = format!("the limit of {hard} leaves room for {left} clients, maxclients is {clients}");
            let remedy = format!("LimitNOFILE={wanted} in the unit, or ulimit -n {wanted}");
            Some(Finding::warning(SUBJECT, what, remedy))
        }
    }
}

/// How many connections may wait to be accepted.
pub(super) fn accept_queue(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "accept-queue";
    let most = number(host, "/proc/sys/net/core/somaxconn")?;
    let backlog = u64::from(config.tcp_backlog);
    if most < backlog {
        let what = format!("the kernel cuts tcp-backlog {backlog} to {most}: bursts of clients are dropped");
        return Some(Finding::note(SUBJECT, what, knob(host, "accept-queue")));
    }
    Some(Finding::ok(SUBJECT, format!("{backlog} connections may wait")))
}

/// Memory of the host.
pub(super) fn host_bytes(host: &dyn Host) -> Option<u64> {
    let text = host.read("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// How much there is, for people.
pub(super) fn shown(bytes: u64) -> String {
    size(bytes)
}
