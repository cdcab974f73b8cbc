//! What was refused for want of rights: ACL LOG.
//!
//! Design: whoever refuses pushes onto a stack without a lock (`observe` has another such stack, the slow log). Equal refusals are
//! one entry with a count; they are joined when somebody reads, and by whoever pushes onto a stack that has grown long, if nobody else
//! does so at the time.
//!
//! Invariants: entries are newest first, each with a number of its own, and of texts that a client chooses it keeps
//! [`TEXT_BYTES_MAX`]: else who may do nothing could fill the memory with keys that it may not use.
//! Costs: an allocation and a compare-and-swap for each refusal.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

/// What is kept of a key, a channel, a user's name or a client's line. More is cut off (Redis keeps all of it).
pub const TEXT_BYTES_MAX: usize = 16 << 10;
/// Refusals of the same kind within this time are one entry.
const JOINED_MS_MAX: u64 = 60_000;
/// Entries that are looked at for one of the same kind.
const JOIN_TRIES: usize = 10;
/// Refusals that wait to be joined before whoever adds one does that.
const WAITING_MAX: usize = 64;

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The command.
    Command,
    /// One of its keys.
    Key,
    /// One of its channels.
    Channel,
    /// A password, or the user that it was given for.
    Auth,
}

impl Reason {
    /// As ACL LOG spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Auth => "auth",
        }
    }
}

/// Where a command came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A client.
    TopLevel,
    /// A transaction.
    Multi,
    /// A script.
    Lua,
}

impl Context {
    /// As ACL LOG spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
            Self::Lua => "lua",
        }
    }
}

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// Where the command came from.
    pub context: Context,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// The user, or who the client said it was.
    pub user: Vec<u8>,
    /// The client, as CLIENT LIST shows it.
    pub client: Vec<u8>,
    /// When, Unix time in ms.
    pub at_ms: u64,
}

/// An entry of the log: something that was refused, perhaps several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Ascending from 0.
    pub id: u64,
    /// How often.
    pub count: u64,
    /// When first, Unix time in ms.
    pub created_ms: u64,
    /// The last time.
    pub last: Refused,
}

/// A refusal that waits to be joined.
struct Waiting {
    refused: Refused,
    /// How many entries there may be with it.
    len_max: usize,
    below: ArcSwapOption<Waiting>,
}

/// The log of the process.
#[derive(Default)]
pub struct AclLog {
    waiting: ArcSwapOption<Waiting>,
    waiting_count: AtomicUsize,
    joined: Mutex<Joined>,
}

#[derive(Default)]
struct Joined {
    entries: VecDeque<LogEntry>,
    next_id: u64,
}

impl AclLog {
    /// Adds a refusal; the log keeps at most `len_max` entries.
    pub fn push(&self, mut refused: Refused, len_max: usize) {
        for text in [&mut refused.object, &mut refused.user, &mut refused.client] {
            text.truncate(TEXT_BYTES_MAX);
            text.shrink_to_fit();
        }
        let waiting = Arc::new(Waiting { refused, len_max, below: ArcSwapOption::empty() });
        self.waiting.rcu(|top| {
            waiting.below.store(top.clone());
            Some(Arc::clone(&waiting))
        });
        if self.waiting_count.fetch_add(1, Relaxed) >= WAITING_MAX
            && let Ok(mut joined) = self.joined.try_lock()
        {
            self.join_waiting(&mut joined);
        }
    }

    /// The newest entries, as many as are asked for and kept.
    pub fn newest(&self, count: usize) -> Vec<LogEntry> {
        let mut joined = self.lock();
        self.join_waiting(&mut joined);
        joined.entries.iter().take(count).cloned().collect()
    }

