//! Reading configuration text: lines, includes, and errors that say where.
//!
//! Design: files, standard input and the command line all become lines that go through one [`Loader`] in
//! order; later lines win. An error names its source and line in the layout redis-server uses, so that people
//! and scripts that know it find what they expect.
//!
//! Not here: what the values mean (`table`), what must not be ignored (`refused`), and which sources there are (`args`).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::commands::CommandNames;
use super::domain::{Mode, Reason, Text, os_reason};
use super::split::split_line;
use super::table::{Config, Directive, Flags, lookup};
use super::valkey::{self, Meaning};
use super::{REDIS_VERSION, TORC_VERSION, UserLine, inert, refused, secret_file};
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
    /// Where the server was started: what the files that it includes are relative to.
    pub directory: PathBuf,
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

impl Fatal {
    /// In one line, without the place.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Line { line, reason, .. } => format!("'{line}': {reason}"),
            other => other.to_string(),
        }
    }
}

/// A line, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    origin: Origin,
    number: usize,
    line: String,
}

impl Place {
    fn refuse(self, reason: Reason) -> Fatal {
        let Self { origin, number, line } = self;
        Fatal::Line { origin, number, line, reason: reason.into_owned() }
    }
}

/// Where each directive was given last, and each `user` line: whom to blame for what shows only later.
#[derive(Clone, Debug, Default)]
pub struct Places {
    directives: HashMap<&'static str, Place>,
    users: Vec<Place>,
}

impl Places {
    /// The error of a start that cannot obey this directive, for this reason.
    pub fn blame(&self, name: &str, reason: String) -> Fatal {
        Self::refuse(self.directives.get(name), name, reason)
    }

    /// The error of a start that cannot obey the `user` line of this number, for this reason.
    pub fn blame_user(&self, index: usize, reason: String) -> Fatal {
        Self::refuse(self.users.get(index), "user", reason)
    }

    fn refuse(place: Option<&Place>, name: &str, reason: String) -> Fatal {
        match place {
            Some(place) => place.clone().refuse(reason.into()),
            None => Fatal::Usage(format!("'{name}': {reason}")),
        }
    }
}

/// What was read.
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) places: Places,
    pub(super) warnings: Vec<String>,
}

/// Collects a configuration from lines.
#[derive(Default)]
pub(super) struct Loader {
    config: Config,
    places: Places,
    /// Directives of Valkey that ask for something that does not happen.
    ignored: Vec<&'static str>,
    /// What names of files are relative to; empty is where the process is.
    directory: PathBuf,
    /// What `rename-command` has left of the names of commands, once there is one.
    commands: Option<CommandNames>,
}

