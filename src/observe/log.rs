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
//! With `log-format json` a line is an object: `time` as RFC 3339 has it, in UTC, to the ms; `level` (`error`, then the words of
//! `loglevel`); `pid`; `module`, the part of the server; `message`, in which anything may stand. `log-format logfmt` has the same as
//! pairs, named as in Valkey.
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
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use jiff::{Timestamp, Zoned};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::json::{Json, quoted};
use crate::config::{Config, LogFormat, LogLevel};

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
    /// A `LogFormat`.
    format: AtomicU8,
}

static LOGGER: Logger =
    Logger { target: OnceLock::new(), pid: OnceLock::new(), format: AtomicU8::new(LogFormat::Text as u8) };

/// Starts logging as `config` says. To be called once, when the working directory is the final one.
///
/// # Errors
/// The log file cannot be written, or the process logs already.
pub fn init(config: &Config) -> Result<(), String> {
    let target = target(config.logfile.as_path())?;
    LOGGER.target.set(target).map_err(|_| "the log is in use already".to_owned())?;
    LOGGER.pid.get_or_init(std::process::id);
    log::set_logger(&LOGGER).map_err(|error| error.to_string())?;
    follow(config);
    Ok(())
}

/// Changes what is logged from now on, and how (CONFIG SET).
pub fn follow(config: &Config) {
    LOGGER.format.store(config.log_format as u8, Relaxed);
    log::set_max_level(match config.loglevel {
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
        let pid = self.pid.get().copied().unwrap_or_default();
        let format = self.format.load(Relaxed);
        let structured = if format == LogFormat::Json as u8 {
            Some(json_line(pid, Timestamp::now(), record))
        } else if format == LogFormat::Logfmt as u8 {
            Some(logfmt_line(pid, Timestamp::now(), record))
        } else {
            None
        };
        let line = match (target, structured) {
            (Target::Journal, Some(line)) => format!("<{}>{line}", priority(record.level())),
            (Target::Journal, None) => journal_lines(record.level(), record.args()),
            (Target::Stdout | Target::File(_), Some(line)) => line,
            (Target::Stdout | Target::File(_), None) => {
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

/// A level as `loglevel` calls it; errors, which are above all of these, as what they are.
fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "notice",
        Level::Debug => "verbose",
        Level::Trace => "debug",
    }
}

fn logfmt_line(pid: u32, now: Timestamp, record: &Record<'_>) -> String {
    let (level, module) = (word(record.level()), record.target());
    let message = quoted(&record.args().to_string());
    format!("pid={pid} timestamp=\"{now:.3}\" level={level} module={module} message={message}\n")
}

fn json_line(pid: u32, now: Timestamp, record: &Record<'_>) -> String {
    let mut line = Json::whole(|json| {
        json.text("time", &format!("{now:.3}"));
        json.text("level", word(record.level()));
        json.number("pid", pid);
        json.text("module", record.target());
        json.text("message", &record.args().to_string());
    });
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
    fn a_line_of_json_holds_any_message() {
        let now: Timestamp = "2026-11-21T04:05:06.0079Z".parse().expect("a time");
        let args = format_args!("{}\n{}", "\"x\"", '\u{1}');
        let record = Record::builder().args(args).level(Level::Warn).target("torc::net").build();
        let expected = concat!(
            r#"{"time":"2026-11-21T04:05:06.007Z","level":"warning","pid":42,"module":"torc::net","#,
            r#""message":"\"x\"\n\u0001"}"#,
            "\n"
        );
        assert_eq!(json_line(42, now, &record), expected);
        let expected = concat!(
            r#"pid=42 timestamp="2026-11-21T04:05:06.007Z" level=warning module=torc::net message="\"x\"\n\u0001""#,
            "\n"
        );
        assert_eq!(logfmt_line(42, now, &record), expected);
    }

    #[test]
    fn a_log_file_that_cannot_be_written_is_refused() {
        let refused = target(Path::new("/nonexistent/torc.log"));
        assert!(refused.is_err_and(|error| error.starts_with("Can't open the log file: ")));
        assert!(matches!(target(Path::new("")), Ok(Target::Stdout)));
    }
}
