//! What stops a start, because a server that went on without it would lose data or show it to others.
//!
//! Design: a row says what is asked for and why not. Values are judged when all lines have been read, so that a later line
//! or an option (`torc redis.conf --cluster-enabled no`) can take back what a file says; the line that is blamed is the last one
//! that said it. None of them can be set while the server runs. Whoever builds what a row asks for removes the row.
//!
//! Not here: what is accepted without effect (`inert`), users (`security`), what only a file of Valkey can say (`valkey`).

use super::table::Config;

/// A directive whose value may ask for what Torc must not pretend to do.
struct Refusal {
    name: &'static str,
    is_asked: fn(&Config) -> bool,
    /// Why it is refused, and what to do instead.
    reason: &'static str,
}

const REFUSALS: &[Refusal] = &[
    // Redis's own reason, before those of either directive.
    Refusal {
        name: "replicaof",
        is_asked: |config| config.cluster_enabled && config.replicaof.0.is_some(),
        reason: "replicaof directive not allowed in cluster mode",
    },
    Refusal {
        name: "cluster-enabled",
        is_asked: |config| config.cluster_enabled,
        reason: "Torc cannot be part of a cluster yet: this server would take the keys of all slots for its own. \
            To run it by itself, say 'cluster-enabled no'",
    },
    Refusal {
        name: "aclfile",
        is_asked: |config| !config.aclfile.is_empty() && !config.file_only.users.is_empty(),
        reason: "There are users in the configuration and in a file of their own: whoever reads one would not know of \
            the other. Put the 'user' lines into that file, or remove this line",
    },
];

/// The first directive whose value in `config` is refused, and why.
pub(super) fn first(config: &Config) -> Option<(&'static str, &'static str)> {
    let refusal = REFUSALS.iter().find(|refusal| (refusal.is_asked)(config))?;
    Some((refusal.name, refusal.reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, lookup};

    #[test]
    fn refusals_are_of_directives_and_never_of_defaults() {
        for refusal in REFUSALS {
            let directive = lookup(refusal.name.as_bytes()).expect(refusal.name);
            assert!(!directive.flags.has(Flags::MUTABLE), "{} could be set", refusal.name);
        }
        assert_eq!(first(&Config::default()), None);
    }
}
