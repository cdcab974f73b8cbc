//! The MONITOR feed: every worker shows the commands it runs to the clients that asked, wherever they live.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use super::call::Caller;
use crate::command::{Args, Effect, Flags, Row};
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

    /// Writes a line of the feed to this worker's monitors.
    pub(super) fn feed_monitors(&mut self, line: &[u8]) {
        for index in 0..self.monitors.len() {
            let slot = self.monitors[index];
            self.connections.at(slot).output.push_bytes(line);
            self.make_dirty(slot);
        }
    }
}

impl Caller<'_> {
    /// Shows a command that has run to the monitors, unless it is one that MONITOR never shows.
    #[inline]
    pub(super) fn show(&mut self, row: &Row, args: &Args<'_>) {
        if self.facts.shared.monitors.load(Relaxed) > 0 {
            self.show_all(row, args);
        }
    }

    #[cold]
    fn show_all(&mut self, row: &Row, args: &Args<'_>) {
        if row.command.flags.has(Flags::SKIP_MONITOR.with(Flags::ADMIN)) {
            return;
        }
        let hide = row.full_name == "auth" || row.full_name == "hello";
        let session = &self.ctx.session;
        let line = line(args, self.facts.now_us, session.db.0, &session.card.address, hide);
        self.ctx.effects.push(Effect::Show(line.into()));
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
