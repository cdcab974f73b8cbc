//! The command line: `torc [FILE] [--doctor [--json]] [--directive value ...] [-]`, read as redis-server reads its own.
//!
//! Design: the file, then standard input, then the options, each overriding what came before. An option
//! becomes the line it would be in a file: `--port 7000` is `port "7000"`, and values run on to the next
//! option.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::load::{ConfigFile, Fatal, Loader, Places};
use super::manual::{Page, Shell};
use super::reload::Sources;
use super::split::{quote, split_line};
use super::table::Config;

/// What the arguments ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Serve.
    Run,
    /// Print the version and stop.
    Version,
    /// Print the help and stop.
    Help,
    /// Say what is seen of this host, for a server with this configuration, and stop.
    Doctor {
        /// Whether a program is to read it.
        json: bool,
    },
    /// Print a manual page.
    Man(Page),
    /// Print what completes words in a shell.
    Completion(Shell),
    /// Look whether the file that is the next argument can be loaded, and stop.
    CheckRdb,
    /// Look whether the append-only file that is the last argument can be loaded, and stop.
    CheckAof {
        /// Whether to cut off an end that is not whole.
        fixes: bool,
        /// Unix time in s: cut off what was written later.
        until_s: Option<i64>,
    },
}

/// What a start needs to know.
#[derive(Clone, Debug)]
pub struct Startup {
    /// The configuration.
    pub config: Config,
    /// Where it came from.
    pub sources: Sources,
    /// Lines to log as warnings.
    pub warnings: Vec<String>,
    /// Where directives were given.
    pub places: Places,
    /// What to do.
    pub action: Action,
}

impl Config {
    /// Reads the arguments (without the program's name) and whatever they name. `stdin` is read only if `-`
    /// says so.
    ///
    /// # Errors
    /// A [`Fatal`] whose `Display` is the message to print before stopping with status 1.
    pub fn from_args(
        args: impl IntoIterator<Item = OsString>,
        stdin: &mut dyn Read,
    ) -> Result<Startup, Fatal> {
        let args: Vec<Vec<u8>> = args.into_iter().map(OsString::into_vec).collect();
        let mut startup = Startup {
            config: Self::default(),
            sources: Sources::default(),
            warnings: Vec::new(),
            places: Places::default(),
            action: Action::Run,
        };
        match args.first().map(Vec::as_slice) {
            Some(b"-v" | b"--version") => {
                return Ok(Startup { action: Action::Version, ..startup });
            }
            Some(b"--check-rdb") if args.len() == 2 => {
                return Ok(Startup { action: Action::CheckRdb, ..startup });
            }
            Some(b"--check-rdb") => return Err(Fatal::Usage("Usage: torc --check-rdb FILE".to_owned())),
            Some(b"--check-aof") => return Ok(Startup { action: check_aof(&args[1..])?, ..startup }),
            Some(b"--man") => return Ok(Startup { action: man(&args[1..])?, ..startup }),
            Some(b"--completion") => return Ok(Startup { action: completion(&args[1..])?, ..startup }),
            Some(b"-h" | b"--help") => return Ok(Startup { action: Action::Help, ..startup }),
            Some(b"--test-memory" | b"--check-system" | b"--sentinel") => {
                let option = String::from_utf8_lossy(&args[0]).into_owned();
                return Err(Fatal::Usage(format!("torc has no {option}; see torc --help")));
            }
            _ => {}
        }

        let mut options = args.as_slice();
        let mut named = None;
        if let [file, rest @ ..] = options
            && !file.starts_with(b"-")
        {
            let file = PathBuf::from(OsString::from_vec(file.clone()));
            let path = std::path::absolute(&file).unwrap_or_else(|_| file.clone());
            let directory = std::env::current_dir().unwrap_or_default();
            startup.sources.file = Some(ConfigFile { path, directory });
            named = Some(file);
            options = rest;
        }
        if let [first, rest @ ..] = options
            && first == b"--doctor"
        {
            let json = matches!(rest, [next, ..] if next == b"--json");
            startup.action = Action::Doctor { json };
            options = &rest[usize::from(json)..];
        }
        // The dash may stand before the options or behind them.
        let without_dash = match options {
            [rest @ .., dash] if dash == b"-" => Some(rest),
            [dash, rest @ ..] if dash == b"-" => Some(rest),
            _ => None,
        };
        if let Some(rest) = without_dash {
            startup.sources.stdin = read_all(stdin)?;
            options = rest;
        }
        startup.sources.options = option_lines(options);
        let loaded = startup.sources.load(Loader::default(), named.as_deref())?;
        Ok(Startup { config: loaded.config, places: loaded.places, warnings: loaded.warnings, ..startup })
    }
}

