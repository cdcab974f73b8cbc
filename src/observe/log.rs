//! The log: what the `log` crate's macros say, in the layout of Redis's log, to the standard output or a file.
//!
//! Design: one line per message, `PID:M 21 Nov 2026 04:00:00.000 * text`, put together in memory and written with one
//! call, so that lines of several threads never mix. A file is opened for each line, as Redis does: the log may be moved
//! away at any time (logrotate) and needs no signal. Levels map as their meanings do:
//!
//! | macro | `loglevel` | mark |
//! |---|---|---|
//! | `error!`, `warn!` | warning | `#` |
//! | `info!` | notice | `*` |
//! | `debug!` | verbose | `-` |
//! | `trace!` | debug | `.` |
//!
//! Where the standard output leads to systemd's journal, which keeps time and process itself, a line begins with its
//! priority as `sd-daemon(3)` has it, `<5>text`, so that `journalctl -p warning` finds what it should.
//!
//! Invariants: a message that is below the level costs one relaxed load.
//! Costs: an allocation and a few system calls per line that is written; nothing on the path of a request logs at the
//! default level.
//! Not here: the slow log (`slowlog`), latency events (`latency`).

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use jiff::Zoned;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::{Config, LogLevel};

/// Where lines go.
enum Target {
    Stdout,
    /// The standard output too, but read by the journal.
    Journal,
    File(PathBuf),
}

struct Logger {
    target: OnceLock<Target>,
    pid: OnceLock<u32>,
}

static LOGGER: Logger = Logger { target: OnceLock::new(), pid: OnceLock::new() };

/// Starts logging as `config` says. To be called once, when the working directory is the final one.
///
/// # Errors
/// The log file cannot be written, or the process logs already.
pub fn init(config: &Config) -> Result<(), String> {
    let target = target(config.logfile.as_path())?;
    LOGGER.target.set(target).map_err(|_| "the log is in use already".to_owned())?;
    LOGGER.pid.get_or_init(std::process::id);
    log::set_logger(&LOGGER).map_err(|error| error.to_string())?;
    set_level(config.loglevel);
    Ok(())
}

/// Changes what is logged from now on (CONFIG SET loglevel).
pub fn set_level(level: LogLevel) {
    log::set_max_level(match level {
        LogLevel::Debug => LevelFilter::Trace,
        LogLevel::Verbose => LevelFilter::Debug,
        LogLevel::Notice => LevelFilter::Info,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Nothing => LevelFilter::Off,
    });
}

fn target(path: &Path) -> Result<Target, String> {
    if path.as_os_str().is_empty() {
        return Ok(if leads_to_journal() { Target::Journal } else { Target::Stdout });
    }
    // CONFIG SET dir must not move the log.
    let path = std::path::absolute(path).map_err(|error| format!("Can't open the log file: {error}"))?;
    append(&path, b"").map_err(|error| format!("Can't open the log file: {error}"))?;
    Ok(Target::File(path))
}

/// Whether the standard output is what systemd says it connected to the journal: a process may have been given another since.
fn leads_to_journal() -> bool {
    let journal = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    identity(io::stdout().as_fd()).is_some_and(|(device, inode)| journal == format!("{device}:{inode}"))
}

/// What an open file is, whichever descriptor it is open as.
fn identity(file: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let metadata = File::from(file.try_clone_to_owned().ok()?).metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Says why the process ends: in the log, once there is one, and on the error output, unless that is the same place.
pub fn crash_log(text: &str) {
    let logs_to_stderr = match LOGGER.target.get() {
        Some(Target::Stdout | Target::Journal) => identity(io::stdout().as_fd())
            .is_some_and(|stdout| identity(io::stderr().as_fd()) == Some(stdout)),
        Some(Target::File(_)) | None => false,
    };
    log::error!("{text}");
    if !logs_to_stderr || log::max_level() == LevelFilter::Off {
        // Whoever started the server may have closed it.
        writeln!(io::stderr(), "{text}").unwrap_or_default();
    }
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(line)
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let target = self.target.get().unwrap_or(&Target::Stdout);
        let line = match target {
            Target::Journal => journal_lines(record.level(), record.args()),
            Target::Stdout | Target::File(_) => {
                let pid = self.pid.get().copied().unwrap_or_default();
                line(pid, &Zoned::now(), record.level(), record.args())
            }
        };
        let written = match target {
            Target::File(path) => append(path, line.as_bytes()),
            Target::Stdout | Target::Journal => io::stdout().lock().write_all(line.as_bytes()),
        };
        // A full disk must not stop the server, and there is nobody left to tell.
        written.unwrap_or_default();
    }

    fn flush(&self) {}
}

fn mark(level: Level) -> char {
    match level {
        Level::Error | Level::Warn => '#',
        Level::Info => '*',
        Level::Debug => '-',
        Level::Trace => '.',
    }
}

fn line(pid: u32, now: &Zoned, level: Level, text: &std::fmt::Arguments<'_>) -> String {
    let time = now.strftime("%d %b %Y %H:%M:%S");
    let mut line = format!("{pid}:M {time}.{:03} {} ", now.millisecond(), mark(level));
    write!(line, "{text}").expect("writing to a string does not fail");
    line.push('\n');
    line
}

/// The priority of a message in the journal, as `syslog(3)` numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 5,
        Level::Debug => 6,
        Level::Trace => 7,
    }
}

/// Each line is a message of its own to the journal.
fn journal_lines(level: Level, text: &std::fmt::Arguments<'_>) -> String {
    let priority = priority(level);
    text.to_string().lines().map(|line| format!("<{priority}>{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_told_the_priority_of_each_line() {
        let text = journal_lines(Level::Warn, &format_args!("two\nlines"));
        assert_eq!(text, "<4>two\n<4>lines\n");
        let all = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(priority);
        assert_eq!(all, [3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_line_looks_as_redis_writes_it() {
        let now: Zoned = "2026-11-21T04:05:06.007+00:00[UTC]".parse().expect("a time");
        let text = line(42, &now, Level::Info, &format_args!("Ready with {} workers", 2));
        assert_eq!(text, "42:M 21 Nov 2026 04:05:06.007 * Ready with 2 workers\n");
        let marks: String = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace]
            .map(mark)
            .into_iter()
            .collect();
        assert_eq!(marks, "##*-.");
    }

    #[test]
    fn a_log_file_that_cannot_be_written_is_refused() {
        let refused = target(Path::new("/nonexistent/torc.log"));
        assert!(refused.is_err_and(|error| error.starts_with("Can't open the log file: ")));
        assert!(matches!(target(Path::new("")), Ok(Target::Stdout)));
    }
}
