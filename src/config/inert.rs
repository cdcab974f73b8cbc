//! What is said to those who ask for something that Torc accepts and does not do.
//!
//! Design: only what was given and asks for something is named, so that it stands out among the defaults that a whole
//! redis.conf repeats. Where somebody could rely on what does not happen, a line of its own says what that is;
//! the names of all others share one line. Values are never shown: some are secrets.
//!
//! Not here: which directives these are (`INERT` in `table`, and `valkey`), what is refused (`refused`).

use super::table::{Config, Directive, Flags, lookup, table};

/// What asking for these leads to.
const CONSEQUENCES: &[(&str, &str)] = &[
    ("syslog-enabled", "nothing is sent to syslog"),
    ("tls-dh-params-file", "the key exchange is over elliptic curves, whose parameters are fixed"),
];

/// The lines to log about those of the directives `given` of which `config` asks for something that does not happen;
/// `more` are others of that kind.
pub fn warnings<N: AsRef<[u8]>>(config: &Config, given: &[N], more: &[&str]) -> Vec<String> {
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
    others.extend(more);
    if !others.is_empty() {
        lines.push(format!("accepted without effect: {}", others.join(", ")));
    }
    lines
}

fn asks_for_something(directive: &Directive, config: &Config, default: &Config) -> bool {
    directive.format(config) != directive.format(default)
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
