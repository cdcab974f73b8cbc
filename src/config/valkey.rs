//! Directives that Valkey 9.1 has and Redis has not, so that its files start Torc.
//!
//! Design: they are known in files and on the command line only, because CONFIG GET and SET show and change what Redis 8.2
//! has. Some are other names of what Redis has too and mean the same; the others change nothing here, and are named at the
//! start where they ask for something else than Valkey does by itself. CONFIG REWRITE leaves their lines as they stand.

/// What such a directive means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The same as this directive.
    Same(&'static str),
    /// Nothing; this is Valkey's default.
    Nothing(&'static str),
    /// This value must not be ignored, for this reason.
    NothingBut(&'static str, &'static str),
}

use Meaning::{Nothing, NothingBut, Same};

const NO_IMPORT: &str = "Torc has no import mode: keys that have expired or are evicted while data is imported would be \
    missing from it. Say 'import-mode no'";

const DIRECTIVES: &[(&str, Meaning)] = &[
    ("active-defrag-cycle-us", Nothing("500")),
    ("availability-zone", Nothing("")),
    ("cluster-announce-client-ipv4", Nothing("")),
    ("cluster-announce-client-ipv6", Nothing("")),
    ("cluster-announce-client-port", Nothing("0")),
    ("cluster-announce-client-tls-port", Nothing("0")),
    ("cluster-blacklist-ttl", Nothing("60")),
    ("cluster-config-save-behavior", Nothing("sync")),
    ("cluster-databases", Nothing("1")),
    ("cluster-manual-failover-timeout", Nothing("5000")),
    ("cluster-message-gossip-perc", Nothing("10")),
    ("cluster-slot-migration-log-max-len", Nothing("1000")),
    ("commandlog-execution-slower-than", Same("slowlog-log-slower-than")),
    ("commandlog-large-reply-max-len", Nothing("128")),
    ("commandlog-large-request-max-len", Nothing("128")),
    ("commandlog-reply-larger-than", Nothing("1048576")),
    ("commandlog-request-larger-than", Nothing("1048576")),
    ("commandlog-slow-execution-max-len", Same("slowlog-max-len")),
    ("debug-context", Nothing("")),
    ("dual-channel-replication-enabled", Same("repl-rdb-channel")),
    ("enable-debug-assert", Nothing("no")),
    ("extended-redis-compatibility", Nothing("no")),
    ("hash-seed", Nothing("")),
    ("import-mode", NothingBut("yes", NO_IMPORT)),
    ("io-threads-always-active", Nothing("no")),
    ("log-timestamp-format", Nothing("legacy")),
    ("lua-enable-insecure-api", Nothing("no")),
    ("min-io-threads-avoid-copy-reply", Nothing("7")),
    ("min-string-size-avoid-copy-reply", Nothing("16384")),
    ("min-string-size-avoid-copy-reply-threaded", Nothing("65536")),
    ("mptcp", Nothing("no")),
    ("primaryauth", Same("masterauth")),
    ("primaryuser", Same("masteruser")),
    ("rdb-version-check", Nothing("strict")),
    ("rdma-bind", Nothing("")),
    ("rdma-completion-vector", Nothing("-1")),
    ("rdma-port", Nothing("0")),
    ("rdma-rx-size", Nothing("1048576")),
    ("repl-mptcp", Nothing("no")),
    ("slot-migration-max-failover-repl-bytes", Nothing("0")),
    ("tcp-keepalive-probes", Nothing("3")),
    ("tls-auto-reload-interval", Nothing("0")),
    ("unixsocketgroup", Nothing("")),
];

/// The directive called `name`, in any case.
pub(super) fn find(name: &[u8]) -> Option<(&'static str, Meaning)> {
    DIRECTIVES.iter().copied().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::lookup;

    #[test]
    fn names_are_not_those_of_redis_and_what_they_mean_is() {
        for (name, meaning) in DIRECTIVES {
            assert!(lookup(name.as_bytes()).is_none(), "{name} is known anyway");
            if let Same(other) = meaning {
                assert!(lookup(other.as_bytes()).is_some(), "{other} is no directive");
            }
        }
        let names: Vec<&str> = DIRECTIVES.iter().map(|(name, _)| *name).collect();
        assert!(names.is_sorted_by(|before, after| before < after), "each once, in order");
    }
}