/// The one argument, or what it may be.
fn only<T>(args: &[Vec<u8>], read: impl Fn(&[u8]) -> Option<T>, usage: &str) -> Result<T, Fatal> {
    let found = if let [name] = args { read(name) } else { None };
    found.ok_or_else(|| Fatal::Usage(format!("Usage: torc {usage}")))
}

fn man(args: &[Vec<u8>]) -> Result<Action, Fatal> {
    only(args, Page::named, "--man torc|torc.conf").map(Action::Man)
}

fn completion(args: &[Vec<u8>]) -> Result<Action, Fatal> {
    only(args, Shell::named, "--completion bash|zsh|fish").map(Action::Completion)
}

/// `[--fix] [--truncate-to-timestamp T] FILE`.
fn check_aof(mut args: &[Vec<u8>]) -> Result<Action, Fatal> {
    const USAGE: &str = "Usage: torc --check-aof [--fix] [--truncate-to-timestamp SECONDS] FILE";
    let (mut fixes, mut until_s) = (false, None);
    loop {
        args = match args {
            [_] => return Ok(Action::CheckAof { fixes, until_s }),
            [option, rest @ ..] if option == b"--fix" => {
                fixes = true;
                rest
            }
            [option, time, rest @ ..] if option == b"--truncate-to-timestamp" => {
                let time = std::str::from_utf8(time).ok().and_then(|time| time.parse().ok());
                let time = time.filter(|time: &i64| *time > 0);
                let invalid = || Fatal::Usage(format!("Invalid timestamp. {USAGE}"));
                until_s = Some(time.ok_or_else(invalid)?);
                rest
            }
            _ => return Err(Fatal::Usage(USAGE.to_owned())),
        };
    }
}

fn read_all(stdin: &mut dyn Read) -> Result<Vec<u8>, Fatal> {
    let mut text = Vec::new();
    stdin
        .read_to_end(&mut text)
        .map_err(|error| Fatal::File { path: Path::new("-").to_path_buf(), reason: error.to_string() })?;
    Ok(text)
}

/// The options as configuration lines, one a line.
///
/// Directly after an option's name stands a value, even one that begins with `--`; only `--save` may go
/// without.
fn option_lines(options: &[Vec<u8>]) -> Vec<u8> {
    let mut lines: Vec<u8> = Vec::new();
    let mut value_expected = false;
    for (index, option) in options.iter().enumerate() {
        match option.strip_prefix(b"--") {
            Some(name) if !value_expected => {
                if !lines.is_empty() {
                    lines.push(b'\n');
                }
                lines.extend(name);
                lines.push(b' ');
                // "--port 7000" may be one argument.
                let bare = split_line(option).is_some_and(|words| words.len() == 1);
                let next_is_option = options.get(index + 1).is_none_or(|next| next.starts_with(b"--"));
                if bare && next_is_option && name.trim_ascii().eq_ignore_ascii_case(b"save") {
                    lines.extend(b"\"\"");
                } else {
                    value_expected = bare;
                }
            }
            _ => {
                lines.extend(quote(option));
                lines.push(b' ');
                value_expected = false;
            }
        }
    }
    lines
}
