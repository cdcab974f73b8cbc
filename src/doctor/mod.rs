//! `torc --doctor`: what the server sees of its host and its configuration, and what to do about it.
//!
//! Design: each check looks at one subject and says one line: OK, a NOTE that costs something, or a WARNING about what
//! will surprise somebody (a refused start, lost data, an open door, the slow path). All facts come through [`Host`],
//! so that a test can make up any host. Nothing is changed; what changes hosts is `tuning/`. The configuration is that
//! of a start with the same arguments.
//!
//! | file | what |
//! |---|---|
//! | `host` | the one interface to facts |
//! | `groups` | control groups and their limits, of both versions |
//! | `kernel` | kernel, io_uring, clock, limits |
//! | `processors` | workers and their CPUs, clock rates, NUMA |
//! | `memory` | memory and its limits, huge pages, swap |
//! | `promises` | who can reach the server, what is kept |
//!
//! Not here: the diagnosis of a running server (LATENCY DOCTOR, MEMORY DOCTOR).

mod groups;
pub mod host;
mod kernel;
mod memory;
mod processors;
mod promises;

use std::fmt::Write as _;

pub use host::{Host, System};

use crate::config::Config;
use crate::observe::Json;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It could be better, or is worth knowing.
    Note,
    /// It matters: the exit status says so, too.
    Warning,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Ok => "OK",
            Level::Note => "NOTE",
            Level::Warning => "WARNING",
        }
    }
}

/// What was found about one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What it is about, in one word.
    pub subject: &'static str,
    /// What was seen.
    pub what: String,
    /// What to do about it; empty if nothing.
    pub remedy: String,
}

impl Finding {
    fn write(&self, json: &mut Json) {
        json.object(|json| {
            json.text("level", self.level.word());
            json.text("subject", self.subject);
            json.text("what", &self.what);
            json.text("remedy", &self.remedy);
        });
    }

    fn ok(subject: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, what: what.into(), remedy: String::new() }
    }

    fn note(subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Note, subject, what: what.into(), remedy: remedy.into() }
    }

    fn warning(subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, subject, what: what.into(), remedy: remedy.into() }
    }
}

/// A check: what it finds, or nothing where the host has nothing of the kind.
type Check = fn(&dyn Host, &Config) -> Option<Finding>;

const CHECKS: &[Check] = &[
    kernel::version,
    kernel::io_uring,
    kernel::sqpoll,
    kernel::busy_poll,
    kernel::clock_source,
    kernel::open_files,
    kernel::accept_queue,
    processors::workers,
    processors::quota,
    processors::siblings,
    processors::governor,
    processors::numa,
    processors::numa_balancing,
    memory::limit,
    memory::overcommit,
    memory::huge_pages,
    memory::swap,
    promises::exposure,
    promises::admin_port,
    promises::encryption,
    promises::persistence,
    promises::place,
    promises::left_behind,
];

/// What is found of this host, for a server with this configuration.
pub fn examine(host: &dyn Host, config: &Config) -> Vec<Finding> {
    CHECKS.iter().filter_map(|check| check(host, config)).collect()
}

/// Whether anything was found that matters.
pub fn has_warning(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Warning)
}

/// A line for each.
pub fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { level, subject, what, remedy } in findings {
        let remedy = if remedy.is_empty() { String::new() } else { format!(" -> {remedy}") };
        // Writing to a string does not fail.
        writeln!(text, "{:<8} {subject:<15} {what}{remedy}", level.word()).unwrap_or_default();
    }
    text
}

/// The same for programs: an object with whether anything matters, and what was found.
pub fn json(findings: &[Finding]) -> String {
    let mut text = Json::whole(|json| {
        json.flag("warning", has_warning(findings));
        json.list("findings", |json| findings.iter().for_each(|finding| finding.write(json)));
    });
    text.push('\n');
    text
}

/// What changes a setting of the host: a script of the project, or where the package has put it.
fn knob(host: &dyn Host, name: &str) -> String {
    const INSTALLED: &str = "/usr/lib/torc/";
    let script = format!("tuning/{name}");
    let is_installed = host.read(&format!("{INSTALLED}{script}")).is_some();
    format!("{}{script} apply", if is_installed { INSTALLED } else { "" })
}

/// A list of numbers as the kernel writes them: `0-2,5`.
fn ranges(text: &str) -> Vec<usize> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

/// The same the other way round.
fn list(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let part = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match UNITS.iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / (1_u64 << shift) as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_read_and_written() {
        assert_eq!(ranges("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(ranges("\n"), [] as [usize; 0]);
        assert_eq!(list(&[0, 1, 2, 5]), "0-2,5");
        assert_eq!(size(3 << 29), "1.5 GiB");
    }
}
