//! The configuration read once more while the server runs: what changes, what has to wait, what stays.
//!
//! Design: what was read last time, what is read now, and what is in force are compared directive by directive. Only what the text has
//! changed is taken over. So a reload for the sake of a certificate does not take back what CONFIG SET said meanwhile, and a change of
//! the file counts whatever was said before. Nothing is changed where the text has an error.
//!
//! Not here: what a change sets off (`command::server::reload`).

use std::path::Path;

use super::access::apply;
use super::load::{ConfigFile, Fatal, Loaded, Loader, Origin};
use super::table::{Config, Directive, Flags, table};

/// CONFIG SET and a reload change these only at the next start.
pub const LISTENS: [&str; 3] = ["bind", "port", "tls-port"];

/// Where a configuration came from, so that it can be read again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if one was named.
    pub file: Option<ConfigFile>,
    /// What was read from the standard input.
    pub(super) stdin: Vec<u8>,
    /// The options of the command line, as lines.
    pub(super) options: Vec<u8>,
}

impl Sources {
    /// What was read from the standard input, which can be read only once.
    pub fn stdin(&self) -> &[u8] {
        &self.stdin
    }

    /// Reads everything in order, the later over the earlier; the file by this name.
    pub(super) fn load(&self, mut loader: Loader, file: Option<&Path>) -> Result<Loaded, Fatal> {
        if let Some(file) = file {
            loader.file(file, 0)?;
        }
        loader.text(&self.stdin, &Origin::Stdin, 0)?;
        loader.text(&self.options, &Origin::CommandLine, 0)?;
        loader.finish()
    }

    /// What a start would read now.
    ///
    /// # Errors
    /// What a start would say before it stops.
    pub fn read_again(&self) -> Result<Config, Fatal> {
        let loader = self.file.as_ref().map(|file| Loader::in_directory(&file.directory));
        let file = self.file.as_ref().map(|file| file.path.as_path());
        Ok(self.load(loader.unwrap_or_default(), file)?.config)
    }
}

/// What a second reading comes to.
pub struct Reread {
    /// What is to be in force.
    pub config: Config,
    /// Directives that it changes.
    pub changed: Vec<&'static Directive>,
    /// Names of those whose change has to wait for the next start.
    pub waiting: Vec<&'static str>,
    /// Names of those that CONFIG SET has changed, and the text has not.
    pub kept: Vec<&'static str>,
}

/// What follows from reading `now` where `before` was read last, and `live` is in force.
///
/// # Errors
/// A value that cannot be set while the server runs.
pub fn reread(before: &Config, now: &Config, live: &Config) -> Result<Reread, String> {
    let mut found =
        Reread { config: live.clone(), changed: Vec::new(), waiting: Vec::new(), kept: Vec::new() };
    for directive in table() {
        let (old, new) = (directive.format(before), directive.format(now));
        if new == directive.format(live) {
            continue;
        }
        let can_change = directive.flags.has(Flags::MUTABLE) && !LISTENS.contains(&directive.name);
        match (old == new, can_change) {
            (true, true) => found.kept.push(directive.name),
            (true, false) => {}
            (false, false) => found.waiting.push(directive.name),
            (false, true) => {
                apply(&mut found.config, directive, &new)
                    .map_err(|reason| format!("'{}': {reason}", directive.name))?;
                found.changed.push(directive);
            }
        }
    }
    found.config.clamp();
    let (old, new) = (&before.file_only, &now.file_only);
    found.waiting.extend((old.users != new.users).then_some("user"));
    found.waiting.extend((old.renamed_commands != new.renamed_commands).then_some("rename-command"));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_text_changed_is_taken_over() {
        let before = Config { maxmemory: 1, hz: 20, port: 1, ..Config::default() };
        let now = Config { maxmemory: 2, port: 2, workers: 3, ..before.clone() };
        let live = Config { maxmemory: 9, hz: 30, maxclients: 5, ..before.clone() };
        let found = reread(&before, &now, &live).unwrap_or_else(|reason| panic!("{reason}"));
        assert_eq!(found.changed.iter().map(|directive| directive.name).collect::<Vec<_>>(), ["maxmemory"]);
        assert_eq!(found.waiting, ["workers", "port"]);
        assert_eq!(found.kept, ["maxclients", "hz"]);
        assert_eq!(found.config, Config { maxmemory: 2, ..live });
    }

    #[test]
    fn what_is_in_force_already_is_no_change() {
        let before = Config::default();
        let now = Config { maxmemory: 2, ..Config::default() };
        let found = reread(&before, &now, &now).unwrap_or_else(|reason| panic!("{reason}"));
        assert!(found.changed.is_empty() && found.waiting.is_empty() && found.kept.is_empty());
    }
}