    /// Forgets all entries; numbers go on.
    pub fn reset(&self) {
        let mut joined = self.lock();
        self.join_waiting(&mut joined);
        joined.entries.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Joined> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join_waiting(&self, joined: &mut Joined) {
        let (mut next, mut taken) = (self.waiting.swap(None), Vec::new());
        while let Some(waiting) = next {
            next = waiting.below.swap(None);
            taken.push(waiting);
        }
        self.waiting_count.fetch_sub(taken.len(), Relaxed);
        for waiting in taken.into_iter().rev() {
            joined.add(waiting.refused.clone());
            joined.entries.truncate(waiting.len_max);
        }
    }
}

impl Drop for AclLog {
    fn drop(&mut self) {
        // One by one: dropping the top would recurse as deep as the stack is high.
        self.reset();
    }
}

impl Joined {
    fn add(&mut self, refused: Refused) {
        let is_like = |entry: &LogEntry| {
            let last = &entry.last;
            (last.reason, last.context) == (refused.reason, refused.context)
                && last.at_ms.abs_diff(refused.at_ms) <= JOINED_MS_MAX
                && last.object == refused.object
                && last.user == refused.user
        };
        let like = self.entries.iter().take(JOIN_TRIES).position(is_like);
        let entry = match like.and_then(|place| self.entries.remove(place)) {
            Some(entry) => LogEntry { count: entry.count + 1, last: refused, ..entry },
            None => {
                self.next_id += 1;
                LogEntry { id: self.next_id - 1, count: 1, created_ms: refused.at_ms, last: refused }
            }
        };
        self.entries.push_front(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(object: &str, at_ms: u64) -> Refused {
        Refused {
            reason: Reason::Key,
            context: Context::TopLevel,
            object: object.into(),
            user: b"bob".to_vec(),
            client: Vec::new(),
            at_ms,
        }
    }

    fn shown(log: &AclLog) -> Vec<(u64, u64, Vec<u8>)> {
        let entries = log.newest(usize::MAX);
        entries.into_iter().map(|entry| (entry.id, entry.count, entry.last.object)).collect()
    }

    #[test]
    fn equal_refusals_are_one_entry_that_comes_first() {
        let log = AclLog::default();
        for (object, at_ms) in [("a", 0), ("b", 1), ("a", 60_000), ("b", 60_002)] {
            log.push(refused(object, at_ms), 128);
        }
        let b = b"b".to_vec();
        assert_eq!(shown(&log), [(2, 1, b.clone()), (0, 2, b"a".to_vec()), (1, 1, b)], "b came too late");
        log.reset();
        log.push(refused("c", 0), 128);
        assert_eq!(shown(&log), [(3, 1, b"c".to_vec())]);
    }

    #[test]
    fn long_texts_are_cut() {
        let log = AclLog::default();
        let long = "k".repeat(TEXT_BYTES_MAX + 1);
        log.push(refused(&long, 0), 128);
        log.push(refused(&long[1..], 0), 128);
        assert_eq!(shown(&log), [(0, 2, long.as_bytes()[1..].to_vec())]);
        assert!(log.newest(1)[0].last.object.capacity() <= TEXT_BYTES_MAX);
    }

    #[test]
    fn only_the_last_entries_are_compared() {
        let log = AclLog::default();
        let names: Vec<String> = (0..JOIN_TRIES).map(|number| format!("{number}")).collect();
        log.push(refused("a", 0), 128);
        names.iter().for_each(|name| log.push(refused(name, 0), 128));
        log.push(refused("a", 0), 128);
        assert_eq!(shown(&log)[0], (11, 1, b"a".to_vec()));
    }

    #[test]
    fn many_threads_push_and_the_length_is_kept() {
        let log = AclLog::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    (0..2000).for_each(|number| log.push(refused(&format!("{thread}.{number}"), 0), 16));
                });
            }
        });
        assert_eq!(log.newest(usize::MAX).len(), 16);
        assert!(log.waiting_count.load(Relaxed) == 0 && log.waiting.load().is_none());
        log.push(refused("last", 0), 0);
        assert!(shown(&log).is_empty());
    }
}