impl Loader {
    /// As a server that was started in this directory.
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf(), ..Self::default() }
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
        let place = Place { origin: origin.clone(), number, line: shown(line) };
        let refuse = |reason: Reason| place.clone().refuse(reason);
        let words =
            split_line(line).ok_or_else(|| refuse("Unbalanced quotes in configuration line".into()))?;
        let Some((name, args)) = words.split_first() else { return Ok(()) };
        if name.eq_ignore_ascii_case(b"include") {
            let [pattern] = args else { return Err(refuse(BAD_DIRECTIVE.into())) };
            if depth == INCLUDE_DEPTH_MAX {
                return Err(refuse("files include each other too deeply (is there a circle?)".into()));
            }
            return self.include(pattern, depth).map_err(|error| match error {
                Fatal::File { .. } => refuse(error.to_string().into()),
                of_a_line => of_a_line,
            });
        }
        self.directive(name, args, &place).map_err(refuse)
    }

    /// What all lines together make, unless it asks for what must not be ignored.
    pub(super) fn finish(mut self) -> Result<Loaded, Fatal> {
        self.config.clamp();
        if let Some((name, reason)) = refused::first(&self.config) {
            return Err(self.places.blame(name, reason.to_owned()));
        }
        let given: Vec<&str> = self.places.directives.keys().copied().collect();
        let warnings = inert::warnings(&self.config, &given, &self.ignored);
        Ok(Loaded { config: self.config, places: self.places, warnings })
    }

    fn directive(&mut self, name: &[u8], args: &[Vec<u8>], place: &Place) -> Result<(), Reason> {
        match name.to_ascii_lowercase().as_slice() {
            b"rename-command" => return self.rename_command(args),
            b"user" => return self.user(args, place),
            b"loadmodule" if !args.is_empty() => return Err("Torc has no modules".into()),
            b"sentinel" if !args.is_empty() => {
                return Err("sentinel directive while not in sentinel mode".into());
            }
            _ => {}
        }
        if let Some(directive) = secret_file::directive_of(name) {
            let [path] = args else { return Err("wrong number of arguments".into()) };
            let secret = secret_file::read(path, &self.directory)?;
            return self.set(directive, &[secret], place);
        }
        let directive = match valkey::find(name) {
            Some((_, Meaning::Same(other))) => lookup(other.as_bytes()),
            Some((name, meaning)) => return self.of_valkey(name, meaning, args),
            None => lookup(name),
        };
        let Some(directive) = directive else { return obsolete(name, args) };
        self.set(directive, args, place)
    }

    fn set(&mut self, directive: &'static Directive, args: &[Vec<u8>], place: &Place) -> Result<(), Reason> {
        let first = self.places.directives.insert(directive.name, place.clone()).is_none();
        let mode = Mode::Load { first };
        if directive.flags.has(Flags::MULTI) && args.len() == 1 {
            // "a b c" as one word means the same as three.
            let words = split_line(&args[0]).unwrap_or_default();
            let args = if words.is_empty() { args } else { &words };
            return directive.parse(&mut self.config, args, mode);
        }
        directive.parse(&mut self.config, args, mode)
    }

    /// A directive that only Valkey has and that means nothing here: it is noted if it asks for something.
    fn of_valkey(&mut self, name: &'static str, meaning: Meaning, args: &[Vec<u8>]) -> Result<(), Reason> {
        if args.is_empty() {
            return Err("wrong number of arguments".into());
        }
        let value = args.join(&b' ');
        self.ignored.retain(|known| *known != name);
        let says = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
        match meaning {
            Meaning::NothingBut(refused, reason) if says(refused) => return Err(reason.into()),
            Meaning::Nothing(default) if !says(default) => self.ignored.push(name),
            _ => {}
        }
        Ok(())
    }

    /// Redis takes a user twice for a mistake. What the rules mean shows once the commands are known.
    fn user(&mut self, args: &[Vec<u8>], place: &Place) -> Result<(), Reason> {
        let Some((name, rules)) = args.split_first() else { return Err(BAD_DIRECTIVE.into()) };
        let users = &mut self.config.file_only.users;
        if users.iter().any(|known| known.name == *name) {
            let name = String::from_utf8_lossy(name);
            let what = "Duplicate user found. A user can only be defined once in config files";
            return Err(format!("Error in user declaration '{name}': {what}").into());
        }
        users.push(UserLine { name: name.clone(), rules: rules.to_vec() });
        self.places.users.push(place.clone());
        Ok(())
    }

    fn rename_command(&mut self, args: &[Vec<u8>]) -> Result<(), Reason> {
        let [old, new] = args else { return Err(BAD_DIRECTIVE.into()) };
        self.commands.get_or_insert_default().rename(old, new)?;
        self.config.file_only.renamed_commands.push((old.as_slice().into(), new.as_slice().into()));
        Ok(())
    }

    /// Reads every file that `pattern` names, in the order of their names. A pattern may match nothing; a
    /// name may not.
    fn include(&mut self, pattern: &[u8], depth: usize) -> Result<(), Fatal> {
        let named = Path::new(OsStr::from_bytes(pattern));
        let path = &self.directory.join(named);
        if !glob::is_pattern(pattern) {
            return self.file(path, depth + 1);
        }
        for path in expand(path) {
            self.file(&path, depth + 1)?;
        }
        Ok(())
    }
}

/// A line as messages repeat it: without what may be a password, however it is written.
fn shown(line: &[u8]) -> String {
    let words: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    let name = words.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let directive = match valkey::find(&name) {
        Some((_, Meaning::Same(other))) => lookup(other.as_bytes()),
        _ => lookup(&name),
    };
    let kept = match name.as_slice() {
        b"user" => 2,
        _ if directive.is_some_and(|directive| directive.flags.has(Flags::SENSITIVE)) => 1,
        _ => return String::from_utf8_lossy(line).into_owned(),
    };
    let kept = words[..kept.min(words.len())].join(&b' ');
    let rest = if words.len() > 1 { " (redacted)" } else { "" };
    String::from_utf8_lossy(&kept).into_owned() + rest
}

/// Directives that Redis has given up and still accepts in files, with one value.
const OBSOLETE: [&str; 4] =
    ["io-threads-do-reads", "list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

fn obsolete(name: &[u8], args: &[Vec<u8>]) -> Result<(), Reason> {
    let known = OBSOLETE.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
    if known && args.len() == 1 { Ok(()) } else { Err(BAD_DIRECTIVE.into()) }
}

pub(super) const BAD_DIRECTIVE: &str = "Bad directive or wrong number of arguments";

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
