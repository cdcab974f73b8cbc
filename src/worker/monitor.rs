//! The MONITOR feed: every worker shows the commands it runs to the clients that asked, wherever they live.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Mail, Worker};
use crate::command::{Args, Flags};
use crate::exec::{Gathered, Source};
use crate::io::{Io, Token};
use crate::observe::flag;

impl<I: Io> Worker<I> {
    /// Adds a connection to those that receive the feed, or takes it away.
    pub(super) fn set_monitor(&mut self, token: Token, on: bool) {
        let Some(connection) = self.connections.find(token) else { return };
        if on == self.monitors.contains(&token.slot) {
            return;
        }
        connection.session.monitor = on;
        connection.session.card.set(flag::MONITOR, on);
        if on {
            self.monitors.push(token.slot);
            self.shared.monitors.fetch_add(1, Relaxed);
        } else {
            self.monitors.retain(|slot| *slot != token.slot);
            self.shared.monitors.fetch_sub(1, Relaxed);
        }
    }

    /// Shows a command that is about to run, unless it is one that MONITOR never shows.
    #[cold]
    pub(super) fn show_monitors(&mut self, command: &Gathered) {
        let row = self.table.row(command.row);
        if row.command.flags.has(Flags::SKIP_MONITOR.with(Flags::ADMIN)) {
            return;
        }
        let input = match command.source {
            Source::Input(index) => self.io.input(&self.batch.inputs[index as usize]),
            Source::Spill => &[],
        };
        let spans = command.spans_start as usize;
        let spans = &self.batch.spans[spans..spans + command.spans_count as usize];
        let (args, session, _) = self.connections.at(command.slot).split(command.source, input, spans);
        let (now_us, hide) = (self.clock.unix_us(), row.full_name == "auth" || row.full_name == "hello");
        let line: Arc<[u8]> = line(&args, now_us, session.db.0, &session.card.address, hide).into();
        self.feed_monitors(&line);
        self.post.send_all(|| Mail::Monitor(Arc::clone(&line)));
    }

    /// Writes a line of the feed to this worker's monitors.
    pub(super) fn feed_monitors(&mut self, line: &[u8]) {
        for index in 0..self.monitors.len() {
            let slot = self.monitors[index];
            self.connections.at(slot).output.push_bytes(line);
            self.make_dirty(slot);
        }
    }
}

/// `+1700000000.123456 [0 127.0.0.1:5000] "SET" "key" "value"`
fn line(args: &Args<'_>, now_us: u64, db: u16, address: &str, hide: bool) -> Vec<u8> {
    let mut text = format!("+{}.{:06} [{db} {address}]", now_us / 1_000_000, now_us % 1_000_000);
    for (index, arg) in args.from(0).enumerate() {
        text.push_str(" \"");
        if hide && index > 0 {
            text.push_str("(redacted)");
        } else {
            escape(&mut text, arg);
        }
        text.push('"');
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// As Redis's `sdscatrepr`.
fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\\' | b'"' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => write!(text, "\\x{byte:02x}").expect("writing to a string does not fail"),
        }
    }
}
