//! What a panic leaves behind: a report in the log and on the error output, and the end of the process.
//!
//! Design: a panic is a broken invariant, so nothing of the process is to be trusted after it; the report is written by the
//! thread that panicked, with what it knows, and then the process aborts, which a supervisor takes for what it is.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

use super::log::crash_log;
use crate::config::{REDIS_VERSION, TORC_VERSION};

/// From here on panics are reported and end the process, in whichever thread they are.
pub fn report_and_abort() {
    std::panic::set_hook(Box::new(|panic| {
        crash_log(&report(panic));
        std::process::abort();
    }));
}

fn report(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    let message =
        formatted.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a value that is no text");
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current().name().unwrap_or("without a name").to_owned();
    let backtrace = Backtrace::force_capture();
    format!(
        "=== TORC BUG REPORT: please report this with all lines to its end ===\n\
         Torc {TORC_VERSION} (compatible with Redis {REDIS_VERSION}) panicked at {place}, thread {thread}:\n\
         {message}\n{backtrace}=== END OF THE BUG REPORT: the process aborts ==="
    )
}
