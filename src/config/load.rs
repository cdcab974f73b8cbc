//! Reading configuration text: lines, includes, and errors that say where.
//!
//! Design: files, standard input and the command line all become lines that go through one [`Loader`] in
//! order; later lines win. An error names its source and line in the layout redis-server uses, so that people
//! and scripts that know it find what they expect.
//!
//! Not here: what the values mean (`table`), and which sources there are (`args`).

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::kind::{Mode, Reason, Text, os_reason};
use super::split::split_line;
use super::table::{Config, Flags, lookup};
use super::{REDIS_VERSION, TORC_VERSION};
use crate::glob;

/// How deep files may include each other.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Where a line came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This file.
    File(PathBuf),
    /// The standard input.
    Stdin,
    /// The command line; line numbers count its options from 1.
    CommandLine,
}

/// The file the configuration was read from: what CONFIG REWRITE writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its absolute path.
    pub path: PathBuf,
}

/// Why the server does not start. `Display` is the whole message for the error output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// A line was refused.
    Line {
        /// Where the line is.
        origin: Origin,
        /// Its number, from 1.
        number: usize,
        /// The line itself.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read.
    File {
        /// The file as named.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// The arguments make no sense.
    Usage(String),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { origin, number, line, reason } => {
                writeln!(
                    f,
                    "\n*** FATAL CONFIG FILE ERROR (Torc {TORC_VERSION}, Redis {REDIS_VERSION}) ***"
                )?;
                match origin {
                    Origin::File(path) => {
                        writeln!(f, "Reading the configuration file {}, at line {number}", path.display())?;
                    }
                    Origin::Stdin => writeln!(f, "Reading the configuration from stdin, at line {number}")?,
                    Origin::CommandLine => writeln!(f, "Reading the command line, at option {number}")?,
                }
                write!(f, ">>> '{line}'\n{reason}")
            }
            Self::File { path, reason } => {
                write!(f, "Fatal error, can't open config file '{}': {reason}", path.display())
            }
            Self::Usage(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fatal {}

/// Collects a configuration from lines.
pub(super) struct Loader {
    pub(super) config: Config,
    /// Directives given so far, each once.
    pub(super) seen: Vec<&'static str>,
}

impl Loader {
    pub(super) fn new() -> Self {
        Self { config: Config::default(), seen: Vec::new() }
    }

    /// Reads a file and what it includes.
    pub(super) fn file(&mut self, path: &Path, depth: usize) -> Result<(), Fatal> {
        let text = fs::read(path).map_err(|error| Fatal::File {
            path: path.to_path_buf(),
            reason: os_reason(&error).into_owned(),
        })?;
        self.text(&text, &Origin::File(path.to_path_buf()), depth)
    }

    /// Reads all lines of `text`.
    pub(super) fn text(&mut self, text: &[u8], origin: &Origin, depth: usize) -> Result<(), Fatal> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            self.line(line.trim_ascii(), origin, index + 1, depth)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], origin: &Origin, number: usize, depth: usize) -> Result<(), Fatal> {
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        let refuse = |reason: Reason| Fatal::Line {
            origin: origin.clone(),
            number,
            line: String::from_utf8_lossy(line).into_owned(),
            reason: reason.into_owned(),
        };
        let words =
            split_line(line).ok_or_else(|| refuse("Unbalanced quotes in configuration line".into()))?;
        let Some((name, args)) = words.split_first() else { return Ok(()) };
        if name.eq_ignore_ascii_case(b"include") {
            let [pattern] = args else { return Err(refuse(BAD_DIRECTIVE.into())) };
            if depth == INCLUDE_DEPTH_MAX {
                return Err(refuse("files include each other too deeply (is there a circle?)".into()));
            }
            return self.include(pattern, depth);
        }
        self.directive(name, args).map_err(refuse)
    }

    fn directive(&mut self, name: &[u8], args: &[Vec<u8>]) -> Result<(), Reason> {
        match name.to_ascii_lowercase().as_slice() {
            b"rename-command" => return self.rename_command(args),
            b"user" => return user(args),
            b"aclfile" if args.iter().any(|path| !path.is_empty()) => return Err(NO_ACL.into()),
            b"loadmodule" if !args.is_empty() => return Err("Torc has no modules".into()),
            _ => {}
        }
        let Some(directive) = lookup(name) else { return obsolete(name, args) };
        let first = !self.seen.contains(&directive.name);
        if first {
            self.seen.push(directive.name);
        }
        let mode = Mode::Load { first };
        if directive.flags.has(Flags::MULTI) && args.len() == 1 {
            // "a b c" as one word means the same as three.
            let words = split_line(&args[0]).unwrap_or_default();
            let args = if words.is_empty() { args } else { &words };
            return directive.parse(&mut self.config, args, mode);
        }
        directive.parse(&mut self.config, args, mode)
    }

    fn rename_command(&mut self, args: &[Vec<u8>]) -> Result<(), Reason> {
        let [old, new] = args else { return Err(BAD_DIRECTIVE.into()) };
        let renamed = &mut self.config.file_only.renamed_commands;
        let taken = |name: &[u8]| renamed.iter().any(|(_, other)| other.eq_ignore_ascii_case(name));
        if !new.is_empty() && taken(new) {
            return Err("Target command name already exists".into());
        }
        renamed.push((old.as_slice().into(), new.as_slice().into()));
        Ok(())
    }

    /// Reads every file that `pattern` names, in the order of their names. A pattern may match nothing; a
    /// name may not.
    fn include(&mut self, pattern: &[u8], depth: usize) -> Result<(), Fatal> {
        let path = Path::new(OsStr::from_bytes(pattern));
        if !glob::is_pattern(pattern) {
            return self.file(path, depth + 1);
        }
        for path in expand(path) {
            self.file(&path, depth + 1)?;
        }
        Ok(())
    }
}

/// Directives that Redis has given up and still accepts in files, with one value.
const OBSOLETE: [&str; 3] = ["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

fn obsolete(name: &[u8], args: &[Vec<u8>]) -> Result<(), Reason> {
    let known = OBSOLETE.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
    if known && args.len() == 1 { Ok(()) } else { Err(BAD_DIRECTIVE.into()) }
}

/// Why users other than the default one are refused: a server that ignored them would be open to everybody.
const NO_ACL: &str = "Torc has no ACL yet: there is only the default user, who may do everything. \
    Remove this line and give that user a password with requirepass";

/// A `user` line, which may only say what is true anyway: that the default user needs no password and may do everything.
///
/// Redis starts from a user without any right and applies the rules in order, so each of these has to be there. A password
/// in `requirepass` is demanded all the same.
fn user(args: &[Vec<u8>]) -> Result<(), Reason> {
    const NEEDED: [&[&str]; 5] =
        [&["on"], &["nopass"], &["~*", "allkeys"], &["&*", "allchannels"], &["+@all", "allcommands"]];
    // What RESTORE gets is checked whichever of these is said.
    const WITHOUT_EFFECT: [&str; 2] = ["sanitize-payload", "skip-sanitize-payload"];
    let Some((name, rules)) = args.split_first() else { return Err(BAD_DIRECTIVE.into()) };
    let is = |rule: &Vec<u8>, word: &&str| rule.eq_ignore_ascii_case(word.as_bytes());
    let all_there =
        NEEDED.iter().all(|words| rules.iter().any(|rule| words.iter().any(|word| is(rule, word))));
    let known =
        |rule: &Vec<u8>| NEEDED.iter().copied().flatten().chain(&WITHOUT_EFFECT).any(|word| is(rule, word));
    if name == b"default" && all_there && rules.iter().all(known) { Ok(()) } else { Err(NO_ACL.into()) }
}

const BAD_DIRECTIVE: &str = "Bad directive or wrong number of arguments";

/// The existing paths that match `pattern`, sorted; a wildcard does not cross a `/` nor match a leading dot.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let part = component.as_os_str();
        if !glob::is_pattern(part.as_bytes()) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        found = found.iter().flat_map(|directory| matching_entries(directory, part)).collect();
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

fn matching_entries(directory: &Path, pattern: &OsStr) -> Vec<PathBuf> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(entries) = fs::read_dir(here) else { return Vec::new() };
    let hidden = pattern.as_bytes().starts_with(b".");
    entries
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| hidden || !name.as_bytes().starts_with(b"."))
        .filter(|name| glob::matches(pattern.as_bytes(), name.as_bytes(), glob::Case::Sensitive))
        .map(|name| directory.join(name))
        .collect()
}

impl From<&Text> for PathBuf {
    fn from(text: &Text) -> Self {
        text.as_path().to_path_buf()
    }
}
