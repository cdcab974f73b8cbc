//! What `--help` and `--version` print.

use super::kind::Kind;
use super::table::{Config, Directive, Flags, table};
use super::{REDIS_VERSION, TORC_VERSION};

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
        "Usage: torc [/path/to/redis.conf] [options] [-]
       torc - (read config from stdin)
       torc -v or --version
       torc -h or --help
       torc --check-rdb FILE (says what an RDB file holds, or where it is damaged)
       torc --check-aof [--fix] [--truncate-to-timestamp SECONDS] FILE (the same of an append-only file or its
            manifest; --fix cuts off an end that is not whole, after a question)

Examples:
       torc (run the server with default conf)
       echo 'maxmemory 128mb' | torc -
       torc /etc/redis/redis.conf
       torc --port 7777
       torc /etc/redis/redis.conf --workers 4 --loglevel verbose

Every directive of redis.conf is an option: --directive value ...
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
    let values = match directive.kind {
        Kind::Bool => "yes|no".to_string(),
        Kind::Words(words) => words.join("|"),
        Kind::Integer(..) | Kind::Unsigned(..) => "N".to_string(),
        Kind::Special(syntax) => syntax.to_string(),
        _ => "VALUE".to_string(),
    };
    let default = String::from_utf8_lossy(&directive.format(default)).into_owned();
    let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    format!("  --{} {values}\n        {}{default}\n", directive.name, directive.help)
}
