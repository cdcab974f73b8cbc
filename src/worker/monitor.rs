//! The MONITOR feed: every worker shows the commands it runs to the clients that asked, wherever they live.
//!
//! Design: a worker's own monitors get each line at once, in its place between the replies; those of others get many lines as
//! one message: all of a turn, or [`SHOWN_BYTES_MAX`]. A worker that has monitors and is busy for long reads none
//! meanwhile; then the commands of the others wait, so that what is under way stays bounded (`message`).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::call::Executor;
use super::{Message, Worker};
use crate::command::{Args, Effect, Flags, Row};
use crate::io::{Io, Token};
use crate::observe::{ClientInfo, ClientPlace, flag};
use crate::resp::Reply;

/// What MONITOR never shows.
const HIDDEN: Flags = Flags::SKIP_MONITOR.with(Flags::ADMIN);

/// Bytes of the feed that are sent before the turn is over.
const SHOWN_BYTES_MAX: usize = 256 << 10;

impl<I: Io> Worker<I> {
    /// Adds a connection to those that receive the feed, or takes it away.
    pub(super) fn set_monitor(&mut self, token: Token, on: bool) {
        let Some(connection) = self.connections.find(token) else { return };
        // One that was ended in the same group is not listed any more: its slot will be another's.
        let on = on && !connection.closing;
        connection.session.client_info.set(flag::MONITOR, on);
        if !on {
            self.monitors.retain(|slot| *slot != token.slot);
        } else if !self.monitors.contains(&token.slot) {
            self.monitors.push(token.slot);
        }
        // MONITOR has set the bit already, for the commands behind it. It is set again here, because a client that left the
        // feed earlier in the same group may have cleared it since.
        let bit = 1 << self.number;
        if self.monitors.is_empty() {
            self.shared.monitoring.fetch_and(!bit, Relaxed);
        } else {
            self.shared.monitoring.fetch_or(bit, Relaxed);
        }
    }

    /// Shows a line to this worker's monitors, but for the one that has it already, and keeps it for those of others.
    pub(super) fn show(&mut self, line: &[u8], shown_to: Option<ClientPlace>) {
        self.feed_monitors(line, shown_to.map(|place| place.slot));
        if self.shared.monitoring.load(Relaxed) & !(1 << self.number) != 0 {
            self.shown.extend_from_slice(line);
            if self.shown.len() >= SHOWN_BYTES_MAX {
                self.send_shown();
            }
        }
    }

    /// Sends what this turn has shown to the other workers that have monitors.
    pub(super) fn send_shown(&mut self) {
        if self.shown.is_empty() {
            return;
        }
        let lines: Arc<[u8]> = std::mem::take(&mut self.shown).into();
        let monitoring = self.shared.monitoring.load(Relaxed);
        let others = (0..self.inbox.workers()).filter(|worker| *worker != self.number);
        for worker in others.filter(|worker| monitoring >> worker & 1 == 1) {
            self.inbox.send(worker, Message::Monitor(Arc::clone(&lines)));
        }
    }

    /// Writes lines of the feed to this worker's monitors.
    pub(super) fn feed_monitors(&mut self, lines: &[u8], but: Option<u32>) {
        for index in 0..self.monitors.len() {
            let slot = self.monitors[index];
            let connection = self.connections.at(slot);
            // One that has just left the feed reads replies by now.
            if connection.session.monitor && Some(slot) != but {
                connection.output.push_bytes(lines);
                self.make_dirty(slot);
            }
        }
    }
}

impl Executor<'_> {
    /// Shows a command that has run to the monitors, unless it is one that MONITOR never shows.
    #[inline]
    pub(super) fn show(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>) {
        if self.constants.shared.monitoring.load(Relaxed) != 0 {
            self.show_all(row, args, reply);
        }
    }

    /// Shows a script before it runs: what it does comes behind.
    pub(super) fn show_script(&mut self, row: &Row, args: &Args<'_>) {
        if self.constants.shared.monitoring.load(Relaxed) != 0 {
            let words = row.command.shown(args);
            let session = &self.ctx.session;
            let line = line(&words, self.ctx.now_us, session.db.0, &origin(&session.client_info));
            self.ctx.effects.push(Effect::Show { line, shown_to: None });
        }
    }

    /// Shows a command of a script.
    #[inline]
    pub(super) fn show_for_script(&mut self, row: &Row, args: &Args<'_>) {
        if self.constants.shared.monitoring.load(Relaxed) != 0 && !row.command.flags.has(HIDDEN) {
            let words = row.command.shown(args);
            let line = line(&words, self.ctx.now_us, self.ctx.session.db.0, "lua");
            self.ctx.effects.push(Effect::Show { line, shown_to: None });
        }
    }

    #[cold]
    fn show_all(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>) {
        if row.command.flags.has(HIDDEN) {
            return;
        }
        let session = &self.ctx.session;
        let words = row.command.shown(args);
        let line = line(&words, self.ctx.now_us, session.db.0, &origin(&session.client_info));
        // A monitor's own line comes right behind the reply, but within EXEC's it would be taken for a part of that.
        let at_once = session.monitor && !session.denies_blocking;
        if at_once {
            reply.output().push_bytes(&line);
        }
        let shown_to = at_once.then(|| session.client_info.place());
        self.ctx.effects.push(Effect::Show { line, shown_to });
    }
}

/// Where a client comes from: its address, or the path of its Unix socket.
fn origin(client_info: &ClientInfo) -> Cow<'_, str> {
    match client_info.address.strip_suffix(":0") {
        Some(path) if client_info.has(flag::UNIX_SOCKET) => format!("unix:{path}").into(),
        _ => (&*client_info.address).into(),
    }
}

/// `+1700000000.123456 [0 127.0.0.1:5000] "SET" "key" "value"`
fn line(words: &[&[u8]], now_us: u64, db: u32, origin: &str) -> Vec<u8> {
    let mut text = format!("+{}.{:06} [{db} {origin}]", now_us / 1_000_000, now_us % 1_000_000);
    for word in words {
        text.push_str(" \"");
        escape(&mut text, word);
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
