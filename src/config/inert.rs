//! What is said to those who ask for something that Torc accepts and does not do.
//!
//! Design: only what was given and asks for something is named, so that an `appendonly yes` stands out among the defaults
//! that a whole redis.conf repeats. Where somebody could rely on what does not happen, a line of its own says what that is;
//! the names of all others share one line. Values are never shown: some are secrets.
//!
//! Not here: which directives these are (`INERT` in `table`).

use super::table::{Config, Directive, Flags, lookup, table};

/// What asking for these leads to.
const CONSEQUENCES: &[(&str, &str)] = &[
    ("activedefrag", "memory is not defragmented"),
    ("appendonly", "there is no append-only log yet: nothing is written to disk, and a restart begins empty"),
    ("cluster-enabled", "there is no cluster yet: this server serves all slots by itself"),
    ("maxmemory-clients", "the memory of all clients together has no limit yet"),
    ("min-replicas-to-write", "there is no replication yet: writes are accepted without replicas"),
    ("notify-keyspace-events", "no events are published yet"),
    ("replicaof", "there is no replication yet: this server has data of its own and accepts writes"),
    ("save", "there are no snapshots yet: nothing is written to disk, and a restart begins empty"),
    ("shutdown-on-sigint", "there are no snapshots yet: SIGINT ends the server without saving"),
    ("shutdown-on-sigterm", "there are no snapshots yet: SIGTERM ends the server without saving"),
    ("syslog-enabled", "nothing is sent to syslog"),
    ("tls-port", "there is no TLS yet: no encrypted port is open"),
];

/// The lines to log about those of the directives `given` of which `config` asks for something that does not happen.
pub fn warnings<N: AsRef<[u8]>>(config: &Config, given: &[N]) -> Vec<String> {
    let default = Config::default();
    let given: Vec<_> =
        given.iter().filter_map(|name| lookup(name.as_ref())).map(|known| known.name).collect();
    let asked = |directive: &&Directive| {
        given.contains(&directive.name)
            && directive.flags.has(Flags::INERT)
            && asks_for_something(directive, config, &default)
    };
    let consequence = |name| CONSEQUENCES.iter().find(|(known, _)| *known == name).map(|(_, text)| text);
    let mut lines = Vec::new();
    let mut others = Vec::new();
    for Directive { name, .. } in table().iter().filter(asked) {
        match consequence(*name) {
            Some(text) => lines.push(format!("'{name}' is accepted without effect: {text}")),
            None => others.push(*name),
        }
    }
    if !others.is_empty() {
        lines.push(format!("accepted without effect: {}", others.join(", ")));
    }
    lines
}

fn asks_for_something(directive: &Directive, config: &Config, default: &Config) -> bool {
    match directive.name {
        // The default already asks for snapshots, and "" for none.
        "save" => !config.save.0.is_empty(),
        // A server without files and replicas ends at once whichever other word is said.
        "shutdown-on-sigint" => config.shutdown_on_sigint.save,
        "shutdown-on-sigterm" => config.shutdown_on_sigterm.save,
        _ => directive.format(config) != directive.format(default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consequences_are_those_of_inert_directives() {
        for (name, _) in CONSEQUENCES {
            assert!(lookup(name.as_bytes()).is_some_and(|known| known.flags.has(Flags::INERT)), "{name}");
        }
    }
}
