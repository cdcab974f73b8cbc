//! What `--help` and `--version` print, and the options that are no directives.

use super::domain::Domain;
use super::table::{Config, Directive, Flags, table};
use super::{REDIS_VERSION, TORC_VERSION};

/// What Torc is, in a line.
pub(super) const DESCRIPTION: &str = "an in-memory data store that speaks the protocol of Redis";

/// What can be asked for instead of serving, and how.
pub(super) const ACTIONS: &[(&str, &str)] = &[
    ("-v, --version", "Says which version this is."),
    ("-h, --help", "Says what can be asked for."),
    (
        "[FILE] --doctor [--json] [options]",
        "Says what is seen of this host, for that configuration, and what to do about it; fails where something matters.",
    ),
    ("--check-rdb FILE", "Says what an RDB file holds, or where it is damaged."),
    (
        "--check-aof [--fix] [--truncate-to-timestamp SECONDS] FILE",
        "The same of an append-only file or its manifest; --fix cuts off an end that is not whole, after a question.",
    ),
    ("--man torc|torc.conf", "Prints a manual page, for man -l -."),
    ("--completion bash|zsh|fish", "Prints what completes torc in a shell."),
];

/// How it is started.
pub(super) const EXAMPLES: &[&str] = &[
    "torc",
    "echo 'maxmemory 128mb' | torc -",
    "torc /etc/redis/redis.conf",
    "torc --port 7777",
    "torc /etc/torc/torc.conf --doctor",
    "torc /etc/redis/redis.conf --workers 4 --loglevel verbose",
];

/// The line of `--version`; `build` identifies the build.
pub fn version_line(build: &str) -> String {
    format!(
        "Torc server v={TORC_VERSION} (Redis {REDIS_VERSION} compatible) bits={} build={build}",
        usize::BITS
    )
}

/// The text of `--help`: usage, and Torc's own directives from the table.
pub fn help() -> String {
    let mut text = String::from(
        "Usage: torc [/path/to/redis.conf] [options] [-]\n       torc - (read config from stdin)\n",
    );
    for (option, help) in ACTIONS {
        text.push_str(&format!("       torc {option}\n            {help}\n"));
    }
    text.push_str("\nExamples:\n");
    EXAMPLES.iter().for_each(|example| text.push_str(&format!("       {example}\n")));
    text.push_str(
        "
Every directive of redis.conf is an option: --directive value ...
A secret may stand in a file: --requirepass-file FILE, and so for masterauth and the others.
Torc's own directives:
",
    );
    let default = Config::default();
    for directive in table().iter().filter(|directive| directive.flags.has(Flags::OWN)) {
        text.push_str(&row(directive, &default));
    }
    text
}

fn row(directive: &Directive, default: &Config) -> String {
    let default = default_shown(directive, default);
    let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    format!("  --{} {}\n        {}{default}\n", directive.name, values(directive), directive.help)
}

/// What values it takes, for people.
pub(super) fn values(directive: &Directive) -> String {
    match directive.domain {
        Domain::Bool => "yes|no".to_string(),
        Domain::Words(words) => words.join("|"),
        Domain::Integer(..) | Domain::Unsigned(..) => "N".to_string(),
        Domain::Special(syntax) => syntax.to_string(),
        _ => "VALUE".to_string(),
    }
}

/// Its default, for people; that of a directory is where the server is started, wherever that is.
pub(super) fn default_shown(directive: &Directive, default: &Config) -> String {
    match directive.domain {
        Domain::Directory => "where it is started".to_owned(),
        _ => String::from_utf8_lossy(&directive.format(default)).into_owned(),
    }
}
